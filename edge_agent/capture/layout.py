"""From captures to the objects that their readers expect.

``<fleet>/<model>/YYYY/MM/DD/HH/<id>.jsonl`` in UTC and ``raw-data/`` beside it: the layout
of SageMaker Edge Manager, so that what reads those buckets reads ours. What a person said
lies beside the record as ``<id>.label.json``, the last word only.
"""

import base64
import json
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple
from urllib.parse import quote

from edge_agent.capture.labels import Label
from edge_agent.capture.records import Capture, Entry, Event, Group

# SageMaker Edge Manager embeds what is not larger.
EMBED_LIMIT_BYTES = 3072
LABEL_SUFFIX = ".label.json"
LABEL_SCHEMA = "edge-agent/label/1"

_GROUPS: tuple[Group, ...] = (
    "deviceFleetInputs",
    "deviceFleetOutputs",
    "deviceFleetAuxiliaryInputs",
    "deviceFleetAuxiliaryOutputs",
)


class Destination(NamedTuple):
    """Where captures go, and whose they are.

    Attributes:
        url: what the object store was opened with.
        fleet: the fleet's name.
        thing: the device's name.
    """

    url: str
    fleet: str
    thing: str


def objects(capture: Capture, contents: Sequence[bytes], destination: Destination) -> list[tuple[str, bytes]]:
    """Return keys and contents in the order in which they are to be stored.

    Raw data comes before the record that points to it. A part that several events
    share lies beside the first of them.
    """
    stored: dict[int, str] = {}
    raw: list[tuple[str, bytes]] = []
    records: list[tuple[str, bytes]] = []
    for event in capture.events:
        folder = _folder(capture.at, event.model, destination)
        for entry in event.entries:
            part = capture.parts[entry.part]
            if part.size_bytes > EMBED_LIMIT_BYTES and entry.part not in stored:
                stored[entry.part] = f"{folder}/raw-data/{part.file}"
                raw.append((stored[entry.part], contents[entry.part]))
        line = _record(capture, event, contents, stored, destination)
        name = f"{quote(capture.id, safe='')}.jsonl"
        records.append((f"{folder}/{name}", json.dumps(line, separators=(",", ":")).encode() + b"\n"))
    return raw + _merged(records)


def label_objects(label: Label, author: str, destination: Destination) -> list[tuple[str, bytes]]:
    """Return keys and contents of a label: one beside each record of its capture.

    Args:
        label: what was said.
        author: who said it, as the cloud is told.
        destination: where they go.
    """
    record = {
        "schema": LABEL_SCHEMA,
        "eventId": label.id,
        "deviceId": destination.thing,
        "deviceFleetName": destination.fleet,
        "label": label.label,
        "labelledBy": author,
        "labelledAt": label.labelled,
    }
    content = json.dumps(record, separators=(",", ":")).encode() + b"\n"
    name = f"{quote(label.id, safe='')}{LABEL_SUFFIX}"
    return [(f"{_folder(label.at, model, destination)}/{name}", content) for model in label.models]


def _merged(records: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    # Two versions of one model in one frame share a file: JSON Lines.
    files: dict[str, bytes] = {}
    for key, line in records:
        files[key] = files.get(key, b"") + line
    return list(files.items())


def _folder(at: float, model: str, destination: Destination) -> str:
    hour = datetime.fromtimestamp(at, timezone.utc).strftime("%Y/%m/%d/%H")
    return f"{quote(destination.fleet, safe='')}/{quote(model, safe='')}/{hour}"


def _record(
    capture: Capture, event: Event, contents: Sequence[bytes], stored: dict[int, str], destination: Destination
) -> dict[str, Any]:
    record: dict[str, Any] = {
        "eventVersion": "0",
        "eventMetadata": {
            "eventId": capture.id,
            "deviceId": destination.thing,
            "deviceFleetName": destination.fleet,
            "modelName": event.model,
            "modelVersion": event.version,
            "inferenceTime": datetime.fromtimestamp(capture.at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S"),
        },
    }
    for group in _GROUPS:
        record[group] = [
            _described(entry, contents[entry.part], stored.get(entry.part), destination)
            for entry in event.entries
            if entry.group == group
        ]
    return record


def _described(entry: Entry, content: bytes, key: str | None, destination: Destination) -> dict[str, str]:
    described = {
        "name": entry.name,
        "encoding": "BASE64" if key is None else "NONE",
        "observedContentType": entry.content_type,
        "mode": "Input" if entry.group.endswith("Inputs") else "Output",
    }
    if key is None:
        return {**described, "data": base64.b64encode(content).decode()}
    return {**described, "data-ref": f"{destination.url.rstrip('/')}/{key}"}
