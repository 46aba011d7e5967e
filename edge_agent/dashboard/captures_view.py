"""The page *Captures*: the queue, and what was captured. Pure."""

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote, urlencode

from edge_agent.dashboard.delivery_view import seconds, size
from edge_agent.dashboard.hub import Snapshot
from edge_agent.dashboard.presentation import NOTHING, View, agent_view
from edge_agent.dashboard.today_view import clock, day
from edge_agent.dashboard.words import Words
from edge_agent.formats import CaptureReport, CaptureStatus

VERDICTS = ("", "NG", "OK", "NO_RESULT")
LABELS = ("", "none", "any", "other")


class Filter(NamedTuple):
    """Which captures are shown.

    Attributes:
        verdict: empty: all.
        labels: empty: all; none: without one; any: with one; other: one that differs from the verdict.
        before: only older ones, epoch seconds; 0: all.
    """

    verdict: str = ""
    labels: str = ""
    before: float = 0.0

    @classmethod
    def read(cls, verdict: str, labels: str, before: str) -> "Filter":
        """Return the filter that an address names; what it does not know counts as not said."""
        known = verdict if verdict in VERDICTS else "", labels if labels in LABELS else ""
        try:
            at = float(before)
        except ValueError:
            at = 0.0
        return cls(*known, at if 0 < at < 1e12 else 0.0)  # noqa: PLR2004  # no time of this millennium is beyond

    def takes(self, capture: CaptureReport) -> bool:
        """Tell whether a capture has such a label."""
        labelled = bool(capture.label)
        differs = labelled and capture.label != capture.verdict
        return {"": True, "none": not labelled, "any": labelled, "other": differs}[self.labels]

    def query(self) -> str:
        """Return it as the query of an address, with its question mark."""
        said = {name: value for name, value in self._asdict().items() if value}
        return f"?{urlencode(said)}" if said else ""


def captures_view(
    snapshot: Snapshot, captures: Sequence[CaptureReport], chosen: Filter, trouble: str, words: Words, now: float
) -> View:
    """Return the page *Captures*."""
    return {
        "trouble": trouble,
        "queue": queue_view(snapshot.captures, words),
        "captures": [capture_view(capture, words) for capture in captures],
        "verdicts": [_choice("verdict", value, chosen, words) for value in VERDICTS],
        "labels": [_choice("labels", value, chosen, words) for value in LABELS],
        "agent": agent_view(snapshot, words, now),
    }


def queue_view(status: CaptureStatus, words: Words) -> View:
    """Return the spool's numbers."""
    share = min(100.0, status.bytes * 100 / status.quota_bytes) if status.quota_bytes else None
    return {
        "pending": words.number(status.pending, 0),
        "uploaded": words.number(status.uploaded, 0),
        "failed": words.number(status.failed, 0),
        "failed_tone": "bad" if status.failed else "",
        "dropped": words.number(status.dropped, 0),
        "dropped_tone": "bad" if status.dropped else "",
        "oldest": seconds(status.oldest_s, words) if status.oldest_s else NOTHING,
        "bytes": words("captures.of", used=size(status.bytes, words) or "0 B", quota=size(status.quota_bytes, words))
        if status.quota_bytes
        else size(status.bytes, words) or "0 B",
        "share": round(share, 1) if share is not None else None,
        "message": status.message,
        "capture_paused": status.capture_paused,
        "upload_paused": status.upload_paused,
        "paused": " ".join(
            words(f"captures.{name}_paused") for name in ("capture", "upload") if getattr(status, f"{name}_paused")
        ),
    }


def capture_view(capture: CaptureReport, words: Words) -> View:
    """Return one capture."""
    place = f"/captures/{quote(capture.id, safe='')}"
    return {
        "id": capture.id,
        "thumbnail": f"{place}/thumbnail" if capture.has_picture else "",
        "picture": f"{place}/picture" if capture.has_picture else "",
        "mask": f"{place}/mask" if capture.has_mask else "",
        "action": f"{place}/label",
        "verdict": capture.verdict,
        "word": words.or_as_is("verdict", capture.verdict),
        "model": f"{capture.model} {capture.version}".strip(),
        "score": words.number(capture.score, 3),
        "threshold": words.number(capture.threshold, 2),
        "when": f"{day(capture.at)} {clock(capture.at)}",
        "origin": " · ".join(part for part in (capture.source, capture.name) if part),
        "title": words("captures.part", verdict=words.or_as_is("verdict", capture.verdict), at=clock(capture.at)),
        "label": capture.label,
        "labelled": words("captures.labelled", label=capture.label, name=capture.labelled_by or NOTHING)
        if capture.label
        else "",
        "state": capture.state,
        "state_word": words.or_as_is("capture", capture.state),
        "reason": words.or_as_is("captures.why", capture.reason) if capture.reason else "",
    }


def _choice(name: str, value: str, chosen: Filter, words: Words) -> View:
    said = {"verdict": chosen.verdict, "labels": chosen.labels, name: value}
    wanted = Filter(said["verdict"], said["labels"])
    word = words(f"captures.{name}.{value or 'all'}")
    return {"href": f"/captures{wanted.query()}", "word": word, "on": getattr(chosen, name) == value}
