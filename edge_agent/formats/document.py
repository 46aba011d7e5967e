"""What every document has in common: strict fields, and errors that name them."""

import json
from collections.abc import Sequence
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
            content = json.loads(content)
        except (ValueError, RecursionError) as exc:
            raise DocumentError(Code.DOCUMENT_INVALID, f"{what}: expected JSON, {exc}") from exc
    try:
        return kind.model_validate(content)
    except ValidationError as exc:
        raise DocumentError(Code.DOCUMENT_INVALID, f"{what}: {describe(exc)}") from exc


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
