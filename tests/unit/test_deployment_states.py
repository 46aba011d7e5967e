"""The table of states: complete, and every row leads somewhere sound."""

import pytest

from edge_agent.deployment.states import (
    ENDS,
    INSTALL,
    PATHS,
    ROLLBACK,
    TABLE,
    Event,
    IllegalTransitionError,
    State,
    advance,
    resume,
)


def test_every_state_has_a_row() -> None:
    assert set(TABLE) == set(State)


@pytest.mark.parametrize("operation", PATHS)
def test_work_well_done_leads_along_the_path_to_the_report(operation: str) -> None:
    state, walked = State.ACCEPTED, [State.ACCEPTED]
    while state is not State.REPORTED:
        state = advance(state, Event.DONE, operation)
        walked.append(state)
    assert tuple(walked) == PATHS[operation]


@pytest.mark.parametrize("state", [s for s in INSTALL if s not in ENDS and s is not State.REPORTED])
def test_before_the_leases_turn_a_failure_changes_nothing_and_after_it_is_undone(state: State) -> None:
    undone = state in (State.ACTIVATING, State.PROBATION)
    assert advance(state, Event.BROKE, "install") is (State.ROLLING_BACK if undone else State.FAILED)
    assert advance(state, Event.CANCELLED, "install") is (State.ROLLING_BACK if undone else State.CANCELLED)


def test_a_generation_that_cannot_be_written_is_rolled_back() -> None:
    assert advance(State.COMMITTED, Event.BROKE, "install") is State.ROLLING_BACK
    assert advance(State.ROLLING_BACK, Event.DONE, "install") is State.FAILED


def test_a_commit_is_too_late_to_cancel() -> None:
    with pytest.raises(IllegalTransitionError):
        advance(State.COMMITTED, Event.CANCELLED, "install")


def test_only_a_check_can_find_everything_already_current() -> None:
    assert advance(State.CHECKING, Event.CONFIRMED, "install") is State.COMMITTED
    with pytest.raises(IllegalTransitionError):
        advance(State.DOWNLOADING, Event.CONFIRMED, "install")


@pytest.mark.parametrize(
    ("found", "goes_on"),
    [
        (State.ACCEPTED, State.REFRESHING),
        (State.REFRESHING, State.REFRESHING),
        (State.CHECKING, State.CHECKING),
        (State.DOWNLOADING, State.DOWNLOADING),
        (State.VERIFIED, State.BUILDING),
        (State.BUILDING, State.BUILDING),
        (State.TRIED, State.BUILDING),
        (State.SHADOW, State.SHADOW),
        (State.ACTIVATING, State.ROLLING_BACK),
        (State.PROBATION, State.BUILDING),
        (State.COMMITTED, State.COMMITTED),
        (State.ROLLING_BACK, State.ROLLING_BACK),
    ],
)
def test_a_restart_goes_on_where_the_row_says(found: State, goes_on: State) -> None:
    assert resume(found, "install", unclean_ends=0) is goes_on


def test_a_rollback_resumes_without_the_network() -> None:
    assert resume(State.ACCEPTED, "rollback", unclean_ends=0) is State.CHECKING
    assert State.REFRESHING not in ROLLBACK


def test_the_third_unclean_end_under_probation_gives_the_candidate_up() -> None:
    assert resume(State.PROBATION, "install", unclean_ends=2) is State.BUILDING
    assert resume(State.PROBATION, "install", unclean_ends=3) is State.ROLLING_BACK
