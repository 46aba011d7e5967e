"""The fleet as one HTML file that asks nothing of any network: for a screen in the office, a mail, an archive."""

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cloud_tools.evaluation.report.page import render
from cloud_tools.fleet.device import Device
from cloud_tools.fleet.lagging import Lag, ModelSpread

_TEMPLATES = Path(__file__).parent / "templates"
_HEADS = {
    "thing": "Device",
    "fleet": "Fleet",
    "connected": "Connected",
    "state": "State",
    "agent": "Agent",
    "models": "Models",
    "deployment": "Last deployment",
    "alarms": "Alarms",
    "ok": "OK",
    "ng": "NG",
    "no_result": "NO RESULT",
    "disk_free_gib": "Free GiB",
    "told": "Told (UTC)",
}
_BAD_STATES = ("DEGRADED",)
_BAD_ENDS = ("FAILED", "REFUSED", "CANCELLED")


def page(
    devices: Sequence[Device], models: Sequence[ModelSpread], lags: Sequence[Lag], notes: Sequence[str], now: float
) -> str:
    """Return the page; whatever devices and models are called stands there as text."""
    return render(
        "fleet.html",
        "",
        _TEMPLATES,
        title="Fleet",
        made=datetime.fromtimestamp(now, timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        facts=_facts(devices, lags),
        models=[{"name": one.model, "wanted": one.wanted, "shares": _shares(one)} for one in models],
        lags=[lag._asdict() for lag in lags],
        heads=_HEADS,
        rows=[{"cells": device.row(), "signs": _signs(device)} for device in devices],
        notes=notes,
    )


def _facts(devices: Sequence[Device], lags: Sequence[Lag]) -> list[tuple[str, str, str]]:
    offline = sum(device.connected is False for device in devices)
    alarmed = sum(bool(device.alarms) for device in devices)
    silent = sum(not device.reported for device in devices)
    late = len({lag.thing for lag in lags})
    return [
        ("Devices", str(len(devices)), ""),
        ("Offline", str(offline) if any(one.connected is not None for one in devices) else "not known", _bad(offline)),
        ("With alarms", str(alarmed), _bad(alarmed)),
        ("Behind", str(late), _bad(late)),
        ("Never told anything", str(silent), _bad(silent)),
    ]


def _shares(spread: ModelSpread) -> list[dict[str, Any]]:
    total = sum(spread.counts.values())
    return [
        {"version": version, "count": count, "percent": round(100 * count / total), "wanted": version == spread.wanted}
        for version, count in spread.counts.items()
    ]


def _signs(device: Device) -> dict[str, str]:
    return {
        "connected": _bad(device.connected is False),
        "state": _bad(device.state in _BAD_STATES),
        "deployment": _bad(device.deployment["state"] in _BAD_ENDS),
        "alarms": _bad(bool(device.alarms)),
    }


def _bad(found: object) -> str:
    return "bad" if found else ""
