"""Workers, agents and models that come and go by force: nothing of them stays behind."""

import errno
import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from edge_agent.config import Inference
from edge_agent.errors import AgentError, Code, InferenceError
from edge_agent.formats import Manifest
from edge_agent.inference import DataPlane, Registry, open_session
from edge_agent.inference.engines.cache import EngineFile
from edge_agent.inference.workers.isolated import IsolatedSession
from edge_agent.inference.workers.segments import Endpoint
from tests.fakes.tiny_models import image, write_version
from tests.fakes.worker_processes import worker_processes

PATIENCE_S = 60.0
ROOT = Path(__file__).resolve().parents[2]
SWEEP = os.environ.get("EDGE_TEST_SWEEP") == "1"


def until(fact: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not fact():
        assert time.monotonic() < deadline, f"expected {what} within {PATIENCE_S:g} s"
        time.sleep(0.005)


class Held(NamedTuple):
    """What this process holds of the world."""

    descriptors: int
    segments: int
    threads: int
    workers: int


def held() -> Held:
    gc.collect()
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    return Held(descriptors, maps.count("memfd:edge-agent"), threading.active_count(), len(worker_processes()))


def nothing_more_than(before: Held) -> None:
    # Less is no leak: what earlier tests left behind may come to its end at any moment.
    assert Held(*map(max, held(), before)) == before


def resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return write_version(tmp_path / "v")


def test_a_worker_killed_again_and_again_leaves_no_descriptor_segment_or_process(
    tmp_path: Path, manifest: Manifest
) -> None:
    session = open_session(
        tmp_path / "v", manifest, Inference(lanes=2, hang_timeout_s=PATIENCE_S), engines=tmp_path / "engines"
    )
    assert isinstance(session, IsolatedSession)

    def kill_during_a_request() -> None:
        until(lambda: session.state == "READY", "a worker")
        session.infer(image(1), timeout_s=PATIENCE_S)
        session.infer(image(1, batch=300), timeout_s=PATIENCE_S)
        first = session.process_id
        assert first is not None
        worker = psutil.Process(first)
        before = worker.cpu_times().user
        flying = threading.Thread(target=_ask_for_long, args=(session,))
        flying.start()
        until(lambda: worker.cpu_times().user > before, "a busy worker")
        os.kill(first, signal.SIGKILL)
        flying.join(PATIENCE_S)
        until(lambda: session.process_id not in (None, first), "another worker")
        session.infer(image(1, batch=300), timeout_s=PATIENCE_S)

    kill_during_a_request()
    before = held()
    for _ in range(100 if SWEEP else 3):
        kill_during_a_request()
        nothing_more_than(before)
    session.close()


def _ask_for_long(session: IsolatedSession) -> None:
    with suppress(InferenceError):
        session.infer(image(1, work=255), timeout_s=PATIENCE_S)


def test_swaps_and_failed_loads_leave_nothing_and_memory_stays(tmp_path: Path, manifest: Manifest) -> None:
    """A hundred of each in the sweep; there memory may differ by 5 %."""
    (tmp_path / "broken").mkdir()
    broken = write_version(tmp_path / "broken", fault="garbage")
    registry = Registry()
    plane = DataPlane(registry)

    def swap_and_fail() -> None:
        session = open_session(tmp_path / "v", manifest, Inference(), engines=tmp_path / "engines")
        for replaced in registry.activate({"bright": session}).values():
            registry.retire(replaced, timeout_s=PATIENCE_S)
        plane.infer("bright", image(1), timeout_s=PATIENCE_S)
        with pytest.raises(AgentError):
            open_session(tmp_path / "broken", broken, Inference(), engines=tmp_path / "engines")

    for _ in range(4 if SWEEP else 1):
        swap_and_fail()
    before, resident = held(), resident_bytes()
    for _ in range(100 if SWEEP else 3):
        swap_and_fail()
        nothing_more_than(before)
    if SWEEP:
        assert abs(resident_bytes() / resident - 1) <= 0.05
    registry.close()


_AGENT = """
import sys, time
from pathlib import Path
from edge_agent.config import Inference
from edge_agent.formats import Manifest, parse
from edge_agent.inference import Spare, open_session
from tests.fakes.tiny_models import image
at = Path(sys.argv[1])
manifest = parse(Manifest, (at / "v/manifest.json").read_bytes(), what="manifest")
spare = Spare(keep=True, imports=("onnxruntime",), delay_s=0)
session = open_session(at / "v", manifest, Inference(), engines=at / "engines", spare=spare.take)
session.infer(image(1), timeout_s=60)
while spare.process_id is None:
    time.sleep(0.01)
print(session.process_id, spare.process_id, flush=True)
time.sleep(600)
"""


def test_of_an_agent_that_is_killed_neither_worker_nor_spare_nor_segment_stays(
    tmp_path: Path, manifest: Manifest
) -> None:
    assert manifest
    agent = subprocess.Popen([sys.executable, "-c", _AGENT, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert agent.stdout is not None
    children = [psutil.Process(int(number)) for number in agent.stdout.readline().split()]
    segments = set(_segments([agent.pid, *(child.pid for child in children)]))
    assert len(children) == 2
    assert len(segments) == 2  # one of each side
    agent.kill()
    agent.wait()
    agent.stdout.close()
    until(lambda: not any(_lives(child) for child in children), "the end of worker and spare")
    assert segments & set(_segments(psutil.pids())) == set()


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def _segments(process_ids: list[int]) -> Iterator[str]:
    """Return inodes of the segments that processes map or hold open."""
    for number in process_ids:
        with suppress(OSError):
            for line in Path(f"/proc/{number}/maps").read_text(encoding="utf-8", errors="replace").splitlines():
                if "memfd:edge-agent" in line:
                    yield line.split()[4]
            for descriptor in Path(f"/proc/{number}/fd").iterdir():
                with suppress(OSError):
                    if "memfd:edge-agent" in str(descriptor.readlink()):
                        yield str(descriptor.stat().st_ino)


@contextmanager
def _descriptors_left(count: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 8, before[1]))
    fillers: list[int] = []
    try:
        with suppress(OSError):
            while True:
                fillers.append(os.open(os.devnull, os.O_RDONLY))
        for filler in fillers[:count]:
            os.close(filler)
        del fillers[:count]
        yield
    finally:
        for filler in fillers:
            os.close(filler)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("left", [0, 1])
def test_a_request_for_which_there_is_no_descriptor_costs_its_model_nothing(
    tmp_path: Path, manifest: Manifest, left: int
) -> None:
    session = open_session(tmp_path / "v", manifest, Inference(lanes=1), engines=tmp_path / "engines")
    before = held()
    with _descriptors_left(left), pytest.raises(InferenceError, match="too many open files") as caught:
        session.infer(image(1), timeout_s=PATIENCE_S)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    nothing_more_than(before)
    assert session.infer(image(1), timeout_s=PATIENCE_S)
    assert session.restarts == 0
    session.close()


@pytest.mark.parametrize("fault", [OSError(errno.ETOOMANYREFS, "too many references"), MemoryError("none left")])
def test_a_lane_on_which_a_request_broke_off_is_not_lost(
    tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    session = open_session(tmp_path / "v", manifest, Inference(lanes=1), engines=tmp_path / "engines")

    def broken_off(*_: object, **__: object) -> None:
        raise fault

    with monkeypatch.context() as patched:
        patched.setattr(Endpoint, "send_tensors", broken_off)
        with pytest.raises(InferenceError, match="could not be asked") as caught:
            session.infer(image(1), timeout_s=PATIENCE_S)
    assert caught.value.code is Code.UNAVAILABLE
    assert session.infer(image(1), timeout_s=PATIENCE_S)
    session.close()


def test_an_agent_that_has_no_descriptors_left_says_so_and_goes_on(tmp_path: Path, manifest: Manifest) -> None:
    session = open_session(tmp_path / "v", manifest, Inference(), engines=tmp_path / "engines")
    before = held()
    for left in range(0, 8, 2):
        with _descriptors_left(left), pytest.raises(AgentError, match="Too many open files"):
            IsolatedSession(
                tmp_path / "v", manifest, Inference(lanes=4), engine=EngineFile(tmp_path / "none", bytes(32))
            )
    nothing_more_than(before)
    assert session.infer(image(1), timeout_s=PATIENCE_S)
    session.close()
