"""Layouts, splits and the hygiene gate."""

import os
import unicodedata
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud_tools.datasets import Dataset, DatasetError, Finding, Level, Split, inspect_dataset, read
from cloud_tools.datasets.phash import distances, phash
from edge_agent import vision
from edge_agent.formats import Kind
from tests.fakes import layouts

_SIDE = 48


def _picture(seed: int, *, spot: bool = False, light: int = 0) -> vision.RGB:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 190, (8, 8), np.uint8)
    picture = np.kron(coarse, np.ones((6, 6), np.uint8))[..., None].repeat(3, axis=-1) + np.uint8(light)
    if spot:
        picture[10:14, 10:14] = 10
    # Noise, so that a spot does not change how well the file is packed: the gate would notice.
    return np.asarray(picture + rng.integers(0, 48, picture.shape, np.uint8), np.uint8)


def _classes(root: Path, count: int = 12, *, light: int = 0) -> Path:
    for index in range(count):
        for name, spot in (("normal", False), ("anomalous", True)):
            path = root / name / f"p{index:02d}_{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            seed = index * 2 + spot
            path.write_bytes(vision.encode_png(_picture(seed, spot=spot, light=light * spot)))
    return root


def _masks(root: Path, count: int = 16) -> Path:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index in range(count):
        spot = index % 2 == 1
        mask = np.zeros((_SIDE, _SIDE), np.uint8)
        mask[10:14, 10:14] = 255 * spot
        (root / "images" / f"{index}.png").write_bytes(vision.encode_png(_picture(index, spot=spot)))
        (root / "masks" / f"{index}.png").write_bytes(vision.encode_png(mask))
    return root


def _found(dataset: Dataset, check: str) -> list[Finding]:
    return [finding for finding in inspect_dataset(dataset) if finding.check == check]


def _blocks(dataset: Dataset) -> list[str]:
    return [finding.check for finding in inspect_dataset(dataset) if finding.level is Level.BLOCK]


def test_a_clean_data_set_passes_the_gate(tmp_path: Path) -> None:
    dataset = read(_classes(tmp_path), Kind.CLASSIFICATION)
    assert dataset.classes == ("normal", "anomalous")
    assert inspect_dataset(dataset) == ()
    assert {split: len(dataset.of(split)) > 0 for split in Split} == dict.fromkeys(Split, True)


def test_named_classes_are_kept_and_the_normal_one_comes_first(tmp_path: Path) -> None:
    _classes(tmp_path)
    (tmp_path / "anomalous").rename(tmp_path / "hole")
    (tmp_path / "crack").mkdir()
    (tmp_path / "crack" / "x.png").write_bytes(vision.encode_png(_picture(900)))
    dataset = read(tmp_path, Kind.CLASSIFICATION)
    assert dataset.classes == ("normal", "crack", "hole")
    assert dataset.normal_classes == ("normal",)
    assert {s.anomalous for s in dataset.samples if s.label == "crack"} == {True}


def test_a_given_split_is_respected(tmp_path: Path) -> None:
    _classes(tmp_path)
    files = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.png"))
    rows = [f"{file},{'test' if '_normal' in file and file.endswith('p03_normal.png') else 'train'}" for file in files]
    (tmp_path / "split.csv").write_text("file,split\n" + "\n".join(rows) + "\n")
    dataset = read(tmp_path, Kind.CLASSIFICATION)
    assert [s.file for s in dataset.of(Split.TEST)] == ["normal/p03_normal.png"]
    assert dataset.of(Split.VALIDATION)


def test_a_part_is_never_divided_by_our_own_split(tmp_path: Path) -> None:
    dataset = read(_classes(tmp_path, 24), Kind.CLASSIFICATION, part_regex=r"^p(\d)")
    sides = defaultdict(set)
    for sample in dataset.samples:
        sides[sample.part].add(sample.split)
    assert set(sides) == {"0", "1", "2"}
    assert all(len(splits) == 1 for splits in sides.values())


def test_pictures_that_look_the_same_are_never_divided_by_our_own_split(tmp_path: Path) -> None:
    _classes(tmp_path, 20)
    for index in range(20):
        content = vision.encode_png(np.clip(_picture(index * 2).astype(int) + 2, 0, 255).astype(np.uint8))
        (tmp_path / "normal" / f"again{index}.png").write_bytes(content)
    assert "near duplicates" not in _blocks(read(tmp_path, Kind.CLASSIFICATION))


def test_parts_on_both_sides_of_a_given_split_block(tmp_path: Path) -> None:
    _classes(tmp_path)
    rows = [f"{p.parent.name}/{p.name},{'test' if 'p0' in p.name else 'train'}" for p in tmp_path.rglob("*.png")]
    (tmp_path / "split.csv").write_text("file,split\n" + "\n".join(rows) + "\n")
    assert "parts" not in _blocks(read(tmp_path, Kind.CLASSIFICATION, part_regex=r"^p(\d\d)"))
    assert "parts" in _blocks(read(tmp_path, Kind.CLASSIFICATION, part_regex=r"^(p)"))


def test_the_part_column_is_read(tmp_path: Path) -> None:
    _classes(tmp_path)
    rows = [f"{p.parent.name}/{p.name},train,board" for p in tmp_path.rglob("*.png")]
    (tmp_path / "split.csv").write_text("file,split,part\n" + "\n".join(rows) + "\n")
    assert {sample.part for sample in read(tmp_path, Kind.CLASSIFICATION).samples} == {"board"}


@pytest.mark.parametrize(("change", "expected"), [(0, "duplicates"), (2, "near duplicates")])
def test_the_same_picture_on_both_sides_blocks(tmp_path: Path, change: int, expected: str) -> None:
    _classes(tmp_path)
    again = vision.encode_png(np.asarray(_picture(0) + np.uint8(change), np.uint8))
    (tmp_path / "normal" / "again.png").write_bytes(again)
    rows = [
        f"{p.parent.name}/{p.name},{'test' if p.name == 'again.png' or 'p11' in p.name else 'train'}"
        for p in tmp_path.rglob("*.png")
    ]
    (tmp_path / "split.csv").write_text("file,split\n" + "\n".join(rows) + "\n")
    dataset = read(tmp_path, Kind.CLASSIFICATION)
    assert [f.level for f in _found(dataset, expected)] == [Level.BLOCK]


def test_one_picture_with_two_labels_blocks(tmp_path: Path) -> None:
    _classes(tmp_path)
    (tmp_path / "anomalous" / "z.png").write_bytes(vision.encode_png(_picture(0)))
    assert "labels" in _blocks(read(tmp_path, Kind.CLASSIFICATION))


def test_a_label_that_brightness_gives_away_blocks(tmp_path: Path) -> None:
    findings = _found(read(_classes(tmp_path, light=50), Kind.CLASSIFICATION), "artefact")
    assert any(f.level is Level.BLOCK and "brightness" in f.message for f in findings)


def test_an_unreadable_picture_blocks_and_is_named(tmp_path: Path) -> None:
    _classes(tmp_path)
    (tmp_path / "normal" / "torn.png").write_bytes(vision.encode_png(_picture(1))[:100])
    (finding,) = _found(read(tmp_path, Kind.CLASSIFICATION), "unreadable")
    assert finding.level is Level.BLOCK
    assert "normal/torn.png" in finding.message


def test_an_odd_size_warns(tmp_path: Path) -> None:
    _classes(tmp_path)
    (tmp_path / "normal" / "odd.png").write_bytes(vision.encode_png(_picture(77)[:30]))
    (finding,) = _found(read(tmp_path, Kind.CLASSIFICATION), "sizes")
    assert finding.level is Level.WARN
    assert "48 x 30" in finding.message


def test_too_few_pictures_of_a_class_block(tmp_path: Path) -> None:
    assert "balance" in _blocks(read(_classes(tmp_path, 3), Kind.CLASSIFICATION))


def test_a_split_without_test_pictures_warns(tmp_path: Path) -> None:
    _classes(tmp_path, 20)
    rows = [f"{p.parent.name}/{p.name},train" for p in tmp_path.rglob("*.png")]
    (tmp_path / "split.csv").write_text("file,split\n" + "\n".join(rows) + "\n")
    (finding,) = _found(read(tmp_path, Kind.CLASSIFICATION), "balance")
    assert finding.level is Level.WARN
    assert "no test picture" in finding.message


def test_masks_are_found_by_their_names(tmp_path: Path) -> None:
    dataset = read(_masks(tmp_path), Kind.SEGMENTATION)
    assert inspect_dataset(dataset) == ()
    assert sum(sample.anomalous for sample in dataset.samples) == 8
    sample = next(s for s in dataset.samples if s.anomalous)
    assert sample.truth(_SIDE, _SIDE).sum() == 16


def test_missing_and_mismatched_masks_block(tmp_path: Path) -> None:
    _masks(tmp_path)
    (tmp_path / "masks" / "3.png").unlink()
    (tmp_path / "masks" / "4.png").write_bytes(vision.encode_png(np.zeros((9, 9), np.uint8)))
    (finding,) = _found(read(tmp_path, Kind.SEGMENTATION), "masks")
    assert finding.level is Level.BLOCK
    assert "2 masks" in finding.message
    assert "9 x 9" in finding.message


def test_grey_masks_warn(tmp_path: Path) -> None:
    _masks(tmp_path)
    (tmp_path / "masks" / "3.png").write_bytes(vision.encode_png(np.full((_SIDE, _SIDE), 200, np.uint8)))
    assert [f.level for f in _found(read(tmp_path, Kind.SEGMENTATION), "masks")] == [Level.WARN]


def test_the_digest_changes_with_a_label_a_pixel_and_a_split(tmp_path: Path) -> None:
    first = read(_classes(tmp_path), Kind.CLASSIFICATION)
    digest = first.digest()
    assert read(tmp_path, Kind.CLASSIFICATION).digest() == digest
    moved = first._replace(samples=(first.samples[0]._replace(label="x"), *first.samples[1:]))
    assert moved.digest() != digest
    first.samples[0].path.write_bytes(vision.encode_png(_picture(4711)))
    assert read(tmp_path, Kind.CLASSIFICATION).digest() != digest


@pytest.mark.parametrize("layout", ["", "normal"])
def test_a_folder_of_another_layout_is_refused(tmp_path: Path, layout: str) -> None:
    if layout:
        (tmp_path / layout).mkdir()
        (tmp_path / layout / "a.png").write_bytes(vision.encode_png(_picture(0)))
    with pytest.raises(DatasetError, match=r"expected both normal and anomalous|expected normal/ and anomalous/"):
        read(tmp_path, Kind.CLASSIFICATION)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere"):
        read(tmp_path / "nowhere", Kind.CLASSIFICATION)
    with pytest.raises(DatasetError, match="images"):
        read(tmp_path, Kind.SEGMENTATION)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"only": "zz"}, "no picture"), ({"only": "("}, "regular expression"), ({"part_regex": r"^(\d)"}, "part-regex")],
)
def test_wrong_options_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read(_classes(tmp_path), Kind.CLASSIFICATION, **options)


_FIRST = "normal/p00_normal.png"


@pytest.mark.parametrize(
    "text",
    [
        b"name,split\nx,train\n",
        f"file,split\n{_FIRST},holdout\n".encode(),
        f"file,split\n{_FIRST},train\n{_FIRST},test\n".encode(),
        b"file,split\nimages/elsewhere.png,train\n",
        b"file,split\n\xff\xfe,train\n",
        b"",
    ],
)
def test_a_malformed_split_is_refused(tmp_path: Path, text: bytes) -> None:
    (_classes(tmp_path) / "split.csv").write_bytes(text)
    with pytest.raises(DatasetError, match=r"split\.csv"):
        read(tmp_path, Kind.CLASSIFICATION)


def test_only_keeps_names_that_begin_so(tmp_path: Path) -> None:
    dataset = read(_classes(tmp_path), Kind.CLASSIFICATION, only="p0")
    assert len(dataset.samples) == 20


def test_a_relit_picture_keeps_its_hash_and_another_does_not() -> None:
    one, relit, other = _picture(1), np.asarray(_picture(1) * 0.9 + 9, np.uint8), _picture(2)
    table = distances([phash(one)], [phash(relit), phash(other)])
    assert table[0, 0] <= 2
    assert table[0, 1] > 10


def test_a_name_that_is_no_text_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    root = layouts.mvtec(tmp_path)
    (root / "train/good/000.png").rename(root / "train/good" / os.fsdecode(b"St\xfcck.png"))
    with pytest.raises(DatasetError, match=r"file names in UTF-8, came 'train/good/St\\udcfcck\.png'"):
        read(root, Kind.ANOMALY)


def test_a_split_names_files_however_a_system_writes_umlauts(tmp_path: Path) -> None:
    root = _classes(tmp_path)
    for path in sorted((root / "normal").iterdir()):
        path.rename(path.with_name(f"Pr\u00fcfling {path.name}"))
    rows = [(path.name, "test" if "p00" in path.name else "train") for path in sorted(root.rglob("*.png"))]
    content = "".join(f"{unicodedata.normalize('NFD', file)},{split}\n" for file, split in rows)
    (root / "split.csv").write_text("file,split\n" + content, encoding="utf-8")
    tested = {sample.file for sample in read(root, Kind.CLASSIFICATION).of(Split.TEST)}
    assert tested == {"normal/Pr\u00fcfling p00_normal.png", "anomalous/p00_anomalous.png"}


def test_a_file_that_cannot_be_read_is_a_finding_and_no_crash(tmp_path: Path) -> None:
    root = layouts.mvtec(tmp_path)
    (root / "train/good/zz.png").symlink_to("nowhere")
    dataset = read(root, Kind.ANOMALY)
    assert len(dataset.digest()) == 64
    found = [finding for finding in inspect_dataset(dataset) if finding.check == "unreadable"]
    assert [(one.level, one.files) for one in found] == [(Level.BLOCK, ("train/good/zz.png",))]
    assert [sample.file for sample in dataset.samples if not sample.is_readable()] == ["train/good/zz.png"]
