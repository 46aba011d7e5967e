"""Who is executed first in front of a real worker, and who never is."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from edge_agent.config import Inference
from edge_agent.errors import Code, InferenceError
from edge_agent.inference import DataPlane, Priority, Registry, open_session
from edge_agent.inference.workers.isolated import IsolatedSession
from tests.fakes.tiny_models import image, write_version

PATIENCE_S = 60.0
QUEUE = 4


class Line:
    """A model behind one lane whose worker stands still until it is told to go on."""

    def __init__(self, session: IsolatedSession) -> None:
        registry = Registry()
        registry.activate({"bright": session})
        self.plane = DataPlane(registry)
        self.executed: list[int] = []
        self._session = session
        self._threads: list[threading.Thread] = []
        self.errors: dict[int, InferenceError] = {}
        (self._lane,) = session._supervisor._current
        send = self._lane.send_tensors

        def note(form: Any, tensors: Any, **more: Any) -> None:
            self.executed.append(int(tensors["image"][0, 5, 5, 0]))
            send(form, tensors, **more)

        self._lane.send_tensors = note  # type: ignore[method-assign]

    def stand_still(self) -> None:
        assert self._session.process_id is not None
        worker = psutil.Process(self._session.process_id)
        worker.send_signal(signal.SIGSTOP)
        until(lambda: worker.status() == psutil.STATUS_STOPPED)
        self.ask(99)
        until(lambda: self.executed == [99])

    def go_on(self) -> None:
        assert self._session.process_id is not None
        os.kill(self._session.process_id, signal.SIGCONT)
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()

    def ask(self, value: int, priority: Priority = Priority.LINE, timeout_s: float = PATIENCE_S) -> None:
        def work() -> None:
            try:
                self.plane.infer("bright", image(value), timeout_s=timeout_s, priority=priority)
            except InferenceError as exc:
                self.errors[value] = exc

        before = self._session._lanes.waiting, len(self.executed)
        self._threads.append(threading.Thread(target=work, daemon=True))
        self._threads[-1].start()
        until(lambda: (self._session._lanes.waiting, len(self.executed)) != before or value in self.errors)


def until(fact: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IsolatedSession]:
    directory = tmp_path_factory.mktemp("queue")
    manifest = write_version(directory / "v")
    options = Inference(queue=QUEUE, hang_timeout_s=2 * PATIENCE_S)
    opened = open_session(directory / "v", manifest, options, engines=directory / "engines")
    assert isinstance(opened, IsolatedSession)
    yield opened
    opened.close()


@pytest.fixture
def line(session: IsolatedSession) -> Iterator[Line]:
    line = Line(session)
    line.stand_still()
    yield line
    line.go_on()


def test_a_worker_executes_the_line_before_frames_before_shadows_and_the_oldest_deadline_first(line: Line) -> None:
    line.ask(1, Priority.SHADOW, PATIENCE_S)
    line.ask(2, Priority.FRAME, PATIENCE_S)
    line.ask(3, Priority.LINE, PATIENCE_S)
    line.ask(4, Priority.LINE, PATIENCE_S / 2)
    line.go_on()
    assert line.executed == [99, 4, 3, 2, 1]
    assert line.errors == {}


def test_a_request_whose_time_ran_out_in_the_queue_is_never_executed(line: Line) -> None:
    line.ask(1, timeout_s=0.05)
    line.ask(2)
    until(lambda: 1 in line.errors)
    line.go_on()
    assert line.errors[1].code is Code.DEADLINE_EXCEEDED
    assert line.executed == [99, 2]


def test_a_request_that_finds_the_queue_full_is_refused_while_the_worker_still_stands(line: Line) -> None:
    for value in range(QUEUE):
        line.ask(value)
    line.ask(50)
    assert line.errors[50].code is Code.RESOURCE_EXHAUSTED
    assert line.executed == [99]
    line.go_on()
    assert sorted(line.executed) == [0, 1, 2, 3, 99]
