"""A model's threshold, and what another one would have said of recent parts. Pure."""

from collections.abc import Sequence
from urllib.parse import quote

from edge_agent.dashboard.hub import Snapshot
from edge_agent.dashboard.presentation import View, agent_view
from edge_agent.dashboard.today_view import clock
from edge_agent.dashboard.words import Words
from edge_agent.formats import InspectedFrame, ModelStatus, Verdict

STEP = 0.01


def threshold_view(
    snapshot: Snapshot, model: ModelStatus, frames: Sequence[InspectedFrame], trouble: str, words: Words, now: float
) -> View:
    """Return the page of one model's threshold.

    Args:
        snapshot: what is known of the agent.
        model: whose.
        frames: recent ones, newest first.
        trouble: why there are none.
        words: the language.
        now: epoch seconds.
    """
    parts = [part for frame in frames for part in _parts(frame, model)]
    return {
        "model": model.name,
        "version": model.active or "",
        "threshold": round(model.threshold, 4),
        "threshold_text": words.number(model.threshold, 2),
        "signed": round(model.signed_threshold, 4),
        "signed_text": words.number(model.signed_threshold, 2),
        "differs": model.threshold != model.signed_threshold,
        "parts": parts,
        "trouble": trouble or ("" if parts else words("threshold.no_parts")),
        "agent": agent_view(snapshot, words, now),
    }


def _parts(frame: InspectedFrame, model: ModelStatus) -> list[View]:
    return [
        {
            "src": f"/frames/{quote(frame.id, safe='')}.jpg",
            "name": " · ".join(part for part in (clock(frame.at), frame.source, frame.name) if part),
            "score": result.score,
            "verdict": result.verdict.value,
        }
        for result in frame.results
        if result.model == model.name and result.verdict is not Verdict.NO_RESULT and not result.skipped
    ]
