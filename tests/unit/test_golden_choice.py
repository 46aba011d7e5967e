"""Golden samples show both verdicts, and what lies next to the threshold."""

from hypothesis import given
from hypothesis import strategies as st

from cloud_tools.packaging.golden import MOST_CHOSEN, TOLERANCE, Candidate, choose, steady

SCORES = st.lists(st.floats(0, 1), max_size=60)


def candidates(scores: list[float]) -> list[Candidate]:
    return [Candidate(f"{index}.png", score) for index, score in enumerate(scores)]


def test_the_nearest_on_both_sides_are_among_them() -> None:
    chosen = choose(candidates([step / 100 for step in range(101)]), 0.5)
    scores = {candidate.score for candidate in chosen}
    assert {0.49, 0.48, 0.51} < scores
    assert len(chosen) == MOST_CHOSEN
    assert sum(score >= 0.5 for score in scores) == MOST_CHOSEN // 2


def test_what_the_tolerance_could_turn_is_no_neighbour() -> None:
    scores = [0.1, 0.2, 0.3, 0.4, 0.4999, 0.5, 0.5001, 0.6, 0.7, 0.8, 0.9]
    nearest = {c.score for c in choose(candidates(scores), 0.5)} & {0.4999, 0.5, 0.5001}
    assert nearest == set()


def test_of_each_verdict_those_that_are_right_go_first() -> None:
    wrong = [Candidate(f"wrong{i}", 0.1 + i / 100, right=False) for i in range(20)]
    right = [Candidate(f"right{i}", 0.05 + i / 1000) for i in range(3)]
    chosen = [c.file for c in choose([*wrong, *right], 0.5)]
    assert sum(file.startswith("right") for file in chosen) >= 2


@given(SCORES, st.floats(0.01, 0.99))
def test_each_verdict_that_there_is_is_shown_and_nothing_twice(scores: list[float], threshold: float) -> None:
    chosen = choose(candidates(scores), threshold)
    assert len({c.file for c in chosen}) == len(chosen) <= MOST_CHOSEN
    assert {c.score >= threshold for c in chosen} == {score >= threshold for score in scores}
    assert choose(list(reversed(candidates(scores))), threshold) == chosen


@given(SCORES, st.floats(0, 1))
def test_samples_that_the_tolerance_turns_are_left_out_while_others_are_there(
    scores: list[float], threshold: float
) -> None:
    kept = steady(scores, threshold, TOLERANCE)
    far = [i for i, score in enumerate(scores) if abs(score - threshold) > TOLERANCE]
    assert kept == (far or list(range(len(scores))))
