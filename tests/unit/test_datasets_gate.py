"""The hygiene gate: a fault that was planted is found, with its pictures, and a clean data set passes."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cloud_tools.datasets import DatasetError, Finding, Level, Split, categories, inspect_dataset, read
from cloud_tools.datasets import looks as looks_room
from cloud_tools.datasets.phash import close_pairs, phash
from cloud_tools.datasets.reading import own_kind
from cloud_tools.datasets.split import look_alikes
from edge_agent import vision
from edge_agent.formats import Kind
from tests.fakes import layouts


def _found(root: Path, kind: Kind, check: str, **options: Any) -> list[Finding]:
    return [finding for finding in inspect_dataset(read(root, kind, **options)) if finding.check == check]


def _split(root: Path, test: set[str]) -> None:
    """Put the pictures of these names into the test."""
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    rows = [(file, "test" if Path(file).name in test else "train") for file in files]
    layouts.write_csv(root / "split.csv", ("file", "split"), rows)


def _turned(picture: vision.RGB, bits: int) -> vision.RGB:
    """Return the picture, changed so little that just so many bits of its hash are others."""
    first = phash(picture)
    for change in _changes(picture):
        if (phash(change) ^ first).bit_count() == bits:
            return change
    raise AssertionError(f"no change of {bits} bits was found")


def _changes(picture: vision.RGB) -> Iterator[vision.RGB]:
    rng = np.random.default_rng(0)
    for strength in np.repeat(np.linspace(2, 40, 20), 20):
        clouds = cv2.resize(rng.normal(0, strength, (6, 6)), (layouts.SIDE, layouts.SIDE))
        yield np.clip(picture + clouds[..., None], 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("bits", "level"), [(2, Level.BLOCK), (4, Level.WARN), (6, None)])
def test_how_much_two_pictures_differ_decides_whether_they_block(
    tmp_path: Path, bits: int, level: Level | None
) -> None:
    layouts.classes(tmp_path)
    layouts.put(tmp_path / "normal" / "again.png", _turned(layouts.picture(0), bits))
    _split(tmp_path, {"again.png", "p10_normal.png", "p11_normal.png", "p11_anomalous.png"})
    found = _found(tmp_path, Kind.CLASSIFICATION, "near duplicates")
    assert [finding.level for finding in found] == ([] if level is None else [level])
    assert all({"normal/again.png", "normal/p00_normal.png"} <= set(finding.files) for finding in found)


def test_a_picture_that_was_only_packed_anew_is_an_exact_duplicate(tmp_path: Path) -> None:
    layouts.classes(tmp_path)
    _, packed = cv2.imencode(".png", layouts.picture(0)[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    (tmp_path / "normal" / "again.png").write_bytes(packed.tobytes())
    _split(tmp_path, {"again.png", "p11_normal.png", "p11_anomalous.png"})
    (finding,) = _found(tmp_path, Kind.CLASSIFICATION, "duplicates")
    assert finding.level is Level.BLOCK
    assert set(finding.files) == {"normal/again.png", "normal/p00_normal.png"}


def test_an_anomalous_picture_with_an_empty_mask_blocks(tmp_path: Path) -> None:
    layouts.mvtec(tmp_path)
    layouts.put(tmp_path / "ground_truth/cut/002_mask.png", layouts.mask(cut=False))
    (finding,) = _found(tmp_path, Kind.ANOMALY, "masks")
    assert (finding.level, finding.files) == (Level.BLOCK, ("test/cut/002.png",))
    assert "empty, the picture is anomalous" in finding.message


def test_a_good_picture_with_a_mask_that_marks_something_blocks(tmp_path: Path) -> None:
    layouts.lookout(tmp_path, masks=True)
    manifest = tmp_path / "manifests" / "train.manifest"
    lines = manifest.read_text().splitlines()
    lines[1] = lines[1].replace('"anomaly-label": 1', '"anomaly-label": 0')
    manifest.write_text("\n".join(lines) + "\n")
    (finding,) = _found(tmp_path, Kind.SEGMENTATION, "masks")
    assert finding.level is Level.BLOCK
    assert "it marks a defect, the picture is good" in finding.message


@pytest.mark.parametrize("kind", [Kind.SEGMENTATION, Kind.ANOMALY])
def test_masks_that_number_their_defects_block_and_make_no_good_parts(tmp_path: Path, kind: Kind) -> None:
    """0 and 1 look black: all parts would be good, the defective ones learnt from, and every figure perfect."""
    layouts.pairs(tmp_path, 24)
    masks = sorted((tmp_path / "masks").iterdir())
    for path in masks[:-1]:
        numbered = (vision.decode(path.read_bytes()).max(axis=-1) > 0).astype(np.uint8)
        path.write_bytes(vision.encode_png(numbered))
    (finding,) = (f for f in _found(tmp_path, kind, "masks") if f.level is Level.BLOCK)
    assert "it marks nothing, for it holds only values up to 1: defects are above 127" in finding.message


def test_without_any_mask_that_marks_a_defect_there_is_nothing_to_segment(tmp_path: Path) -> None:
    layouts.pairs(tmp_path)
    for path in (tmp_path / "masks").iterdir():
        path.write_bytes(vision.encode_png(np.ones((8, 8), np.uint8)))
    with pytest.raises(DatasetError, match=r"masks in which defects are white \(above 127\), none marks any"):
        read(tmp_path, Kind.SEGMENTATION)


def test_a_defect_without_its_mask_blocks_where_others_have_theirs(tmp_path: Path) -> None:
    layouts.mvtec(tmp_path)
    (tmp_path / "ground_truth/cut/002_mask.png").unlink()
    (finding,) = _found(tmp_path, Kind.ANOMALY, "masks")
    assert (finding.level, finding.files) == (Level.BLOCK, ("test/cut/002.png",))


@pytest.mark.parametrize("what", ["file size", "height", "mean brightness"])
def test_what_alone_predicts_the_label_blocks(tmp_path: Path, what: str) -> None:
    layouts.classes(tmp_path, 16, light=40 if what == "mean brightness" else 0)
    for number, path in enumerate(sorted((tmp_path / "anomalous").iterdir())):
        drawn = layouts.picture(number * 2 + 1, cut=True)
        if what == "height":
            layouts.put(path, drawn[:-6])
        if what == "file size":
            _, packed = cv2.imencode(".png", drawn[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 0])
            path.write_bytes(packed.tobytes())
    found = _found(tmp_path, Kind.CLASSIFICATION, "artefact")
    assert any(finding.level is Level.BLOCK and finding.message.startswith(what) for finding in found)


def test_a_hint_at_the_label_warns(tmp_path: Path) -> None:
    layouts.classes(tmp_path, 24)
    for path in sorted((tmp_path / "anomalous").iterdir())[:17]:
        layouts.put(path, vision.decode(path.read_bytes())[:-6])
    found = _found(tmp_path, Kind.CLASSIFICATION, "artefact")
    assert ("height", Level.WARN) in {(finding.message.partition(" alone")[0], finding.level) for finding in found}


def test_a_picture_beyond_the_limit_of_pixels_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layouts.classes(tmp_path)
    (tmp_path / "normal" / "bomb.png").write_bytes(_announcing(60_000, 60_000))
    decoded = []
    decode = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda content, flags: decoded.append(len(content)) or decode(content, flags))
    (finding,) = _found(tmp_path, Kind.CLASSIFICATION, "unreadable")
    assert finding.files == ("normal/bomb.png",)
    assert "at most 16777216 pixels, came 60000 x 60000" in finding.message
    assert len((tmp_path / "normal" / "bomb.png").read_bytes()) not in decoded


def _announcing(width: int, height: int) -> bytes:
    """Return a small PNG whose header announces a picture that would fill the memory."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100_000))), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_file_is_looked_at_once_and_again_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layouts.classes(tmp_path)
    looked = []
    measured = looks_room.phash
    monkeypatch.setattr(looks_room, "phash", lambda picture: looked.append(1) or measured(picture))
    inspect_dataset(read(tmp_path, Kind.CLASSIFICATION))
    assert len(looked) == 24
    layouts.put(tmp_path / "normal" / "p00_normal.png", layouts.picture(777))
    inspect_dataset(read(tmp_path, Kind.CLASSIFICATION))
    assert len(looked) == 25


def test_pictures_that_look_like_a_third_one_are_one_group(tmp_path: Path) -> None:
    first = layouts.picture(3)
    second = _turned(first, 2)
    for name, drawn in (("a", first), ("b", layouts.picture(4)), ("c", second), ("d", first)):
        layouts.put(tmp_path / "normal" / f"{name}.png", drawn)
    for index in range(4):
        layouts.put(tmp_path / "anomalous" / f"x{index}.png", layouts.picture(50 + index, cut=True))
    samples = read(tmp_path, Kind.CLASSIFICATION).samples
    groups = dict(zip((sample.path.stem for sample in samples), look_alikes(samples), strict=True))
    assert groups["a"] == groups["c"] == groups["d"]
    assert len({groups[name] for name in ("a", "b", "x0", "x1")}) == 4


def test_close_pairs_are_those_of_counting_bits_one_by_one() -> None:
    rng = np.random.default_rng(0)
    hashes = [int(value) for value in rng.integers(0, 1 << 63, 200, np.uint64)]
    hashes += [value ^ (1 << int(bit)) ^ 1 for value, bit in zip(hashes[:100], rng.integers(1, 63, 100), strict=True)]
    found = {
        (int(i), int(j), int(bits))
        for close in close_pairs(hashes, hashes, 4)
        for i, j, bits in zip(close.left, close.right, close.bits, strict=True)
    }
    expected = {(i, j, (a ^ b).bit_count()) for i, a in enumerate(hashes) for j, b in enumerate(hashes)}
    assert found == {pair for pair in expected if pair[2] <= 4}


@pytest.mark.parametrize(
    ("layout", "place"),
    [(layouts.pairs, "masks"), (layouts.mvtec, "ground_truth/cut"), (layouts.kolektor, "train")],
)
def test_a_mask_that_belongs_to_no_picture_is_named(tmp_path: Path, layout: Any, place: str) -> None:
    layout(tmp_path)
    layouts.put(tmp_path / place / "stray_GT.png", layouts.mask())
    (finding,) = [f for f in inspect_dataset(read(tmp_path, own_kind(tmp_path))) if f.check == "masks"]
    assert finding.level is Level.WARN
    assert "1 masks belong to no picture" in finding.message
    assert "stray_GT.png" in finding.message


def test_pictures_of_another_format_are_not_passed_over_in_silence(tmp_path: Path) -> None:
    layouts.classes(tmp_path)
    (tmp_path / "normal" / "scan.bmp").write_bytes(b"BM")
    (finding,) = _found(tmp_path, Kind.CLASSIFICATION, "formats")
    assert (finding.level, finding.message) == (Level.WARN, "1 pictures are neither JPEG nor PNG: scan.bmp")


def test_boards_of_one_design_on_both_sides_block_though_no_picture_repeats(real_images: Path) -> None:
    designs = {"only": "12000|13000|44000|50600"}
    boards = real_images / "pcb/segmentation"
    (finding,) = _found(boards, Kind.SEGMENTATION, "parts", part_regex=r"^(\d{5})", **designs)
    assert finding.level is Level.BLOCK
    assert finding.message == "3 of 4 parts stand in more than one split: 13000, 44000, 50600"
    assert not _found(boards, Kind.SEGMENTATION, "parts", **designs)


def test_twelve_paper_types_are_twelve_categories(real_images: Path) -> None:
    found = categories(real_images / "paper/anomaly")
    assert len(found) == 12
    sets = [read(path, Kind.ANOMALY) for path in found.values()]
    assert sum(not any(not s.anomalous for s in dataset.of(Split.TEST)) for dataset in sets) == 2
    assert sum(len(dataset.samples) for dataset in sets) == 1133
