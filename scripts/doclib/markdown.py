"""Tables and marked sections of Markdown."""

import re
from collections.abc import Iterable, Sequence

# Cells hold code and sentences; a pipe would end the cell.
_PIPE = re.compile(r"(?<!\\)\|")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; an empty cell is a dash."""
    lines = [_line(heads), "|" + "---|" * len(heads)]
    lines += [_line(row) for row in rows]
    return "\n".join(lines)


def code(text: object) -> str:
    """Return text as code, or nothing for nothing."""
    return f"`{text}`" if str(text) else ""


def replace_section(document: str, name: str, content: str) -> str:
    """Return the document with what stands between the marks of ``name`` replaced.

    Raises:
        ValueError: the marks are not there exactly once.
    """
    pattern = re.compile(rf"(<!-- generated: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    found = pattern.findall(document)
    if len(found) != 1:
        raise ValueError(f"expected one section marked <!-- generated: {name} -->, came {len(found)}")
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", document)


def _line(cells: Sequence[str]) -> str:
    shown = (_PIPE.sub(r"\|", cell.replace("\n", " ")) or "-" for cell in cells)
    return "| " + " | ".join(shown) + " |"
