"""Metrics, calibration and thresholds against answers worked out by hand or by scikit-learn."""

import numpy as np
import pytest

from cloud_tools.evaluation.metrics import PixelCounts, auroc, average_precision, confusion, image_metrics
from cloud_tools.training.calibration import best_threshold, decide, fit_calibration
from edge_agent.vision import calibrate

_RNG = np.random.default_rng(5)
_TRUTH = _RNG.random(300) < 0.3
_SCORES = np.round(_RNG.normal(0, 1, 300) + _TRUTH, 1)  # with ties


def test_figures_agree_with_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    assert auroc(_TRUTH, _SCORES) == pytest.approx(metrics.roc_auc_score(_TRUTH, _SCORES))
    assert average_precision(_TRUTH, _SCORES) == pytest.approx(metrics.average_precision_score(_TRUTH, _SCORES))
    assert confusion(_TRUTH, _SCORES, 0.5).f1 == pytest.approx(metrics.f1_score(_TRUTH, _SCORES >= 0.5))
    assert confusion(_TRUTH, _SCORES, 0.5).accuracy == pytest.approx(np.mean((_SCORES >= 0.5) == _TRUTH))


def test_one_class_alone_has_no_curve() -> None:
    assert auroc([True, True], [0.1, 0.2]) is None
    assert average_precision([False], [0.1]) is None
    assert average_precision([True, True], [0.1, 0.9]) is None, "it would be 1 for any model, and lift means"
    assert image_metrics([True, True], [0.9, 0.1], 0.5)["f1"] == pytest.approx(2 / 3)


def test_overlap_is_pooled_over_pictures() -> None:
    truth, drawn = np.zeros((4, 4), np.bool_), np.zeros((4, 4), np.bool_)
    truth[:2], drawn[1:3] = True, True
    counts = PixelCounts().plus(truth, drawn).plus(np.zeros((4, 4), np.bool_), drawn)
    assert counts == PixelCounts(both=4, predicted=16, true=8)
    assert counts.iou == pytest.approx(4 / 20)
    assert counts.dice == pytest.approx(8 / 24)


def test_nothing_drawn_where_nothing_is_counts_as_right() -> None:
    assert PixelCounts().iou == PixelCounts().dice == 1.0


def test_the_best_threshold_lies_in_the_middle_of_the_gap() -> None:
    assert best_threshold([False, False, True, True], [0.1, 0.2, 0.6, 0.9]) == pytest.approx(0.4)


def test_no_cut_beats_the_chosen_one() -> None:
    chosen = confusion(_TRUTH, _SCORES, best_threshold(_TRUTH, _SCORES)).f1
    assert chosen == max(confusion(_TRUTH, _SCORES, cut).f1 for cut in np.unique(_SCORES))


def test_calibrated_scores_read_as_shares() -> None:
    raw = _RNG.normal(0, 3, 4000)
    truth = _RNG.random(4000) < 1 / (1 + np.exp(-(0.7 * raw - 1)))
    calibration = fit_calibration(truth, raw)
    assert calibration.scale == pytest.approx(0.7, abs=0.1)
    assert calibration.offset == pytest.approx(-1, abs=0.15)


def test_classes_that_are_far_apart_do_not_make_it_infinitely_steep() -> None:
    calibration = fit_calibration([False] * 10 + [True] * 10, [-1e-3] * 10 + [1e-3] * 10)
    assert 0 < calibration.scale <= 6


def test_scores_that_point_the_wrong_way_still_give_a_rising_calibration() -> None:
    assert fit_calibration(_TRUTH, -_SCORES).scale > 0


def test_the_decision_holds_its_threshold_inside_its_range() -> None:
    decision = decide(_TRUTH, _SCORES, pixel_threshold=0.4)
    low, high = decision.threshold_range
    assert 0.01 <= low <= decision.threshold - 0.09
    assert decision.threshold + 0.09 <= high <= 0.99
    assert decision.pixel_threshold == 0.4
    scores = [calibrate(float(raw), decision.calibration) for raw in _SCORES]
    best = max(confusion(_TRUTH, _SCORES, cut).f1 for cut in np.unique(_SCORES))
    assert confusion(_TRUTH, scores, decision.threshold).f1 == pytest.approx(best)


def test_one_class_alone_gives_a_plain_decision() -> None:
    decision = decide([True] * 4, [1.0, 2.0, 3.0, 4.0])
    assert decision.threshold == 0.5
