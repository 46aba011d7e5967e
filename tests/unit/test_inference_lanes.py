"""The queue in front of a model: order, bounds, deadlines."""

import threading
import time

import pytest

from edge_agent.errors import Code, InferenceError
from edge_agent.inference.session import Priority
from edge_agent.inference.workers.lanes import Lanes

PATIENCE_S = 20.0


def soon() -> float:
    return time.monotonic() + PATIENCE_S


class Caller(threading.Thread):
    """Takes a lane on its own thread, notes its name when it got one, and gives it back."""

    def __init__(self, lanes: Lanes[str], name: str, *, deadline: float, priority: Priority, got: list[str]) -> None:
        super().__init__(name=name, daemon=True)
        self._lanes, self._deadline, self._priority, self._got = lanes, deadline, priority, got
        self.error: InferenceError | None = None
        before = lanes.waiting
        self.start()
        while lanes.waiting == before and self.is_alive():
            time.sleep(0.001)

    def run(self) -> None:
        try:
            lane = self._lanes.take(deadline=self._deadline, priority=self._priority)
        except InferenceError as exc:
            self.error = exc
            return
        self._got.append(self.name)
        self._lanes.give(lane)


@pytest.fixture
def lanes() -> Lanes[str]:
    made = Lanes[str](3)
    made.add(["only"])
    return made


def test_the_line_goes_before_the_station_before_the_shadow(lanes: Lanes[str]) -> None:
    lane, got, late = lanes.take(deadline=soon()), [], soon()
    order = (Priority.SHADOW, Priority.FRAME, Priority.LINE)
    callers = [Caller(lanes, p.name, deadline=late, priority=p, got=got) for p in order]
    lanes.give(lane)
    for caller in callers:
        caller.join(PATIENCE_S)
    assert got == ["LINE", "FRAME", "SHADOW"]


def test_of_equal_priority_the_oldest_deadline_goes_first(lanes: Lanes[str]) -> None:
    lane, got, base = lanes.take(deadline=soon()), [], soon()
    callers = [
        Caller(lanes, name, deadline=base + later, priority=Priority.LINE, got=got)
        for name, later in (("last", 9), ("first", 1), ("second", 5))
    ]
    lanes.give(lane)
    for caller in callers:
        caller.join(PATIENCE_S)
    assert got == ["first", "second", "last"]


def test_a_full_queue_turns_the_next_away_at_once(lanes: Lanes[str]) -> None:
    lane, got = lanes.take(deadline=soon()), []
    callers = [Caller(lanes, str(n), deadline=soon(), priority=Priority.LINE, got=got) for n in range(3)]
    before = time.monotonic()
    with pytest.raises(InferenceError) as caught:
        lanes.take(deadline=soon())
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert time.monotonic() - before < PATIENCE_S / 2
    lanes.give(lane)
    for caller in callers:
        caller.join(PATIENCE_S)
    assert len(got) == 3


def test_who_waits_past_its_deadline_never_gets_a_lane_and_leaves_its_place(lanes: Lanes[str]) -> None:
    lane = lanes.take(deadline=soon())
    with pytest.raises(InferenceError) as caught:
        lanes.take(deadline=time.monotonic() + 0.02)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert lanes.waiting == 0
    lanes.give(lane)
    assert lanes.take(deadline=soon()) == "only"


def test_a_deadline_in_the_past_is_refused_though_a_lane_is_free(lanes: Lanes[str]) -> None:
    with pytest.raises(InferenceError) as caught:
        lanes.take(deadline=time.monotonic() - 1)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert lanes.take(deadline=soon()) == "only"


def test_without_any_lane_a_caller_is_told_that_the_worker_is_being_replaced(lanes: Lanes[str]) -> None:
    assert lanes.withdraw() == ["only"]
    with pytest.raises(InferenceError) as caught:
        lanes.take(deadline=time.monotonic() + 0.02)
    assert caught.value.code is Code.UNAVAILABLE


def test_a_lane_that_was_withdrawn_meanwhile_does_not_come_back(lanes: Lanes[str]) -> None:
    lane = lanes.take(deadline=soon())
    lanes.withdraw()
    assert not lanes.give(lane)
    with pytest.raises(InferenceError):
        lanes.take(deadline=time.monotonic() + 0.02)


def test_who_waits_while_the_worker_is_replaced_gets_a_lane_of_the_new_one(lanes: Lanes[str]) -> None:
    lanes.withdraw()
    got: list[str] = []
    caller = Caller(lanes, "patient", deadline=soon(), priority=Priority.FRAME, got=got)
    lanes.add(["new"])
    caller.join(PATIENCE_S)
    assert got == ["patient"]


def test_closing_ends_all_waiting_and_refuses_what_comes(lanes: Lanes[str]) -> None:
    lanes.take(deadline=soon())
    caller = Caller(lanes, "waits", deadline=soon(), priority=Priority.LINE, got=[])
    lanes.close()
    caller.join(PATIENCE_S)
    assert caller.error is not None
    assert caller.error.code is Code.UNAVAILABLE
    with pytest.raises(InferenceError):
        lanes.take(deadline=soon())
