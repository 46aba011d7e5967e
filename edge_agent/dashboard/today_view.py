"""The page *Today*: the running shift, the ones before, and whether golden parts are still judged as such. Pure."""

from collections.abc import Sequence
from math import ceil

from edge_agent.dashboard import charts
from edge_agent.dashboard.hub import Snapshot
from edge_agent.dashboard.presentation import NOTHING, View, agent_view, counts_view, local_time, milliseconds
from edge_agent.dashboard.words import Words
from edge_agent.formats import Counts, GoldenCheck, LatencyPoint, ModelStatus, ScoreHistogram, Shift, Verdict

_TONES = {"PASSED": "good", "FAILED": "bad", "RUNNING": "running", "DUE": "warn"}


def today_view(snapshot: Snapshot, shifts: Sequence[Shift], trouble: str, words: Words, now: float) -> View:
    """Return the page *Today*.

    Args:
        snapshot: what is known of the agent.
        shifts: the running one first; none: the agent does not tell them.
        trouble: why it does not.
        words: the language.
        now: epoch seconds.
    """
    running = next((shift for shift in shifts if shift.running), None)
    return {
        "trouble": trouble,
        "shift": running_view(running or Shift(counts=snapshot.counts), words),
        "scores": [histogram_view(scores, words) for scores in (running.scores if running else ())],
        "latency": latency_view(running.latency if running else (), words),
        "earlier": [earlier_view(shift, words) for shift in shifts if not shift.running],
        "golden": golden_view(snapshot.golden, words),
        "models": [model_view(model, words) for model in snapshot.models if model.active],
        "report": words("report.of", thing=snapshot.agent.thing if snapshot.agent else NOTHING),
        "printed": words("report.printed", at=f"{day(now)} {clock(now)}"),
        "agent": agent_view(snapshot, words, now),
    }


def running_view(shift: Shift, words: Words) -> View:
    """Return the shift under way."""
    return {
        "name": shift.name or words("shift.unnamed"),
        "span": span(shift, words),
        "reset": words("shift.reset_by", name=shift.reset_by, at=clock(shift.began)) if shift.reset_by else "",
        "yield": yield_text(shift.counts, words),
        **counts_view(shift.counts, words),
    }


def earlier_view(shift: Shift, words: Words) -> View:
    """Return a shift that is over as one line."""
    return {
        "name": shift.name or words("shift.unnamed"),
        "day": day(shift.began),
        "span": span(shift, words),
        "yield": yield_text(shift.counts, words),
        "reset_by": shift.reset_by,
        **counts_view(shift.counts, words),
    }


def model_view(model: ModelStatus, words: Words) -> View:
    """Return which version judged and by which threshold, for the printed report."""
    signed = words("report.signed", threshold=words.number(model.signed_threshold, 2))
    return {
        "name": model.name,
        "version": model.active,
        "threshold": words.number(model.threshold, 2),
        "signed": "" if model.threshold == model.signed_threshold else signed,
        "state": words.or_as_is("model", model.state),
        "applications": ", ".join(model.applications),
    }


def yield_text(counts: Counts, words: Words) -> str:
    """Return the share of OK among all parts that got a verdict; parts without one are told beside it."""
    judged = counts.ok + counts.ng
    # Never rounded up to all good.
    share = int(counts.ok * 1000 / judged) / 10 if judged else 0.0
    return f"{words.number(share, 1)} %" if judged else NOTHING


def histogram_view(scores: ScoreHistogram, words: Words) -> View:
    """Return the scores of one application's model as two paths: below the threshold, and from it on."""
    count = len(scores.bins)
    split = ceil(round(scores.threshold * count, 6))
    total, beyond = sum(scores.bins), sum(scores.bins[split:])
    return {
        "application": scores.application,
        "model": scores.model,
        "threshold": words.number(scores.threshold, 2),
        "threshold_x": round(scores.threshold * 100, 2),
        "below": charts.bars(scores.bins, 0, split),
        "beyond": charts.bars(scores.bins, split, count),
        "total": words("scores.total", total=words.number(total, 0)),
        "summary": words(
            "scores.summary",
            model=scores.model,
            total=words.number(total, 0),
            beyond=words.number(beyond, 0),
            threshold=words.number(scores.threshold, 2),
        ),
    }


def latency_view(points: Sequence[LatencyPoint], words: Words) -> View | None:
    """Return p50 and p95 over the shift; None: nothing was measured."""
    points = [point for point in points if point.count]
    if not points:
        return None
    first, last = points[0].at, points[-1].at
    top = charts.nice_top(max(point.p95_ms for point in points))
    places = [(point.at - first) / (last - first) if last > first else 0.0 for point in points]
    p50 = [(x, point.p50_ms / top) for x, point in zip(places, points, strict=True)]
    p95 = [(x, point.p95_ms / top) for x, point in zip(places, points, strict=True)]
    newest = points[-1]
    return {
        "p50_path": charts.line(p50),
        "p95_path": charts.line(p95),
        "band": charts.band(p95, p50),
        "top": milliseconds(top, words),
        "p50": milliseconds(newest.p50_ms, words),
        "p95": milliseconds(newest.p95_ms, words),
        "begin": clock(first),
        "end": clock(last),
        "summary": words(
            "latency.summary", p50=milliseconds(newest.p50_ms, words), p95=milliseconds(newest.p95_ms, words)
        ),
    }


def golden_view(golden: GoldenCheck, words: Words) -> View:
    """Return whether known parts are still judged as such."""
    wrong = sum(part.expected is not part.verdict for part in golden.parts)
    return {
        "state": golden.state,
        "tone": _TONES.get(golden.state, "idle"),
        "word": words.or_as_is("golden", golden.state),
        "message": golden.message,
        "at": words("golden.at", at=f"{day(golden.at)} {clock(golden.at)}") if golden.at else "",
        "actor": golden.actor,
        "figure": words("golden.figure", right=len(golden.parts) - wrong, all=len(golden.parts))
        if golden.parts
        else "",
        "alarm": words(f"golden.alarm.{golden.state}") if golden.state in {"FAILED", "DUE", "RUNNING"} else "",
        "parts": [
            {
                "name": part.name,
                "expected": _verdict(part.expected, words),
                "verdict": part.verdict.value,
                "word": _verdict(part.verdict, words),
                "score": words.number(part.score, 3),
                "message": part.message,
                "tone": "good" if part.expected is part.verdict else "bad",
                "right": words("golden.right" if part.expected is part.verdict else "golden.wrong"),
            }
            for part in golden.parts
        ],
    }


def _verdict(verdict: Verdict, words: Words) -> str:
    return words(f"verdict.{verdict.value}")


def span(shift: Shift, words: Words) -> str:
    """Return from when to when a shift is."""
    if not shift.began:
        return ""
    return (
        f"{clock(shift.began)} \N{EN DASH} {clock(shift.ends)}"
        if shift.ends
        else words("shift.since", at=clock(shift.began))
    )


def clock(at: float) -> str:
    """Return the time of day."""
    return local_time(at, "%H:%M")


def day(at: float) -> str:
    """Return the date."""
    return local_time(at, "%Y-%m-%d")
