"""The page about a data set: one file that asks nothing of any network and runs no script.

Names come from folders that anybody may have filled: everything but this module's own tags goes through ``escape``.
"""

import base64
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

from cloud_tools.datasets.dataset import DatasetError, Split
from cloud_tools.datasets.explorer import BINS, Explored, Group, Tile
from cloud_tools.datasets.finding import Finding

_STYLE = Path(__file__).with_name("explorer.css")
_BESIDE = 8
"""So many pictures stand beside a finding."""
_SIZES_SHOWN = 8
_BAR_HEIGHT = 100
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def render(title: str, categories: Sequence[Explored]) -> str:
    """Return the page."""
    style = _STYLE.read_text(encoding="utf-8")
    named = len(categories) > 1
    sections = "\n".join(_category(number, one, named=named) for number, one in enumerate(categories))
    total = sum(len(explored.dataset.samples) for explored in categories)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(title)}: data set</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>Data set {escape(title)}</h1>
<p>{total} pictures{_of_categories(categories)}</p>
{_navigation(categories)}
<p><label><input type="checkbox" id="outlines" checked> Outline what masks mark</label></p>
</header>
<main>
{sections}
</main>
</body>
</html>
"""


def write_page(out: Path, title: str, categories: Sequence[Explored]) -> int:
    """Write the page whole or not at all, over an older one; return its size in bytes.

    Raises:
        DatasetError: the place is a folder, or is in none.
    """
    if out.is_dir() or not out.parent.is_dir():
        raise DatasetError(f"expected the name of a file in a folder that exists, as page.html, came {out}")
    content = render(title, categories).encode("utf-8")
    beside = out.with_name(f".{out.name}.new")
    beside.write_bytes(content)
    beside.replace(out)
    return len(content)


def _of_categories(categories: Sequence[Explored]) -> str:
    return f" in {len(categories)} categories" if len(categories) > 1 else ""


def _navigation(categories: Sequence[Explored]) -> str:
    if len(categories) == 1:
        return ""
    items = (
        f'<li><a href="#c{n}">{escape(one.name)}</a> {_badges(one.findings)}</li>' for n, one in enumerate(categories)
    )
    return f'<nav aria-label="Categories"><ul>{"".join(items)}</ul></nav>'


def _badges(findings: Iterable[Finding]) -> str:
    levels = [finding.level.value for finding in findings]
    return " ".join(
        f'<span class="badge {level}">{levels.count(level)} {level}</span>' for level in sorted(set(levels))
    )


def _category(number: int, explored: Explored, *, named: bool) -> str:
    heading = f"<h2>{escape(explored.name)}</h2>" if named else ""
    places = {tile.sample.file: (f"c{number}p{n}", tile) for n, tile in enumerate(_tiles(explored))}
    groups = "\n".join(_group(group, explored.findings, places) for group in explored.groups)
    return f"""<section class="category" id="c{number}" data-testid="category">
{heading}
<div class="card"><h3>What the gate says</h3>
{_findings(explored.findings, places)}</div>
<div class="facts">
<div class="card wide"><h3>Classes and splits</h3>{_counts(explored)}</div>
<div class="card wide"><h3>Sizes</h3>{_sizes(explored)}</div>
<div class="card"><h3>Mean brightness</h3>{_histogram(explored)}</div>
</div>
{groups}
<p class="quiet">SHA-256 of names, labels, splits, pictures and masks: {explored.dataset.digest()}</p>
</section>"""


def _tiles(explored: Explored) -> Iterator[Tile]:
    for group in explored.groups:
        yield from group.tiles


def _findings(findings: Sequence[Finding], places: dict[str, tuple[str, Tile]]) -> str:
    if not findings:
        return "<p>Nothing found.</p>"
    return f'<ul class="findings">{"".join(_finding(finding, places) for finding in findings)}</ul>'


def _finding(finding: Finding, places: dict[str, tuple[str, Tile]]) -> str:
    beside = [places[file] for file in finding.files if file in places][:_BESIDE]
    strip = "".join(
        f'<a href="#{place}" title="{escape(tile.sample.file)}, {tile.sample.split.value}">{_picture(tile)}</a>'
        for place, tile in beside
    )
    more = len(finding.files) - len(beside)
    rest = f'<p class="quiet">and {more} more pictures, marked below</p>' if beside and more > 0 else ""
    level = finding.level.value
    shown = f'<div class="strip">{strip}</div>{rest}' if strip else ""
    return (
        f'<li data-testid="finding"><span class="badge {level}">{level}</span> '
        f"<b>{escape(finding.check)}</b>: {escape(finding.message)}{shown}</li>"
    )


def _counts(explored: Explored) -> str:
    counts = {(group.label, group.split): group.total for group in explored.groups}
    head = "".join(f"<th scope='col'>{split.value}</th>" for split in Split)
    rows = "".join(
        f"<tr><th scope='row'>{escape(label)}</th>"
        + "".join(f"<td>{counts.get((label, split), 0)}</td>" for split in Split)
        + "</tr>"
        for label in explored.dataset.classes
    )
    parts = len({sample.part for sample in explored.dataset.samples})
    return (
        f"<table><thead><tr><th scope='col'>class</th>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f'<p class="quiet">{parts} parts</p>'
    )


def _sizes(explored: Explored) -> str:
    shown = explored.sizes[:_SIZES_SHOWN]
    rows = "".join(f"<tr><td>{width} x {height}</td><td>{number}</td></tr>" for width, height, number in shown)
    more = len(explored.sizes) - len(shown)
    rest = f'<p class="quiet">and {more} other sizes</p>' if more > 0 else ""
    head = "<thead><tr><th scope='col'>pixels</th><th scope='col'>pictures</th></tr></thead>"
    return f"<table>{head}<tbody>{rows}</tbody></table>{rest}"


def _histogram(explored: Explored) -> str:
    """Return bars of good and anomalous pictures beside each other, each class scaled to its own highest."""
    bars = "".join(
        f'<rect class="{word}" x="{2 * step + offset}" y="{_BAR_HEIGHT - _height(n, counts):.1f}" width="0.9" '
        f'height="{_height(n, counts):.1f}"><title>{word}: {n}</title></rect>'
        for offset, (word, counts) in enumerate(explored.brightness.items())
        for step, n in enumerate(counts)
        if n
    )
    key = "".join(f'<span class="{word}">{word} ({sum(counts)})</span>' for word, counts in explored.brightness.items())
    return (
        f'<svg class="bars" role="img" aria-label="Histogram of mean brightness, good and anomalous pictures" '
        f'viewBox="0 0 {2 * BINS} {_BAR_HEIGHT}" preserveAspectRatio="none">{bars}</svg>'
        f'<div class="key">{key}</div><p class="quiet">0 (black) to 255 (white); each class to its own height</p>'
    )


def _height(number: int, counts: Sequence[int]) -> float:
    return _BAR_HEIGHT * number / max(counts)


def _group(group: Group, findings: Sequence[Finding], places: dict[str, tuple[str, Tile]]) -> str:
    figures = "".join(_figure(tile, findings, places[tile.sample.file][0]) for tile in group.tiles)
    shown = f"{len(group.tiles)} of {group.total} shown" if len(group.tiles) < group.total else f"{group.total}"
    heading = f"{escape(group.label)}, {group.split.value} ({shown})"
    return f'<details class="card" open><summary>{heading}</summary><div class="grid">{figures}</div></details>'


def _figure(tile: Tile, findings: Sequence[Finding], place: str) -> str:
    sample = tile.sample
    part = "" if sample.part in (sample.file, sample.path.name) else f" · part {escape(sample.part)}"
    told = [findings[number] for number in tile.findings]
    badges = " ".join(f'<span class="badge {f.level.value}">{escape(f.check)}</span>' for f in told)
    return (
        f'<figure id="{place}" data-testid="picture">{_picture(tile)}'
        f"<figcaption>{escape(sample.path.name)}{part} {badges}</figcaption></figure>"
    )


def _picture(tile: Tile) -> str:
    if not tile.jpeg:
        return '<div class="picture torn">cannot be decoded</div>'
    data = base64.b64encode(tile.jpeg).decode()
    image = (
        f'<img alt="{escape(tile.sample.file)}" width="{tile.width}" height="{tile.height}" loading="lazy" '
        f'src="data:image/jpeg;base64,{data}">'
    )
    return f'<div class="picture">{image}{_outline(tile)}</div>'


def _outline(tile: Tile) -> str:
    if not tile.outlines:
        return ""
    drawn = "".join(f"M{' '.join(f'{x:g},{y:g}' for x, y in border)}Z" for border in tile.outlines)
    box = f"0 0 {tile.width} {tile.height}"
    # A dark line below the bright one: seen on any surface.
    return f'<svg class="outline" viewBox="{box}" aria-hidden="true"><path d="{drawn}"/><path d="{drawn}"/></svg>'
