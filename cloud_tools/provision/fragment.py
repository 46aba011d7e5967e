"""The part of a device's ``config.toml`` that only provisioning knows."""

import json
from collections.abc import Mapping

HEADER = "# Written by edge-cloud device provision; the agent's other settings may be added below.\n"


def render(rooms: Mapping[str, Mapping[str, str | int]]) -> str:
    """Return the tables as TOML, empty values left out."""
    tables = (_table(name, keys) for name, keys in rooms.items())
    return HEADER + "".join(table for table in tables if table)


def _table(name: str, keys: Mapping[str, str | int]) -> str:
    # JSON's strings are TOML's basic strings, as long as nothing is escaped to surrogates.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in keys.items() if value != ""]
    return "".join([f"\n[{name}]\n", *lines]) if lines else ""
