"""The part of ``config.toml`` that only provisioning or enrolment knows, as text, and the files that it names."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from edge_agent.errors import Code, ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIG = "config.toml"
CERTIFICATE = "certificate.pem"
KEY = "private.key"
AUTHORITY = "ca.pem"
ROOT = "root.json"
REQUEST = "request.csr"

Rooms = Mapping[str, Mapping[str, Any]]


def render(rooms: Rooms, header: str = "") -> str:
    """Return rooms of settings as TOML; an empty value is the default, and stays out."""
    tables = (_table(name, keys) for name, keys in rooms.items() if any(value != "" for value in keys.values()))
    return header + "".join(tables)


def read(text: str, what: str) -> dict[str, dict[str, Any]]:
    """Return the rooms that stand in ``text``, unchecked.

    Raises:
        ConfigError: it is no TOML of rooms.
    """
    try:
        found = tomllib.loads(text)
    except ValueError as exc:
        raise ConfigError(Code.CONFIG_INVALID, f"{what}: expected TOML, {exc}") from exc
    stray = next((name for name, value in found.items() if not isinstance(value, dict)), None)
    if stray is not None:
        raise ConfigError(Code.CONFIG_INVALID, f"{what}: expected rooms as [device], came {stray} outside of one")
    return found


def merge(text: str, rooms: Rooms, what: str) -> str:
    """Return the settings in ``text`` with those of ``rooms`` below; what a person wrote stays as it is.

    Args:
        text: TOML, as it is.
        rooms: what has to stand in it as well.
        what: the file, for the message.

    Raises:
        ConfigError: it is no TOML of rooms, or one of these stands there already and says otherwise.
    """
    found = read(text, what)
    missing: dict[str, Mapping[str, Any]] = {}
    for name, keys in rooms.items():
        wanted = {key: value for key, value in keys.items() if value != ""}
        if name not in found:
            missing[name] = wanted
        elif differs := [key for key, value in wanted.items() if found[name].get(key) != value]:
            raise ConfigError(
                Code.CONFIG_INVALID,
                f"{what}: expected no [{name}] or one with what is to be written, its {differs[0]} is "
                f"{found[name].get(differs[0])!r}; take [{name}] out, or write: {differs[0]} = "
                f"{json.dumps(wanted[differs[0]], ensure_ascii=False)}",
            )
    gap = "\n" if text and not text.endswith("\n") else ""
    return text + gap + render(missing)


def _table(name: str, keys: Mapping[str, Any]) -> str:
    # JSON's strings are TOML's basic strings, as long as nothing is escaped to surrogates.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in keys.items() if value != ""]
    return "".join([f"\n[{name}]\n", *lines])
