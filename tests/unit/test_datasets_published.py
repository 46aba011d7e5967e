"""Data sets as they are published are read as they come, for every kind of method that they can serve."""

import json
from collections import Counter
from pathlib import Path

import pytest

from cloud_tools.datasets import Dataset, DatasetError, Split, categories, inspect_dataset, read
from edge_agent.formats import Kind
from tests.fakes import layouts

_CUT = 16
"""Pixels of a cut."""


def _count(dataset: Dataset) -> dict[Split, tuple[int, int]]:
    """Return how many good and anomalous pictures each split holds."""
    counted = Counter((sample.split, sample.anomalous) for sample in dataset.samples)
    return {split: (counted[split, False], counted[split, True]) for split in Split}


def _overlaps(dataset: Dataset) -> set[tuple[bool, int]]:
    side = layouts.SIDE
    return {(sample.anomalous, int(sample.truth(side, side).sum())) for sample in dataset.samples}


def test_one_category_is_named_after_its_folder_and_several_after_theirs(tmp_path: Path) -> None:
    one = layouts.mvtec(tmp_path / "mvtec" / "bolt", good=2, tested=1)
    layouts.mvtec(tmp_path / "mvtec" / "nut", good=2, tested=1)
    (tmp_path / "mvtec" / "notes").mkdir()
    assert categories(one) == {"bolt": one}
    assert categories(tmp_path / "mvtec") == {"bolt": one, "nut": tmp_path / "mvtec" / "nut"}


def test_categories_of_different_layouts_are_no_one_data_set(tmp_path: Path) -> None:
    layouts.classes(tmp_path / "classification", 1)
    layouts.pairs(tmp_path / "segmentation", 1)
    with pytest.raises(DatasetError, match=r"one layout, came classification \(classes\), segmentation"):
        categories(tmp_path)


def test_a_folder_without_any_layout_says_what_is_known_and_what_came(tmp_path: Path) -> None:
    (tmp_path / "stuff").mkdir()
    with pytest.raises(DatasetError, match=r"expected normal/ and anomalous/ .* came \['stuff'\]"):
        categories(tmp_path)


def test_mvtec_learns_good_parts_and_judges_with_its_own_test(tmp_path: Path) -> None:
    dataset = read(layouts.mvtec(tmp_path), Kind.ANOMALY)
    assert _count(dataset) == {Split.TRAIN: (12, 0), Split.VALIDATION: (4, 0), Split.TEST: (5, 10)}
    assert dataset.classes == ("good", "cut", "dent")
    assert _overlaps(dataset) == {(False, 0), (True, _CUT)}
    assert inspect_dataset(dataset) == ()


@pytest.mark.parametrize("kind", [Kind.CLASSIFICATION, Kind.SEGMENTATION])
def test_mvtec_serves_supervised_methods_with_a_split_of_ours(tmp_path: Path, kind: Kind) -> None:
    dataset = read(layouts.mvtec(tmp_path, tested=12), kind)
    assert all(min(counts) > 0 for counts in _count(dataset).values())
    assert _overlaps(dataset) == {(False, 0), (True, _CUT)}
    assert inspect_dataset(dataset) == ()


def test_a_written_split_of_mvtec_serves_supervised_methods_as_it_is(tmp_path: Path) -> None:
    layouts.mvtec(tmp_path)
    rows = [(f"test/cut/{index:03d}.png", "train") for index in range(3)]
    layouts.write_csv(tmp_path / "split.csv", ("file", "split"), rows)
    splits = {sample.file: sample.split for sample in read(tmp_path, Kind.CLASSIFICATION).samples}
    assert splits["test/cut/003.png"] is splits["test/good/000.png"] is Split.TEST


def test_a_written_split_may_leave_out_folders_where_no_name_repeats(tmp_path: Path) -> None:
    layouts.kolektor(tmp_path)
    layouts.write_csv(tmp_path / "split.csv", ("file", "split"), [("10000.png", "test"), ("20000.png", "train")])
    splits = {sample.file: sample.split for sample in read(tmp_path, Kind.SEGMENTATION).samples}
    assert (splits["train/10000.png"], splits["test/20000.png"]) == (Split.TEST, Split.TRAIN)
    layouts.mvtec(tmp_path / "bolt")
    layouts.write_csv(tmp_path / "bolt" / "split.csv", ("file", "split"), [("000.png", "test")])
    with pytest.raises(DatasetError, match=r"expected files as train/good/000.png, came 000.png: none of them"):
        read(tmp_path / "bolt", Kind.ANOMALY)


def test_visa_has_its_published_split_of_one_class(tmp_path: Path) -> None:
    found = categories(layouts.visa(tmp_path))
    assert list(found) == ["candle", "pcb1"]
    dataset = read(found["pcb1"], Kind.ANOMALY)
    assert sum(len(dataset.of(split)) for split in (Split.TRAIN, Split.VALIDATION)) == 9
    assert _count(dataset)[Split.TEST] == (3, 8)
    assert _overlaps(dataset) == {(False, 0), (True, _CUT)}


def test_visa_has_its_published_split_of_two_classes_for_supervised_methods(tmp_path: Path) -> None:
    dataset = read(layouts.visa(tmp_path) / "candle", Kind.SEGMENTATION)
    assert _count(dataset)[Split.TEST] == (4, 3)
    assert all(sample.split is Split.TEST for sample in dataset.samples if sample.path.stem in ("000", "0003"))


def test_visa_without_its_splits_is_split_by_us(tmp_path: Path) -> None:
    for kind in Kind:
        dataset = read(layouts.visa(tmp_path, splits=False) / "candle", kind)
        assert all(sum(counts) > 0 for counts in _count(dataset).values())


def test_kolektor_has_its_published_split_and_a_validation_out_of_train(tmp_path: Path) -> None:
    dataset = read(layouts.kolektor(tmp_path), Kind.SEGMENTATION)
    assert _count(dataset)[Split.TEST] == (4, 4)
    assert all(sample.file.startswith("test/") == (sample.split is Split.TEST) for sample in dataset.samples)
    assert _overlaps(dataset) == {(False, 0), (True, _CUT)}
    assert not any("_GT" in sample.file for sample in dataset.samples)
    assert inspect_dataset(dataset) == ()


def test_kolektor_s_defects_in_train_choose_the_threshold_of_anomaly_detection(tmp_path: Path) -> None:
    dataset = read(layouts.kolektor(tmp_path), Kind.ANOMALY)
    counts = _count(dataset)
    assert counts[Split.TRAIN][1] == 0
    assert counts[Split.VALIDATION][1] == 18
    assert counts[Split.TEST] == (4, 4)
    assert inspect_dataset(dataset) == ()


@pytest.mark.parametrize("masks", [False, True])
def test_lookout_manifests_are_read_with_files_of_their_bucket_beside_them(tmp_path: Path, *, masks: bool) -> None:
    root = layouts.lookout(tmp_path, masks=masks)
    dataset = read(root, Kind.CLASSIFICATION)
    assert categories(root) == {root.name: root}
    assert _count(dataset)[Split.TEST] == (4, 4)
    assert dataset.classes == ("normal", "anomaly")
    assert inspect_dataset(dataset) == ()


def test_lookout_masks_count_every_colour_but_the_background_s(tmp_path: Path) -> None:
    assert _overlaps(read(layouts.lookout(tmp_path, masks=True), Kind.SEGMENTATION)) == {(False, 0), (True, _CUT)}


def test_the_colours_of_a_mask_are_part_of_the_digest(tmp_path: Path) -> None:
    digest = read(layouts.lookout(tmp_path, masks=True), Kind.SEGMENTATION).digest()
    manifest = tmp_path / "manifests" / "train.manifest"
    manifest.write_text(manifest.read_text().replace("#1f77b4", "#1f77b5"))
    assert read(tmp_path, Kind.SEGMENTATION).digest() != digest


def test_lookout_without_masks_is_refused_for_segmentation(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected masks"):
        read(layouts.lookout(tmp_path), Kind.SEGMENTATION)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source-ref": "s3://bucket/a/missing.jpg"}, r"line 17: .*missing.jpg beside the manifest"),
        ({"source-ref": "s3://bucket/../../secret.jpg"}, "expected a reference into the data set"),
        ({"source-ref": "/etc/hostname"}, "beside the manifest"),
        ({"anomaly-label": 7}, "line 17: expected source-ref and anomaly-label 0 or 1"),
        ({"anomaly-mask-ref": "x.png"}, "line 17"),
    ],
)
def test_a_wrong_line_of_a_manifest_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    root = layouts.lookout(tmp_path)
    line = {"source-ref": "training-images/normal-0.jpg", "anomaly-label": 0} | change
    with (root / "manifests" / "train.manifest").open("a") as manifest:
        manifest.write(json.dumps(line) + "\n")
    with pytest.raises(DatasetError, match=message):
        read(root, Kind.CLASSIFICATION)


def test_images_and_masks_serve_anomaly_detection_where_empty_masks_are_good_parts(tmp_path: Path) -> None:
    dataset = read(layouts.pairs(tmp_path, 48), Kind.ANOMALY)
    counts = _count(dataset)
    assert counts[Split.TRAIN][1] == 0
    assert all(counts[split][0] > 0 for split in Split)
    assert counts[Split.VALIDATION][1] > 0
    assert inspect_dataset(dataset) == ()


def test_a_defect_of_a_part_that_is_learnt_from_takes_no_part_in_anomaly_detection(tmp_path: Path) -> None:
    layouts.classes(tmp_path, 16)
    splits = [(f"{p.parent.name}/{p.name}", "test" if p.name > "p12" else "train") for p in tmp_path.rglob("*.png")]
    layouts.write_csv(tmp_path / "split.csv", ("file", "split"), splits)
    dataset = read(tmp_path, Kind.ANOMALY, part_regex=r"^(p\d\d)")
    learnt = {sample.part for sample in dataset.of(Split.TRAIN)}
    assert not any(sample.anomalous for sample in dataset.of(Split.TRAIN))
    assert not any(sample.part in learnt for sample in dataset.of(Split.VALIDATION, Split.TEST))


def test_good_parts_alone_serve_anomaly_detection_and_nothing_else(tmp_path: Path) -> None:
    for index in range(12):
        layouts.put(tmp_path / "normal" / f"{index}.png", layouts.picture(index))
    assert read(tmp_path, Kind.ANOMALY).classes == ("normal",)
    with pytest.raises(DatasetError, match=r"both normal and anomalous .* came only \['normal'\]"):
        read(tmp_path, Kind.CLASSIFICATION)


def test_copies_that_another_system_left_are_no_pictures(tmp_path: Path) -> None:
    layouts.classes(tmp_path)
    (tmp_path / "normal" / "._p00_normal.png").write_bytes(b"resource fork")
    assert len(read(tmp_path, Kind.CLASSIFICATION).samples) == 24
