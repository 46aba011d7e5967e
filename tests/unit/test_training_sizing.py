"""How large the input is and how often the pictures are learnt from, where nobody says."""

from pathlib import Path

import numpy as np
import pytest

from cloud_tools.datasets import Dataset, read
from cloud_tools.training.methods import METHODS, method_of
from cloud_tools.training.options import TrainingOptions
from cloud_tools.training.sizing import side_for, sized
from edge_agent import vision
from edge_agent.formats import Kind


def _pictures(root: Path, *sizes: tuple[int, int]) -> Dataset:
    """Return a data set of good and bad pictures of these widths and heights, a split of each."""
    rows = ["file,split"]
    for label in ("normal", "anomalous"):
        (root / label).mkdir(parents=True)
        for index, (width, height) in enumerate(sizes):
            content = vision.encode_png(np.zeros((height, width, 3), np.uint8)) if width else b"torn"
            (root / label / f"{index}.png").write_bytes(content)
            rows.append(f"{label}/{index}.png,train")
    (root / "split.csv").write_text("\n".join(rows) + "\n")
    return read(root, Kind.CLASSIFICATION, seed=0, part_regex="", only="")


@pytest.mark.parametrize(
    ("own", "side"), [(0, 192), (40, 192), (192, 192), (193, 224), (224, 224), (300, 320), (321, 320), (4000, 320)]
)
def test_the_input_is_as_large_as_the_pictures_within_bounds_and_fits_the_trunk(own: float, side: int) -> None:
    assert side_for(own) == side


def test_the_longer_side_of_most_pictures_counts_and_torn_files_do_not(tmp_path: Path) -> None:
    dataset = _pictures(tmp_path, (100, 250), (250, 90), (240, 240), (0, 0), (0, 0), (0, 0), (0, 0))
    assert sized(method_of("classification"), dataset, TrainingOptions()).size == 256


def test_without_a_picture_that_can_be_read_there_is_a_size_all_the_same(tmp_path: Path) -> None:
    assert sized(method_of("segmentation"), _pictures(tmp_path, (0, 0)), TrainingOptions()).size == 192


def test_what_is_told_stays_and_what_is_not_follows_from_the_pictures(tmp_path: Path) -> None:
    dataset, method = _pictures(tmp_path, (64, 64)), method_of("classification")
    told = TrainingOptions(size=64, epochs=3)
    assert sized(method, dataset, told) == told
    assert sized(method, dataset, TrainingOptions()) == TrainingOptions(size=192, epochs=40)


def test_what_learns_from_good_parts_alone_gets_its_own_size_and_keeps_its_epochs(tmp_path: Path) -> None:
    dataset = _pictures(tmp_path, (64, 64))._replace(good_only=True)
    assert sized(method_of("patchcore"), dataset, TrainingOptions()) == TrainingOptions(size=256)
    assert sized(method_of("dfm"), dataset, TrainingOptions(epochs=20)) == TrainingOptions(size=256, epochs=20)


@pytest.mark.parametrize("name", ["classification", "segmentation"])
def test_the_work_is_bounded_whatever_the_number_of_pictures(name: str) -> None:
    method = METHODS[name]
    for pictures, side in ((611, 192), (324, 320), (173, 320)):
        epochs = method.epochs_for(pictures, side * side)
        assert epochs * pictures * side * side == pytest.approx(method.sight, rel=0.06)
    assert method.epochs_for(0, 192 * 192) == method.epochs_for(10, 192 * 192) == 40
    assert method.epochs_for(1_000_000, 320 * 320) == 4
