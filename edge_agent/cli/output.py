"""Documents for programs, tables for people."""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

import typer

from edge_agent.formats import Document
from edge_agent.formats.text import printable

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def show_json(content: Any) -> None:
    """Print one line of JSON: a document, a list of documents, or what JSON knows."""
    print(json.dumps(content, default=_plain, ensure_ascii=False), flush=True)  # noqa: T201 - this is the door to stdout


def show_lines(lines: Iterable[str]) -> None:
    """Print lines for a person."""
    for line in lines:
        print(printable(line), flush=True)  # noqa: T201 - this is the door to stdout


def show_table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows in columns as wide as what is in them; without rows say ``empty``."""
    lines = list(table(heads, rows))
    show_lines(lines if lines[1:] else [empty])


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Return the lines of a table whose columns are as wide as what is in them, the heads first."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    for row in [heads, *cells]:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def note(text: str) -> None:
    """Print one line to stderr."""
    print(printable(text), file=sys.stderr, flush=True)  # noqa: T201 - this is the door to stderr


def moment(at: float | None) -> str:
    """Return epoch seconds as local time; nothing for None or 0."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if at else ""


def size(size_bytes: float) -> str:
    """Return bytes as a person reads them."""
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:  # noqa: PLR2004 - a KiB
            return f"{size_bytes:.0f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} GiB"


def _plain(value: object) -> object:
    if isinstance(value, Document):
        return value.model_dump(mode="json", by_alias=True)
    raise TypeError(f"expected a document, came {type(value).__name__}")
