"""Prints where rollouts stand: JSON lines, lines of text, or a table that lives in the terminal."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cloud_tools.errors import Exit
from cloud_tools.output import emit, note, table
from cloud_tools.rollout.driver import Standing
from cloud_tools.rollout.view import COLUMNS, FAILURE_COLUMNS, document, headline, is_due
from edge_agent.formats.text import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

_FAILURES_SHOWN = 10


def show(standing: Standing, *, as_json: bool) -> None:
    """Print one standing, and whether it waits for somebody who drives."""
    told = document(standing)
    if as_json:
        emit({**told, "history": [each.model_dump() for each in standing.state.history]}, as_json=True)
        return
    emit(told, as_json=False, text=printable(headline(standing)))
    table(told["stages"], COLUMNS, as_json=False)
    if told["failures"]:
        table(told["failures"], FAILURE_COLUMNS, as_json=False)
    if is_due(standing):
        note(f"nobody may be driving it: edge-cloud rollout resume {standing.state.name} goes on")


def follow(standings: Iterable[Standing], *, as_json: bool) -> Standing:
    """Print each standing that differs from the one before, and return the last."""
    last: Standing | None = None
    told: dict[str, Any] = {}
    with _teller(as_json=as_json) as tell:
        for last in standings:
            if (now := document(last)) != told:
                told = now
                tell(last, told)
    if last is None:
        raise ValueError("expected at least one standing")
    return last


def meaning(standing: Standing) -> Exit:
    """Return the exit code that a rollout's standing means to whoever drove or followed it."""
    phase = standing.state.phase
    if phase == "COMPLETED":
        return Exit.PARTLY_FAILED if document(standing)["failures"] else Exit.OK
    if phase == "PAUSED":
        return Exit.CONFLICT
    return Exit.OK if phase == "RUNNING" else Exit.FAILED


Teller = Callable[[Standing, dict[str, Any]], None]


@contextmanager
def _teller(*, as_json: bool) -> Iterator[Teller]:
    if as_json:
        yield lambda _, told: emit(told, as_json=True)
    elif sys.stdout.isatty():
        from rich.live import Live

        with Live(auto_refresh=False, vertical_overflow="visible") as live:
            yield lambda standing, _: live.update(drawn(standing), refresh=True)
    else:
        yield lambda standing, told: emit(told, as_json=False, text=_line(standing, told))


def _line(standing: Standing, told: dict[str, Any]) -> str:
    begun = [stage for stage in told["stages"] if stage["state"] not in {"not begun", "nobody"}]
    counts = (f"{each['stage']} {each['succeeded']}/{each['things']}{_failed(each)}" for each in begun)
    return printable("; ".join((headline(standing), *counts)))


def _failed(stage: dict[str, Any]) -> str:
    return f" ({stage['failed']} failed)" if stage["failed"] else ""


def drawn(standing: Standing) -> "RenderableType":
    """Return a standing as it lives in a terminal: its line, its stages, and the first of its failures."""
    from rich.console import Group
    from rich.text import Text

    told = document(standing)
    parts: list[RenderableType] = [Text(printable(headline(standing))), _grid(told["stages"], COLUMNS)]
    if told["failures"]:
        parts.append(_grid(told["failures"][:_FAILURES_SHOWN], FAILURE_COLUMNS))
    if len(told["failures"]) > _FAILURES_SHOWN:
        parts.append(Text(f"and {len(told['failures']) - _FAILURES_SHOWN} more"))
    return Group(*parts)


def _grid(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        # Text, not str: what a device says is never read as markup, nor obeyed by the terminal.
        grid.add_row(*(Text(printable(str(row[column]))) for column in columns))
    return grid
