"""What every verb prints: answers on stdout, everything else on stderr.

With ``--json`` stdout holds JSON only, one document on each line. Without it a person
reads tables and sentences. ``NO_COLOR`` is respected, and nothing is coloured that
does not go to a terminal.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from cloud_tools.errors import CloudError
from edge_agent.errors import Code
from edge_agent.formats.text import printable

_UNLIMITED = 10_000

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON, one document on each line.")]


def emit(document: Mapping[str, Any] | Sequence[Any], *, as_json: bool, text: str = "") -> None:
    """Print one answer.

    Args:
        document: the answer; dates and paths become strings.
        as_json: print ``document`` as one line of JSON.
        text: what a person reads instead; empty: the document's own keys and values.
    """
    if as_json:
        line = _harmless(json.dumps(document, default=str, ensure_ascii=False))
    elif text or not isinstance(document, Mapping):
        line = text
    else:
        line = "\n".join(f"{key}: {_shown(value)}" for key, value in document.items())
    # Each line is read by whoever waits for it: a pipe must not keep it back.
    print(line if as_json else printable(line, keep="\n"), flush=True)  # noqa: T201 - the one place that writes answers


def table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool, nothing: str = "nothing"
) -> None:
    """Print rows: one JSON array, or a table with ``columns``; ``nothing`` is said when there are none."""
    if as_json:
        emit(rows, as_json=True)
        return
    if not rows:
        note(nothing)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        # Text, not str: what a thing or model is called is never read as markup.
        drawn.add_row(*(Text(_shown(row.get(column))) for column in columns))
    # A program that reads the table gets whole lines.
    width = None if sys.stdout.isatty() else _UNLIMITED
    Console(highlight=False, width=width).print(drawn)


def note(text: str) -> None:
    """Say something beside the answer, on stderr."""
    typer.echo(printable(text, keep="\n"), err=True)


def confirm(what: str, *, yes: bool) -> None:
    """Ask a person whether to do ``what``, unless ``yes`` says so already.

    Raises:
        CloudError: INVALID_ARGUMENT, there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise CloudError(Code.INVALID_ARGUMENT, f"to {what}: expected --yes, as there is nobody to ask")
    typer.confirm(f"{what[0].upper()}{what[1:]}?", abort=True, err=True)


@contextmanager
def progress(title: str, total: float | None = None) -> Iterator[Callable[[float], None]]:
    """Show a bar on stderr while the block runs, if stderr is a terminal.

    Args:
        title: what is being done.
        total: how much there is to do; None when nobody knows.

    Yields:
        A function that is told how much was done since the last call.
    """
    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.advance(task, done)


def _harmless(line: str) -> str:
    """Return a line of JSON that says the same, with escapes for what a terminal would obey."""
    if line.isprintable():
        return line
    return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in line)


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(_shown(item) for item in value) or "-"
    # Names come from buckets and devices; a terminal would obey what they may hold.
    return printable(str(value), keep="\n")
