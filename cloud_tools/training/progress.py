"""How a training tells what it does: one line at a time, to whoever asked; on a terminal with bars.

On a terminal a bar shows how far a stage is and how long it will take; anywhere else there
are plain lines only. rich colours nothing where ``NO_COLOR`` is set.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from cloud_tools import output
from edge_agent.formats.text import printable

if TYPE_CHECKING:
    from rich.progress import Progress as Drawn

Progress: TypeAlias = Callable[[str], None]


@runtime_checkable
class Bars(Protocol):
    """A progress that also draws; what is no such thing is told lines only."""

    def __call__(self, line: str) -> None:
        """Tell one line."""

    def bar(self, title: str, done: int, total: int) -> Callable[[], None]:
        """Begin a bar of ``total`` steps, ``done`` of them behind; what comes back is called after each."""


def stepped(progress: Progress, title: str, done: int, total: int) -> Iterator[int]:
    """Yield ``done``..``total - 1``, with a bar where there is a terminal to draw one on."""
    advance = progress.bar(title, done, total) if isinstance(progress, Bars) else None
    for step in range(done, total):
        yield step
        if advance:
            advance()


def without_lines(progress: Progress) -> Progress:
    """Return a progress that draws the same bars and tells nothing."""
    return _Quiet(progress) if isinstance(progress, Bars) else lambda _line: None


class _Quiet:
    def __init__(self, bars: Bars) -> None:
        self.bar = bars.bar

    def __call__(self, line: str) -> None:
        """Keep it back."""


class _Terminal:
    def __init__(self, drawn: "Drawn") -> None:
        self._drawn = drawn

    def __call__(self, line: str) -> None:
        self._drawn.console.print(printable(line), markup=False, highlight=False)

    def bar(self, title: str, done: int, total: int) -> Callable[[], None]:
        task = self._drawn.add_task(title, completed=done, total=total)
        return lambda: self._drawn.advance(task)


@contextmanager
def shown() -> Iterator[Progress]:
    """Yield the progress of a command: lines on stderr, and bars below them if it is a terminal."""
    if not sys.stderr.isatty():
        yield output.note
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Drawn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    with Drawn(*columns, *times, console=Console(stderr=True), transient=True) as drawn:
        yield _Terminal(drawn)
