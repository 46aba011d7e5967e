"""The station's loop, its answers and its cameras, without a second of waiting."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from edge_agent.config import Station
from edge_agent.errors import AgentError, CameraError, Code, ConfigError, InferenceError
from edge_agent.formats import InspectedFrame, ModelResult, Verdict
from edge_agent.station.answer import Answer, settle
from edge_agent.station.camera import Shot, open_camera
from edge_agent.station.directory import DirectoryCamera
from edge_agent.station.loop import FIRST_PAUSE_S, LONGEST_PAUSE_S, Loop, State
from edge_agent.station.stream import PictureLostError


def result(verdict: Verdict, application: str = "app") -> ModelResult:
    return ModelResult(application=application, model="unet", verdict=verdict)


def inspected(verdict: Verdict, *results: ModelResult) -> InspectedFrame:
    return InspectedFrame(id="f1", at=1.0, verdict=verdict, results=results, message="because")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return False


class Agent:
    """Answers from a script; an error in it is raised."""

    def __init__(self, clock: Clock, *script: InspectedFrame | AgentError, takes_s: float = 0.01) -> None:
        self.clock = clock
        self.script = list(script)
        self.takes_s = takes_s
        self.asked: list[tuple[bytes, str, str, float]] = []

    def __call__(self, content: bytes, *, source: str, frame_name: str, timeout_s: float) -> InspectedFrame:
        self.asked.append((content, source, frame_name, timeout_s))
        self.clock.now += self.takes_s
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, AgentError):
            raise step
        return step


class OneShot:
    def __init__(self, *shots: Shot | CameraError | None) -> None:
        self.shots = list(shots)
        self.closed = False

    def newest(self, timeout_s: float) -> Shot | None:
        step = self.shots.pop(0) if len(self.shots) > 1 else self.shots[0]
        if isinstance(step, CameraError):
            raise step
        return step

    def close(self) -> None:
        self.closed = True


SKIPPED = result(Verdict.NO_RESULT).model_copy(update={"skipped": True})
GOOD = inspected(Verdict.OK, result(Verdict.OK))
AWAY = InferenceError(Code.UNAVAILABLE, "expected the agent, nobody listens")
DARK = CameraError(Code.CAMERA_FAILED, "expected images, came none")
PICTURE = Shot(b"jpeg", "part-1.jpg")


def a_loop(
    agent: Agent,
    camera: OneShot,
    *,
    rate_hz: float = 2.0,
    trigger: str = "free",
    tell: Callable[[Answer], None] = lambda _: None,
    missed: Callable[[float], Sequence[float]] = lambda _: (),
) -> Loop:
    options = Station(source="genicam:x", rate_hz=rate_hz, deadline_s=2.0, trigger=trigger)
    return Loop("left", camera, agent, options, tell=tell, clock=agent.clock, missed=missed, chance=lambda: 1.0)


def run_turns(loop: Loop, clock: Clock, turns: int) -> None:
    def wait(seconds: float) -> bool:
        clock.wait(seconds)
        return len(clock.waits) > turns

    loop.run(wait)


def test_a_picture_goes_to_the_agent_with_its_station_its_name_and_the_deadline() -> None:
    agent = Agent(Clock(), GOOD)
    told: list[Answer] = []
    a_loop(agent, OneShot(PICTURE), tell=told.append).turn()
    assert agent.asked == [(b"jpeg", "left", "part-1.jpg", 2.0)]
    assert [(answer.verdict, answer.frame_id, answer.frame_name) for answer in told] == [
        (Verdict.OK, "f1", "part-1.jpg")
    ]


@pytest.mark.parametrize("step", [GOOD, AWAY])
@pytest.mark.parametrize(("picture", "part_at"), [(PICTURE, 100.0), (PICTURE._replace(at=99.5), 99.5)])
def test_a_part_s_moment_is_its_picture_s_however_long_the_answer_takes(
    step: InspectedFrame | AgentError, picture: Shot, part_at: float
) -> None:
    told: list[Answer] = []
    a_loop(Agent(Clock(), step, takes_s=1.5), OneShot(picture), tell=told.append).turn()
    assert [answer.part_at for answer in told] == [part_at]


def test_a_damaged_picture_is_a_part_without_a_result_and_a_camera_without_a_picture_is_none() -> None:
    lost = PictureLostError(Code.CAMERA_FAILED, "expected a whole picture")
    lost.at = 99.5
    told: list[Answer] = []
    loop = a_loop(Agent(Clock(), GOOD), OneShot(lost, DARK), tell=told.append)
    loop.turn()
    loop.turn()
    assert [(answer.verdict, answer.part_at) for answer in told] == [
        (Verdict.NO_RESULT, 99.5),
        (Verdict.NO_RESULT, None),
    ]


def test_parts_whose_pictures_were_skipped_are_told_before_the_one_in_hand_and_in_their_order() -> None:
    told: list[Answer] = []
    passed = [97.0, 98.0, 99.9]

    def missed(until: float) -> list[float]:
        found = [at for at in passed if at <= until]
        passed[:] = [at for at in passed if at > until]
        return found

    camera = OneShot(PICTURE._replace(at=99.0), None)
    loop = a_loop(Agent(Clock(), GOOD), camera, tell=told.append, missed=missed)
    loop.turn()
    assert [(answer.verdict, answer.part_at) for answer in told] == [
        (Verdict.NO_RESULT, 97.0),
        (Verdict.NO_RESULT, 98.0),
        (Verdict.OK, 99.0),
    ]
    assert "skipped" in told[0].message
    loop.turn()
    assert [answer.part_at for answer in told[3:]] == [99.9]


def test_where_an_input_takes_the_pictures_no_part_waits_for_a_long_pause() -> None:
    loop = a_loop(Agent(Clock(), AWAY), OneShot(PICTURE), trigger="Line1")
    assert max(loop.turn() for _ in range(12)) == FIRST_PAUSE_S


def test_an_agent_that_is_away_means_no_result_and_growing_pauses_up_to_a_ceiling() -> None:
    agent = Agent(Clock(), AWAY)
    told: list[Answer] = []
    loop = a_loop(agent, OneShot(PICTURE), tell=told.append)
    pauses = [loop.turn() for _ in range(12)]
    assert loop.state is State.AGENT_AWAY
    assert {answer.verdict for answer in told} == {Verdict.NO_RESULT}
    assert "UNAVAILABLE" in told[0].message
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_S


def test_an_agent_that_returns_is_asked_at_full_rate_at_once() -> None:
    agent = Agent(Clock(), AWAY, AWAY, GOOD, AWAY)
    loop = a_loop(agent, OneShot(PICTURE))
    pauses = [loop.turn() for _ in range(4)]
    assert pauses[2] == 0.0
    assert pauses[3] == pauses[0]


def test_a_camera_that_is_away_is_shown_and_the_agent_is_not_asked() -> None:
    agent = Agent(Clock(), GOOD)
    told: list[Answer] = []
    loop = a_loop(agent, OneShot(DARK), tell=told.append)
    assert loop.turn() > 0
    assert loop.state is State.CAMERA_AWAY
    assert agent.asked == []
    assert told[0].verdict is Verdict.NO_RESULT
    assert "CAMERA_FAILED" in told[0].message


def test_a_camera_without_a_new_picture_leaves_the_last_answer_alone() -> None:
    agent = Agent(Clock(), GOOD)
    told: list[Answer] = []
    loop = a_loop(agent, OneShot(PICTURE, None), tell=told.append)
    loop.turn()
    assert loop.turn() == 0.0
    assert loop.state is State.IDLE
    assert len(told) == 1


def test_the_rate_is_a_limit_and_lost_time_is_never_caught_up() -> None:
    clock = Clock()
    quick = Agent(clock, GOOD, takes_s=0.1)
    run_turns(a_loop(quick, OneShot(PICTURE)), clock, 4)
    assert clock.waits[1:] == pytest.approx([0.4, 0.4, 0.4, 0.4])
    slow_clock = Clock()
    slow = Agent(slow_clock, GOOD, takes_s=1.9)
    run_turns(a_loop(slow, OneShot(PICTURE)), slow_clock, 4)
    assert slow_clock.waits[1:] == pytest.approx([0, 0, 0, 0])


def test_a_slow_loop_does_not_wait_for_its_camera_longer_than_it_may_be_silent() -> None:
    waited: list[float] = []

    class Patient(OneShot):
        def newest(self, timeout_s: float) -> Shot | None:
            waited.append(timeout_s)
            return super().newest(timeout_s)

    camera = Patient(PICTURE)
    for rate_hz in (0.001, 4.0):
        a_loop(Agent(Clock(), GOOD), camera, rate_hz=rate_hz).turn()
    assert waited == [LONGEST_PAUSE_S, 0.25]


def test_a_loop_that_is_stopped_lets_its_camera_go() -> None:
    clock = Clock()
    camera = OneShot(PICTURE)
    run_turns(a_loop(Agent(clock, GOOD), camera), clock, 1)
    assert camera.closed


@pytest.mark.parametrize(
    ("answer", "elapsed_s", "verdict"),
    [
        (GOOD, 0.1, Verdict.OK),
        (inspected(Verdict.NG, result(Verdict.NG)), 0.1, Verdict.NG),
        (inspected(Verdict.NG, result(Verdict.NG), result(Verdict.NO_RESULT)), 0.1, Verdict.NG),
        (inspected(Verdict.NO_RESULT), 0.1, Verdict.NO_RESULT),
        (GOOD, 2.1, Verdict.NO_RESULT),
        (inspected(Verdict.NG, result(Verdict.NG)), 2.1, Verdict.NO_RESULT),
        (inspected(Verdict.OK), 0.1, Verdict.NO_RESULT),
        (inspected(Verdict.OK, result(Verdict.OK), result(Verdict.NO_RESULT)), 0.1, Verdict.NO_RESULT),
        (inspected(Verdict.OK, result(Verdict.OK), SKIPPED), 0.1, Verdict.OK),
        (inspected(Verdict.OK, SKIPPED), 0.1, Verdict.NO_RESULT),
    ],
)
def test_on_any_doubt_the_line_hears_no_result(answer: InspectedFrame, elapsed_s: float, verdict: Verdict) -> None:
    settled, message = settle(answer, elapsed_s, 2.0)
    assert settled is verdict
    assert message or settled is Verdict.OK


def fill(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).write_bytes(name.encode())


def names_of(camera: DirectoryCamera, count: int) -> list[str]:
    shots = [camera.newest(0) for _ in range(count)]
    return [shot.name if shot else "-" for shot in shots]


def test_a_directory_shows_its_images_sorted_and_round_again_and_nothing_else(tmp_path: Path) -> None:
    fill(tmp_path, "b.png", "a.JPG", "c.jpeg", "notes.txt")
    assert names_of(DirectoryCamera(tmp_path), 4) == ["a.JPG", "b.png", "c.jpeg", "a.JPG"]


def test_without_loop_a_directory_waits_for_a_later_name(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg")
    camera = DirectoryCamera(tmp_path, loop=False)
    assert names_of(camera, 3) == ["a.jpg", "-", "-"]
    fill(tmp_path, "b.jpg")
    assert names_of(camera, 2) == ["b.jpg", "-"]


def test_an_empty_or_missing_directory_is_told_and_recovers(tmp_path: Path) -> None:
    directory = tmp_path / "frames"
    camera = DirectoryCamera(directory)
    with pytest.raises(CameraError, match="No such file"):
        camera.newest(0)
    directory.mkdir()
    with pytest.raises(CameraError, match="expected JPEG or PNG files, came none"):
        camera.newest(0)
    fill(directory, "a.jpg")
    assert names_of(camera, 1) == ["a.jpg"]


def test_a_file_that_cannot_be_read_is_told_once_and_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").mkdir()
    fill(tmp_path, "b.jpg")
    camera = DirectoryCamera(tmp_path)
    with pytest.raises(CameraError, match=r"a\.jpg"):
        camera.newest(0)
    assert names_of(camera, 1) == ["b.jpg"]


@pytest.mark.parametrize("source", ["", "frames", "directory:", "rtsp://", "ftp://bob:secret@camera/1?key=secret"])
def test_a_source_of_an_unknown_kind_names_the_known_ones(source: str) -> None:
    with pytest.raises(ConfigError, match=r"left\.source: expected one of directory:…, file:…, .*came") as caught:
        open_camera("left", Station(source=source))
    assert "secret" not in str(caught.value)
    assert repr(source) in str(caught.value) or "ftp://…@camera/1?…" in str(caught.value)


def test_a_directory_source_opens_even_while_the_directory_is_missing(tmp_path: Path) -> None:
    camera = open_camera("left", Station(source=f"directory:{tmp_path / 'later'}"))
    with pytest.raises(CameraError):
        camera.newest(0)
