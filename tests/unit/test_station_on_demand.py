"""One look because somebody asked: a picture taken since then, and one answer whatever happens."""

import pytest

from edge_agent.config import Station
from edge_agent.errors import CameraError, Code
from edge_agent.formats import InspectedFrame, Verdict
from edge_agent.station.answer import Answer
from edge_agent.station.camera import Shot
from edge_agent.station.fresh import fresh
from edge_agent.station.loop import Loop
from edge_agent.station.plc.outcome import outcome_of
from edge_agent.station.plc.table import Fault
from edge_agent.station.reporting import Figures
from tests.fakes.plc import AWAY, DARK, inspected


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Stream:
    """A camera that runs by itself: what it holds, what is under way, what it takes next."""

    def __init__(self, clock: Clock, *shots: Shot | CameraError | None, each_s: float = 0.0) -> None:
        self.shots = list(shots)
        self.clock = clock
        self.each_s = each_s
        self.waits: list[float] = []

    def newest(self, timeout_s: float) -> Shot | None:
        self.waits.append(timeout_s)
        self.clock.now += self.each_s
        shot = self.shots.pop(0) if self.shots else None
        if isinstance(shot, CameraError):
            raise shot
        return shot

    def close(self) -> None:
        pass


class Agent:
    def __init__(self, clock: Clock, answer: InspectedFrame | Exception, takes_s: float = 0.1) -> None:
        self.clock, self.answer, self.takes_s = clock, answer, takes_s
        self.timeouts: list[float] = []

    def __call__(self, content: bytes, *, source: str, frame_name: str, timeout_s: float) -> InspectedFrame:
        self.timeouts.append(timeout_s)
        self.clock.now += self.takes_s
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


HELD, UNDER_WAY, NEW = Shot(b"1", "held"), Shot(b"2", "under way"), Shot(b"3", "new")


def look(camera: Stream, agent: Agent, began: float = 100.0, figures: Figures | None = None) -> Answer:
    loop = loop_of(camera, agent, figures)
    return loop.look_now(began)


def loop_of(camera: Stream, agent: Agent, figures: Figures | None = None) -> Loop:
    options = Station(source="directory:x", deadline_s=2.0)
    return Loop("left", camera, agent, options, tell=figures or (lambda _: None), clock=camera.clock)


def test_a_picture_that_may_be_older_than_the_question_is_never_taken() -> None:
    clock = Clock()
    assert fresh(Stream(clock, HELD, UNDER_WAY, NEW), 1.0, clock) == NEW
    assert fresh(Stream(clock, None, UNDER_WAY, NEW), 1.0, clock) == NEW
    assert fresh(Stream(clock, HELD, None, NEW), 1.0, clock) is None
    camera = Stream(clock, HELD, UNDER_WAY, NEW, each_s=0.4)
    assert fresh(camera, 1.0, clock) == NEW
    assert camera.waits == pytest.approx([0.0, 0.6, 0.2])


def test_the_time_for_the_picture_is_part_of_the_deadline() -> None:
    clock = Clock()
    agent = Agent(clock, inspected(Verdict.OK))
    answer = look(Stream(clock, HELD, UNDER_WAY, NEW, each_s=0.5), agent)
    assert (answer.verdict, answer.frame_name) == (Verdict.OK, "new")
    assert agent.timeouts == pytest.approx([0.5])


@pytest.mark.parametrize(
    ("shots", "each_s", "agent", "fault"),
    [
        ([HELD, UNDER_WAY, DARK], 0.0, inspected(Verdict.OK), Fault.CAMERA),
        ([HELD], 0.0, inspected(Verdict.OK), Fault.CAMERA),
        ([HELD, UNDER_WAY, NEW], 0.7, inspected(Verdict.OK), Fault.DEADLINE),
        ([HELD, UNDER_WAY, NEW], 0.0, AWAY, Fault.AGENT),
        ([HELD, UNDER_WAY, NEW], 0.65, inspected(Verdict.OK), Fault.DEADLINE),
        ([HELD, UNDER_WAY, NEW], 0.0, inspected(Verdict.NO_RESULT), Fault.NO_VERDICT),
    ],
    ids=["camera away", "no picture", "picture too late", "agent away", "answer too late", "no verdict"],
)
def test_what_goes_wrong_is_no_result_with_its_reason(
    shots: list[Shot | CameraError | None], each_s: float, agent: InspectedFrame | Exception, fault: Fault
) -> None:
    clock = Clock()
    answer = look(Stream(clock, *shots, each_s=each_s), Agent(clock, agent))
    assert answer.verdict is Verdict.NO_RESULT
    assert outcome_of(answer).fault is fault


@pytest.mark.parametrize(
    ("shots", "each_s", "agent", "lost", "inspected_frames"),
    [
        ([HELD, UNDER_WAY, DARK], 0.0, inspected(Verdict.OK), 1, 0),
        ([HELD], 0.0, inspected(Verdict.OK), 1, 0),
        ([HELD, UNDER_WAY, NEW], 0.7, inspected(Verdict.OK), 1, 0),
        ([HELD, UNDER_WAY, NEW], 0.0, AWAY, 0, 0),
        ([HELD, UNDER_WAY, NEW], 0.0, inspected(Verdict.NO_RESULT), 0, 1),
    ],
    ids=["camera away", "no picture", "picture too late", "agent away", "inspected"],
)
def test_a_part_that_a_plc_asked_about_is_counted_by_the_agent_or_told_to_it_as_lost(
    shots: list[Shot | CameraError | None],
    each_s: float,
    agent: InspectedFrame | Exception,
    lost: int,
    inspected_frames: int,
) -> None:
    clock = Clock()
    camera, figures = Stream(clock, *shots, each_s=each_s), Figures("directory", clock=clock, now=clock)
    loop = loop_of(camera, Agent(clock, agent), figures)
    loop.look_now(100.0)
    status = figures.status(loop, 0)
    assert (status.lost, status.frames) == (lost, inspected_frames)


def test_a_plc_hears_the_score_of_the_model_that_decided() -> None:
    frame = inspected(Verdict.NG)
    weaker = frame.results[0].model_copy(update={"model": "other", "score": 0.6})
    silent = frame.results[0].model_copy(update={"model": "ok", "score": 0.99, "verdict": Verdict.OK})
    both = frame.model_copy(update={"results": (weaker, *frame.results, silent)})
    outcome = outcome_of(Answer("left", Verdict.NG, "p", "f", 3.0, inspected=both))
    assert (outcome.model, outcome.score, outcome.threshold, outcome.fault) == ("unet", 0.75, 0.5, Fault.NONE)
    late = Answer("left", Verdict.NO_RESULT, "p", code=Code.DEADLINE_EXCEEDED, inspected=both)
    assert (outcome_of(late).model, outcome_of(late).fault) == ("", Fault.DEADLINE)
