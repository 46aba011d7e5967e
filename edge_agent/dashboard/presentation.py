"""From documents to what a page shows: plain strings and numbers, in one language. Pure.

The template fills these in when a page opens, and the script when something changes,
so both say the same. Nothing here is markup; the template and the script escape.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from urllib.parse import quote

from edge_agent.dashboard.hub import Snapshot
from edge_agent.dashboard.words import Words
from edge_agent.formats import CameraStatus, Counts, InspectedFrame, ModelResult, ModelStatus, Verdict

View = dict[str, Any]

# A picture older than this is no longer the part in front of the camera.
STALE_S = 2.0
NO_OVERLAY = "/static/nothing.png"
NOTHING = "\N{EN DASH}"
# The line goes on and nobody looks at it.
_BLIND = frozenset({"CAMERA_AWAY", "AGENT_AWAY", "SILENT"})
_GOLDEN_TOLD = frozenset({"FAILED", "DUE", "RUNNING"})
_MASKED_KINDS = frozenset({"segmentation", "anomaly"})


def now_view(snapshot: Snapshot, words: Words, now: float, source: str = "") -> View:
    """Return the page *Now*.

    Args:
        snapshot: what is known of the agent.
        words: the language.
        now: epoch seconds.
        source: only frames of this one; empty: whoever asked last.
    """
    if source:
        snapshot = snapshot._replace(frame=next((one for one in snapshot.frames if one.source == source), None))
    rejected = [one for one in snapshot.rejected if not source or one.source == source]
    return {
        "frame": frame_view(snapshot.frame, words, now) if snapshot.frame else None,
        "verdict": snapshot.frame.verdict.value if snapshot.frame else "NONE",
        "word": verdict_word(snapshot.frame.verdict if snapshot.frame else None, words),
        "rejected": {"id": rejected[-1].id, "age_s": max(0.0, now - rejected[-1].at)} if rejected else None,
        "cards": cards_view(snapshot, words),
        "counts": counts_view(snapshot.counts, words),
        "sources": sources_view(snapshot, words, source),
        "cameras": cameras_view(snapshot.cameras, words),
        "golden": _golden_alarm(snapshot, words),
        "rule": words.or_as_is("rule", snapshot.rule),
        "agent": agent_view(snapshot, words, now),
    }


def sources_view(snapshot: Snapshot, words: Words, chosen: str) -> list[View]:
    """Return what can be chosen: all, and each source; nothing while there is but one."""
    names = sorted({camera.id for camera in snapshot.cameras} | {frame.source for frame in snapshot.frames} | {chosen})
    names = [name for name in names if name]
    if len(names) < 2 and not chosen:  # noqa: PLR2004  # one is no choice
        return []
    every = {"href": "/", "word": words("sources.all"), "on": "true" if not chosen else None}
    return [
        every,
        *(
            {"href": f"/?source={quote(name, safe='')}", "word": name, "on": "true" if name == chosen else None}
            for name in names
        ),
    ]


def cameras_view(cameras: Iterable[CameraStatus], words: Words) -> list[View]:
    """Return how each camera does; what keeps parts from being inspected is bad."""
    return [
        {
            "id": camera.id,
            "kind": camera.kind,
            "state": camera.state,
            "word": words.or_as_is("camera", camera.state),
            "message": camera.message,
            "tone": "bad" if camera.state in _BLIND else "good" if camera.state == "WATCHING" else "idle",
            "rate": words("camera.rate", rate=words.number(camera.rate_hz, 1)) if camera.rate_hz else "",
            "frames": words.number(camera.frames, 0),
            "skipped": words.number(camera.skipped, 0),
            "failures": words.number(camera.failures, 0),
            "since": words("camera.since", at=local_time(camera.since)) if camera.since else "",
        }
        for camera in cameras
    ]


def _golden_alarm(snapshot: Snapshot, words: Words) -> View:
    state = snapshot.golden.state
    return {"state": state, "word": words(f"golden.alarm.{state}") if state in _GOLDEN_TOLD else ""}


def local_time(at: float, form: str = "%H:%M:%S") -> str:
    """Return a moment, epoch seconds, as the wall clock beside the page says it; ``form`` as ``strftime`` takes it."""
    return datetime.fromtimestamp(at).astimezone().strftime(form)


def verdict_word(verdict: Verdict | None, words: Words) -> str:
    """Return the verdict as a person reads it."""
    return words(f"verdict.{verdict.value if verdict else 'NONE'}")


def frame_view(frame: InspectedFrame, words: Words, now: float) -> View:
    """Return one inspected picture."""
    return {
        "id": frame.id,
        "src": f"/frames/{quote(frame.id, safe='')}.jpg",
        "source": frame.source or words("unnamed"),
        "name": frame.name or words("unnamed"),
        "size": f"{frame.width} \N{MULTIPLICATION SIGN} {frame.height}" if frame.width and frame.height else "",
        "milliseconds": milliseconds(frame.milliseconds, words),
        "message": frame.message,
        "age_s": max(0.0, now - frame.at),
        "overlays": [_overlay(frame, result) for result in frame.results if _has_overlay(result)],
    }


def _has_overlay(result: ModelResult) -> bool:
    return result.kind in _MASKED_KINDS and result.verdict is not Verdict.NO_RESULT


def _overlay(frame: InspectedFrame, result: ModelResult) -> View:
    # Where nothing is marked nobody draws: most parts are good, and the agent has better things to do.
    drawn = f"/frames/{quote(frame.id, safe='')}/overlay/{quote(result.application, safe='')}.png"
    source = drawn if result.area else NO_OVERLAY
    return {"application": result.application, "src": source}


def cards_view(snapshot: Snapshot, words: Words) -> list[View]:
    """Return one card for each application: its model, and what that said of the picture."""
    results = {result.application: result for result in (snapshot.frame.results if snapshot.frame else ())}
    models = {model.name: model for model in snapshot.models}
    mapped = {application: model for model in snapshot.models for application in model.applications}
    cards = []
    for application in [*results, *sorted(set(mapped) - set(results))]:
        result = results.get(application)
        model = mapped.get(application) or (models.get(result.model) if result else None)
        cards.append(_card(application, model, result, words))
    return _named_once(cards)


def _card(application: str, model: ModelStatus | None, result: ModelResult | None, words: Words) -> View:
    name = model.name if model else result.model if result else ""
    active = (model.active if model else None) or (result.version if result and not model else "")
    answered = result.version if result and result.version and result.version != active else ""
    return {
        "application": application,
        "model": name,
        "version": active or NOTHING,
        "answered": words("card.answered_by", version=answered) if answered else "",
        "state": model.state if model else "",
        "trouble": words.or_as_is("model", model.state) if model and model.state != "READY" else "",
        **(_result(result, words) if result else _no_result(words)),
    }


def _named_once(cards: list[View]) -> list[View]:
    # Two applications may ask one model; its name is looked for once.
    seen: set[str] = set()
    for card in cards:
        card["testid"] = "" if card["model"] in seen else f"model-{card['model']}-version"
        seen.add(card["model"])
    return cards


def _result(result: ModelResult, words: Words) -> View:
    known = result.verdict is not Verdict.NO_RESULT
    return {
        # In a chain it waits for another application, and was not needed: that is no fault.
        "verdict": "NONE" if result.skipped else result.verdict.value,
        "word": words("verdict.SKIPPED") if result.skipped else verdict_word(result.verdict, words),
        "label": result.label,
        "score": words.number(result.score, 3) if known else NOTHING,
        "threshold": words.number(result.threshold, 2) if known else NOTHING,
        "score_share": _share(result.score) if known else 0.0,
        "threshold_share": _share(result.threshold) if known else None,
        "area": words("card.area", share=words.number(result.area * 100, 1)) if result.area > 0 else "",
        "milliseconds": milliseconds(result.milliseconds, words),
        "message": result.message,
    }


def _no_result(words: Words) -> View:
    blank = dict.fromkeys(("label", "area", "message"), "")
    return {
        **blank,
        "verdict": "NONE",
        "word": verdict_word(None, words),
        "score": NOTHING,
        "threshold": NOTHING,
        "score_share": 0.0,
        "threshold_share": None,
        "milliseconds": NOTHING,
    }


def _share(value: float) -> float:
    return round(min(1.0, max(0.0, value)) * 100, 2)


def counts_view(counts: Counts, words: Words) -> View:
    """Return the counts, and each one's share of all in percent."""
    total = counts.ok + counts.ng + counts.no_result
    numbers = {"ok": counts.ok, "ng": counts.ng, "no_result": counts.no_result}
    shares = {f"{name}_share": round(count * 100 / total, 3) if total else 0.0 for name, count in numbers.items()}
    starts = {"ng_start": shares["ok_share"], "no_result_start": shares["ok_share"] + shares["ng_share"]}
    told = {name: words.number(count, 0) for name, count in numbers.items()}
    return {**told, **shares, **starts, "total": words.number(total, 0)}


def agent_view(snapshot: Snapshot, words: Words, now: float) -> View:
    """Return whether the agent is there, and what it says of itself."""
    agent = snapshot.agent
    state = "AWAY" if snapshot.away else agent.state if agent else "AWAY"
    deployment = snapshot.deployment
    running = deployment is not None and deployment.ended is None
    return {
        "state": state,
        "word": words.or_as_is("agent", state),
        "message": agent.message if agent and not snapshot.away else "",
        "why": snapshot.away,
        "away_s": max(0.0, now - snapshot.away_since) if snapshot.away else 0.0,
        "thing": agent.thing if agent else "",
        "cloud": agent.cloud if agent and not snapshot.away else "UNKNOWN",
        "cloud_word": words.or_as_is("cloud", agent.cloud if agent and not snapshot.away else "UNKNOWN"),
        "deploying": words("deployment.strip", what=changes(deployment.models), state=deployment.state)
        if running and deployment
        else "",
    }


def changes(models: Iterable[Any]) -> str:
    """Return what a deployment changes, as ``unet 1 → 2``."""
    return ", ".join(_change(model) for model in models)


def _change(model: Any) -> str:
    # A configure brings no other version, and says so by a threshold.
    if model.threshold is not None and (not model.to or model.to == model.from_):
        return f"{model.name} {model.from_ or ''} ≥ {model.threshold:g}".replace("  ", " ")
    return f"{model.name} {model.from_ or NOTHING} → {model.to or NOTHING}"


def milliseconds(value: float, words: Words) -> str:
    """Return a latency with its unit."""
    return f"{words.number(value, 0 if value >= 10 else 1)} ms"  # noqa: PLR2004  # two figures that matter
