"""Worker processes that are killed, stopped, orphaned or fed garbage; nothing else suffers, nothing is left."""

import gc
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from edge_agent.config import Inference
from edge_agent.errors import ActivationError, BundleError, Code, InferenceError
from edge_agent.inference import open_session
from edge_agent.inference.engines.cache import EngineFile
from edge_agent.inference.workers import supervisor
from edge_agent.inference.workers.isolated import IsolatedSession
from edge_agent.inference.workers.process import WorkerProcess
from edge_agent.inference.workers.segments import Endpoint
from tests.fakes.tiny_models import GLARE, image, replace_model, write_version
from tests.fakes.worker_processes import worker_processes

PATIENCE_S = 60.0
# Nothing but a worker that stands still takes so long: the one that takes its place is no hang on a busy machine.
HANG_S = 3.0
ROOT = Path(__file__).resolve().parents[2]


def until(fact: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not fact():
        assert time.monotonic() < deadline, f"expected {what} within {PATIENCE_S:g} s"
        time.sleep(0.005)


def open_one(
    tmp_path: Path, restarts: list[str] | None = None, *, fault: str = "", **options: object
) -> IsolatedSession:
    manifest = write_version(tmp_path / "v", fault=fault)
    settings = Inference().model_copy(update=options)
    told = restarts.append if restarts is not None else None
    session = open_session(tmp_path / "v", manifest, settings, engines=tmp_path / "engines", on_restart=told)
    assert isinstance(session, IsolatedSession)
    return session


@pytest.fixture
def restarts() -> list[str]:
    return []


@pytest.fixture
def session(tmp_path: Path, restarts: list[str]) -> Iterator[IsolatedSession]:
    opened = open_one(tmp_path, restarts)
    yield opened
    opened.close()


@pytest.fixture
def endless(tmp_path: Path, restarts: list[str]) -> Iterator[IsolatedSession]:
    """A session whose model never comes to an end with a glaring picture."""
    opened = open_one(tmp_path, restarts, fault="glare-hang")
    yield opened
    opened.close()


def worker_of(session: IsolatedSession) -> int:
    until(lambda: session.process_id is not None, "a worker")
    assert session.process_id is not None
    return session.process_id


def kill_worker(session: IsolatedSession) -> None:
    """Kill the worker and return when the session knows: a request sent to a dying one would be in flight."""
    first = worker_of(session)
    os.kill(first, signal.SIGKILL)
    until(lambda: session.process_id != first, "a session that noticed")


def stop_worker(session: IsolatedSession) -> int:
    """Stop the worker, return when it stands still, and which it is."""
    worker = worker_of(session)
    os.kill(worker, signal.SIGSTOP)
    until(lambda: psutil.Process(worker).status() == psutil.STATUS_STOPPED, "a stopped worker")
    return worker


class InFlight(threading.Thread):
    """A request of an ``endless`` session that computes until its worker ends; the worker is busy with it."""

    def __init__(self, session: IsolatedSession) -> None:
        super().__init__(daemon=True)
        self._session = session
        self.error: InferenceError | None = None
        worker = psutil.Process(worker_of(session))
        before = worker.cpu_times().user
        self.start()
        # Not the first tick: that may be what it takes to read the request.
        until(lambda: worker.cpu_times().user > before + 0.05, "a busy worker")

    def run(self) -> None:
        try:
            self._session.infer(image(GLARE), timeout_s=PATIENCE_S)
        except InferenceError as exc:
            self.error = exc


def test_a_killed_worker_costs_the_request_in_flight_and_no_other(
    endless: IsolatedSession, restarts: list[str]
) -> None:
    session = endless
    first = worker_of(session)
    flying = InFlight(session)
    os.kill(first, signal.SIGKILL)
    flying.join(PATIENCE_S)
    assert flying.error is not None
    assert flying.error.code is Code.UNAVAILABLE
    assert session.infer(image(1), timeout_s=PATIENCE_S)["score"].shape == (1,)
    assert worker_of(session) != first
    assert session.restarts == 1
    assert restarts == ["it was ended by signal 9"]


def test_requests_that_come_while_the_worker_is_replaced_wait_for_the_new_one(session: IsolatedSession) -> None:
    kill_worker(session)
    answers: list[object] = []
    threads = [
        threading.Thread(target=lambda: answers.append(session.infer(image(1), timeout_s=PATIENCE_S))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(answers) == 8


def test_a_request_that_the_dead_worker_never_read_is_answered_by_the_next(session: IsolatedSession) -> None:
    first = stop_worker(session)
    answers: list[object] = []
    thread = threading.Thread(target=lambda: answers.append(session.infer(image(1), timeout_s=PATIENCE_S)))
    lane = next(iter(session._supervisor._current))
    sent = threading.Event()
    send = lane.send_tensors

    def tell(*parts: Any, **more: Any) -> None:
        send(*parts, **more)
        sent.set()

    lane.send_tensors = tell  # type: ignore[method-assign]
    thread.start()
    assert sent.wait(PATIENCE_S)
    os.kill(first, signal.SIGKILL)
    thread.join(PATIENCE_S)
    assert len(answers) == 1
    assert session.restarts == 1


def test_a_request_whose_worker_died_just_before_it_was_sent_is_answered_by_the_next(session: IsolatedSession) -> None:
    session.infer(image(1), timeout_s=PATIENCE_S)
    first = worker_of(session)
    lane = next(iter(session._supervisor._current))
    send = lane.send_tensors
    faults: list[OSError] = []

    def die_first(*parts: Any, **more: Any) -> None:
        os.kill(first, signal.SIGKILL)
        hung_up = select.poll()
        hung_up.register(lane, select.POLLHUP)
        until(lambda: hung_up.poll(0), "the end of the worker's last thread")
        try:
            send(*parts, **more)
        except OSError as exc:
            faults.append(exc)
            raise

    lane.send_tensors = die_first  # type: ignore[method-assign]
    answer = session.infer(image(1), timeout_s=PATIENCE_S)
    assert isinstance(faults[0], BrokenPipeError)
    assert "score" in answer
    assert session.restarts == 1


def test_a_worker_that_answers_nothing_is_killed_and_replaced(tmp_path: Path, restarts: list[str]) -> None:
    session = open_one(tmp_path, restarts, hang_timeout_s=HANG_S)
    first = stop_worker(session)
    with pytest.raises(InferenceError) as caught:
        session.infer(image(1), timeout_s=PATIENCE_S)
    assert caught.value.code is Code.UNAVAILABLE
    assert session.infer(image(1), timeout_s=PATIENCE_S)
    assert worker_of(session) != first
    assert restarts == [f"it answered nothing for {HANG_S:g} s"]
    session.close()


def test_a_hang_is_noticed_also_when_every_caller_left_before(tmp_path: Path) -> None:
    session = open_one(tmp_path, hang_timeout_s=HANG_S)
    first = stop_worker(session)
    with pytest.raises(InferenceError) as caught:
        session.infer(image(1), timeout_s=0.05)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    until(lambda: session.process_id not in (None, first), "another worker")
    assert session.infer(image(1), timeout_s=PATIENCE_S)
    session.close()


def test_an_answer_that_nobody_waits_for_is_taken_in_and_never_given_to_the_next(session: IsolatedSession) -> None:
    worker = stop_worker(session)
    with pytest.raises(InferenceError):
        session.infer(image(255), timeout_s=0.02)
    os.kill(worker, signal.SIGCONT)
    score = session.infer(image(0), timeout_s=PATIENCE_S)["score"]
    assert score == pytest.approx([-8.0])
    assert session.restarts == 0


def test_a_worker_that_dies_again_and_again_is_replaced_each_time(session: IsolatedSession) -> None:
    for round_ in range(3):
        os.kill(worker_of(session), signal.SIGSEGV)
        until(lambda round_=round_: session.restarts == round_ + 1, "a replaced worker")
        until(lambda: session.state == "READY", "a ready worker")
    assert session.infer(image(1), timeout_s=PATIENCE_S)


def test_a_worker_that_cannot_be_replaced_is_tried_again_until_it_can(session: IsolatedSession, tmp_path: Path) -> None:
    engines = list((tmp_path / "engines").iterdir())
    model = tmp_path / "v" / "model.onnx"
    content = model.read_bytes()
    for path in engines:
        path.unlink()
    model.write_bytes(b"broken")
    kill_worker(session)
    with pytest.raises(InferenceError) as caught:
        session.infer(image(1), timeout_s=0.5)
    assert caught.value.code is Code.UNAVAILABLE
    model.write_bytes(content)
    assert session.infer(image(1), timeout_s=PATIENCE_S)


def test_a_damaged_engine_does_not_keep_a_new_worker_from_answering(session: IsolatedSession, tmp_path: Path) -> None:
    engine = next((tmp_path / "engines").glob("*.onnx"))
    content = bytearray(engine.read_bytes())
    content[len(content) // 2] ^= 1
    engine.write_bytes(content)
    kill_worker(session)
    assert session.infer(image(0), timeout_s=PATIENCE_S)["score"] == pytest.approx([-8.0])


def test_closing_ends_the_worker_and_the_request_in_flight(endless: IsolatedSession) -> None:
    worker = worker_of(endless)
    flying = InFlight(endless)
    endless.close()
    flying.join(PATIENCE_S)
    assert flying.error is not None
    assert flying.error.code is Code.UNAVAILABLE
    assert not psutil.pid_exists(worker)


def test_a_session_closed_at_the_moment_its_next_worker_has_loaded_is_closed(
    session: IsolatedSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing = threading.Thread(target=session.close, daemon=True)
    watching, readable = session._supervisor, supervisor._readable

    def at_once(sources: list[Any], wake: int, timeout_s: float | None) -> list[Any]:
        if not watching.ready and closing.ident is None:
            select.select(sources, [], [], PATIENCE_S)
            closing.start()
            until(lambda: watching._closing, "the session closing")
            with watching._lock:
                pass  # it was woken too
        return readable(sources, wake, timeout_s)

    monkeypatch.setattr(supervisor, "_readable", at_once)
    os.kill(worker_of(session), signal.SIGKILL)
    until(lambda: closing.ident is not None, "the next worker")
    closing.join(PATIENCE_S)
    assert not closing.is_alive()
    assert worker_processes() == []


def test_a_session_outlives_the_thread_that_opened_it(tmp_path: Path) -> None:
    opened: list[IsolatedSession] = []
    thread = threading.Thread(target=lambda: opened.append(open_one(tmp_path)))
    thread.start()
    thread.join(PATIENCE_S)
    (session,) = opened
    assert session.infer(image(1), timeout_s=PATIENCE_S)
    assert session.restarts == 0
    session.close()


def test_workers_end_with_an_agent_that_is_killed(tmp_path: Path) -> None:
    write_version(tmp_path / "v")
    code = (
        "import sys, time; from pathlib import Path; from edge_agent.config import Inference\n"
        "from edge_agent.formats import Manifest, parse; from edge_agent.inference import open_session\n"
        "at = Path(sys.argv[1]); manifest = parse(Manifest, (at / 'v/manifest.json').read_bytes(), what='manifest')\n"
        "session = open_session(at / 'v', manifest, Inference(), engines=at / 'engines')\n"
        "print(session.process_id, flush=True); time.sleep(600)"
    )
    agent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert agent.stdout is not None
    worker = psutil.Process(int(agent.stdout.readline()))
    os.kill(worker.pid, signal.SIGSTOP)  # even one that cannot notice anything itself
    agent.kill()
    agent.wait()
    agent.stdout.close()
    until(lambda: not lives(worker), "the worker's end")


def lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):  # somebody may take up what is left of it at any moment
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_truncated_model_ends_only_its_worker(tmp_path: Path, cut: int) -> None:
    manifest = write_version(tmp_path / "v")
    content = (tmp_path / "v" / "model.onnx").read_bytes()[:cut]
    manifest = replace_model(tmp_path / "v", manifest, content)
    with pytest.raises((ActivationError, BundleError)) as caught:
        open_session(tmp_path / "v", manifest, Inference(), engines=tmp_path / "engines")
    assert caught.value.code in (Code.FORMAT_FORBIDDEN, Code.BUILD_FAILED, Code.LOAD_FAILED)
    assert list((tmp_path / "engines").glob("*.staged")) == []


def test_a_model_that_takes_too_long_to_load_is_given_up(tmp_path: Path) -> None:
    manifest = write_version(tmp_path / "v")
    none = EngineFile(tmp_path / "none", bytes(32))

    def stands_still() -> WorkerProcess:
        worker = WorkerProcess()
        os.kill(worker.process_id or 0, signal.SIGSTOP)
        return worker

    with pytest.raises(ActivationError) as caught:
        IsolatedSession(tmp_path / "v", manifest, Inference(), engine=none, load_timeout_s=0.01, spare=stands_still)
    assert caught.value.code is Code.LOAD_FAILED
    assert "0.01 s" in caught.value.message
    assert worker_processes() == []


def descriptors_and_segments() -> tuple[int, int]:
    gc.collect()
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    return len(list(Path("/proc/self/fd").iterdir())), maps.count("memfd:edge-agent")


def test_neither_descriptors_nor_segments_are_left_behind(tmp_path: Path) -> None:
    open_one(tmp_path).close()
    before = descriptors_and_segments()
    for _ in range(3):
        session = open_one(tmp_path, lanes=2)
        session.infer(image(1), timeout_s=PATIENCE_S)
        session.infer(image(1, batch=300), timeout_s=PATIENCE_S)
        kill_worker(session)
        session.infer(image(1, batch=300), timeout_s=PATIENCE_S)
        stop_worker(session)
        with pytest.raises(InferenceError):
            session.infer(image(1), timeout_s=0.02)
        session.close()
    (tmp_path / "broken").mkdir()
    manifest = write_version(tmp_path / "broken", fault="garbage")
    for _ in range(3):
        with pytest.raises(ActivationError):
            IsolatedSession(tmp_path / "broken", manifest, Inference(), engine=EngineFile(tmp_path / "none", bytes(32)))
    # Less is no leak: what earlier tests left behind may come to its end at any moment.
    assert tuple(map(max, descriptors_and_segments(), before)) == before


def test_a_segment_that_could_shrink_under_its_reader_is_refused() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reader = Endpoint(ours)
    hostile = os.memfd_create("hostile", os.MFD_ALLOW_SEALING)
    os.ftruncate(hostile, 4096)
    theirs.send(b"segment")
    socket.send_fds(theirs, [b"segment"], [hostile])
    with pytest.raises(ConnectionError, match="sealed against shrinking"):
        reader.receive(PATIENCE_S)
    os.close(hostile)
    reader.close()
    theirs.close()
