"""How far two answers lie apart: verdicts, labels, scores, masks, tensors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.deployment.watching.comparison import TensorAnswer, compare_pictures, compare_tensors, grown
from edge_agent.deployment.watching.watches import Compared
from edge_agent.formats import Verdict
from edge_agent.inference import Inspected
from edge_agent.vision import Outcome, encode_png
from tests.fakes.tiny_models import write_version


def mask(*columns: int) -> bytes:
    """Return a mask of 4 x 4 pixels with these columns defective."""
    drawn = np.zeros((4, 4), np.uint8)
    drawn[:, list(columns)] = 255
    return encode_png(drawn)


def says(verdict: Verdict, score: float, *, label: str = "", mask_png: bytes = b"", compute_ms: float = 1) -> Inspected:
    return Inspected(Outcome(verdict, score, 0.5, label, None, 0.0), mask_png, 4, 4, 0.1, compute_ms)


@pytest.mark.parametrize(
    ("other", "agreed"),
    [
        (says(Verdict.NG, 0.7, label="scratch"), True),
        (says(Verdict.NG, 0.7, label="dent"), False),
        (says(Verdict.OK, 0.4, label="scratch"), False),
    ],
)
def test_agreement_is_the_same_verdict_and_the_same_label(other: Inspected, agreed: bool) -> None:
    found = compare_pictures(says(Verdict.NG, 0.9, label="scratch"), other)
    assert found.agreed is agreed
    assert found.score_distance == pytest.approx(0.9 - other.outcome.score)


def test_masks_are_compared_by_the_pixels_of_all_pictures_together() -> None:
    pairs = [(mask(0, 1), mask(1, 2)), (mask(), mask()), (mask(3), mask(3))]
    found = [
        compare_pictures(says(Verdict.NG, 0.9, mask_png=ours), says(Verdict.NG, 0.9, mask_png=theirs))
        for ours, theirs in pairs
    ]
    assert [(each.overlap, each.union) for each in found] == [(4, 12), (0, 0), (4, 4)]
    assert grown(Compared(), found).mask_iou == pytest.approx(8 / 16)
    assert grown(Compared(), found[1:2]).mask_iou is None


def test_a_mask_that_only_one_of_them_drew_is_not_compared() -> None:
    found = compare_pictures(says(Verdict.NG, 0.9, mask_png=mask(0)), says(Verdict.NG, 0.9))
    assert (found.overlap, found.union) == (0, 0)


def test_the_time_is_the_graphs_own() -> None:
    found = compare_pictures(says(Verdict.OK, 0.1, compute_ms=2), says(Verdict.OK, 0.1, compute_ms=5))
    assert grown(Compared(), [found] * 9).latency_ratio == pytest.approx(2.5, rel=0.06)


@pytest.fixture
def tensors(tmp_path: Path) -> Any:
    manifest = write_version(tmp_path / "v")

    def answer(outputs: Mapping[str, list[Any]]) -> TensorAnswer:
        arrays: dict[str, NDArray[Any]] = {name: np.array(value, np.float32) for name, value in outputs.items()}
        return TensorAnswer(manifest, arrays, 1.0)

    return answer


@pytest.mark.parametrize(
    ("live", "candidate", "agreed", "distance"),
    [
        ({"score": [2.0]}, {"score": [3.0]}, True, 0.072),
        ({"score": [2.0, 2.0]}, {"score": [2.0, -2.0]}, False, 0.762),
        ({"score": [0.0], "probabilities": [[0.4, 0.6]]}, {"score": [0.0], "probabilities": [[0.6, 0.4]]}, False, 0.0),
        ({"score": [0.0]}, {"score": [0.0, 0.0]}, False, None),
        ({"features": [1.0, 2.0]}, {"features": [9.0, 9.0]}, True, None),
        ({"features": [1.0, 2.0]}, {"features": [1.0]}, False, None),
    ],
    ids=["near", "other verdict", "other label", "other number", "no score", "no score, other shape"],
)
def test_tensors_are_compared_by_what_their_manifests_make_of_them(
    tensors: Any, live: Any, candidate: Any, agreed: bool, distance: float | None
) -> None:
    found = compare_tensors(tensors(live), tensors(candidate))
    assert found.agreed is agreed
    assert found.score_distance == (None if distance is None else pytest.approx(distance, abs=0.001))
