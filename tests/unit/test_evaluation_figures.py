"""Figures of pictures, pixels and curves against scikit-learn and answers worked out by hand."""

import numpy as np
import pytest

from cloud_tools.evaluation.curves import BINS, precision_recall_curve, roc_curve, spread
from cloud_tools.evaluation.metrics import auroc, average_precision
from cloud_tools.evaluation.pixels import LEVELS, PixelTally, levels_of

_RNG = np.random.default_rng(11)
_TRUTH = _RNG.random(120) < 0.4
_SCORES = np.round(_RNG.random(120) * 0.7 + _TRUTH * 0.3, 2)  # with ties


def _area(points: list[tuple[float, float]]) -> float:
    x, y = np.array(points).T
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))


def _tally(*pictures: tuple[np.ndarray, np.ndarray], threshold: float = 0.0) -> PixelTally:
    tally = PixelTally()
    for truth, logits in pictures:
        tally.add(truth, logits.astype(np.float32), threshold)
    return tally


def test_the_roc_curve_has_the_area_and_the_corners_of_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    points = roc_curve(_TRUTH, _SCORES)
    assert _area(list(points)) == pytest.approx(metrics.roc_auc_score(_TRUTH, _SCORES), abs=1e-4)
    x, y, _ = metrics.roc_curve(_TRUTH, _SCORES, drop_intermediate=False)
    np.testing.assert_allclose(np.array(points), np.stack([x, y], 1), atol=1e-5)


def test_the_precision_recall_curve_passes_scikit_learns_points() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    precision, recall, _ = metrics.precision_recall_curve(_TRUTH, _SCORES)
    theirs = {(round(r, 5), round(p, 5)) for r, p in zip(recall[:-1], precision[:-1], strict=True)}
    ours = {(point.x, point.y) for point in precision_recall_curve(_TRUTH, _SCORES)[1:]}
    assert ours == theirs


@pytest.mark.parametrize("truth", [[], [True, True], [False]])
def test_one_class_alone_has_no_roc_curve(truth: list[bool]) -> None:
    assert roc_curve(truth, [0.5] * len(truth)) == ()
    assert bool(precision_recall_curve(truth, [0.5] * len(truth))) == any(truth)


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    scores = _RNG.random(5000)
    points = roc_curve(scores + _RNG.normal(0, 0.5, 5000) > 0.5, scores)
    assert len(points) == 200
    assert (points[0], points[-1]) == ((0, 0), (1, 1))


def test_scores_are_counted_by_class_and_1_belongs_to_the_last_bin() -> None:
    counted = spread([True, False, False], [1.0, 0.0, 0.5])
    assert counted.anomalous == (0,) * (BINS - 1) + (1,)
    assert (counted.good[0], counted.good[BINS // 2], sum(counted.good)) == (1, 1, 2)


def test_levels_rise_with_the_number_and_zero_has_no_sign() -> None:
    numbers = np.array([-np.float32(3e38), -2.5, -1e-3, -0.0, 0.0, 1e-30, 0.7, 0.702, 3e38], np.float32)
    levels = levels_of(numbers).astype(int)
    assert (np.diff(levels) >= 0).all()
    assert levels[3] == levels[4]
    assert levels[6] < levels[7]
    assert 0 <= levels[0] < levels[-1] < LEVELS


def test_pixel_figures_agree_with_those_of_all_pixels_at_once() -> None:
    logits = [_RNG.normal(-1, 2, (60, 50)).astype(np.float32) for _ in range(5)]
    truths = [_RNG.random((60, 50)) < 1 / (1 + np.exp(-x)) for x in logits[:4]] + [np.zeros((60, 50), np.bool_)]
    found = _tally(*zip(truths, logits, strict=True)).figures()
    truth, values = np.concatenate([t.ravel() for t in truths]), np.concatenate([x.ravel() for x in logits])
    exact = auroc(truth, values)
    assert exact is not None
    assert found.pixel_auroc is not None
    assert abs(found.pixel_auroc - exact) <= found.rounding < 1e-3
    assert found.pixel_ap == pytest.approx(average_precision(truth, values), abs=1e-3)
    drawn = values >= 0
    assert found.iou == pytest.approx((truth & drawn).sum() / (truth | drawn).sum())
    assert found.dice == pytest.approx(2 * (truth & drawn).sum() / (truth.sum() + drawn.sum()))


def test_each_region_weighs_the_same_in_aupro() -> None:
    """One region of 1 pixel is found first, one of 8 last: the mean of both steps, worked out by hand."""
    truth = np.zeros((10, 10), np.bool_)
    truth[0, 0] = True
    truth[5:7, 4:8] = True
    logits = np.full((10, 10), -5.0)
    logits[0, 0] = 3
    logits[9, :] = 2  # 10 of 91 false pixels come before the large region
    logits[5:7, 4:8] = 1
    share = 10 / 91
    # Half of the regions up to that share (the line to it is flat), both from there on up to 0.3.
    expected = (0.5 * share + 1.0 * (0.3 - share)) / 0.3
    assert _tally((truth, logits)).figures().aupro == pytest.approx(expected)


def test_a_perfect_map_has_an_aupro_of_1_and_a_blind_one_of_half_the_limit() -> None:
    truth = np.zeros((100, 100), np.bool_)
    truth[20:40, 20:40] = True
    assert _tally((truth, np.where(truth, 4.0, -4.0))).figures().aupro == pytest.approx(1.0)
    assert _tally((truth, np.zeros((100, 100)))).figures().aupro == pytest.approx(0.15)


def test_good_pictures_alone_have_no_pixel_figures() -> None:
    found = _tally((np.zeros((4, 4), np.bool_), np.full((4, 4), -1.0))).figures()
    assert (found.pixel_auroc, found.pixel_ap, found.aupro) == (None, None, None)
    assert (found.iou, found.dice) == (None, None), "a blind map is no perfect one"
