"""What lists, groups, CSV files and the report show. Pure."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cloud_tools.errors import CloudError
from cloud_tools.fleet.device import Device
from cloud_tools.fleet.lagging import Lag, ModelSpread
from edge_agent.errors import Code

COLUMNS = ("thing", "fleet", "connected", "state", "agent", "models", "deployment", "alarms", "told")
LAG_COLUMNS = ("thing", "model", "version", "wanted", "why")
# What a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

_KNOWN: dict[str, Callable[[Device], str]] = {
    "fleet": lambda device: device.fleet,
    "state": lambda device: device.state or "?",
    "agent": lambda device: device.agent or "?",
    "connected": lambda device: device.row()["connected"],
    "deployment": lambda device: device.deployment["state"] or "-",
}


def grouped(devices: Iterable[Device], by: str) -> list[dict[str, Any]]:
    """Return how many devices share a value, the most first.

    Args:
        devices: which.
        by: fleet, state, agent, connected, deployment, model.NAME, or a dotted path of what the shadow reports.

    Raises:
        CloudError: INVALID_ARGUMENT: no such word.
    """
    value = _KNOWN.get(by)
    if value is None and by.startswith("model."):
        model = by.removeprefix("model.")
        counts = Counter(device.versions.get(model, "-") for device in devices)
    elif value is None and "." in by:
        counts = Counter(device.value(by) or "-" for device in devices)
    elif value is None:
        expected = ", ".join(_KNOWN)
        raise CloudError(
            Code.INVALID_ARGUMENT, f"--group-by: expected {expected}, model.NAME or a dotted path, came {by!r}"
        )
    else:
        counts = Counter(map(value, devices))
    return [{by: word, "devices": count} for word, count in counts.most_common()]


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV; a cell that a spreadsheet would compute begins with an apostrophe."""
    if not rows:
        return ""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _harmless(str(value)) for key, value in row.items()} for row in rows)
    return out.getvalue().rstrip("\n")


def document(
    devices: Sequence[Device], source: str, models: Iterable[ModelSpread], lags: Iterable[Lag], failed: Sequence[str]
) -> dict[str, Any]:
    """Return everything as JSON has it."""
    return {
        "source": source,
        "devices": [device.document() for device in devices],
        "models": [{**one._asdict(), "wanted": one.wanted, "most_common": one.most_common} for one in models],
        "behind": [lag._asdict() for lag in lags],
        "failed": list(failed),
    }


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
