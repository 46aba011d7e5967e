"""Tiny imitations of data sets as they are published, each in its publisher's own layout."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent import vision

SIDE = 48
CUT = slice(10, 14)


def picture(seed: int, *, cut: bool = False, light: int = 0) -> vision.RGB:
    """Return a surface [48, 48, 3] of its own, with a dark cut if asked."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 190, (8, 8), np.uint8)
    drawn = np.kron(coarse, np.ones((6, 6), np.uint8))[..., None].repeat(3, axis=-1) + np.uint8(light)
    if cut:
        drawn[CUT, CUT] = 10
    # Noise of any strength, so that a cut does not tell by how well the file is packed: the gate would notice.
    noise = rng.integers(0, int(rng.integers(36, 60)), drawn.shape, np.uint8)
    return np.asarray(drawn + noise, np.uint8)


def striped(seed: int) -> vision.RGB:
    """Return a surface [48, 48, 3] with a defect that two epochs find: stripes, as bright as what they hide."""
    drawn = picture(seed)
    rng = np.random.default_rng(seed + 10_000)
    side, place = 24, slice(12, 36)
    bright = float(drawn[place, place].mean())
    stripes = np.where(np.arange(side) // 4 % 2, 45, -45)[None, :, None]
    noise = rng.integers(-24, int(rng.integers(12, 36)), (side, side, 3))
    drawn[place, place] = np.clip(bright + stripes + noise, 0, 255)
    return drawn


def mask(*, cut: bool = True, value: int = 255) -> NDArray[np.uint8]:
    """Return what ``picture`` cut [48, 48]."""
    drawn = np.zeros((SIDE, SIDE), np.uint8)
    drawn[CUT, CUT] = value * cut
    return drawn


def put(path: Path, drawn: NDArray[np.uint8]) -> None:
    """Write a PNG or JPEG, as the name says, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    path.write_bytes(vision.encode_jpeg(drawn, 95) if jpeg else vision.encode_png(drawn))


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a table and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def classes(root: Path, count: int = 12, *, light: int = 0) -> Path:
    """Write normal/ and anomalous/, ``light`` brighter where anomalous."""
    for index in range(count):
        put(root / "normal" / f"p{index:02d}_normal.png", picture(index * 2))
        put(root / "anomalous" / f"p{index:02d}_anomalous.png", picture(index * 2 + 1, cut=True, light=light))
    return root


def pairs(root: Path, count: int = 16) -> Path:
    """Write images/ and masks/, every second one cut."""
    for index in range(count):
        put(root / "images" / f"{index}.png", picture(index, cut=index % 2 == 1))
        put(root / "masks" / f"{index}.png", mask(cut=index % 2 == 1))
    return root


def mvtec(root: Path, *, good: int = 16, tested: int = 5) -> Path:
    """Write a category as MVTec AD has them: numbers begin anew in each folder."""
    for index in range(good):
        put(root / "train/good" / f"{index:03d}.png", picture(index))
    for index in range(tested):
        put(root / "test/good" / f"{index:03d}.png", picture(100 + index))
        for number, name in enumerate(("cut", "dent"), 2):
            put(root / "test" / name / f"{index:03d}.png", picture(100 * number + index, cut=True))
            put(root / "ground_truth" / name / f"{index:03d}_mask.png", mask())
    return root


def visa(root: Path, categories: Iterable[str] = ("candle", "pcb1"), *, splits: bool = True) -> Path:
    """Write categories with split_csv/ beside them as VisA has them; masks number the defects."""
    one_class, two_classes = [], []
    for first, name in enumerate(categories):
        for index in range(20):
            anomalous, number = index >= 12, index if index < 12 else index - 12
            file = f"Anomaly/{number:03d}.JPG" if anomalous else f"Normal/{number:04d}.JPG"
            drawn = f"{name}/Data/Masks/Anomaly/{number:03d}.png" if anomalous else ""
            put(root / name / "Data/Images" / file, picture(1000 * first + index, cut=anomalous))
            if anomalous:
                put(root / drawn, mask(value=1 + index % 3))
            row = ("anomaly" if anomalous else "normal", f"{name}/Data/Images/{file}", drawn)
            one_class.append((name, "test" if anomalous or number >= 9 else "train", *row))
            two_classes.append((name, "test" if number % 3 == 0 else "train", *row))
    if splits:
        header = ("object", "split", "label", "image", "mask")
        write_csv(root / "split_csv/1cls.csv", header, one_class)
        write_csv(root / "split_csv/2cls_highshot.csv", header, two_classes)
    return root


def kolektor(root: Path) -> Path:
    """Write train/ and test/ as KolektorSDD2 has them: every picture with a mask, most of them empty."""
    for folder, first, count in (("train", 10000, 36), ("test", 20000, 8)):
        for index in range(count):
            cut = index % 2 == 1
            put(root / folder / f"{first + index}.png", picture(first + index, cut=cut))
            put(root / folder / f"{first + index}_GT.png", mask(cut=cut))
    return root


def lookout(root: Path, *, masks: bool = False, plain: bool = False) -> Path:
    """Write manifests as Lookout for Vision takes them, with pictures where a bucket's folders were copied to.

    Args:
        root: of the data set.
        masks: defects are drawn too.
        plain: the defects are ``striped`` ones.
    """
    for split, count in (("train", 16), ("test", 8)):
        lines = []
        for index in range(count):
            seed = index + 100 * (split == "test")
            cut = index % 2 == 1
            name = f"{split}ing-images/{'anomaly' if cut else 'normal'}-{index}.jpg"
            put(root / name, striped(seed) if plain and cut else picture(seed, cut=cut))
            lines.append(_line(f"s3://lookout-bucket/line/1/{name}", cut=cut))
            if masks and cut:
                drawn = f"mask-images/{split}-{index}.png"
                put(root / drawn, _coloured(index))
                lines[-1] |= _mask_of(f"s3://lookout-bucket/line/1/{drawn}")
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (root / "manifests").mkdir(exist_ok=True)
        (root / "manifests" / f"{split}.manifest").write_text(text)
    return root


_COLOURS = {"BACKGROUND": "#ffffff", "scratch": "#2ca02c", "dent": "#1f77b4"}


def _line(reference: str, *, cut: bool) -> dict[str, object]:
    about = {"class-name": "anomaly" if cut else "normal", "type": "groundtruth/image-classification", "confidence": 1}
    return {"source-ref": reference, "anomaly-label": int(cut), "anomaly-label-metadata": about}


def _mask_of(reference: str) -> dict[str, object]:
    colours = {
        str(index): {"class-name": name, "hex-color": colour, "confidence": 0.0}
        for index, (name, colour) in enumerate(_COLOURS.items())
    }
    about = {"internal-color-map": colours, "type": "groundtruth/semantic-segmentation"}
    return {"anomaly-mask-ref": reference, "anomaly-mask-ref-metadata": about}


def _coloured(index: int) -> NDArray[np.uint8]:
    """Return a white mask [48, 48, 3] with the cut in the colour of one of the two types."""
    colour = bytes.fromhex(list(_COLOURS.values())[1 + index % 2].removeprefix("#"))
    drawn = np.full((SIDE, SIDE, 3), 255, np.uint8)
    drawn[CUT, CUT] = np.frombuffer(colour, np.uint8)
    return drawn
