"""What good parts stay below, and which of them are unlike the others."""

from statistics import NormalDist

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the extra train is not installed")

from cloud_tools.training.limits import GOOD_SHARE, good_limit, unlike

_USUAL = np.random.default_rng(3).normal(14, 1.3, 30)


@pytest.mark.parametrize("count", [8, 20, 200])
def test_good_parts_stay_below_their_limit_as_often_as_it_says(count: int) -> None:
    rng = np.random.default_rng(count)
    below = [NormalDist(5, 2).cdf(good_limit(rng.normal(5, 2, count))) for _ in range(500)]
    assert np.mean(below) == pytest.approx(GOOD_SHARE, abs=0.01)


def test_the_limit_of_few_values_is_students_prediction_limit() -> None:
    # By hand: mean 2, standard deviation 1, t(0.95, 2) = 2.919986, sqrt(1 + 1/3) = 1.154701.
    assert good_limit([1, 2, 3]) == pytest.approx(2 + 2.919986 * 1.154701, abs=1e-5)
    assert good_limit([3]) == 6
    assert good_limit([]) == 0


def test_one_good_part_that_is_unlike_the_others_does_not_move_their_limit() -> None:
    strange = np.append(_USUAL, 31.0)
    assert np.flatnonzero(unlike(strange)).tolist() == [30]
    assert good_limit(strange) == pytest.approx(good_limit(_USUAL))


def test_several_are_found_although_they_widen_the_spread_that_each_is_measured_by() -> None:
    assert np.flatnonzero(unlike([*_USUAL, 24.0, 23.0, 25.0])).tolist() == [30, 31, 32]


def test_a_part_that_is_less_strange_than_all_others_is_no_matter() -> None:
    assert not unlike(np.append(_USUAL, -20.0)).any()


def test_a_look_that_more_than_a_tenth_of_the_parts_share_counts() -> None:
    assert not unlike(np.append(_USUAL, np.random.default_rng(0).normal(31, 1, 12))).any()


@pytest.mark.parametrize("count", [3, 8, 31])
def test_normal_values_seldom_hold_one_that_is_unlike_the_others(count: int) -> None:
    rng = np.random.default_rng(count)
    samples = [unlike(rng.normal(5, 2, count)).any() for _ in range(1000)]
    assert np.mean(samples) == pytest.approx(0.01, abs=0.008)


@pytest.mark.parametrize(("count", "critical"), [(5, 1.749), (10, 2.410), (20, 2.884), (30, 3.103)])
def test_one_is_unlike_from_the_critical_deviate_of_grubbs_tables_on(count: int, critical: float) -> None:
    """One-sided, 1 %, as printed in Grubbs and Beck, Technometrics 14, 1972."""
    others = np.arange(count - 1.0)
    for greatest in np.linspace(count, 8 * count, 400):
        values = np.append(others, greatest)
        deviate = (greatest - values.mean()) / values.std(ddof=1)
        if abs(deviate - critical) > 2e-3:
            assert unlike(values).any() == (deviate > critical)


@pytest.mark.parametrize("values", [[], [4.0], [4.0, 9.0], [4.0] * 12])
def test_too_few_values_or_the_same_ones_have_none_that_is_unlike(values: list[float]) -> None:
    assert not unlike(values).any()
