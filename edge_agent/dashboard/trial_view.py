"""The page *Try an image*: what the models say of a picture that is not the line's. Pure."""

from edge_agent.dashboard.hub import Snapshot
from edge_agent.dashboard.presentation import View, agent_view, cards_view, frame_view, verdict_word
from edge_agent.dashboard.words import Words
from edge_agent.formats import InspectedFrame, Verdict

SIGNATURES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}


def type_of(content: bytes) -> str:
    """Return the content type that a picture's first bytes tell; empty: neither JPEG nor PNG."""
    return next((kind for start, kind in SIGNATURES.items() if content.startswith(start)), "")


def trial_view(snapshot: Snapshot, trial_id: str, frame: InspectedFrame | None, words: Words, now: float) -> View:
    """Return the page *Try an image*, with what came of the last one."""
    return {"agent": agent_view(snapshot, words, now), "trial": _trial(trial_id, frame, words, now) if frame else None}


def _trial(trial_id: str, frame: InspectedFrame, words: Words, now: float) -> View:
    # Models as they answered: what runs by now is beside the point.
    shown = Snapshot(frame=frame)
    return {
        **frame_view(frame, words, now),
        "src": f"/try/{trial_id}/picture",
        "verdict": frame.verdict.value,
        "word": verdict_word(frame.verdict, words),
        "cards": cards_view(shown, words),
        "overlays": [
            {"application": result.application, "src": f"/try/{trial_id}/mask/{index}"}
            for index, result in enumerate(frame.results)
            if result.mask_png and result.verdict is not Verdict.NO_RESULT
        ],
    }
