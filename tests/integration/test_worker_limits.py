"""What a worker may take of the machine, what waits to become one, and what batches answer."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from edge_agent.agent.models import Runtimes
from edge_agent.config import Batch, Inference, Settings, read_settings
from edge_agent.errors import ActivationError, Code, ConfigError, InferenceError
from edge_agent.formats import EncodedPicture
from edge_agent.inference import Priority, Spare, check_processors, open_session
from edge_agent.inference.workers import spare as spares
from edge_agent.inference.workers.isolated import IsolatedSession
from edge_agent.inference.workers.process import WorkerProcess
from tests.fakes.tiny_models import GLARE, image, raw_score, write_version
from tests.fakes.worker_processes import worker_processes

PATIENCE_S = 60.0
MIB = 1 << 20


def until(fact: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not fact():
        assert time.monotonic() < deadline, f"expected {what} within {PATIENCE_S:g} s"
        time.sleep(0.005)


def open_one(tmp_path: Path, options: Inference, *, fault: str = "", spare: Spare | None = None) -> IsolatedSession:
    manifest = write_version(tmp_path / "v", fault=fault)
    take = (lambda: None) if spare is None else spare.take
    session = open_session(tmp_path / "v", manifest, options, engines=tmp_path / "engines", spare=take)
    assert isinstance(session, IsolatedSession)
    return session


def test_a_model_that_does_not_fit_the_memory_of_a_worker_is_refused_and_the_limit_named(tmp_path: Path) -> None:
    with pytest.raises(ActivationError) as caught:
        open_one(tmp_path, Inference(worker_memory_bytes=32 * MIB))
    assert caught.value.code is Code.LOAD_FAILED
    assert f"(it may take {32 * MIB} bytes for itself)" in caught.value.message
    assert worker_processes() == []


def test_a_request_that_takes_more_memory_than_a_worker_may_fails_alone(tmp_path: Path) -> None:
    session = open_one(tmp_path, Inference(worker_memory_bytes=450 * MIB), fault="glare-memory")
    with pytest.raises(InferenceError) as caught:
        session.infer(image(GLARE), timeout_s=PATIENCE_S)
    assert caught.value.code in (Code.INTERNAL, Code.UNAVAILABLE)
    pixels = image(1)
    assert session.infer(pixels, timeout_s=PATIENCE_S)["score"][0] == pytest.approx(raw_score(pixels["image"]))
    session.close()


def test_a_worker_runs_on_the_processors_it_was_given_and_copies_for_a_candidate_give_way(tmp_path: Path) -> None:
    first = min(os.sched_getaffinity(0))
    session = open_one(tmp_path, Inference(cpus=(first,), shadow_nice=7))
    assert session.process_id is not None
    assert os.sched_getaffinity(session.process_id) == {first}
    session.infer(image(1), timeout_s=PATIENCE_S)
    assert set(niceness_of_threads(session.process_id)) == {os.getpriority(os.PRIO_PROCESS, 0)}
    session.infer(image(1), timeout_s=PATIENCE_S, priority=Priority.SHADOW)
    assert niceness_of_threads(session.process_id).count(7) == 1
    picture = EncodedPicture((tmp_path / "v" / "OK.png").read_bytes())
    session.inspect(picture, timeout_s=PATIENCE_S, with_mask=False, priority=Priority.SHADOW)
    assert niceness_of_threads(session.process_id).count(7) == 1
    session.close()


def niceness_of_threads(process_id: int) -> list[int]:
    tasks = Path(f"/proc/{process_id}/task").iterdir()
    return [os.getpriority(os.PRIO_PROCESS, int(task.name)) for task in tasks]


def test_a_processor_that_is_not_there_is_named(tmp_path: Path) -> None:
    lacking = max(os.sched_getaffinity(0)) + 1
    with pytest.raises(ConfigError, match=rf"inference.cpus: expected some of .*, came {lacking}"):
        check_processors((lacking,))
    with pytest.raises(ActivationError, match=rf"inference.cpus: expected some of .*, came {lacking}") as caught:
        open_one(tmp_path, Inference(cpus=(lacking,)))
    assert caught.value.code is Code.LOAD_FAILED


@pytest.mark.parametrize("change", [Spare.expect_nothing, Spare.take])
def test_a_spare_that_nobody_expects_any_more_when_it_has_started_is_ended(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Spare], object]
) -> None:
    started: list[int | None] = []

    def process(imports: Sequence[str]) -> WorkerProcess:
        made = WorkerProcess(imports)
        started.append(made.process_id)
        change(spare)
        return made

    monkeypatch.setattr(spares, "WorkerProcess", process)
    spare = Spare(keep=False, imports=())
    spare.expect()
    until(lambda: started, "a spare worker")
    until(lambda: not psutil.pid_exists(started[0] or 0), "its end")
    assert spare.process_id is None
    spare.close()


@pytest.fixture
def spare() -> Iterator[Spare]:
    made = Spare(keep=True, imports=("onnxruntime",), delay_s=0)
    yield made
    made.close()
    assert worker_processes() == []


def waiting(spare: Spare) -> int:
    until(lambda: spare.process_id is not None, "a spare worker")
    assert spare.process_id is not None
    return spare.process_id


def test_a_dead_worker_is_replaced_by_the_one_that_stands_by_and_another_takes_its_place(
    tmp_path: Path, spare: Spare
) -> None:
    spare.expect()
    ahead = waiting(spare)
    session = open_one(tmp_path, Inference(), spare=spare)
    assert session.process_id == ahead
    following = waiting(spare)
    os.kill(ahead, signal.SIGKILL)
    until(lambda: session.process_id == following, "the spare as the worker")
    assert session.infer(image(1), timeout_s=PATIENCE_S)
    assert waiting(spare) not in (ahead, following)
    session.close()


def test_a_spare_that_the_kernel_ended_is_not_taken(spare: Spare) -> None:
    spare.expect()
    process_id = waiting(spare)
    os.kill(process_id, signal.SIGKILL)
    until(lambda: psutil.Process(process_id).status() == psutil.STATUS_ZOMBIE, "its end")
    assert spare.take() is None


def test_a_spare_that_was_expected_for_nothing_is_ended() -> None:
    spare = Spare(keep=False, imports=("onnxruntime",))
    spare.expect()
    process_id = waiting(spare)
    spare.expect_nothing()
    assert not psutil.pid_exists(process_id)
    assert spare.take() is None
    spare.close()


def test_requests_in_one_batch_get_the_answers_that_they_get_alone_and_one_that_fails_fails_alone(
    tmp_path: Path,
) -> None:
    session = open_one(tmp_path, Inference(batch=Batch(size=4, window_ms=100)), fault="glare-nan")
    answers: dict[int, Any] = {}

    def ask(value: int) -> None:
        try:
            answers[value] = session.infer(image(value), timeout_s=PATIENCE_S)["score"]
        except InferenceError as exc:
            answers[value] = exc.code

    threads = [threading.Thread(target=ask, args=(value,)) for value in (10, 20, GLARE, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert answers.pop(GLARE) is Code.INTERNAL
    for value, score in answers.items():
        np.testing.assert_allclose(score, [raw_score(image(value)["image"])], rtol=1e-5)
    session.close()


def test_a_candidate_is_loaded_by_a_process_that_was_started_while_its_engine_was_awaited(tmp_path: Path) -> None:
    manifest = write_version(tmp_path / "v")
    runtimes = Runtimes(Settings(), tmp_path / "engines")
    runtimes.expect_build()
    # Its process is there a moment before it may be taken.
    until(lambda: runtimes._spare.process_id is not None, "a worker that waits")
    waiting = {process.pid for process in worker_processes()}
    assert len(waiting) == 2, "a builder waits too"
    runtimes.build(tmp_path / "v", manifest, cancelled=lambda: False)
    session = runtimes.open(tmp_path / "v", manifest)
    assert isinstance(session, IsolatedSession)
    assert session.process_id in waiting
    assert session.infer(image(1), timeout_s=PATIENCE_S)
    session.close()
    runtimes.close()
    assert worker_processes() == []


def test_a_processor_that_is_not_there_keeps_an_agent_from_starting(tmp_path: Path) -> None:
    lacking = max(os.sched_getaffinity(0)) + 1
    with pytest.raises(ConfigError, match=f"came {lacking}"):
        Runtimes(Settings(inference=Inference(cpus=(lacking,))), tmp_path / "engines")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"lanes": 9, "batch": {"size": 8}}, "expected lanes x batch.size up to 64, came 9 x 8"),
        ({"batch": {"size": 0}}, "greater than or equal to 1"),
        ({"batch": {"window_ms": -1}}, "greater than or equal to 0"),
        ({"cpus": [-1]}, "greater than or equal to 0"),
        ({"shadow_nice": 20}, "less than or equal to 19"),
        ({"worker_memory_bytes": -1}, "greater than or equal to 0"),
    ],
)
def test_settings_of_workers_that_make_no_sense_are_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read_settings(None, {"inference": wrong})
