"""The page about a data set: what it shows, and that nothing in it can act or ask."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cloud_tools.cli import build_app
from cloud_tools.datasets import DatasetError, read
from cloud_tools.datasets.explorer import explore as explore_category
from edge_agent.formats import Kind
from tests.fakes import layouts


class Reader(HTMLParser):
    """What tags a page has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def count(self, testid: str) -> int:
        return sum(attributes.get("data-testid") == testid for _, attributes in self.tags)


def explore(data: Path, out: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """Run the verb and return its answer and the page."""
    command = ["data", "explore", "--data", str(data), "--out", str(out), *arguments, "--json"]
    result = CliRunner().invoke(build_app(), command)
    if result.exception:
        raise result.exception
    return json.loads(result.stdout), out.read_text(encoding="utf-8")


def test_every_picture_is_shown_by_class_and_split(tmp_path: Path) -> None:
    answer, page = explore(layouts.mvtec(tmp_path / "bolt"), tmp_path / "page.html")
    assert (answer["pictures"], answer["shown"], answer["findings"]) == (31, 31, [])
    assert Reader(page).count("picture") == 31
    assert re.findall(r"<summary>(.*?)</summary>", page) == [
        "good, train (12)", "good, validation (4)", "good, test (5)", "cut, test (5)", "dent, test (5)"
    ]  # fmt: skip
    assert "Nothing found." in page
    assert answer["bytes"] == len(page.encode())


def test_a_mask_is_outlined_where_it_marks(tmp_path: Path) -> None:
    (one, *_), *_ = [
        group.tiles
        for group in explore_category("x", read(layouts.mvtec(tmp_path), Kind.ANOMALY), limit=5).groups
        if group.label == "cut"
    ]
    (border,) = one.outlines
    assert np.min(border) == pytest.approx(10.5, abs=0.6)
    assert np.max(border) == pytest.approx(13.5, abs=0.6)


def test_findings_stand_beside_the_pictures_that_they_concern(tmp_path: Path) -> None:
    layouts.classes(tmp_path / "set")
    layouts.put(tmp_path / "set" / "anomalous" / "odd.png", layouts.picture(77)[:30])
    (tmp_path / "set" / "normal" / "torn.png").write_bytes(b"torn")
    answer, page = explore(tmp_path / "set", tmp_path / "page.html")
    reader = Reader(page)
    assert reader.count("finding") == len(answer["findings"]) == 2
    links = [a["href"] for tag, a in reader.tags if tag == "a"]
    places = {attributes["id"]: index for index, (tag, attributes) in enumerate(reader.tags) if tag == "figure"}
    assert len(links) == 2
    assert all(link is not None and link.removeprefix("#") in places for link in links)
    assert page.count("cannot be decoded") >= 2
    assert re.search(r'odd\.png <span class="badge warn">sizes</span>', page)


def test_a_large_set_is_shown_in_part_and_what_a_finding_concerns_goes_before(tmp_path: Path) -> None:
    layouts.classes(tmp_path / "set", 30)
    layouts.put(tmp_path / "set" / "normal" / "p17_normal.png", layouts.picture(34)[:30])
    splits = [(f"{p.parent.name}/{p.name}", "train") for p in (tmp_path / "set").rglob("*.png")]
    layouts.write_csv(tmp_path / "set" / "split.csv", ("file", "split"), splits)
    answer, page = explore(tmp_path / "set", tmp_path / "page.html", "--limit", "4")
    assert answer["shown"] == Reader(page).count("picture") <= 16
    assert "(4 of" in page
    assert "p17_normal.png <span" in page


def test_several_categories_share_a_page(tmp_path: Path) -> None:
    layouts.visa(tmp_path / "VisA")
    _, page = explore(tmp_path / "VisA", tmp_path / "page.html")
    reader = Reader(page)
    assert reader.count("category") == 2
    assert [a["href"] for tag, a in reader.tags if tag == "a"] == ["#c0", "#c1"]


def test_names_cannot_act_and_the_page_asks_for_nothing(tmp_path: Path) -> None:
    root = layouts.classes(tmp_path / "set")
    evil = '"><img src=x onerror=alert(1)>&'
    (root / "anomalous").rename(root / evil)
    layouts.put(root / "normal" / f"{evil}.png", layouts.picture(500))
    _, page = explore(root, tmp_path / "page.html")
    tags = Reader(page).tags
    assert not any(tag in ("script", "link", "iframe", "object") for tag, _ in tags)
    assert not any(name.startswith("on") for _, attributes in tags for name in attributes)
    addresses = [a[name] or "" for _, a in tags for name in ("src", "href") if name in a]
    assert addresses
    assert all(address.startswith(("data:image/jpeg;base64,", "#")) for address in addresses)
    assert "url(" not in page


def test_an_older_page_is_replaced_and_a_wrong_place_is_refused(tmp_path: Path) -> None:
    root = layouts.classes(tmp_path / "set")
    (tmp_path / "page.html").write_text("old")
    _, page = explore(root, tmp_path / "page.html")
    assert page.startswith("<!doctype html>")
    for wrong in (tmp_path, tmp_path / "missing" / "page.html"):
        with pytest.raises(DatasetError, match="expected the name of a file"):
            explore(root, wrong)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "set"]
