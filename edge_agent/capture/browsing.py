"""What people see of captures, and say of them."""

from typing import Literal, NamedTuple

from edge_agent.capture import files, records
from edge_agent.capture.labels import Label, Labels
from edge_agent.capture.shelf import Shelf, report
from edge_agent.errors import Code, InferenceError, StorageError
from edge_agent.formats import CaptureReport, EncodedPicture

CapturePart = Literal["picture", "thumbnail", "mask"]
_LATER_S = 1e-3
_TYPES = {"jpg": "image/jpeg", "png": "image/png", "thumbnail": "image/jpeg"}


class Author(NamedTuple):
    """Who says what a part is.

    Attributes:
        actor: in full, for the audit log and this device's people.
        role: viewer, operator or admin; empty: not known.
        user: who logged in; empty: nobody had to.
    """

    actor: str
    role: str = ""
    user: str = ""


def listed(
    shelf: Shelf, labels: Labels, limit: int, *, before: float = 0.0, verdict: str = "", state: str = ""
) -> list[CaptureReport]:
    """Return the newest captures, waiting and finished, that are older than ``before`` and of these words."""
    waiting = [report(entry.capture, "PENDING", entry.size_bytes) for entry in shelf.waiting()]
    found = [
        told
        for told in waiting
        if (not before or told.at < before) and verdict in ("", told.verdict) and state in ("", told.state)
    ]
    # One that is just being finished may be seen in both.
    finished = shelf.history.newest(limit, before=before, verdict=verdict, state=state)
    reports = {told.id: told for told in (*found, *finished)}
    newest = sorted(reports.values(), key=lambda told: told.at, reverse=True)[:limit]
    said = labels.of([told.id for told in newest])
    return [_seen(shelf, told, said.get(told.id)) for told in newest]


def found(shelf: Shelf, labels: Labels, capture_id: str) -> CaptureReport:
    """Return one capture.

    Raises:
        InferenceError: NOT_FOUND.
    """
    told = _told(shelf, capture_id)
    return _seen(shelf, told, labels.of([capture_id]).get(capture_id))


def label(
    shelf: Shelf,
    labels: Labels,
    capture_id: str,
    said: str,
    by: Author,
    now: float,
    *,
    instead_of: str | None = None,
) -> CaptureReport:
    """Keep what a person says that the part is; empty takes it back. Durable when this returns.

    Raises:
        InferenceError: NOT_FOUND; FAILED_PRECONDITION: another label stands than ``instead_of``.
        StorageError: what was said before stands.
    """
    told = _told(shelf, capture_id)
    former = labels.of([capture_id]).get(capture_id)
    if said == (former.label if former else ""):
        return _seen(shelf, told, former)
    waiting = shelf.find(capture_id)
    models = tuple(event.model for event in waiting.capture.events) if waiting else shelf.history.models_of(capture_id)
    # The last word is the one that counts, also with a clock that was set back meanwhile.
    labelled = max(now, former.labelled + _LATER_S) if former else now
    given = Label(capture_id, said, by.actor, labelled, told.at, tuple(dict.fromkeys(models)), by.role, by.user)
    labels.set(given, instead_of=instead_of)
    return found(shelf, labels, capture_id)


def content(shelf: Shelf, capture_id: str, part: CapturePart) -> tuple[bytes, str]:
    """Return a capture's picture, thumbnail or mask, and its content type.

    Raises:
        InferenceError: NOT_FOUND: no such capture, it has no such part, or this device no longer has it.
    """
    told = _told(shelf, capture_id)
    path = shelf.path_of(capture_id)
    gone = InferenceError(Code.NOT_FOUND, f"capture {told.id}: its {part} is not on this device any more")
    if path is None:
        raise gone
    try:
        capture = files.read_header(path)
        number = {"picture": capture.picture, "thumbnail": capture.thumbnail, "mask": capture.mask}[part]
        if number is not None:
            suffix = capture.parts[number].file.rpartition(".")[2]
            return files.read_part(path, number), _TYPES[suffix]
        if part == "thumbnail" and capture.picture is not None:
            # It was captured before there were any.
            return _small(files.read_part(path, capture.picture), capture_id), _TYPES["thumbnail"]
    except StorageError as exc:
        # It may have left since its path was asked for.
        raise gone from exc
    raise InferenceError(Code.NOT_FOUND, f"capture {capture_id}: expected a {part}, it was captured without one")


def _small(picture: bytes, capture_id: str) -> bytes:
    small = records.thumbnail(EncodedPicture(picture))
    if not small:
        raise InferenceError(Code.NOT_FOUND, f"capture {capture_id}: its picture cannot be read")
    return small


def _told(shelf: Shelf, capture_id: str) -> CaptureReport:
    waiting = shelf.find(capture_id)
    told = report(waiting.capture, "PENDING", waiting.size_bytes) if waiting else shelf.history.find(capture_id)
    if told is None:
        raise InferenceError(Code.NOT_FOUND, f"there is no capture {capture_id}")
    return told


def _seen(shelf: Shelf, told: CaptureReport, said: Label | None) -> CaptureReport:
    # Of what the cloud has, only frames are kept.
    pictured = told.has_picture or told.state == "UPLOADED"
    here = pictured and shelf.path_of(told.id) is not None
    return told.model_copy(
        update={
            "label": said.label if said else "",
            "labelled_by": said.actor if said and said.label else "",
            "has_picture": here,
            "has_mask": here and told.has_mask,
        }
    )
