"""``data prepare``: from whatever people have to a clean data set that a training takes."""

import csv
import json
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from cloud_tools.cli import build_app
from cloud_tools.datasets import DatasetError, Level, Split, inspect_dataset, read
from cloud_tools.errors import CloudError
from edge_agent import vision
from edge_agent.formats import Kind
from tests.fakes import layouts


def prepare(data: Path, out: Path, *arguments: str) -> list[dict[str, Any]]:
    """Run the verb and return what it says of each category."""
    command = ["data", "prepare", "--data", str(data), "--out", str(out), *arguments, "--json"]
    result = CliRunner().invoke(build_app(), command)
    if result.exception:
        raise result.exception
    categories: list[dict[str, Any]] = json.loads(result.stdout)["categories"]
    return categories


def rows(root: Path) -> list[dict[str, str]]:
    with (root / "split.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def pictures(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.suffix in (".png", ".jpg")}


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("layout", [layouts.mvtec, layouts.kolektor, lambda root: layouts.visa(root) / "candle"])
def test_a_published_data_set_becomes_one_of_ours_for_every_kind(tmp_path: Path, layout: Any, kind: Kind) -> None:
    source = layout(tmp_path / "source")
    (told,) = prepare(source, tmp_path / "out", "--kind", kind.value)
    before, after = read(source, kind), read(tmp_path / "out", kind)
    assert told["sha256"] == after.digest()
    assert told["source_sha256"] == before.digest()
    assert told["pictures"] == len(after.samples) == len(before.samples)
    known = {sample.file: sample for sample in before.samples}
    made = {sample.file: sample for sample in after.samples}
    assert set(made) == {row["file"] for row in rows(tmp_path / "out")}
    for row in rows(tmp_path / "out"):
        original, copy = known[row["source"]], made[row["file"]]
        assert (copy.anomalous, copy.split, row["split"]) == (original.anomalous, original.split, copy.split.value)
        assert copy.content() == original.content()
        if kind is not Kind.CLASSIFICATION:
            assert (copy.truth(48, 48) == original.truth(48, 48)).all()


def test_what_is_there_twice_is_kept_once_for_the_test_and_listed(tmp_path: Path) -> None:
    root = layouts.classes(tmp_path / "source")
    for index in (1, 2):
        layouts.put(root / "normal" / f"again{index}.png", layouts.picture(0))
    layouts.write_csv(root / "split.csv", ("file", "split"), [("normal/again2.png", "test")])
    (told,) = prepare(root, tmp_path / "out")
    assert {(one["file"], one["reason"], one["same_as"]) for one in told["left_out"]} == {
        (f"normal/{name}.png", "duplicate", "normal/again2.png") for name in ("p00_normal", "again1")
    }
    assert told["pictures"] == 24
    assert not (tmp_path / "out" / "normal" / "again1.png").exists()


def test_a_picture_with_two_labels_is_kept_under_none_of_them(tmp_path: Path) -> None:
    root = layouts.classes(tmp_path / "source")
    layouts.put(root / "anomalous" / "doubtful.png", layouts.picture(0))
    (told,) = prepare(root, tmp_path / "out")
    assert {one["file"] for one in told["left_out"]} == {"anomalous/doubtful.png", "normal/p00_normal.png"}
    assert {one["reason"] for one in told["left_out"]} == {"two labels"}


def test_what_cannot_be_read_and_what_is_badly_masked_is_left_out_and_listed(tmp_path: Path) -> None:
    root = layouts.pairs(tmp_path / "source", 40)
    (root / "images" / "3.png").write_bytes(b"\x89PNG torn")
    (root / "masks" / "4.png").unlink()
    (root / "masks" / "5.png").write_bytes(b"\x89PNG torn")
    layouts.put(root / "masks" / "7.png", layouts.mask()[:40])
    (told,) = prepare(root, tmp_path / "out")
    assert {one["file"]: one["reason"].partition(":")[0] for one in told["left_out"]} == {
        "images/3.png": "unreadable",
        "images/4.png": "mask",
        "images/5.png": "mask",
        "images/7.png": "mask",
    }
    assert inspect_dataset(read(tmp_path / "out", Kind.SEGMENTATION)) == ()


def test_pictures_are_turned_upright_for_programs_that_do_not_know_exif(tmp_path: Path) -> None:
    root = layouts.classes(tmp_path / "source")
    jpeg = vision.encode_jpeg(layouts.picture(5)[:40], 95)
    (root / "normal" / "turned.jpg").write_bytes(_with_orientation(jpeg, 6))
    (root / "normal" / "upright.jpg").write_bytes(_with_orientation(vision.encode_jpeg(layouts.picture(6), 95), 1))
    (told,) = prepare(root, tmp_path / "out")
    assert told["turned"] == 1
    made = pictures(tmp_path / "out")
    raw = cv2.imdecode(
        np.frombuffer(made["normal/turned.png"], np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    )
    assert raw.shape[:2] == (48, 40)
    assert (raw[..., ::-1] == vision.decode((root / "normal" / "turned.jpg").read_bytes())).all()
    assert made["normal/upright.jpg"] == (root / "normal" / "upright.jpg").read_bytes()


def _with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """Return a JPEG with an EXIF segment that holds an orientation alone."""
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def test_links_share_the_disk_and_leave_the_source_as_it_is(tmp_path: Path) -> None:
    root = layouts.classes(tmp_path / "source")
    before = pictures(root)
    prepare(root, tmp_path / "out", "--link")
    first = tmp_path / "out" / "normal" / "p00_normal.png"
    assert first.stat().st_ino == (root / "normal" / "p00_normal.png").stat().st_ino
    assert pictures(root) == before


def test_several_categories_are_prepared_side_by_side(tmp_path: Path) -> None:
    layouts.visa(tmp_path / "VisA")
    told = prepare(tmp_path / "VisA", tmp_path / "out")
    assert [one["category"] for one in told] == ["candle", "pcb1"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["candle", "pcb1"]
    document = json.loads((tmp_path / "out" / "pcb1" / "dataset.json").read_text())
    assert document["source"] == {"name": "pcb1", "layout": "VisA", "documents": []}
    assert document["schema"] == "edge-cloud/dataset/1"
    assert str(tmp_path) not in json.dumps(document)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(CloudError, match="expected a new or empty folder"):
        prepare(layouts.classes(tmp_path / "source"), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_failure_half_way_leaves_nothing(tmp_path: Path) -> None:
    layouts.classes(tmp_path / "source" / "bolt")
    layouts.classes(tmp_path / "source" / "nut")
    (tmp_path / "source" / "nut" / "split.csv").write_text("wrong\n")
    with pytest.raises(DatasetError, match="expected a column file"):
        prepare(tmp_path / "source", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def _film(path: Path, seeds: range, *, cut: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 1.0, (layouts.SIDE, layouts.SIDE))
    for seed in seeds:
        film.write(layouts.picture(seed, cut=cut)[..., ::-1])
    film.release()
    return path


def test_a_film_of_good_parts_is_enough_for_anomaly_detection(tmp_path: Path) -> None:
    film = _film(tmp_path / "morning.avi", range(120))
    (told,) = prepare(film, tmp_path / "out", "--label", "normal", "--every", "2")
    dataset = read(tmp_path / "out", Kind.ANOMALY)
    assert (told["kind"], told["pictures"], told["source"]["name"]) == ("anomaly", 60, "morning.avi")
    assert told["parts"] == 12
    assert not [finding for finding in inspect_dataset(dataset) if finding.level is Level.BLOCK]
    sides: dict[str, set[Split]] = {}
    for sample in dataset.samples:
        sides.setdefault(sample.part, set()).add(sample.split)
    assert all(len(splits) == 1 for splits in sides.values())


def test_films_in_folders_are_named_by_them(tmp_path: Path) -> None:
    _film(tmp_path / "line" / "normal" / "a.avi", range(60))
    _film(tmp_path / "line" / "scratch" / "b.avi", range(100, 160), cut=True)
    (told,) = prepare(tmp_path / "line", tmp_path / "out", "--every", "1")
    assert told["kind"] == "classification"
    assert {label: sum(counts.values()) for label, counts in told["classes"].items()} == {"normal": 60, "scratch": 60}


@pytest.mark.parametrize(
    ("label", "content", "message"),
    [
        ("", None, "expected --label"),
        ("../up", None, "expected --label normal or the name of a class"),
        ("normal", b"no film", "expected a video"),
    ],
)
def test_a_film_that_nobody_names_and_a_file_that_is_none_are_refused(
    tmp_path: Path, label: str, content: bytes | None, message: str
) -> None:
    film = _film(tmp_path / "a.avi", range(5))
    if content is not None:
        film.write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        prepare(film, tmp_path / "out", "--label", label)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_pictures_is_enough_where_somebody_says_what_they_show(tmp_path: Path) -> None:
    for index in range(16):
        layouts.put(tmp_path / "good ones" / f"{index}.png", layouts.picture(index))
    (told,) = prepare(tmp_path / "good ones", tmp_path / "out", "--label", "good", "--link")
    assert (told["kind"], told["pictures"], told["source"]["name"]) == ("anomaly", 16, "good ones")
    assert {sample.label for sample in read(tmp_path / "out", Kind.ANOMALY).samples} == {"good"}
    assert set(pictures(tmp_path / "good ones").values()) == set(pictures(tmp_path / "out").values())
    with pytest.raises(DatasetError, match=r"expected normal/ and anomalous/ .* came \['0.png'"):
        prepare(tmp_path / "good ones", tmp_path / "other")


def test_a_defect_of_a_part_that_is_learnt_from_is_listed(tmp_path: Path) -> None:
    root = layouts.classes(tmp_path / "source", 20)
    (told,) = prepare(root, tmp_path / "out", "--kind", "anomaly", "--part-regex", r"^(p\d\d)")
    reasons = {one["reason"] for one in told["left_out"]}
    assert reasons == {"a good picture of its part is learnt from"}
    assert told["pictures"] + len(told["left_out"]) == 40
