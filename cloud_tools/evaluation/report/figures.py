"""Figures as people read them: titles, units, digits. Pure."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class Column(NamedTuple):
    """How one figure is shown."""

    name: str
    title: str
    hint: str
    form: str = "{:.3f}"
    divisor: float = 1.0
    best: bool = True
    """The highest of a category is marked."""


class Cell(NamedTuple):
    """One figure of one row."""

    text: str
    spread: str
    """Standard deviation over seeds; empty: one seed."""
    best: bool


COLUMNS = (
    Column("image_auroc", "Image AUROC", "chance that a defective part scores higher than a good one"),
    Column("image_ap", "Image AP", "average precision of pictures"),
    Column("f1", "F1", "of pictures, at the threshold that validation set"),
    Column("accuracy", "Accuracy", "right verdicts at that threshold"),
    Column("pixel_auroc", "Pixel AUROC", "as of pictures, of all test pixels"),
    Column("pixel_ap", "Pixel AP", "average precision of all test pixels"),
    Column("aupro", "AUPRO", "share of each defect that is found, up to 0.3 false pixels"),
    Column("iou", "IoU", "drawn and true over drawn or true, all test pixels together"),
    Column("dice", "Dice", "twice drawn and true over drawn plus true"),
    Column("random_control_auroc", "Untrained", "image AUROC of the same method on random weights", best=False),
    Column("fit_s", "Fit s", "learning alone", "{:.1f}", best=False),
    Column("latency_ms", "p50 ms", "one inference in the device's runtime, one thread", "{:.1f}", best=False),
    Column("latency_p99_ms", "p99 ms", "99 of 100 inferences are faster", "{:.1f}", best=False),
    Column("size_bytes", "Size MB", "of the graph", "{:.1f}", 1e6, best=False),
    Column("memory_bytes", "Memory MB", "peak of a process that only executes it", "{:.0f}", 1e6, best=False),
)


def shown_columns(rows: Sequence[dict[str, Any]]) -> tuple[Column, ...]:
    """Return the columns that hold a figure in any row."""
    return tuple(c for c in COLUMNS if any(row.get(c.name) is not None for row in rows))


def cells(row: dict[str, Any], columns: Sequence[Column], beside: Sequence[dict[str, Any]]) -> tuple[Cell, ...]:
    """Return a row's cells; ``beside`` are the rows among which the best is marked."""
    return tuple(_cell(row, column, beside) for column in columns)


def shown(column: Column, value: float | None) -> str:
    """Return a figure in its unit; a dash for one that cannot be had."""
    return "-" if value is None else column.form.format(value / column.divisor)


def _cell(row: dict[str, Any], column: Column, beside: Sequence[dict[str, Any]]) -> Cell:
    value = row.get(column.name)
    spread = row.get("spread", {}).get(column.name)
    others = [other[column.name] for other in beside if other.get(column.name) is not None]
    best = column.best and value is not None and value == max(others, default=value) > min(others, default=value)
    return Cell(shown(column, value), "" if spread is None else f"±{shown(column, spread)}", best)
