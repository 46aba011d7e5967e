"""The table as Markdown, for a merge request or a ticket. Pure."""

from collections.abc import Sequence
from typing import Any

from cloud_tools.evaluation.report.figures import Cell, Column, cells, shown_columns
from cloud_tools.evaluation.report.words import Remark


def markdown(
    title: str, table: Sequence[dict[str, Any]], means: dict[str, dict[str, Any]], remarks: Sequence[Remark]
) -> str:
    """Return the whole report without its pictures."""
    columns = shown_columns(table)
    parts = [f"# {title}", "\n".join(_said(remark) for remark in remarks)]
    if len({row["category"] for row in table}) > 1:
        own = [{"method": name, **values} for name, values in means.items()]
        parts += ["## Mean over categories", _table(own, columns, ("method", "categories"))]
    names = list(dict.fromkeys(row["category"] for row in table))
    by_category = sorted(table, key=lambda row: names.index(row["category"]))
    parts += ["## By category", _table(by_category, columns, ("category", "method"))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _said(remark: Remark) -> str:
    where = f"{_escaped(remark.category)}: " if remark.category else ""
    return f"- **{remark.weight.value}** {where}{_escaped(remark.text)}"


def _table(rows: Sequence[dict[str, Any]], columns: Sequence[Column], names: Sequence[str]) -> str:
    lines = [[*names, *(column.title for column in columns)], ["---"] * len(names) + ["---:"] * len(columns)]
    for row in rows:
        # The best one is marked among its own category; a mean among all.
        beside = [other for other in rows if other.get("category") == row.get("category")]
        figures = (_figure(cell) for cell in cells(row, columns, beside))
        lines.append([*(_escaped(str(row[name])) for name in names), *figures])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _figure(cell: Cell) -> str:
    return f"**{cell.text}** {cell.spread}".strip() if cell.best else f"{cell.text} {cell.spread}".strip()


def _escaped(text: str) -> str:
    """Keep what a file or folder may be called from being read as markup."""
    for mark in "\\`*_<>|[]":
        text = text.replace(mark, f"\\{mark}")
    return text.replace("\n", " ")
