"""How cameras do, from the station's figures to what the agent shows."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from edge_agent.errors import Code, InferenceError
from edge_agent.formats import CameraStatus, Verdict
from edge_agent.inspection.cameras import LIMIT_CAMERAS, LIMIT_LOST, LIMIT_MESSAGE, CameraBoard
from edge_agent.station.answer import Answer
from edge_agent.station.loop import Loop, State
from edge_agent.station.reporting import Figures, Reporter
from edge_agent.telemetry import metrics

TAKEN = Answer("left", Verdict.OK, "part", "f1", 5.0)
CAMERA_AWAY = Answer("left", Verdict.NO_RESULT, message="CAMERA_FAILED: the plug is out")
AGENT_AWAY = Answer("left", Verdict.NO_RESULT, "part", message="UNAVAILABLE: no agent")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    def __init__(self) -> None:
        self.clock = Clock()
        self.published: list[CameraStatus] = []
        self.lost: list[tuple[str, int]] = []
        self.board = CameraBoard(
            self.published.append,
            lost=lambda camera, parts: self.lost.append((camera, parts)),
            clock=self.clock,
            now=lambda: 5e8 + self.clock.now,
        )


@pytest.fixture
def bench() -> Bench:
    return Bench()


def camera(identity: str = "left", **fields: Any) -> CameraStatus:
    return CameraStatus(**({"id": identity, "kind": "rtsp", "state": "WATCHING"} | fields))


def shown(name: str, camera: str) -> str | None:
    prefix = f'{name}{{camera="{camera}"}} '
    lines = metrics.exposition().decode().splitlines()
    return next((line.removeprefix(prefix) for line in lines if line.startswith(prefix)), None)


def test_cameras_are_shown_by_name_as_they_were_told_last(bench: Bench) -> None:
    for told in (camera("right"), camera("left", frames=1), camera("left", frames=2)):
        bench.board.report(told)
    assert bench.board.cameras() == (camera("left", frames=2), camera("right"))


def test_an_event_tells_what_changed_and_not_each_second(bench: Bench) -> None:
    bench.board.report(camera(frames=1))
    bench.board.report(camera(frames=2, rate_hz=2.0, skipped=7))
    away = camera(state="CAMERA_AWAY", message="the plug is out", failures=1)
    for told in (away, away, camera(failures=1), camera(failures=2)):
        bench.board.report(told)
    heard = [(told.state, told.failures) for told in bench.published]
    assert heard == [("WATCHING", 0), ("CAMERA_AWAY", 1), ("WATCHING", 1), ("WATCHING", 2)]


def test_a_camera_whose_station_says_nothing_is_silent_after_ten_seconds_and_returns(bench: Bench) -> None:
    bench.board.report(camera(frames=3, rate_hz=2.0))
    bench.clock.now += 9.9
    bench.board.look()
    assert [told.state for told in bench.board.cameras()] == ["WATCHING"]
    bench.clock.now += 0.2
    bench.board.look()
    bench.board.look()
    (silent,) = bench.board.cameras()
    assert (silent.state, silent.frames, silent.rate_hz, silent.since) == ("SILENT", 3, 0.0, 5e8 + 1010.1)
    assert silent.message == "its station told nothing for 10 s"
    bench.board.report(camera(frames=4))
    assert [told.state for told in bench.published] == ["WATCHING", "SILENT", "WATCHING"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"identity": ""}, "camera.id: expected 1 to 64 printable characters, came ''"),
        ({"identity": "x" * 65}, "camera.id: expected 1 to 64"),
        ({"identity": "a\nb"}, "camera.id: expected 1 to 64"),
        ({"kind": "k" * 33}, "camera.kind: expected 0 to 32"),
        ({"state": "SILENT"}, "camera.state: expected one of STARTING, WATCHING, .*, came SILENT"),
        ({"state": "x\x1b[2J" * 100}, "camera.state: expected one of"),
        ({"frames": 1 << 63}, "camera.frames: expected a count up to"),
        ({"lost": 1 << 63}, "camera.lost: expected a count up to"),
        ({"failures": -1}, "camera.failures: expected a count up to"),
        ({"rate_hz": float("nan")}, "camera.rate_hz: expected a number from 0 on, came nan"),
        ({"since": float("inf")}, "camera.since: expected a number from 0 on, came inf"),
    ],
)
def test_what_no_station_would_say_is_refused_and_changes_nothing(
    bench: Bench, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InferenceError, match=message) as caught:
        bench.board.report(camera(**fields))
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert len(caught.value.message) < 300
    assert bench.board.cameras() == ()
    assert bench.published == []


def test_a_message_is_cut_and_cleaned(bench: Bench) -> None:
    bench.board.report(camera(state="CAMERA_AWAY", message="a\x1b[31m\n" + "x" * 10_000))
    (told,) = bench.board.cameras()
    assert told.message.startswith("a [31m xxx")
    assert len(told.message) == LIMIT_MESSAGE


def test_there_are_so_many_cameras_and_a_new_one_takes_the_place_of_the_one_silent_for_longest(bench: Bench) -> None:
    for number in range(LIMIT_CAMERAS):
        bench.board.report(camera(f"c{number:02}"))
    with pytest.raises(InferenceError, match=f"expected at most {LIMIT_CAMERAS} cameras") as caught:
        bench.board.report(camera("new"))
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    bench.clock.now += 11
    bench.board.report(camera("c00"))
    bench.board.look()
    bench.board.report(camera("new"))
    names = {told.id for told in bench.board.cameras()}
    assert len(names) == LIMIT_CAMERAS
    assert {"c00", "new"} <= names
    assert "c01" not in names
    assert shown("edge_agent_camera_up", "c01") is None
    assert shown("edge_agent_camera_up", "new") == "1.0"


def test_metrics_tell_whether_a_camera_is_up_and_count_through_a_stations_restart(bench: Bench) -> None:
    told = (camera("m", frames=5), camera("m", frames=7, failures=1, state="CAMERA_AWAY"), camera("m", frames=2))
    ups = []
    for each in told:
        bench.board.report(each)
        ups.append(shown("edge_agent_camera_up", "m"))
    assert ups == ["1.0", "0.0", "1.0"]
    assert shown("edge_agent_camera_frames_total", "m") == "9.0"
    assert shown("edge_agent_camera_failures_total", "m") == "1.0"
    bench.clock.now += 11
    bench.board.look()
    assert shown("edge_agent_camera_up", "m") == "0.0"


def test_parts_that_were_lost_are_counted_as_they_grow_through_a_stations_restart_and_once(bench: Bench) -> None:
    # The first report of a station that this agent hears of may tell what an agent before it has counted.
    for lost in (5, 5, 7, 7, 2, 2):
        bench.board.report(camera(lost=lost))
    assert bench.lost == [("left", 2), ("left", 2)]
    bench.board.report(camera(lost=1 << 62))
    assert bench.lost[-1] == ("left", LIMIT_LOST)


def test_a_station_counts_parts_without_an_inspected_picture_and_a_skipped_one_is_no_fault_of_the_camera() -> None:
    figures = Figures("genicam")
    skipped = Answer("left", Verdict.NO_RESULT, message="skipped", code=Code.DEADLINE_EXCEEDED, part_at=1.0)
    damaged = CAMERA_AWAY._replace(code=Code.CAMERA_FAILED, part_at=2.0)
    for answer in (TAKEN, skipped, skipped, TAKEN, damaged, CAMERA_AWAY, AGENT_AWAY._replace(part_at=3.0)):
        figures(answer)
    status = figures.status(a_loop(State.WATCHING, TAKEN), 2)
    assert (status.lost, status.failures, status.frames) == (3, 2, 2)


def a_loop(state: State, last: Answer) -> Loop:
    return cast("Loop", SimpleNamespace(name="left", state=state, last=last))


def test_figures_count_frames_and_each_time_that_somebody_was_away() -> None:
    figures = Figures("rtsp", clock=Clock(), now=Clock())
    for answer in (TAKEN, CAMERA_AWAY, CAMERA_AWAY, AGENT_AWAY, TAKEN, CAMERA_AWAY):
        figures(answer)
    told = figures.status(a_loop(State.CAMERA_AWAY, CAMERA_AWAY), 4)
    assert (told.id, told.kind, told.state, told.message) == ("left", "rtsp", "CAMERA_AWAY", CAMERA_AWAY.message)
    assert (told.frames, told.failures, told.skipped) == (2, 3, 4)


def test_a_state_has_its_beginning_and_trouble_its_reason() -> None:
    clock = Clock()
    figures = Figures("rtsp", clock=clock, now=clock)
    began = figures.status(a_loop(State.WATCHING, TAKEN), 0).since
    clock.now += 5
    assert figures.status(a_loop(State.WATCHING, TAKEN), 0).since == began
    away = figures.status(a_loop(State.CAMERA_AWAY, CAMERA_AWAY), 0)
    assert (away.since, away.message) == (began + 5, CAMERA_AWAY.message)
    assert figures.status(a_loop(State.WATCHING, TAKEN), 0).message == ""


def test_a_camera_slower_than_its_loop_is_not_idle_between_two_pictures() -> None:
    clock = Clock()
    figures = Figures("rtsp", clock=clock, now=clock)
    assert figures.status(a_loop(State.IDLE, TAKEN), 0).state == "IDLE"
    figures(TAKEN)
    assert figures.status(a_loop(State.IDLE, TAKEN), 0).state == "WATCHING"
    clock.now += 2.5
    assert figures.status(a_loop(State.IDLE, TAKEN), 0).state == "IDLE"


def test_the_rate_is_that_of_the_last_seconds() -> None:
    clock = Clock()
    figures = Figures("rtsp", clock=clock, now=clock)
    rates = []
    for second in range(20):
        for _ in range(4 if second < 10 else 0):
            figures(TAKEN)
        clock.now += 1.0
        rates.append(figures.status(a_loop(State.WATCHING, TAKEN), 0).rate_hz)
    assert rates[9] == pytest.approx(4.0)
    assert rates[19] == 0.0


def test_reports_come_each_second_and_at_once_when_something_changed() -> None:
    clock = Clock()
    heard: list[tuple[float, str]] = []

    def report(status: CameraStatus, *, timeout_s: float) -> None:
        heard.append((clock.now - 1000.0, status.state))
        raise InferenceError(Code.UNAVAILABLE, "no agent")

    loop = a_loop(State.WATCHING, TAKEN)
    reporter = Reporter(report, [(loop, Figures("rtsp", clock=clock, now=clock), lambda: 0)], clock)
    turns = iter(range(11))

    def wait(seconds: float) -> bool:
        clock.now += 0.25
        turn = next(turns)
        loop.state = State.CAMERA_AWAY if turn == 6 else loop.state
        return turn == 10

    reporter.run(wait)
    assert heard == [(0.25, "WATCHING"), (1.25, "WATCHING"), (1.75, "CAMERA_AWAY")]
