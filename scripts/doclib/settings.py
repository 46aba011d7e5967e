"""docs/settings.md, from the settings' own classes."""

import inspect
import json
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from doclib.markdown import code, table
from edge_agent.config import DEFAULT_FILE, PREFIX, Settings, Station, TokenKey

INTRODUCTION = f"""# Settings

The agent, the station and the page read one file, `{DEFAULT_FILE}` (TOML; another one with `--config FILE`).
A value of the environment wins over the file: `{PREFIX}ROOM__KEY`, lists and tables as JSON. An unknown key is an error
that names the nearest known one, and `edge-agent config check` reads everything as the agent would, without starting
it. A wrong file ends a process with exit code 78, on which systemd does not start it again.

**What takes effect when.** Settings are read once, at the start: a change needs a restart of the process that uses it.
The one thing read while the agent runs is `mappings` in `models_config.json` in the state directory (which application
asks which model): `systemctl reload edge-agent` (SIGHUP) reads them again, and a bad file changes nothing.
"""


def document() -> str:
    """Return the whole page."""
    return INTRODUCTION + "".join(_room(name, field) for name, field in Settings.model_fields.items())


def _room(name: str, field: FieldInfo) -> str:
    kind: Any = Station if name == "station" else field.annotation
    head = "station.NAME" if name == "station" else name
    rows = [(code(key), *rest, "restart") for key, rest in _keys(kind, "")]
    heads = ("key", "type", "default", "meaning", "takes effect")
    return f"\n## [{head}]\n\n{inspect.getdoc(kind)}\n\n{table(heads, rows)}\n"


def _keys(kind: type[BaseModel], prefix: str) -> Iterator[tuple[str, tuple[str, str, str]]]:
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _keys(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", (_type(field), _default(field), field.description or "")


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value is PydanticUndefined or value in ("", ()):
        return ""
    plain = list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
    return code(json.dumps(plain))


def _type(field: FieldInfo) -> str:
    return _word(field.annotation) + _bounds(field)


def _word(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _word(arguments[0])
    if origin is typing.Literal:
        return " or ".join(code(json.dumps(value)) for value in arguments)
    if origin is tuple:
        return f"list of {_word(arguments[0])}"
    if origin is dict:
        return f"table of {_word(arguments[1])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_word(each) for each in arguments if each is not type(None))
    words = {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "true or false",
        Path: "path",
        TokenKey: "PKCS#11 URI",
    }
    return words[annotation]


def _bounds(field: FieldInfo) -> str:
    words = {"ge": "from", "gt": "over", "le": "to", "lt": "under"}
    found = [
        f"{word} {getattr(rule, name)}"
        for rule in field.metadata
        for name, word in words.items()
        if hasattr(rule, name)
    ]
    pattern = next((rule.pattern for rule in field.metadata if getattr(rule, "pattern", None)), "")
    return ", ".join(["", *found]) + (f", as {code(pattern)}" if pattern else "")
