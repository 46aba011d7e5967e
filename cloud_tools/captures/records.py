"""From the objects of a bucket to captures: records, and beside them what people said.

The layout is that of SageMaker Edge Manager, as ``docs/captures.md`` has it:
``<fleet>/<model>/YYYY/MM/DD/HH/<id>.jsonl``, ``<id>.label.json`` and ``raw-data/``.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any, NamedTuple
from urllib.parse import unquote

from cloud_tools.errors import CloudError
from cloud_tools.storage import Storage, read
from edge_agent.errors import Code

# A picture of the largest size that a device takes, raw.
LIMIT_BYTES = 256 << 20
_RECORD, _LABEL = ".jsonl", ".label.json"
_SCHEMA = "edge-agent/label/1"
_FOLDERS = 6  # fleet, model, year, month, day, hour
_READERS = 8
_PICTURES = ("jpg", "png")
# Whatever JSON that is no record of ours may end in, very deep and very large ones too.
_UNREADABLE = (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError)


class Content(NamedTuple):
    """Bytes that stand in a record, or where they lie."""

    data: bytes = b""
    key: str = ""


class Capture(NamedTuple):
    """One captured inspection, under the model that decided.

    Attributes:
        verdict: of the whole inspection.
        said: the class that the model named; empty: none.
        label: OK, NG or a class, by a person; empty: nobody said anything.
        labelled_by: what the device tells of who said so: a role, a pseudonym or a name.
        labelled_at: when, epoch seconds of the device's clock; later for what was said later of the same capture.
        at: epoch seconds, whole ones in records of SageMaker's own.
    """

    id: str
    thing: str
    fleet: str
    model: str
    version: str
    at: float
    verdict: str
    score: float
    source: str
    name: str
    reason: str
    said: str
    picture: Content
    mask: Content | None
    label: str = ""
    labelled_by: str = ""
    labelled_at: float = 0.0


class Wanted(NamedTuple):
    """Which captures are meant; empty words mean all.

    Attributes:
        since: the first moment that counts, epoch seconds.
        until: the first that no longer does; 0: none.
        label: what a person said; "-": nobody said anything.
    """

    thing: str = ""
    model: str = ""
    verdict: str = ""
    label: str = ""
    since: float = 0.0
    until: float = 0.0

    def takes(self, capture: Capture) -> bool:
        """Tell whether a capture is meant."""
        words = ((self.thing, capture.thing), (self.model, capture.model), (self.verdict, capture.verdict))
        labelled = not self.label or (capture.label or "-") == self.label
        return labelled and all(word in ("", came) for word, came in words) and self.is_within(capture.at, capture.at)

    def is_within(self, first: float, last: float) -> bool:
        """Tell whether any moment of a stretch of time counts."""
        return last >= self.since and (not self.until or first < self.until)


def read_captures(source: Storage, wanted: Wanted, say: Callable[[str], None]) -> list[Capture]:
    """Return the captures with a picture that are wanted, the oldest first.

    Args:
        source: where they lie.
        wanted: which.
        say: told of what cannot be read; one bad record hides no others.

    Raises:
        CloudError: the source cannot be read.
    """
    keys = [key for key in source.keys() if _may_be_wanted(key, wanted)]  # noqa: SIM118 - no dictionary
    # The first call makes the client, which is then shared.
    with ThreadPoolExecutor(_READERS) as readers:
        labels = [key for key in keys if key.endswith(_LABEL)]
        said = _last_words(_parsed(readers, source, labels, _label, say))
        records = [key for key in keys if key.endswith(_RECORD)]
        events = list(_parsed(readers, source, records, lambda content: _events(source, content), say))
    found: dict[tuple[str, str], Capture] = {}
    for capture, decided in (event for several in events for event in several):
        if wanted.model in ("", capture.model) and (decided or (capture.thing, capture.id) not in found):
            found[capture.thing, capture.id] = capture
    labelled = (
        capture._replace(label=word.label, labelled_by=word.by, labelled_at=word.at)
        for identity, capture in found.items()
        for word in [said.get(identity, _Word("", "", "", "", 0.0))]
    )
    return sorted((capture for capture in labelled if wanted.takes(capture)), key=lambda c: (c.at, c.thing, c.id))


def _may_be_wanted(key: str, wanted: Wanted) -> bool:
    if not key.endswith((_RECORD, _LABEL)):
        return False
    folders = key.split("/")[:-1][-_FOLDERS:]
    try:
        hour = datetime(*map(int, folders[-4:]), tzinfo=timezone.utc).timestamp()  # type: ignore[misc,arg-type]
    except (ValueError, TypeError):
        return False
    model = unquote(folders[-5]) if len(folders) > 4 else ""  # noqa: PLR2004 - model and four of time
    return wanted.is_within(hour, hour + 3600) and (not wanted.model or model in ("", wanted.model))


def _parsed(
    readers: ThreadPoolExecutor,
    source: Storage,
    keys: Sequence[str],
    parse: Callable[[bytes], Any],
    say: Callable[[str], None],
) -> Iterator[Any]:
    for key, content in zip(keys, readers.map(lambda key: _read(source, key), keys), strict=True):
        if isinstance(content, CloudError):
            say(f"{key}: left out, {content.message}")
            continue
        try:
            yield parse(content)
        except _UNREADABLE as exc:
            say(f"{key}: not a record that this version reads, {type(exc).__name__}: {exc}")


def _read(source: Storage, key: str) -> bytes | CloudError:
    try:
        return _object(source, key)
    except CloudError as exc:
        # It was removed since the keys were listed, or it is no record at that size.
        if exc.code in (Code.NOT_FOUND, Code.OUT_OF_RANGE):
            return exc
        raise


def _object(source: Storage, key: str) -> bytes:
    return read(source, key, limit_bytes=LIMIT_BYTES, too_large=Code.OUT_OF_RANGE)


class _Word(NamedTuple):
    """What a person said of a capture."""

    thing: str
    id: str
    label: str
    by: str
    at: float


def _label(content: bytes) -> _Word:
    told = json.loads(content)
    if told["schema"] != _SCHEMA:
        raise ValueError(f"expected {_SCHEMA}, came {told['schema']}")
    thing, identity, label, by = (str(told[name]) for name in ("deviceId", "eventId", "label", "labelledBy"))
    _require_text(thing, identity, label, by)
    return _Word(thing, identity, label, by, float(told["labelledAt"]))


def _last_words(words: Iterable[_Word]) -> dict[tuple[str, str], _Word]:
    """Return the last word on each capture: an upload that was cut short leaves an older one beside another model."""
    last: dict[tuple[str, str], _Word] = {}
    for word in words:
        known = last.get((word.thing, word.id))
        if known is None or word.at >= known.at:
            last[word.thing, word.id] = word
    return last


def _events(source: Storage, content: bytes) -> list[tuple[Capture, bool]]:
    """Return the captures of a file, and of each whether its model decided; what has no picture is none."""
    found = (_event(source, json.loads(line)) for line in content.splitlines() if line.strip())
    return [event for event in found if event is not None]


def _event(source: Storage, record: dict[str, Any]) -> tuple[Capture, bool] | None:
    about = record["eventMetadata"]
    inputs = [e for e in record["deviceFleetAuxiliaryInputs"] if e["observedContentType"] in _PICTURES]
    outputs = record["deviceFleetAuxiliaryOutputs"]
    told = [
        json.loads(base64.b64decode(e["data"])) for e in outputs if e["observedContentType"] == "json" and "data" in e
    ]
    if not inputs or not told or "verdict" not in told[0]:
        return None
    masks = [e for e in outputs if e["observedContentType"] == "png"]
    verdict = str(told[0].get("frame_verdict") or told[0]["verdict"])
    first = next((one for one in told if one["verdict"] == verdict), told[0])
    time = datetime.strptime(about["inferenceTime"], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    capture = Capture(
        id=str(about["eventId"]),
        thing=str(about["deviceId"]),
        fleet=str(about["deviceFleetName"]),
        model=str(about["modelName"]),
        version=str(about["modelVersion"]),
        at=time.timestamp(),
        verdict=verdict,
        score=float(first.get("score", 0.0)),
        source=str(first.get("source", "")),
        name=str(first.get("name", "")),
        reason=str(first.get("reason", "")),
        said=str(first.get("label", "")),
        picture=_content(source, inputs[0]),
        mask=_content(source, masks[0]) if masks else None,
    )
    _require_text(*(value for value in capture if isinstance(value, str)))
    # Records of before do not tell who decided; of them any that said the same may tell.
    return capture, first.get("decided_by", capture.model) == capture.model and first["verdict"] == verdict


def _require_text(*values: str) -> None:
    """Refuse half of a surrogate pair, which JSON can write and neither a file's name nor a table can hold.

    Raises:
        UnicodeEncodeError: one holds such a half.
    """
    "".join(values).encode()


def _content(source: Storage, entry: dict[str, Any]) -> Content:
    if "data" in entry:
        try:
            return Content(data=base64.b64decode(entry["data"], validate=True))
        except binascii.Error as exc:
            raise ValueError(f"expected base64, {exc}") from exc
    reference, base = str(entry["data-ref"]), f"{source.url}/"
    if not reference.startswith(base):
        raise ValueError(f"expected a reference below {base}, came {reference}")
    return Content(key=reference.removeprefix(base))


def content_of(source: Storage, content: Content) -> bytes:
    """Return the bytes.

    Raises:
        CloudError: NOT_FOUND, or as the source says.
    """
    if content.key:
        return _object(source, content.key)
    if not content.data:
        raise CloudError(Code.NOT_FOUND, "expected a picture, the record holds none")
    return content.data
