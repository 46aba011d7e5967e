"""Transfers side by side, and the least speed of one."""

import threading
from collections.abc import Callable

import pytest

from edge_agent.errors import CancelledError, Code, StorageError, TransferError
from edge_agent.transfer import SpeedFloor, side_by_side

PATIENCE_S = 60.0


def _never() -> bool:
    return False


def _downloads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("download")]


def test_transfers_begin_in_their_order_and_never_more_than_the_lanes() -> None:
    begun: list[int] = []
    inside, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(2)

    def transfer(number: int) -> None:
        nonlocal inside, most
        with lock:
            begun.append(number)
            inside += 1
            most = max(most, inside)
        together.wait(PATIENCE_S)  # so that two are inside at a time, on any machine
        with lock:
            inside -= 1

    jobs = [lambda _, number=number: transfer(number) for number in range(6)]
    side_by_side(jobs, lanes=2, cancelled=_never)  # type: ignore[arg-type]
    assert sorted(begun) == list(range(6))
    assert set(begun[:2]) == {0, 1}
    assert most == 2
    assert _downloads() == []


def test_the_first_failure_ends_the_others_and_is_the_one_that_is_told() -> None:
    heard = threading.Event()

    def patient(given_up: Callable[[], bool]) -> None:
        while not given_up():
            heard.wait(0.01)
        heard.set()
        raise CancelledError(Code.CANCELLED, "ended by another's failure")

    def failing(_: Callable[[], bool]) -> None:
        raise StorageError(Code.NO_SPACE, "the disk is full")

    begun: list[str] = []
    with pytest.raises(StorageError, match="the disk is full"):
        side_by_side([patient, failing, lambda _: begun.append("late")], lanes=2, cancelled=_never)
    assert heard.is_set()
    assert begun in ([], ["late"])
    assert _downloads() == []


def test_after_a_failure_nothing_more_is_begun() -> None:
    begun: list[int] = []

    def failing(_: Callable[[], bool]) -> None:
        begun.append(0)
        raise TransferError(Code.OBJECT_MISSING, "gone", permanent=True)

    with pytest.raises(TransferError):
        side_by_side([failing, *[lambda _: begun.append(1)] * 20], lanes=1, cancelled=_never)
    assert begun == [0]


def test_a_cancellation_reaches_every_transfer() -> None:
    cancelled = threading.Event()
    together = threading.Barrier(3)

    def patient(given_up: Callable[[], bool]) -> None:
        together.wait(PATIENCE_S)
        cancelled.set()
        while not given_up():
            pass
        raise CancelledError(Code.CANCELLED, "cancelled")

    with pytest.raises(CancelledError):
        side_by_side([patient] * 3, lanes=3, cancelled=cancelled.is_set)
    assert _downloads() == []


def test_progress_is_told_on_the_callers_thread_and_once_more_at_the_end() -> None:
    told: list[threading.Thread] = []
    done = threading.Event()

    def tell() -> None:
        told.append(threading.current_thread())
        done.set()

    side_by_side([lambda _: done.wait(PATIENCE_S) and None], lanes=3, cancelled=_never, tell=tell)
    assert len(told) >= 2
    assert set(told) == {threading.current_thread()}


def test_when_telling_fails_the_transfers_end_with_it() -> None:
    def patient(given_up: Callable[[], bool]) -> None:
        while not given_up():
            pass

    def tell() -> None:
        raise ValueError("a fault of ours")

    with pytest.raises(ValueError, match="a fault of ours"):
        side_by_side([patient] * 2, lanes=2, cancelled=_never, tell=tell)
    assert _downloads() == []


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_mean_below_the_floor_over_a_window_is_told_with_both_figures() -> None:
    clock = Clock()
    pace = SpeedFloor(1000, 10.0, clock).watch()
    with pace.request():
        clock.now += 9.9
        pace.check()
        pace.came(5000)
        clock.now += 0.1
        with pytest.raises(TransferError, match=r"1000 bytes/s, came 5000 bytes in 10\.0 s") as told:
            pace.check()
    assert not told.value.permanent


def test_a_window_that_was_fast_enough_excuses_nothing_of_the_next_one() -> None:
    clock = Clock()
    pace = SpeedFloor(1000, 10.0, clock).watch()
    with pace.request():
        pace.came(1_000_000)
        clock.now += 10
        pace.check()
        clock.now += 10
        with pytest.raises(TransferError):
            pace.check()


def test_only_time_inside_requests_counts_and_it_adds_up_over_them() -> None:
    clock = Clock()
    pace = SpeedFloor(1000, 10.0, clock).watch()
    for _ in range(3):
        clock.now += 1000  # waiting for the cap, or between tries
        with pace.request():
            clock.now += 3
            pace.check()
    with pace.request():
        clock.now += 1.5
        with pytest.raises(TransferError, match=r"10\.5 s"):
            pace.check()


def test_a_floor_of_nothing_drops_nothing() -> None:
    clock = Clock()
    pace = SpeedFloor(0, 1.0, clock).watch()
    with pace.request():
        clock.now += 1e6
        pace.check()
