"""What good parts reach under networks that have not seen them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from cloud_tools.datasets import Sample, Split
from edge_agent.vision import Placement

torch = pytest.importorskip("torch", reason="the extra train is not installed")

from cloud_tools.training.anomaly.network import AnomalyNetwork  # noqa: E402
from cloud_tools.training.batches import Loaded  # noqa: E402
from cloud_tools.training.crossfit import ENOUGH, FOLDS, NOTHING, cross_fitted, fold_of  # noqa: E402
from cloud_tools.training.lesson import Lesson  # noqa: E402

SIDE = 4
Train = Callable[[Lesson], AnomalyNetwork]


class Seen:
    """A network that says of each picture which part it shows, and remembers what it learnt."""

    def __init__(self, learnt: set[int]) -> None:
        self.learnt = learnt
        self.asked: list[int] = []

    def __call__(self, images: Any) -> tuple[Any, Any]:
        numbers = images[:, 0, 0, 0]
        self.asked += numbers.tolist()
        return numbers.float(), images[..., 0].float()

    def reach(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        return images[:, 0, 0, 0].astype(np.float64) * 10


def loaded(numbers: list[int], split: Split, parts: list[str] | None = None) -> Loaded:
    names = parts or [str(number) for number in numbers]
    samples = [
        Sample(f"{number}.png", Path(f"{number}.png"), "good", anomalous=False, part=part, split=split)
        for number, part in zip(numbers, names, strict=True)
    ]
    images = np.stack([np.full((SIDE, SIDE, 3), number, np.uint8) for number in numbers])
    return Loaded(tuple(samples), images, np.zeros((0, 0, 0), np.uint8), (cast("Placement", None),) * len(numbers))


def lesson(train: Loaded, held: int = 8) -> Lesson:
    validation = loaded(list(range(100, 100 + held)), Split.VALIDATION)
    return Lesson(train, validation, ("good",), ("good",), 7, 0, 0, lambda _line: None)


def test_each_part_is_judged_once_by_a_network_that_has_not_seen_it() -> None:
    made: list[Seen] = []

    def train(part: Lesson) -> AnomalyNetwork:
        made.append(Seen(set(part.train.images[:, 0, 0, 0].tolist())))
        return cast("AnomalyNetwork", made[-1])

    reached = cross_fitted(train, lesson(loaded(list(range(23)), Split.TRAIN)))

    assert len(made) == FOLDS
    assert all(not network.learnt & set(network.asked) for network in made)
    assert sorted(reached.scores.tolist()) == list(range(23))
    assert sorted(reached.highest.tolist()) == [10 * number for number in range(23)]
    assert reached.files == tuple(f"{score:.0f}.png" for score in reached.scores)


def test_pictures_of_one_part_are_left_out_together() -> None:
    parts = [f"part-{number // 3}" for number in range(24)]
    folds = fold_of(parts, seed=1)
    assert all(len(set(folds[[p == part for p in parts]])) == 1 for part in set(parts))
    assert sorted(set(folds.tolist())) == list(range(FOLDS))
    assert fold_of(parts, seed=1).tolist() == folds.tolist() != fold_of(parts, seed=2).tolist()


@pytest.mark.parametrize(("learnt", "held"), [(23, ENOUGH), (FOLDS - 1, 8)])
def test_nothing_is_trained_where_enough_were_held_out_or_too_few_can_be(learnt: int, held: int) -> None:
    def never(_: Lesson) -> AnomalyNetwork:
        raise AssertionError("expected no training")

    assert cross_fitted(never, lesson(loaded(list(range(learnt)), Split.TRAIN), held)) is NOTHING
