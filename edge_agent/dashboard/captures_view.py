"""The page *Captures*: the queue, and what was captured. Pure."""

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote, urlencode

from edge_agent.dashboard.delivery_view import seconds, size
from edge_agent.dashboard.hub import Snapshot
from edge_agent.dashboard.presentation import NOTHING, View, agent_view
from edge_agent.dashboard.today_view import clock, day
from edge_agent.dashboard.words import Words
from edge_agent.formats import CaptureReport, CaptureStatus, ModelStatus

VERDICTS = ("", "NG", "OK", "NO_RESULT")
SAID = ("OK", "NG")
# More are offered as a list to write into: nobody finds one of a hundred buttons.
MOST_BUTTONS = 20
LABELS = ("", "none", "any", "other")


class Filter(NamedTuple):
    """Which captures are shown.

    Attributes:
        verdict: empty: all.
        labels: empty: all; none: without one; any: with one; other: one that contradicts the verdict.
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

    def takes(self, capture: CaptureReport, models: Sequence[ModelStatus]) -> bool:
        """Tell whether a capture has such a label."""
        labelled = bool(capture.label)
        wanted = {"": True, "none": not labelled, "any": labelled, "other": differs(capture, models)}
        return wanted[self.labels]

    def query(self) -> str:
        """Return it as the query of an address, with its question mark."""
        said = {name: value for name, value in self._asdict().items() if value}
        return f"?{urlencode(said)}" if said else ""


def meaning(label: str, model: str, models: Sequence[ModelStatus]) -> str:
    """Return what a label says of a part, OK or NG: a class is OK where it is one of its model's normal ones."""
    if label in SAID:
        return label
    own = [known for known in models if known.name == model and known.labels]
    # The model may be gone; what another one calls normal tells more than nothing.
    normal = {name for known in own or models for name in known.normal_labels}
    return "OK" if label in normal else "NG"


def differs(capture: CaptureReport, models: Sequence[ModelStatus]) -> bool:
    """Tell whether a person's label contradicts the verdict; no result says nothing that could be contradicted."""
    said = bool(capture.label) and capture.verdict in SAID
    return said and meaning(capture.label, capture.model, models) != capture.verdict


def captures_view(
    snapshot: Snapshot, captures: Sequence[CaptureReport], chosen: Filter, trouble: str, words: Words, now: float
) -> View:
    """Return the page *Captures*."""
    return {
        "trouble": trouble,
        "queue": queue_view(snapshot.captures, words),
        "captures": [capture_view(capture, snapshot, words) for capture in captures],
        "many_classes": [
            {"id": _list_id(model.name), "names": model.labels}
            for model in snapshot.models
            if len(model.labels) > MOST_BUTTONS
        ],
        "verdicts": [_choice("verdict", value, chosen, words) for value in VERDICTS],
        "labels": [_choice("labels", value, chosen, words) for value in LABELS],
        "agent": agent_view(snapshot, words, now),
    }


def queue_view(status: CaptureStatus, words: Words) -> View:
    """Return the spool's numbers."""
    share = min(100.0, status.bytes * 100 / status.quota_bytes) if status.quota_bytes else None
    return {
        "pending": words.number(status.pending, 0),
        "pending_word": words("captures.kept_here" if status.kept_here else "captures.pending"),
        "uploaded": words.number(status.uploaded, 0),
        "failed": words.number(status.failed, 0),
        "failed_tone": "bad" if status.failed else "",
        "dropped": words.number(status.dropped, 0),
        "dropped_tone": "bad" if status.dropped else "",
        "oldest": seconds(status.oldest_s, words) if status.oldest_s and not status.kept_here else NOTHING,
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


def capture_view(capture: CaptureReport, snapshot: Snapshot, words: Words) -> View:
    """Return one capture."""
    models = snapshot.models
    classes = next((model.labels for model in models if model.name == capture.model), ())
    state = "KEPT_HERE" if snapshot.captures.kept_here and capture.state == "PENDING" else capture.state
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
        "state_word": words.or_as_is("capture", state),
        "differs": words("captures.differs") if differs(capture, models) else "",
        "choices": _choices(capture, models, words),
        "class_list": _list_id(capture.model) if len(classes) > MOST_BUTTONS else "",
        "reason": words.or_as_is("captures.why", capture.reason) if capture.reason else "",
    }


def _choices(capture: CaptureReport, models: Sequence[ModelStatus], words: Words) -> list[View]:
    """Return what a person may say of a part at one touch: good, defective, and the classes that its model knows."""
    known = next((model.labels for model in models if model.name == capture.model), ())
    classes = [name for name in known if name not in SAID] if len(known) <= MOST_BUTTONS else []
    return [
        {
            "value": name,
            "word": words.or_as_is("verdict", name) if name in SAID else name,
            "means": meaning(name, capture.model, models),
            "on": name == capture.label,
        }
        for name in (*SAID, *classes)
    ]


def _list_id(model: str) -> str:
    return f"classes-{quote(model, safe='')}"


def _choice(name: str, value: str, chosen: Filter, words: Words) -> View:
    said = {"verdict": chosen.verdict, "labels": chosen.labels, name: value}
    wanted = Filter(said["verdict"], said["labels"])
    word = words(f"captures.{name}.{value or 'all'}")
    return {"href": f"/captures{wanted.query()}", "word": word, "on": getattr(chosen, name) == value}
