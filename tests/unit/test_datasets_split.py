"""``data split`` by its command line: what it writes, and what it refuses."""

import csv
import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cloud_tools.cli import build_app
from cloud_tools.datasets import DatasetError, Level, Split, inspect_dataset, read
from cloud_tools.errors import CloudError
from edge_agent.formats import Kind
from tests.fakes import layouts


def split(root: Path, *arguments: str) -> dict[str, Any]:
    """Run the verb and return its answer."""
    result = CliRunner().invoke(build_app(), ["data", "split", "--data", str(root), *arguments, "--json"])
    if result.exception:
        raise result.exception
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def rows(root: Path) -> list[dict[str, str]]:
    with (root / "split.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_class_gets_the_shares_and_the_gate_agrees(tmp_path: Path) -> None:
    answer = split(layouts.classes(tmp_path, 30), "--shares", "60/20/20")
    (category,) = answer["categories"]
    assert category["classes"] == {
        label: {"train": 18, "validation": 6, "test": 6} for label in ("anomalous", "normal")
    }
    assert {row["file"] for row in rows(tmp_path)} == {s.file for s in read(tmp_path, Kind.CLASSIFICATION).samples}
    assert inspect_dataset(read(tmp_path, Kind.CLASSIFICATION)) == ()


def test_the_seed_decides_and_nothing_else(tmp_path: Path) -> None:
    layouts.classes(tmp_path, 20)
    written = []
    for seed in ("1", "1", "2"):
        split(tmp_path, "--seed", seed, "--replace")
        written.append(rows(tmp_path))
    assert written[0] == written[1] != written[2]


def test_parts_stay_together_and_are_written_down(tmp_path: Path) -> None:
    split(layouts.classes(tmp_path, 30), "--part-regex", r"^(p\d\d)")
    sides = defaultdict(set)
    for row in rows(tmp_path):
        sides[row["part"]].add(row["split"])
    assert len(sides) == 30
    assert all(len(splits) == 1 for splits in sides.values())
    assert {sample.part for sample in read(tmp_path, Kind.CLASSIFICATION).samples} == set(sides)


def test_a_split_that_is_there_is_not_lost_by_accident(tmp_path: Path) -> None:
    layouts.classes(tmp_path, 20)
    split(tmp_path)
    before = rows(tmp_path)
    with pytest.raises(CloudError, match="--keep keeps it and draws the rest, --replace draws anew"):
        split(tmp_path, "--seed", "5")
    assert rows(tmp_path) == before
    with pytest.raises(CloudError, match="its folders or manifests say what is train"):
        split(layouts.mvtec(tmp_path / "mvtec"))
    assert not (tmp_path / "mvtec" / "split.csv").exists()


def test_new_pictures_join_a_split_that_is_kept_and_those_of_a_known_part_go_where_it_is(tmp_path: Path) -> None:
    layouts.classes(tmp_path, 20)
    split(tmp_path, "--part-regex", r"^(p\d\d)")
    before = {row["file"]: row["split"] for row in rows(tmp_path)}
    layouts.put(tmp_path / "normal" / "p03_again.png", layouts.picture(801))
    for index in range(40, 50):
        layouts.put(tmp_path / "normal" / f"p{index}_normal.png", layouts.picture(900 + index))
    split(tmp_path, "--part-regex", r"^(p\d\d)", "--keep")
    after = {row["file"]: row["split"] for row in rows(tmp_path)}
    assert {file: after[file] for file in before} == before
    assert after["normal/p03_again.png"] == before["normal/p03_normal.png"]
    assert len(after) == len(before) + 11


def test_a_split_that_leaks_is_not_kept(tmp_path: Path) -> None:
    layouts.classes(tmp_path, 20)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    given = [(file, "test" if "normal/p0" in file else "train") for file in files]
    layouts.write_csv(tmp_path / "split.csv", ("file", "split"), given)
    with pytest.raises(DatasetError, match="leaks: 10 parts stand on two sides: p00, p01, p02"):
        split(tmp_path, "--keep", "--part-regex", r"^(p\d\d)")
    assert [row["split"] for row in rows(tmp_path)] == [word for _, word in given]


def test_too_few_parts_for_every_class_in_every_split_are_refused(tmp_path: Path) -> None:
    layouts.classes(tmp_path, 20)
    with pytest.raises(DatasetError, match=r"too few parts .* test would hold 0 of anomalous"):
        split(tmp_path, "--part-regex", r"^(p\d)")
    assert not (tmp_path / "split.csv").exists()


@pytest.mark.parametrize("shares", ["", "60/20", "a/b/c", "0/50/50", "60/-20/60", "inf/1/1", "nan/1/1"])
def test_shares_that_are_none_are_refused(tmp_path: Path, shares: str) -> None:
    with pytest.raises(DatasetError, match="expected shares"):
        split(layouts.classes(tmp_path), "--shares", shares)


def test_good_parts_alone_are_learnt_from_where_the_layout_is_for_that(tmp_path: Path) -> None:
    split(layouts.mvtec(tmp_path, good=30, tested=10), "--replace")
    dataset = read(tmp_path, Kind.ANOMALY)
    assert not any(sample.anomalous for sample in dataset.of(Split.TRAIN))
    assert any(sample.anomalous for sample in dataset.of(Split.VALIDATION))
    assert not [finding for finding in inspect_dataset(dataset) if finding.level is Level.BLOCK]


def test_several_categories_are_split_together_or_not_at_all(tmp_path: Path) -> None:
    layouts.classes(tmp_path / "bolt", 20)
    layouts.classes(tmp_path / "nut", 2)
    with pytest.raises(DatasetError, match=r"nut: there are too few parts"):
        split(tmp_path)
    assert not (tmp_path / "bolt" / "split.csv").exists()
    layouts.classes(tmp_path / "nut", 20)
    assert [row["category"] for row in split(tmp_path)["categories"]] == ["bolt", "nut"]
    assert (tmp_path / "nut" / "split.csv").exists()


def _in_a_fixture(root: Path) -> Path:
    """Write parts of one look: only noise tells them apart."""
    layouts.mvtec(root, good=0, tested=8)
    shutil.rmtree(root / "test/good")
    for index in range(16):
        noise = np.random.default_rng(index).integers(0, 6, (layouts.SIDE, layouts.SIDE, 3), np.uint8)
        layouts.put(root / "train/good" / f"{index:03d}.png", np.asarray(layouts.picture(7) // 2 + noise, np.uint8))
    return root


def test_parts_that_all_look_the_same_are_split_all_the_same_and_the_gate_says_so(tmp_path: Path) -> None:
    dataset = read(_in_a_fixture(tmp_path), Kind.ANOMALY)
    assert [len(dataset.of(split)) for split in (Split.TRAIN, Split.VALIDATION)] == [12, 4]
    blocks = {finding.check for finding in inspect_dataset(dataset) if finding.level is Level.BLOCK}
    assert "near duplicates" in blocks
    assert "balance" not in blocks


def test_what_only_looks_the_same_is_divided_on_demand(tmp_path: Path) -> None:
    _in_a_fixture(tmp_path)
    with pytest.raises(DatasetError, match="unless --ignore-looks is given"):
        split(tmp_path, "--replace")
    (category,) = split(tmp_path, "--replace", "--ignore-looks")["categories"]
    assert category["classes"]["good"] == {"train": 10, "validation": 3, "test": 3}
