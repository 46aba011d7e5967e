"""What a device's shadow says of the versions that it runs. Pure."""

import json
from typing import Any

from cloud_tools.rollout.seen import Running


def read_shadow(payload: bytes) -> dict[str, Running]:
    """Return the versions that a shadow reports, by model; a shadow of another form reports none."""
    try:
        told = json.loads(payload)
        models, times = (told[part]["reported"]["models"] for part in ("state", "metadata"))
        return {name: Running(model["version"], _time(times[name])) for name, model in models.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _time(model: dict[str, Any]) -> float:
    return float(model["version"]["timestamp"])
