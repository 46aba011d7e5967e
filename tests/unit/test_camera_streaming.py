"""The reader of a streaming camera, with streams that do what they are told and a clock of the test's own."""

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from edge_agent.errors import CameraError, Code
from edge_agent.formats import RawPicture
from edge_agent.station.stream import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    Frame,
    PictureLostError,
    Rules,
    StreamEnded,
    pause_s,
)
from edge_agent.station.streaming import LIMIT_RAW_BYTES, LIMIT_STUCK, StreamingCamera

PATIENCE_S = 60
RULES = Rules(stall_s=5.0, fresh_s=2.0)
AWAY = CameraError(Code.CAMERA_FAILED, "cam: expected a stream, the plug is out")
LOST = PictureLostError(Code.CAMERA_FAILED, "cam: expected a whole picture")

Step = bytes | RawPicture | None | Exception


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Script:
    """All streams of one camera: what is put here is read by the one that is open."""

    def __init__(self) -> None:
        self.held_up_s = 0.0
        self.steps: queue.Queue[Step] = queue.Queue()
        self.openings: queue.Queue[Exception | None] = queue.Queue()
        self.opened = 0
        self.closed = 0
        self.triggers = 0
        self.changed = threading.Condition()

    def opens(self) -> "Script":
        fault = self.openings.get() if not self.openings.empty() else None
        self._count("opened")
        if fault is not None:
            raise fault
        return self

    def read(self) -> Frame | None:
        step = self.steps.get()
        self.steps.task_done()
        if isinstance(step, Exception):
            raise step
        return None if step is None else lambda: step

    def is_read(self, times: int = 1) -> None:
        """Wait until so many readers are inside ``read`` and nothing they do before is still to come."""
        deadline = time.monotonic() + PATIENCE_S
        while len(self.steps.not_empty._waiters) != times:  # type: ignore[attr-defined]
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def trigger(self) -> None:
        self._count("triggers")

    def close(self) -> None:
        self._count("closed")

    def has(self, is_so: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(is_so, PATIENCE_S)

    def _count(self, what: str) -> None:
        with self.changed:
            setattr(self, what, getattr(self, what) + 1)
            self.changed.notify_all()

    def offer(self, *steps: Step) -> None:
        for step in steps:
            self.steps.put(step)


class Bench:
    """A camera, what its streams shall do, and the time."""

    def __init__(self, rules: Rules) -> None:
        self.script = Script()
        self.clock = Clock()
        # A chance of -1 makes no pause at all.
        self.camera = StreamingCamera("cam", self.script.opens, rules, clock=self.clock, chance=lambda: -1.0)

    def start(self) -> None:
        """Have the reader inside an open stream."""
        assert self.camera.newest(0) is None
        self.script.is_read()

    def gives(self, *contents: bytes | RawPicture) -> None:
        """Have pictures come, and be where the camera would hand them out; the reader waits for the next."""
        count = self.camera._count + len(contents)
        self.script.offer(*contents)
        self.waits(lambda: self.camera._count == count)
        self.script.is_read()

    def fails(self, fault: CameraError = AWAY) -> None:
        """Have the stream fail, and the camera know it."""
        self.script.offer(fault)
        self.waits(lambda: self.camera._fault is fault)

    def waits(self, is_so: Callable[[], bool]) -> None:
        with self.camera._news:
            assert self.camera._news.wait_for(is_so, PATIENCE_S)

    def content(self) -> bytes:
        """Take the newest picture."""
        shot = self.camera.newest(PATIENCE_S)
        assert shot is not None
        assert isinstance(shot.content, bytes)
        return shot.content


@contextmanager
def streaming(rules: Rules = RULES) -> Iterator[Bench]:
    bench = Bench(rules)
    try:
        yield bench
    finally:
        bench.script.offer(*[None] * 20)
        bench.camera.close()


def test_the_newest_picture_wins_and_what_nobody_took_is_counted() -> None:
    with streaming() as bench:
        bench.start()
        bench.gives(b"1", b"2", b"3", b"4")
        assert bench.content() == b"4"
        assert bench.camera.skipped == 3


def test_a_picture_is_never_handed_out_twice() -> None:
    with streaming() as bench:
        bench.start()
        bench.gives(b"1")
        assert bench.content() == b"1"
        assert bench.camera.newest(0) is None
        bench.gives(b"2")
        shot = bench.camera.newest(PATIENCE_S)
        assert shot is not None
        assert (shot.content, shot.name) == (b"2", "00000002")


def test_a_picture_brings_the_moment_at_which_it_came_however_long_it_waited() -> None:
    with streaming() as bench:
        bench.start()
        bench.gives(b"1")
        bench.clock.now += RULES.fresh_s / 2
        shot = bench.camera.newest(0)
        assert shot is not None
        assert shot.at == bench.clock.now - RULES.fresh_s / 2


def test_a_picture_that_waited_too_long_is_nobodys_business() -> None:
    with streaming() as bench:
        bench.start()
        bench.gives(b"old")
        bench.clock.now += 2.1
        assert bench.camera.newest(0) is None
        assert bench.camera.skipped == 1
        bench.gives(b"new")
        assert bench.content() == b"new"


def test_a_stream_that_fails_is_let_go_told_and_opened_again() -> None:
    with streaming() as bench:
        bench.start()
        bench.script.openings.put(AWAY)
        bench.fails()
        with pytest.raises(CameraError, match="the plug is out"):
            bench.camera.newest(0)
        # Once it opened in vain, and then for good.
        bench.script.has(lambda: bench.script.opened == 3)
        assert bench.script.closed == 1
        bench.gives(b"2")
        assert bench.content() == b"2"


def test_what_came_before_a_fault_is_not_shown_after_it() -> None:
    with streaming() as bench:
        bench.start()
        bench.gives(b"before")
        bench.fails()
        with pytest.raises(CameraError):
            bench.camera.newest(0)
        bench.gives(b"after")
        assert bench.content() == b"after"


def test_a_stream_that_is_open_and_silent_is_opened_again() -> None:
    with streaming() as bench:
        bench.start()
        bench.gives(b"1")
        assert bench.content() == b"1"
        bench.clock.now += 5.1
        bench.script.offer(None)
        bench.script.has(lambda: bench.script.opened == 2)
        assert bench.script.closed == 1
        with pytest.raises(CameraError, match="expected a picture within 5 s, came none"):
            bench.camera.newest(0)


def test_a_reader_that_is_stuck_is_left_behind_and_what_it_reads_later_is_not_shown() -> None:
    with streaming() as bench:
        bench.start()
        stuck = bench.camera._reader
        assert stuck is not None
        bench.clock.now += 60
        with pytest.raises(CameraError, match="it is stuck"):
            bench.camera.newest(0)
        bench.script.is_read(2)
        # Streams of the script share their steps, and the one that waits for longer is served first.
        bench.script.offer(b"out of date")
        stuck.join(PATIENCE_S)
        assert not stuck.is_alive()
        assert bench.script.closed == 1
        bench.gives(b"1")
        assert bench.content() == b"1"


def test_readers_that_stay_stuck_are_few() -> None:
    with streaming() as bench:
        bench.start()
        for opened in range(2, LIMIT_STUCK + 1):
            bench.clock.now += 60
            with pytest.raises(CameraError):
                bench.camera.newest(0)
            bench.script.is_read(opened)
        for _ in range(5):
            bench.clock.now += 60
            with pytest.raises(CameraError, match="it is stuck"):
                bench.camera.newest(0)
        assert bench.script.opened == LIMIT_STUCK


def test_a_recording_that_ended_is_no_fault_and_gives_no_picture() -> None:
    with streaming() as bench:
        bench.start()
        bench.gives(b"1")
        bench.script.offer(StreamEnded())
        bench.script.has(lambda: bench.script.closed == 1)
        assert bench.content() == b"1"
        bench.clock.now += 60
        assert bench.camera.newest(0) is None
        assert bench.script.opened == 1


def test_with_a_software_trigger_each_look_takes_one_picture_of_its_own() -> None:
    with streaming(RULES._replace(asked=True)) as bench:
        bench.script.offer(b"1", b"2")
        assert bench.content() == b"1"
        assert bench.content() == b"2"
        assert bench.script.triggers == 2


def test_a_picture_that_answers_an_earlier_trigger_is_not_taken_for_this_one() -> None:
    with streaming(RULES._replace(asked=True)) as bench:
        with pytest.raises(CameraError, match="of the trigger, came none"):
            bench.camera.newest(0)
        bench.script.has(lambda: bench.script.triggers == 1)
        bench.script.offer(b"late", b"mine")
        assert bench.content() == b"mine"


def test_a_camera_that_waits_for_parts_may_be_silent_and_tells_of_a_damaged_picture() -> None:
    with streaming(RULES._replace(quiet=True)) as bench:
        bench.start()
        bench.clock.now += 8
        bench.script.offer(None, LOST)
        with pytest.raises(PictureLostError, match="expected a whole picture") as raised:
            bench.camera.newest(PATIENCE_S)
        assert raised.value.at == bench.clock.now
        bench.gives(b"next")
        assert bench.content() == b"next"
        assert bench.script.opened == 1


def test_a_camera_that_waits_for_parts_is_well_as_soon_as_it_is_open_again() -> None:
    with streaming(RULES._replace(quiet=True)) as bench:
        bench.start()
        bench.script.offer(AWAY)
        bench.script.has(lambda: bench.script.opened == 2)
        bench.waits(lambda: bench.camera._fault is None)
        assert bench.camera.newest(0) is None


def test_a_picture_that_no_agent_would_take_is_told() -> None:
    large = RawPicture(memoryview(bytes(LIMIT_RAW_BYTES + 3)), LIMIT_RAW_BYTES // 3 + 1, 1)
    with streaming() as bench:
        bench.start()
        bench.gives(large)
        with pytest.raises(CameraError, match=f"at most {LIMIT_RAW_BYTES} bytes as RGB, came 20971521 x 1: set a roi"):
            bench.camera.newest(0)


def asking(bench: Bench, timeout_s: float = PATIENCE_S) -> Callable[[], object]:
    """Ask for a picture of now in a thread that waits when this returns; the result waits for what it gets."""
    taken: list[object] = []

    def ask() -> None:
        shot = bench.camera.on_demand(timeout_s)
        taken.append(shot and shot.content)

    thread = threading.Thread(target=ask)
    with bench.camera._news:
        thread.start()
        # The condition is free again once the asking thread waits in it.
        while not bench.camera._news._waiters:  # type: ignore[attr-defined]
            bench.camera._news.wait(0.01)

    def result() -> object:
        thread.join(PATIENCE_S)
        return taken[0]

    return result


def on_demand(bench: Bench, *came: bytes) -> object:
    """Ask for a picture of now while these come, one after the other was seen."""
    taken = asking(bench)
    for content in came:
        bench.gives(content)
    return taken()


def test_a_picture_that_was_under_way_when_one_was_asked_for_is_not_it() -> None:
    with streaming() as bench:
        bench.start()
        bench.gives(b"before")
        assert on_demand(bench, b"under way", b"after") == b"after"


def test_the_next_picture_of_a_camera_that_waits_for_its_own_signal_is_the_one_asked_for() -> None:
    with streaming(RULES._replace(quiet=True)) as bench:
        bench.start()
        bench.gives(b"before")
        assert on_demand(bench, b"after") == b"after"


def test_what_does_not_come_in_time_on_demand_is_none_and_a_software_trigger_is_given_once() -> None:
    with streaming() as bench:
        bench.start()
        bench.gives(b"before")
        assert bench.camera.on_demand(0) is None
    with streaming(RULES._replace(asked=True)) as bench:
        bench.script.offer(b"mine")
        shot = bench.camera.on_demand(PATIENCE_S)
        assert shot is not None
        assert (shot.content, bench.script.triggers) == (b"mine", 1)


def test_a_camera_that_is_closed_lets_its_stream_go() -> None:
    with streaming() as bench:
        bench.start()
        bench.script.offer(None)
        bench.camera.close()
        bench.script.offer(None)
        bench.script.has(lambda: bench.script.closed == 1)
        assert bench.camera.newest(0) is None
        assert bench.script.opened == 1


def test_pauses_grow_to_a_ceiling_and_are_spread() -> None:
    pauses = [pause_s(failures, 1.0) for failures in range(12)]
    assert pauses[0] == FIRST_PAUSE_S
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_S
    assert pause_s(100, 0.0) == LONGEST_PAUSE_S / 2


def test_where_each_picture_is_a_parts_those_that_nobody_took_are_told_once_whatever_became_of_them() -> None:
    with streaming(RULES._replace(quiet=True, counted=True)) as bench:
        bench.start()
        bench.gives(b"skipped")
        bench.clock.now += 1
        bench.script.offer(LOST)
        bench.waits(lambda: bench.camera._count == 2)
        bench.clock.now += 1
        bench.gives(b"taken")
        assert bench.content() == b"taken"
        bench.clock.now += 1
        bench.gives(b"too old")
        bench.clock.now += RULES.fresh_s + 1
        assert bench.camera.newest(0) is None
        bench.gives(b"before a fault")
        bench.script.offer(AWAY)
        bench.script.has(lambda: bench.script.opened > 1)
        assert bench.camera.missed(102.0) == [100.0, 101.0], "the damaged one stood there too"
        assert bench.camera.missed(bench.clock.now) == [103.0, 106.0]
        assert bench.camera.missed(bench.clock.now) == []


def test_what_a_camera_that_runs_by_itself_skips_is_no_part() -> None:
    with streaming() as bench:
        bench.start()
        bench.gives(b"1", b"2")
        assert bench.camera.missed(bench.clock.now) == []


@pytest.mark.parametrize(("latency_s", "held_up_s"), [(0.5, 0.0), (0.0, 0.5), (0.2, 0.3)])
def test_a_picture_that_may_have_been_taken_before_it_was_asked_for_is_not_it_however_many_came_since(
    latency_s: float, held_up_s: float
) -> None:
    with streaming(RULES._replace(latency_s=latency_s)) as bench:
        bench.script.held_up_s = held_up_s
        bench.start()
        taken = asking(bench)
        for content in (b"at once", b"again", b"0.4 s later"):
            bench.gives(content)
        bench.clock.now += 0.4
        bench.gives(b"still on its way then")
        bench.clock.now += 0.2
        bench.gives(b"taken since")
        assert taken() == b"taken since"


def test_of_a_stream_that_cannot_tell_when_its_pictures_were_taken_none_is_taken_for_a_triggers() -> None:
    with streaming() as bench:
        bench.script.held_up_s = math.inf
        bench.start()
        taken = asking(bench, timeout_s=0.2)
        bench.gives(b"1", b"2", b"3")
        assert taken() is None
        bench.gives(b"4")
        assert bench.content() == b"4", "who asks for the newest one still gets it"
