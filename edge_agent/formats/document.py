"""What every document has in common: strict fields, and errors that name them."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from edge_agent.errors import Code, DocumentError


class Document(BaseModel):
    """A strict, immutable document: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, populate_by_name=True)

    def to_json(self) -> bytes:
        """Return the document as canonical JSON: sorted keys, no spaces, one newline."""
        content = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps(content, sort_keys=True, separators=(",", ":")).encode() + b"\n"


D = TypeVar("D", bound=BaseModel)

_SHOWN = 80
# No document of ours has more than ten; what is nested by the hundred takes its reader's stack.
LIMIT_DEPTH = 64


def parse(kind: type[D], content: bytes | str | dict[str, Any], *, what: str) -> D:
    """Return ``content`` as a document of ``kind``.

    Args:
        kind: the document's class.
        content: JSON text, or what was already read from it.
        what: what a person calls the document, for the message.

    Raises:
        DocumentError: it is not JSON, or a field is unknown, missing or bad; the
            message names each field, what was expected and what came.
    """
    if isinstance(content, bytes | str):
        try:
            content = json.loads(content, parse_constant=_finite, parse_float=_finite)
        except (ValueError, RecursionError) as exc:
            raise DocumentError(Code.DOCUMENT_INVALID, f"{what}: expected JSON, {exc}") from exc
    if fault := _unwritable(content):
        raise DocumentError(Code.DOCUMENT_INVALID, f"{what}: {fault}")
    try:
        return kind.model_validate(content)
    except ValidationError as exc:
        raise DocumentError(Code.DOCUMENT_INVALID, f"{what}: {describe(exc)}") from exc


def _finite(number: str) -> float:
    """Return the number, which JSON has no word for if it is not finite, though Python's reader takes one."""
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"a number is not finite: {number[:20]}")
    return value


def _unwritable(content: Any) -> str:
    """Return why what was read could not be written again; empty when it can."""
    level, depth = [content], 0
    while level:
        depth += 1
        if depth > LIMIT_DEPTH:
            return f"expected at most {LIMIT_DEPTH} levels, came more"
        if any(isinstance(node, str) and not _is_text(node) for node in level):
            return "expected text, came half of a surrogate pair"
        level = [inner for node in level for inner in _inside(node)]
    return ""


def _inside(node: Any) -> Iterable[Any]:
    if isinstance(node, dict):
        return (*node, *node.values())
    return node if isinstance(node, list | tuple) else ()


def _is_text(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def describe(error: ValidationError) -> str:
    """Return all faults of a validation in one line: field, expectation, what came."""
    faults = error.errors(include_url=False)
    return "; ".join(_fault(fault) for fault in faults if not _follows(fault, faults))


def _follows(fault: Any, faults: Sequence[Any]) -> bool:
    """Tell whether a list is only said to be too short because of its own bad items."""
    place = fault["loc"]
    return fault["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in faults
    )


def _fault(fault: Any) -> str:
    field = ".".join(str(part) for part in fault["loc"]) or "document"
    if fault["type"] == "extra_forbidden":
        return f"{field}: unknown field"
    if fault["type"] == "missing":
        return f"{field}: required, but missing"
    came = repr(fault["input"])
    if len(came) > _SHOWN:
        came = came[:_SHOWN] + "…"
    return f"{field}: {fault['msg'][0].lower()}{fault['msg'][1:]}, came {came}"
