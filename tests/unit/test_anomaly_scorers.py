"""Unsupervised scorers against answers worked out by hand, and the decision on their distances."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from cloud_tools.datasets import DatasetError, Level, Split, inspect_dataset, read
from cloud_tools.training.calibration import decide_distance
from cloud_tools.training.limits import good_limit
from edge_agent import vision
from edge_agent.formats import Kind
from edge_agent.vision import calibrate

torch = pytest.importorskip("torch", reason="the extra train is not installed")

from cloud_tools.training.anomaly.dfm import Dfm, Subspace  # noqa: E402 - they need torch
from cloud_tools.training.anomaly.gmm import Gmm  # noqa: E402
from cloud_tools.training.anomaly.network import AnomalyNetwork, strangest, strangest_count  # noqa: E402
from cloud_tools.training.anomaly.padim import Padim  # noqa: E402
from cloud_tools.training.anomaly.patchcore import PatchCore, greedy_coreset  # noqa: E402

_LEVELS = (2, 3, 3)
_SCORERS = [partial(PatchCore, _LEVELS), Padim, Dfm, Gmm]


def _features(count: int, seed: int) -> Any:
    return torch.randn(count, 6, 5, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scorer", _SCORERS, ids=["patchcore", "padim", "dfm", "gmm"])
def test_a_strange_patch_scores_higher_and_is_found_in_its_place(scorer: Callable[[], Any]) -> None:
    made = scorer()
    made.learn(_features(24, 1), _features(8, 2), 0)
    plain = _features(6, 3)
    strange = plain.clone()
    strange[:, 4, 1] += 9.0
    score, grid = made(strange)
    assert (score > made(plain)[0]).all()
    assert grid.shape == (6, 6, 5)
    assert [divmod(int(place), 5) for place in grid.flatten(1).argmax(1)] == [(4, 1)] * 6


@pytest.mark.parametrize("scorer", _SCORERS, ids=["patchcore", "padim", "dfm", "gmm"])
def test_the_same_seed_learns_the_same(scorer: Callable[[], Any]) -> None:
    answers = []
    for _ in range(2):
        made = scorer()
        made.learn(_features(12, 1), _features(4, 2), 5)
        answers.append(made(_features(4, 3))[0])
    torch.testing.assert_close(*answers, rtol=1e-6, atol=1e-6)


def test_the_coreset_takes_the_farthest_patch_first() -> None:
    patches = torch.tensor([[0.0], [0.1], [0.2], [10.0], [5.0]])
    chosen = greedy_coreset(patches, 3, torch.Generator().manual_seed(0)).tolist()
    assert set(chosen) >= {3}
    assert len({float(patches[i, 0]) // 3 for i in chosen}) == 3
    assert len(greedy_coreset(patches, 99, torch.Generator().manual_seed(0))) == 5


def test_patchcore_measures_from_the_nearest_patch_of_another_good_part() -> None:
    made = PatchCore([3, 5], 10 * 30)
    good, held, others = _features(10, 1), _features(6, 2), _features(3, 4)
    made.learn(good, held, 0)
    every = good.flatten(0, 2)
    apart = [torch.cdist(good[i].flatten(0, 1), torch.cat([good[:i], good[i + 1 :]]).flatten(0, 2)) for i in range(10)]
    near = torch.stack([*(one.amin(1) for one in apart), *torch.cdist(held.flatten(1, 2), every).amin(2)])
    wanted = torch.cdist(others.flatten(1, 2), every).amin(2)
    wanted = (wanted - near.mean()) / (near.amax(1).mean() - near.mean())
    torch.testing.assert_close(made(others)[1].flatten(1), wanted, rtol=1e-3, atol=1e-3)


def test_patchcore_learns_one_good_part_by_what_was_kept_apart() -> None:
    made = PatchCore([8])
    made.learn(_features(1, 1), _features(2, 2), 0)
    assert made(_features(3, 3))[0].isfinite().all()


def test_patchcore_sees_what_only_its_fine_level_shows_however_wide_the_deep_ones_are() -> None:
    made = PatchCore([2, 40, 60])
    good, held, plain = (torch.randn(n, 6, 5, 102, generator=torch.Generator().manual_seed(n)) for n in (24, 8, 6))
    made.learn(good, held, 0)
    strange = plain.clone()
    strange[:, 4, 1, :2] += 4.0
    assert made(strange)[0].amin() > made(plain)[0].amax()
    joined = PatchCore([102])
    joined.learn(good, held, 0)
    assert joined(strange)[0].amin() < joined(plain)[0].amax(), "one bank of all levels misses it"


def test_the_score_is_the_mean_of_the_highest_hundredth() -> None:
    grid = torch.zeros(1, 20, 20)
    grid[0, 3, :4] = torch.tensor([8.0, 6.0, 4.0, 2.0])
    grid[0, 5, 5] = 1.0
    assert strangest(grid, strangest_count(grid[..., None])).tolist() == [5.0]
    assert strangest_count(grid[:, :5, :5, None]) == 1


def test_padim_with_many_pictures_is_the_mahalanobis_distance_of_each_place() -> None:
    good, others = _features(4000, 1), _features(3, 2)
    made = Padim(channels=8)
    made.learn(good, good[:2], 0)
    place = good[:, 2, 3].double()
    apart = others[:, 2, 3].double() - place.mean(0)
    wanted = (apart @ torch.linalg.inv(torch.cov(place.T)) * apart).sum(1).sqrt()
    torch.testing.assert_close(made(others)[1][:, 2, 3].double(), wanted, rtol=0.02, atol=0.0)


def test_a_subspace_rebuilds_what_lies_in_it_and_nothing_else() -> None:
    rows = torch.zeros(100, 3)
    rows[:, :2] = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    made = Subspace()
    made.learn(rows)
    assert made.components.shape == (3, 2)
    distances = made(torch.tensor([[7.0, -3.0, 0.0], [1.0, 1.0, 2.0]]))
    torch.testing.assert_close(distances, torch.tensor([0.0, 2.0]), rtol=1e-4, atol=1e-4)


def test_a_mixture_measures_from_the_nearest_component() -> None:
    good = _features(40, 1)
    good[:20] += 12.0
    made = Gmm(components=2)
    made.learn(good, good[:2], 0)
    centres = torch.stack([torch.full((1, 1, 8), value) for value in (0.0, 12.0, 6.0)])
    near_one, near_other, between = made(centres)[0].tolist()
    assert max(near_one, near_other) < 3 < between


class _Shades(torch.nn.Module):
    """Features are the picture's own shades, four pixels apart."""

    def forward(self, image: Any) -> Any:
        return image[:, ::4, ::4, :1].float()

    def of(self, images: Any) -> Any:
        return self(torch.from_numpy(images))


class _Shade(torch.nn.Module):
    def forward(self, features: Any) -> Any:
        return features.amax((1, 2, 3)), features[..., 0]


def _shades(count: int, seed: int) -> Any:
    return np.random.default_rng(seed).normal(80, 9, (count, 96, 96, 3)).astype(np.uint8)


def _mapped(held: Any) -> AnomalyNetwork:
    network = AnomalyNetwork(cast("Any", _Shades()), _Shade(), cast("Any", torch.nn.Identity()))
    network.calibrate_map(network.patches.of(held), held.shape[1:3])
    return network


def test_the_map_of_good_parts_is_below_its_limit_and_that_of_a_strange_patch_above_it() -> None:
    network = _mapped(_shades(12, 0))
    plain = _shades(6, 1)
    strange = plain.copy()
    strange[:, 40:48, 40:48] = 200
    assert (network(torch.from_numpy(plain))[1] < 0).double().mean() > 0.999
    marked = network(torch.from_numpy(strange))[1] >= 0
    assert marked[:, 41:47, 41:47].all()
    assert marked[:, :32].double().mean() < 0.001


def test_a_good_part_that_is_unlike_the_others_does_not_hide_defects_from_the_map() -> None:
    held = _shades(12, 0)
    strange = np.concatenate([held, np.full((1, 96, 96, 3), 255, np.uint8)])
    limits = [float(-network.offset / network.gain) for network in (_mapped(held), _mapped(strange))]
    assert limits[1] == pytest.approx(limits[0])


def test_how_high_a_map_reaches_is_the_mean_of_the_highest_thousandth_of_what_is_drawn() -> None:
    network = _mapped(_shades(12, 0))
    picture = np.zeros((1, 96, 96, 3), np.uint8)
    picture[:, 48, 48] = 100
    drawn = np.sort(((network(torch.from_numpy(picture))[1] - network.offset) / network.gain).numpy().ravel())
    assert network.reach(picture)[0] == pytest.approx(drawn[-9:].mean(), rel=1e-4)
    assert 60 < network.reach(picture)[0] < 100


def test_good_parts_alone_set_a_threshold_of_one_half() -> None:
    raw = np.random.default_rng(0).normal(40, 3, 30)
    decision = decide_distance(np.zeros(30, bool), raw)
    assert decision.threshold == 0.5
    assert calibrate(float(np.median(raw)), decision.calibration) == pytest.approx(0.047, abs=0.001)
    assert calibrate(good_limit(raw), decision.calibration) == pytest.approx(0.5)


def test_with_defects_in_validation_the_unit_of_a_distance_does_not_matter() -> None:
    raw = np.concatenate([np.random.default_rng(0).normal(40, 3, 30), np.random.default_rng(1).normal(60, 3, 30)])
    truth = np.arange(60) >= 30
    one, other = decide_distance(truth, raw), decide_distance(truth, raw / 1000)
    assert other.threshold == pytest.approx(one.threshold, abs=1e-5)
    for value in raw:
        assert calibrate(value / 1000, other.calibration) == pytest.approx(calibrate(value, one.calibration), abs=1e-6)


def _write(root: Path, folder: str, count: int, *, start: int = 0) -> None:
    (root / folder).mkdir(parents=True)
    for index in range(count):
        noise = np.random.default_rng((start, index)).integers(0, 256, (16, 16, 3), np.uint8)
        picture = np.kron(noise, np.ones((3, 3, 1), np.uint8))
        (root / folder / f"{index:02d}.png").write_bytes(vision.encode_png(picture))


def _set(root: Path) -> Path:
    for number, (folder, count) in enumerate({"train/good": 16, "test/good": 4, "test/cut": 5}.items()):
        _write(root, folder, count, start=number)
    (root / "ground_truth/cut").mkdir(parents=True)
    for index in range(5):
        mask = np.zeros((48, 48), np.uint8)
        mask[4:9, 4:9] = 255
        (root / f"ground_truth/cut/{index:02d}_mask.png").write_bytes(vision.encode_png(mask))
    return root


def test_a_quarter_of_the_good_parts_is_held_out_and_test_stays_test(tmp_path: Path) -> None:
    dataset = read(_set(tmp_path), Kind.ANOMALY)
    assert [len(dataset.of(split)) for split in Split] == [12, 4, 9]
    assert not any(sample.anomalous for sample in dataset.of(Split.TRAIN, Split.VALIDATION))
    assert (dataset.classes, dataset.normal_classes) == (("good", "cut"), ("good",))
    assert all(sample.truth(48, 48).sum() == 25 for sample in dataset.samples if sample.anomalous)
    assert inspect_dataset(dataset) == ()


def test_a_given_split_goes_before_the_folders(tmp_path: Path) -> None:
    _set(tmp_path)
    rows = ["test/cut/00.png,validation", "train/good/00.png,validation", "train/good/01.png,test"]
    (tmp_path / "split.csv").write_text("file,split\n" + "\n".join(rows) + "\n")
    splits = {sample.file: sample.split for sample in read(tmp_path, Kind.ANOMALY).samples}
    assert splits["test/cut/00.png"] is splits["train/good/00.png"] is Split.VALIDATION
    assert splits["train/good/01.png"] is splits["test/good/00.png"] is Split.TEST
    assert splits["train/good/02.png"] is Split.TRAIN


def test_validation_folders_may_hold_defects(tmp_path: Path) -> None:
    _set(tmp_path)
    _write(tmp_path, "validation/good", 5, start=7)
    _write(tmp_path, "validation/cut", 3, start=8)
    held = read(tmp_path, Kind.ANOMALY).of(Split.VALIDATION)
    assert sorted(sample.anomalous for sample in held) == [False] * 5 + [True] * 3


def test_a_defect_among_the_good_parts_stops_the_training(tmp_path: Path) -> None:
    _set(tmp_path)
    _write(tmp_path, "train/cut", 2, start=9)
    found = {(f.check, f.level) for f in inspect_dataset(read(tmp_path, Kind.ANOMALY))}
    assert ("balance", Level.BLOCK) in found


def test_only_defects_to_judge_with_is_a_warning(tmp_path: Path) -> None:
    _write(tmp_path, "train/good", 16)
    _write(tmp_path, "test/cut", 6, start=2)
    findings = inspect_dataset(read(tmp_path, Kind.ANOMALY))
    assert [(f.check, f.level) for f in findings] == [("balance", Level.WARN)]


def test_a_folder_of_several_products_says_which_there_are(tmp_path: Path) -> None:
    _set(tmp_path / "cookie")
    with pytest.raises(DatasetError, match="expected one category, came several: cookie"):
        read(tmp_path, Kind.ANOMALY)
