"""What a device's shadow says of the versions that it runs. Pure."""

import json
from typing import Any

from cloud_tools.rollout.seen import Running, Shadow

_NOTHING = Shadow({})


def read_shadow(payload: bytes) -> Shadow:
    """Return the versions that a shadow reports, by model, and when; one of another form reports none."""
    try:
        told = json.loads(payload)
        reported, times = (told[part]["reported"] for part in ("state", "metadata"))
        # A device tells its generation whenever it tells which models it has; AWS keeps no empty objects.
        at = _time(times["generation"]) if "generation" in times else 0.0
        since = times.get("models", {})
        models = reported.get("models", {}).items()
        return Shadow({name: Running(model["version"], _time(since[name]["version"])) for name, model in models}, at)
    except (ValueError, KeyError, TypeError, AttributeError):
        return _NOTHING


def _time(told: dict[str, Any]) -> float:
    return float(told["timestamp"])
