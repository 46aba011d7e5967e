"""Requests that meet in front of an engine: who runs with whom, and that nobody suffers from it."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.errors import Code, InferenceError
from edge_agent.inference.batching import Batcher, Batching

PATIENCE_S = 20.0
BAD = -1.0


class Engine:
    """Doubles; refuses numbers that are BAD; ``gate`` holds it while it is shut."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[int] = []
        self._lock = threading.Lock()

    def run(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        with self._lock:
            self.batches.append(len(tensors["x"]))
        assert self.gate.wait(PATIENCE_S)
        if any(len(tensor) != len(tensors["x"]) for tensor in tensors.values()):
            raise InferenceError(Code.INTERNAL, "rows disagree")
        if (tensors["x"] == BAD).any():
            raise InferenceError(Code.INTERNAL, "refused")
        return {"y": 2 * tensors["x"]}


class Callers:
    """Requests on threads of their own, and what became of them."""

    def __init__(self, batcher: Batcher, engine: Engine) -> None:
        self._batcher, self._engine = batcher, engine
        self._threads: list[threading.Thread] = []
        self.answers: dict[float, Any] = {}

    def ask(self, value: float, rows: int = 1, **others: NDArray[Any]) -> None:
        def work() -> None:
            try:
                tensors = {"x": np.full((rows, 2), value, np.float32), **others}
                self.answers[value] = self._batcher(tensors)["y"]
            except InferenceError as exc:
                self.answers[value] = exc

        before = self.met()
        self._threads.append(threading.Thread(target=work, daemon=True))
        self._threads[-1].start()
        until(lambda: self.met() > before)

    def met(self) -> int:
        return len(self._engine.batches) + len(self._batcher._waiting)

    def end(self) -> None:
        self._engine.gate.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def until(fact: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def engine() -> Engine:
    return Engine()


def meet(engine: Engine, size: int, runs: int = 1) -> Callers:
    """Return callers whose first request, 100, keeps the engine busy."""
    callers = Callers(Batcher(engine.run, Batching(size, runs=runs)), engine)
    engine.gate.clear()
    callers.ask(100.0)
    return callers


def test_what_came_while_the_engine_was_busy_runs_as_one_batch_and_each_gets_its_own(engine: Engine) -> None:
    callers = meet(engine, 4)
    for value in (1.0, 2.0, 3.0):
        callers.ask(value)
    callers.end()
    assert engine.batches == [1, 3]
    assert {value: answer.tolist() for value, answer in callers.answers.items()} == {
        value: [[2 * value, 2 * value]] for value in (1.0, 2.0, 3.0, 100.0)
    }


def test_no_batch_has_more_rows_than_allowed_and_a_larger_request_runs_alone(engine: Engine) -> None:
    callers = meet(engine, 4)
    callers.ask(1.0, rows=3)
    callers.ask(2.0, rows=9)
    callers.ask(3.0, rows=2)
    callers.ask(4.0)
    callers.end()
    assert engine.batches == [1, 4, 9, 2]
    assert {value: len(answer) for value, answer in callers.answers.items()} == {
        1.0: 3,
        2.0: 9,
        3.0: 2,
        4.0: 1,
        100.0: 1,
    }


def test_a_lone_request_waits_for_nobody(engine: Engine) -> None:
    assert Batcher(engine.run, Batching(8))({"x": np.ones((1, 2), np.float32)})["y"].tolist() == [[2.0, 2.0]]
    assert engine.batches == [1]


def test_with_a_window_the_first_waits_until_the_batch_is_full(engine: Engine) -> None:
    callers = Callers(Batcher(engine.run, Batching(2, window_s=PATIENCE_S)), engine)
    first = threading.Thread(target=lambda: callers._batcher({"x": np.ones((1, 2), np.float32)}), daemon=True)
    first.start()
    until(lambda: callers._batcher._idle == 0)
    assert engine.batches == []
    callers.ask(5.0)
    first.join(PATIENCE_S)
    callers.end()
    assert engine.batches == [2]


def test_who_fits_into_two_batches_that_wait_runs_in_one_of_them(engine: Engine) -> None:
    callers = Callers(Batcher(engine.run, Batching(4, window_s=0.2, runs=2)), engine)
    leaders = [
        threading.Thread(target=lambda: callers._batcher({"x": np.ones((1, 2), np.float32)}), daemon=True)
        for _ in range(2)
    ]
    for leader in leaders:
        leader.start()
    until(lambda: callers._batcher._idle == 0)
    callers.ask(5.0)
    for leader in leaders:
        leader.join(PATIENCE_S)
    callers.end()
    assert sum(engine.batches) == 3
    assert callers.answers[5.0].tolist() == [[10.0, 10.0]]


def test_a_window_that_passes_lets_the_first_run_alone(engine: Engine) -> None:
    batcher = Batcher(engine.run, Batching(2, window_s=0.01))
    assert batcher({"x": np.ones((1, 2), np.float32)})["y"].tolist() == [[2.0, 2.0]]


def test_a_request_that_the_engine_refuses_fails_no_other(engine: Engine) -> None:
    callers = meet(engine, 4)
    for value in (1.0, BAD, 3.0):
        callers.ask(value)
    callers.end()
    assert engine.batches == [1, 3, 1, 1, 1]
    assert isinstance(callers.answers[BAD], InferenceError)
    assert callers.answers[1.0].tolist() == [[2.0, 2.0]]
    assert callers.answers[3.0].tolist() == [[6.0, 6.0]]


def test_requests_of_other_shapes_or_inputs_do_not_share_a_batch(engine: Engine) -> None:
    callers = meet(engine, 8)
    callers.ask(1.0)
    callers.ask(2.0, z=np.zeros((1, 5), np.float32))
    callers.ask(3.0, z=np.zeros((1, 6), np.float32))
    callers.ask(4.0)
    callers.end()
    assert engine.batches == [1, 2, 1, 1]


def test_requests_whose_inputs_disagree_about_their_rows_never_make_up_for_each_other(engine: Engine) -> None:
    callers = meet(engine, 8)
    callers.ask(1.0, rows=2, z=np.zeros((3, 1), np.float32))
    callers.ask(2.0, rows=3, z=np.zeros((2, 1), np.float32))
    callers.end()
    assert engine.batches == [1, 2, 3]
    assert all(isinstance(callers.answers[value], InferenceError) for value in (1.0, 2.0))


def test_an_engine_whose_answer_has_other_rows_answers_each_alone(engine: Engine) -> None:
    def mean(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {"y": engine.run(tensors)["y"].mean(axis=0, keepdims=True)}

    engine.gate.clear()
    callers = Callers(Batcher(mean, Batching(4)), engine)
    for value in (100.0, 1.0, 3.0):
        callers.ask(value)
    callers.end()
    assert engine.batches == [1, 2, 1, 1]
    assert callers.answers[1.0].tolist() == [[2.0, 2.0]]


def test_several_batches_run_at_a_time_where_allowed(engine: Engine) -> None:
    callers = meet(engine, 2, runs=2)
    callers.ask(1.0)
    until(lambda: engine.batches == [1, 1])
    for value in (2.0, 3.0, 4.0, 5.0):
        callers.ask(value)
    callers.end()
    assert sum(engine.batches) == 6
    assert max(engine.batches) == 2


def test_many_callers_are_all_answered_rightly(engine: Engine) -> None:
    batcher = Batcher(engine.run, Batching(4, runs=2))
    wrong: list[float] = []

    def work(number: int) -> None:
        for turn in range(50):
            value = float(number * 100 + turn)
            if not (batcher({"x": np.full((1, 2), value, np.float32)})["y"] == 2 * value).all():
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert wrong == []
    assert sum(engine.batches) == 400
    assert batcher._idle == 2
