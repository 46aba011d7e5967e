"""The local fast path with real models and real workers: the same answers as gRPC, and nobody can do harm by it."""

import ctypes
import fcntl
import gc
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from edge_agent.client import AgentClient, FastPath, NotAskedError
from edge_agent.errors import Code, ConfigError, InferenceError
from edge_agent.formats import EncodedPicture, InspectedFrame, ModelVersion, RawPicture, Verdict
from edge_agent.inference import Answered
from edge_agent.inference.workers import lent
from edge_agent.inference.workers.isolated import IsolatedSession
from edge_agent.inference.workers.lent import Placed
from edge_agent.rpc.fast.server import CONNECTIONS_OF_ONE_PROCESS, FastServer
from edge_agent.telemetry import metrics
from edge_agent.vision import decode, encode_jpeg
from edge_agent.wire.fast import frames
from tests.fakes.fast_line import FastLine, fast_line
from tests.fakes.fast_peer import SHRINK, FastPeer, error_of, flags_of, infer, memfd
from tests.fakes.tiny_models import BRIGHT, GLARE, GREY, SIDE, grey_picture, image

PATIENCE_S = 60.0
ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "clients" / "c"
PIXELS = SIDE * SIDE * 3
IMAGE = ("image", 0, [1, SIDE, SIDE, 3], 0, PIXELS)
ROOM = (4096, 4096)


def until(fact: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not fact():
        assert time.monotonic() < deadline, f"expected {what} within {PATIENCE_S:g} s"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built once for all lines."""
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, engines: Path) -> Iterator[FastLine]:
    """Shared by tests that leave it as it was."""
    with fast_line(tmp_path_factory.mktemp("line"), engines=engines) as running:
        yield running


@pytest.fixture
def inline(tmp_path: Path, engines: Path) -> Iterator[FastLine]:
    """A line of its own without a process; for what is done to the server."""
    with fast_line(tmp_path, engines=engines, names=("bright",), isolation="inline") as running:
        yield running


@pytest.fixture
def isolated(tmp_path: Path, engines: Path) -> Iterator[FastLine]:
    """A line of its own with one worker; for what is done to that."""
    with fast_line(tmp_path, engines=engines, names=("bright",), queue=1) as running:
        yield running


@pytest.fixture
def fast(line: FastLine) -> Iterator[FastPath]:
    with FastPath(line.path) as connected:
        yield connected


@pytest.fixture
def peer(line: FastLine) -> Iterator[FastPeer]:
    with FastPeer(line.path) as connected:
        yield connected


def calls(method: str, status: str = "OK") -> float:
    wanted = f'edge_agent_calls_total{{method="{method}",status="{status}"}} '
    found = [text for text in metrics.exposition().decode().splitlines() if text.startswith(wanted)]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


def asked(work: Callable[[], object]) -> Code:
    with pytest.raises(InferenceError) as caught:
        work()
    return caught.value.code


def open_files(process_id: int) -> Counter[str]:
    """What a process holds open, by name: a socket and a pipe has one of its own for ever.

    What was closed since, of an earlier test's say, does not hide what was opened: that is the difference.
    """
    found: Counter[str] = Counter()
    for entry in Path(f"/proc/{process_id}/fd").iterdir():
        with suppress(FileNotFoundError):
            found[str(entry.readlink())] += 1
    return found


def worker_ids(line: FastLine) -> list[int]:
    return [session.process_id or 0 for session in line.registry.active().values()]  # type: ignore[attr-defined]


def memory_of(process_id: int) -> list[str]:
    """The segments of clients that a process holds."""
    found = []
    for entry in Path(f"/proc/{process_id}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue
        if "edge-agent-client" in target or "fast-peer" in target:
            found.append(target)
    return found


@pytest.mark.parametrize("name", ["bright", "spots"])
@pytest.mark.parametrize("batch", [1, 3])
def test_tensors_are_answered_as_over_grpc_to_the_bit(line: FastLine, fast: FastPath, name: str, batch: int) -> None:
    asked_for = {"image": np.random.default_rng(batch).integers(0, 256, (batch, SIDE, SIDE, 3), dtype=np.uint8)}
    asked_for["image"][:, 0, 0, :2] = 0
    expected = line.predict(name, asked_for)
    model, answer = fast.infer(name, asked_for, timeout_s=PATIENCE_S)
    assert model == ModelVersion(name, "1")
    assert list(answer) == list(expected)
    for key, value in answer.items():
        assert (value.dtype, value.shape, value.tobytes()) == (np.float32, expected[key].shape, expected[key].tobytes())


def unlike(frame: InspectedFrame) -> dict[str, Any]:
    """What two inspections of one picture have in common, to the bit."""
    results = [
        (*result.model_copy(update={"milliseconds": 0.0}), result.mask_png, result.heat_map_png)
        for result in frame.results
    ]
    return {**frame.model_dump(exclude={"id", "at", "milliseconds", "results"}), "results": results}


@pytest.mark.parametrize("form", ["png", "jpeg", "raw"])
@pytest.mark.parametrize("drawn", [True, False])
def test_pictures_are_judged_as_over_grpc_to_the_bit(line: FastLine, form: str, drawn: bool) -> None:
    pixels = decode(grey_picture(BRIGHT, 40, 30)).copy()
    pixels[:10] = 250
    pictures = {
        "png": EncodedPicture(grey_picture(BRIGHT)),
        "jpeg": EncodedPicture(encode_jpeg(pixels)),
        "raw": RawPicture(pixels.tobytes(), 40, 30),
    }
    wanted = {
        "with_mask": drawn,
        "with_heat_map": drawn,
        "source": "plc",
        "frame_name": "part 1",
        "timeout_s": PATIENCE_S,
    }
    before = calls("fast/Inspect")
    with AgentClient(f"unix:{line.directory}/agent.sock") as slow, AgentClient.at(line.directory) as quick:
        frames_ = [client.inspect(pictures[form], **wanted) for client in (slow, quick)]
    assert calls("fast/Inspect") == before + 1
    assert unlike(frames_[0]) == unlike(frames_[1])
    assert frames_[1].verdict is Verdict.NG
    assert bool(frames_[1].results[1].mask_png) is drawn
    assert bool(frames_[1].results[1].heat_map_png) is drawn


def test_the_picture_that_is_kept_is_the_one_that_was_judged(line: FastLine, peer: FastPeer) -> None:
    memory, content = peer.lend(), grey_picture(BRIGHT)
    memory[: len(content)] = content
    request = struct.pack("<HHIQQQQQIIHHBBBB", 4, 0, 9, 0, 0, len(content), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    reply = peer.ask(request)
    assert error_of(reply) is None
    memory[: len(content)] = bytes(len(content))
    kept = line.frames.newest(1)[0].picture
    assert isinstance(kept, EncodedPicture)
    assert kept.content == content


def test_a_mask_that_does_not_fit_is_left_out_and_tells_its_size(line: FastLine, peer: FastPeer) -> None:
    memory, content = peer.lend(), grey_picture(BRIGHT)
    memory[: len(content)] = content
    fields = (4, 0, 9, 0, 0, len(content), 60_000, 10, 0, 0, 0, 0, 0, 1, 0, 0)
    reply = peer.ask(struct.pack("<HHIQQQQQIIHHBBBB", *fields))
    place, size = struct.unpack_from("<QQ", reply, 32 + 80 + 32)
    assert (place, reply[32 + 80 + 65] & 1) == (0, 1)
    assert size > 10
    assert bytes(memory[60_000:]) == bytes(len(memory) - 60_000)


@pytest.mark.parametrize("version", ["", "1"])
@pytest.mark.parametrize("name", ["bright", "bright-1", "bright-7"])
def test_names_and_versions_mean_what_they_mean_elsewhere(fast: FastPath, name: str, version: str) -> None:
    model, _ = fast.infer(name, image(GREY), version=version, timeout_s=PATIENCE_S)
    assert model == ModelVersion("bright", "1")


def test_what_is_not_there_and_what_does_not_fit_is_told_in_the_same_words(line: FastLine, fast: FastPath) -> None:
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("nobody", image(GREY), ""),
        ("bright", image(GREY), "2"),
        ("bright", {"image": image(GREY)["image"].astype(np.float32)}, ""),
        ("bright", {"picture": image(GREY)["image"]}, ""),
        ("bright", {"image": image(GREY)["image"][:, :7]}, ""),
        ("bright", {}, ""),
    ]
    for name, tensors, version in wrong:
        with pytest.raises(InferenceError) as here:
            line.data_plane.infer(name, tensors, timeout_s=PATIENCE_S, version=version or None)
        with pytest.raises(InferenceError) as there:
            fast.infer(name, tensors, version=version, timeout_s=PATIENCE_S)
        assert (there.value.code, there.value.message) == (here.value.code, here.value.message)
    assert fast.infer("bright", image(GREY), timeout_s=PATIENCE_S)[0].version == "1"


def test_outputs_are_written_into_their_room_and_nowhere_else(peer: FastPeer) -> None:
    memory = peer.lend()
    memory[:] = b"\xaa" * len(memory)
    memory[:PIXELS] = image(BRIGHT)["image"].tobytes()
    assert error_of(peer.ask(infer("bright", [IMAGE], ROOM))) is None
    assert struct.unpack_from("<f", memory, 4096)[0] == pytest.approx(2.0)
    outside = bytes(memory[PIXELS:4096]) + bytes(memory[4096 + 64 + 8 :]) + bytes(memory[4100 : 4096 + 64])
    assert set(outside) == {0xAA}
    assert bytes(memory[:PIXELS]) == image(BRIGHT)["image"].tobytes()


def test_a_room_that_is_too_small_is_refused_before_anything_is_written(peer: FastPeer) -> None:
    memory = peer.lend()
    memory[:PIXELS] = image(BRIGHT)["image"].tobytes()
    fault = error_of(peer.ask(infer("bright", [IMAGE], (4096, 71))))
    assert fault is not None
    assert (fault.word, fault.message) == ("OUT_OF_RANGE", "outputs: expected room for 72 bytes, came 71")
    assert bytes(memory[4096:8192]) == bytes(4096)
    assert error_of(peer.ask(infer("bright", [IMAGE], (4096, 72)))) is None


@pytest.mark.parametrize(
    ("tensor", "room"),
    [
        (("image", 0, [1, SIDE, SIDE, 3], 1 << 16, PIXELS), ROOM),
        (("image", 0, [1, SIDE, SIDE, 3], (1 << 16) - PIXELS + 1, PIXELS), ROOM),
        (("image", 0, [1, SIDE, SIDE, 3], 2**64 - 1, PIXELS), ROOM),
        (("image", 0, [1, SIDE, SIDE, 3], 0, 2**64 - 1), ROOM),
        (("image", 0, [1, SIDE, SIDE, 3], 0, PIXELS - 1), ROOM),
        (("image", 0, [1, SIDE, SIDE, -3], 0, PIXELS), ROOM),
        (("image", 0, [-1, SIDE, SIDE, 3], 0, PIXELS), ROOM),
        (("image", 0, [2**32, 2**32, 3], 0, 0), ROOM),
        (("image", 0, [2**63 - 1] * 8, 0, PIXELS), ROOM),
        (("image", 0, [0, SIDE, SIDE, 3], 0, 0), ROOM),
        (("image", 0, [0, 2**62, 2**62, 3], 0, 0), ROOM),
        (("image", 7, [1, SIDE, SIDE, 3], 0, PIXELS), ROOM),
        (IMAGE, (0, (1 << 16) + 1)),
        (IMAGE, (2**64 - 1, 2)),
        (IMAGE, (1 << 16, 1)),
    ],
)
def test_what_lies_outside_or_contradicts_itself_is_refused(
    peer: FastPeer, tensor: tuple[str, int, list[int], int, int], room: tuple[int, int]
) -> None:
    memory = peer.lend()
    fault = error_of(peer.ask(infer("bright", [tensor], room)))
    assert fault is not None
    assert (fault.word, fault.status) == ("INVALID_ARGUMENT", 3)
    assert bytes(memory[:]) == bytes(len(memory))
    assert error_of(peer.ask(infer("bright", [IMAGE], ROOM))) is None


def read_only() -> int:
    descriptor = memfd(4096)
    again = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
    os.close(descriptor)
    return again


def no_segment() -> int:
    reading, writing = os.pipe()
    os.close(writing)
    return reading


REFUSED: dict[str, tuple[Callable[[], int], str]] = {
    "unsealed": (lambda: memfd(4096, 0), "one that its owner can shrink"),
    "sealed against growing only": (lambda: memfd(4096, fcntl.F_SEAL_GROW), "one that its owner can shrink"),
    "sealed against writing": (lambda: memfd(4096, SHRINK | fcntl.F_SEAL_WRITE), "one that is sealed against it"),
    "sealed against later writing": (lambda: memfd(4096, SHRINK | 0x10), "one that is sealed against it"),
    "larger than may be": (lambda: memfd((256 << 20) + 1), "268435457"),
    "a pipe": (no_segment, "another kind of file"),
    "a file": (lambda: os.open(__file__, os.O_RDONLY), "another kind of file"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_segment_that_could_do_harm_is_refused_and_the_one_before_stays(peer: FastPeer, what: str) -> None:
    make, came = REFUSED[what]
    memory = peer.lend()
    memory[:PIXELS] = image(BRIGHT)["image"].tobytes()
    refusal = peer.offer(make())
    assert refusal.startswith("FAILED_PRECONDITION: segment: expected ")
    assert refusal.endswith(f"came {came}")
    assert error_of(peer.ask(infer("bright", [IMAGE], ROOM))) is None


def test_how_the_client_opened_its_segment_counts_for_nothing(peer: FastPeer) -> None:
    assert peer.offer(read_only()) == ""
    descriptor = memfd(1 << 16)
    kept = os.dup(descriptor)
    try:
        assert peer.offer(descriptor) == ""
        # What is appended to would be written at its end, wherever it was told to.
        fcntl.fcntl(kept, fcntl.F_SETFL, os.O_APPEND)
        assert error_of(peer.ask(infer("bright", [IMAGE], ROOM))) is None
        assert os.fstat(kept).st_size == 1 << 16
        assert os.pread(kept, 4, ROOM[0]) != bytes(4)
    finally:
        os.close(kept)


def test_pages_that_are_punched_out_under_the_reader_harm_nobody(line: FastLine, peer: FastPeer) -> None:
    descriptor = memfd(1 << 16)
    kept, ended = os.dup(descriptor), threading.Event()

    def punch() -> None:
        while not ended.is_set():
            os.pwrite(kept, b"\xff" * PIXELS, 0)
            punch_out(kept)

    try:
        assert peer.offer(descriptor) == ""
        thread = threading.Thread(target=punch)
        thread.start()
        try:
            for _ in range(200):
                assert error_of(peer.ask(infer("bright", [IMAGE], ROOM))) is None
        finally:
            ended.set()
            thread.join()
    finally:
        os.close(kept)
    assert [session.restarts for session in line.registry.active().values()] == [0, 0]


def punch_out(descriptor: int) -> None:
    keep_size, punch_hole = 1, 2
    ctypes.CDLL(None).fallocate(descriptor, keep_size | punch_hole, ctypes.c_long(0), ctypes.c_long(1 << 16))


@contextmanager
def standing_still(line: FastLine) -> Iterator[None]:
    """Inside, the worker of ``bright`` answers nothing; what it was asked it answers afterwards."""
    (process_id,) = worker_ids(line)
    os.kill(process_id, signal.SIGSTOP)
    until(lambda: psutil.Process(process_id).status() == psutil.STATUS_STOPPED, "a worker that stands still")
    try:
        yield
    finally:
        os.kill(process_id, signal.SIGCONT)


def test_a_deadline_is_kept_and_the_late_answer_harms_nobody(isolated: FastLine) -> None:
    with FastPeer(isolated.path) as peer:
        memory = peer.lend()
        memory[:PIXELS] = image(GREY)["image"].tobytes()
        with standing_still(isolated):
            reply = peer.ask(infer("bright", [IMAGE], ROOM, timeout_us=20_000))
        fault = error_of(reply)
        assert fault is not None
        assert (fault.word, fault.status, flags_of(reply)) == ("DEADLINE_EXCEEDED", 4, frames.SEGMENT_RETIRED)
        fault = error_of(peer.ask(infer("bright", [IMAGE], ROOM)))
        assert fault is not None
        assert fault.word == "FAILED_PRECONDITION"
        fresh = peer.lend()
        fresh[:PIXELS] = image(BRIGHT)["image"].tobytes()
        assert error_of(peer.ask(infer("bright", [IMAGE], ROOM, timeout_us=60_000_000))) is None
        assert struct.unpack_from("<f", fresh, ROOM[0])[0] == pytest.approx(2.0)
        with FastPath(isolated.path) as fast:
            # Connected and its memory lent: so short a time is for the answer only.
            fast.infer("bright", image(BRIGHT), timeout_s=PATIENCE_S)
            with standing_still(isolated):
                assert asked(lambda: fast.infer("bright", image(GREY), timeout_s=0.02)) is Code.DEADLINE_EXCEEDED
            assert fast.infer("bright", image(BRIGHT), timeout_s=PATIENCE_S)[1]["score"] == pytest.approx(2.0)


def test_a_full_queue_turns_the_next_away_at_once(isolated: FastLine) -> None:
    with FastPath(isolated.path) as fast, ThreadPoolExecutor(3) as threads:
        codes: list[Code | None] = []

        def ask() -> None:
            try:
                fast.infer("bright", image(GREY, work=60), timeout_s=PATIENCE_S)
                codes.append(None)
            except InferenceError as exc:
                codes.append(exc.code)

        def all_at_once() -> bool:
            for future in [threads.submit(ask) for _ in range(3)]:
                future.result()
            return Code.RESOURCE_EXHAUSTED in codes

        until(all_at_once, "a request that was turned away")
        assert set(codes) == {None, Code.RESOURCE_EXHAUSTED}


def test_more_calls_than_may_be_answered_at_a_time_are_refused(tmp_path: Path, engines: Path) -> None:
    with (
        fast_line(tmp_path, engines=engines, calls=1, isolation="inline") as line,
        FastPath(line.path) as fast,
        ThreadPoolExecutor(1) as threads,
    ):

        def refused() -> bool:
            slow = threads.submit(fast.infer, "bright", image(GREY, work=60), timeout_s=PATIENCE_S)
            codes = {_code(lambda: fast.infer("spots", image(GREY), timeout_s=PATIENCE_S)) for _ in range(20)}
            return _code(slow.result) is None and Code.RESOURCE_EXHAUSTED in codes

        until(refused, "a call beside another")
        until(lambda: _code(lambda: fast.infer("spots", image(GREY), timeout_s=PATIENCE_S)) is None, "an answer again")


def _code(work: Callable[[], object]) -> Code | None:
    try:
        work()
    except InferenceError as exc:
        return exc.code
    return None


def test_a_swap_is_not_noticed_by_who_asks(tmp_path: Path, engines: Path) -> None:
    with (
        fast_line(tmp_path, engines=engines, names=("bright",)) as line,
        FastPath(line.path) as fast,
        ThreadPoolExecutor(2) as threads,
    ):
        ended = threading.Event()
        answers: list[list[tuple[str, float]]] = [[], []]

        def ask(seen: list[tuple[str, float]]) -> None:
            while not ended.is_set():
                model, outputs = fast.infer("bright", image(128), timeout_s=PATIENCE_S)
                seen.append((model.version, float(outputs["score"][0])))

        asking = [threads.submit(ask, seen) for seen in answers]
        try:
            for version in ("2", "3", "4"):
                line.activate("bright", version, bias=float(version) - 1)
                until(
                    lambda version=version: all(seen and seen[-1][0] == version for seen in answers),
                    "answers of the new version to both",
                )
        finally:
            ended.set()
        for future, seen in zip(asking, answers, strict=True):
            future.result()
            assert all(score == int(version) - 1 for version, score in seen)
            assert [version for version, _ in seen] == sorted(version for version, _ in seen)


def test_a_worker_that_is_killed_costs_the_request_in_flight_and_no_other(isolated: FastLine) -> None:
    # It never comes to an end with a glaring picture.
    isolated.activate("bright", "2", fault="glare-hang")
    with FastPeer(isolated.path) as peer, ThreadPoolExecutor(1) as threads:
        session = isolated.registry.active()["bright"]
        assert isinstance(session, IsolatedSession)
        first = session.process_id
        assert first is not None
        memory = peer.lend()
        memory[:PIXELS] = image(GLARE)["image"].tobytes()
        worker = psutil.Process(first)
        used = worker.cpu_times().user
        asking = threads.submit(peer.ask, infer("bright", [IMAGE], ROOM, timeout_us=60_000_000))
        until(lambda: worker.cpu_times().user > used + 0.05, "a worker at work")
        os.kill(first, signal.SIGKILL)
        reply = asking.result()
        fault = error_of(reply)
        assert fault is not None
        assert (fault.word, flags_of(reply)) == ("UNAVAILABLE", frames.SEGMENT_RETIRED)
        peer.lend()[:PIXELS] = image(BRIGHT)["image"].tobytes()
        assert error_of(peer.ask(infer("bright", [IMAGE], ROOM, timeout_us=60_000_000))) is None
        assert session.restarts == 1


def test_who_watches_gets_copies_that_the_client_cannot_change(inline: FastLine) -> None:
    with FastPeer(inline.path) as peer:
        memory, seen = peer.lend(), list[Answered]()
        memory[:PIXELS] = image(BRIGHT)["image"].tobytes()
        plain = peer.ask(infer("bright", [IMAGE], ROOM))
        answer = bytes(memory[ROOM[0] : sum(ROOM)])
        end = inline.data_plane.watch(seen.append)
        memory[ROOM[0] : sum(ROOM)] = bytes(ROOM[1])
        assert peer.ask(infer("bright", [IMAGE], ROOM)) == plain
        assert bytes(memory[ROOM[0] : sum(ROOM)]) == answer
        end()
        memory[:] = bytes(len(memory))
        assert peer.ask(infer("bright", [IMAGE], ROOM)) == plain
        (watched,) = seen
        assert watched.tensors is not None
        assert isinstance(watched.answer, dict)
        assert watched.tensors["image"].tobytes() == image(BRIGHT)["image"].tobytes()
        assert watched.answer["score"][0] == pytest.approx(2.0)


def test_who_only_counts_is_told_forms_and_times_and_costs_no_copy(line: FastLine, fast: FastPath) -> None:
    seen = list[Answered]()
    end = line.data_plane.watch(seen.append, contents=False)
    try:
        fast.infer("bright", image(BRIGHT, batch=3), timeout_s=PATIENCE_S)
        asked(lambda: fast.infer("bright", {}, timeout_s=PATIENCE_S))
        until(lambda: len(seen) == 2, "both requests counted")
    finally:
        end()
    fast.infer("bright", image(BRIGHT), timeout_s=PATIENCE_S)
    answered, failed = seen
    assert answered.tensors is not None
    assert {name: (form.dtype.name, form.shape) for name, form in answered.tensors.items()} == {
        "image": ("uint8", (3, SIDE, SIDE, 3))
    }
    # The forms hold no bytes: nothing was copied for who does not look.
    assert set(answered.tensors["image"].strides) == {0}
    assert isinstance(answered.answer, Placed)
    assert 0 < answered.answer.times.compute_s < PATIENCE_S
    assert failed.error is not None
    assert failed.error.code is Code.INVALID_ARGUMENT


def test_without_isolation_the_answers_are_the_same(fast: FastPath, tmp_path: Path, engines: Path) -> None:
    _, expected = fast.infer("spots", image(BRIGHT), timeout_s=PATIENCE_S)
    with fast_line(tmp_path, engines=engines, isolation="inline") as inline, FastPath(inline.path) as other:
        model, answer = other.infer("spots", image(BRIGHT), timeout_s=PATIENCE_S)
        assert (model.name, {k: v.tobytes() for k, v in answer.items()}) == (
            "spots",
            {k: v.tobytes() for k, v in expected.items()},
        )
        assert asked(lambda: other.infer("spots", {}, timeout_s=PATIENCE_S)) is Code.INVALID_ARGUMENT


def test_what_changes_while_it_is_read_is_answered_or_refused_and_kills_nobody(line: FastLine, peer: FastPeer) -> None:
    memory, ended = peer.lend(), threading.Event()

    def scribble() -> None:
        while not ended.is_set():
            for value in (GREY, BRIGHT):
                memory[:PIXELS] = image(value)["image"].tobytes()

    # The thread may come to its first picture after the first question.
    memory[:PIXELS] = image(GREY)["image"].tobytes()
    thread = threading.Thread(target=scribble)
    thread.start()
    try:
        for _ in range(200):
            assert error_of(peer.ask(infer("bright", [IMAGE], ROOM))) is None
            assert -1.76 <= struct.unpack_from("<f", memory, ROOM[0])[0] <= 2.01
    finally:
        ended.set()
        thread.join()
    assert [session.restarts for session in line.registry.active().values()] == [0, 0]


_ASK_AND_WAIT = """
import sys
import numpy as np
from pathlib import Path
from edge_agent.client import FastPath
fast = FastPath(Path(sys.argv[1]))
fast.infer("bright", {"image": np.zeros((1, 16, 16, 3), np.uint8)}, timeout_s=60)
print("asked", flush=True)
sys.stdin.read()
"""


def test_a_client_that_is_killed_leaves_nothing(tmp_path: Path, engines: Path) -> None:
    # Earlier tests' clients, whose memory the frames of an expected error hold, are this process's too.
    gc.collect()
    with fast_line(tmp_path, engines=engines) as line:
        processes = [os.getpid(), *worker_ids(line)]
        before = [open_files(process) for process in processes]
        for _ in range(3):
            with subprocess.Popen(
                [sys.executable, "-c", _ASK_AND_WAIT, str(line.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=ROOT,
            ) as client:
                assert client.stdout is not None
                assert client.stdout.readline() == b"asked\n"
                assert line.fast.connections == 1
                assert any(map(memory_of, processes[1:]))
                client.kill()
            until(lambda: line.fast.connections == 0, "no connection")
            until(lambda: not any(map(memory_of, processes)), "no segment of the client's")
        # The agent's side closes when it has heard of the end, which is after the client's.
        until(
            lambda: not any(open_files(each) - then for each, then in zip(processes, before, strict=True)),
            "nothing open that was not open before",
        )


def test_a_client_that_reads_no_replies_costs_only_itself(line: FastLine, fast: FastPath) -> None:
    with FastPeer(line.path) as rude:
        rude.socket.settimeout(0)
        sent = 0
        try:
            while sent < 20_000:
                rude.socket.send(infer("nobody", [], (0, 0)))
                sent += 1
        except BlockingIOError:
            pass
        assert sent > 0
        assert fast.infer("bright", image(BRIGHT), timeout_s=PATIENCE_S)[1]["score"] == pytest.approx(2.0)


def test_who_says_no_hello_or_another_version_is_put_out(line: FastLine) -> None:
    for first, word in (
        (frames.segment(1), "INVALID_ARGUMENT"),
        (b"x", "INVALID_ARGUMENT"),
        (b"GET / HTTP/1.1\r\n\r\n      ", "INVALID_ARGUMENT"),
        (struct.pack("<HHI8sHHI", 1, 0, 3, b"EDGEFAST", 2, 9, 0), "FAILED_PRECONDITION"),
        (struct.pack("<HHI8sHHI", 1, 0, 3, b"EDGESLOW", 1, 1, 0), "INVALID_ARGUMENT"),
    ):
        with FastPeer(line.path, greet=False) as stranger:
            fault = error_of(stranger.ask(first))
            assert fault is not None
            assert fault.word == word
            assert stranger.socket.recv(100) == b""
    with FastPeer(line.path, greet=False) as later:
        frames.read_welcome(later.ask(struct.pack("<HHI8sHHI", 1, 0, 3, b"EDGEFAST", 1, 9, 0)))


def test_descriptors_beside_the_wrong_message_are_closed(line: FastLine, peer: FastPeer) -> None:
    peer.lend()
    before = open_files(os.getpid())
    for message in (frames.segment(1), infer("bright", [IMAGE], ROOM), b"x", struct.pack("<HHI", 99, 0, 1)):
        for count in (0, 2, 3, 9):
            lent = [memfd(4096) for _ in range(count)]
            reply = peer.ask(message, lent)
            for descriptor in lent:
                os.close(descriptor)
            is_request = message == infer("bright", [IMAGE], ROOM)
            assert (error_of(reply) is None) is (is_request and count == 0)
    until(lambda: not open_files(os.getpid()) - before, "nothing open that was not open before")


def test_one_process_gets_so_many_connections_and_others_still_get_theirs(line: FastLine) -> None:
    until(lambda: line.fast.connections == 0, "no connection")
    peers = [FastPeer(line.path) for _ in range(CONNECTIONS_OF_ONE_PROCESS)]
    try:
        with FastPath(line.path) as fast, pytest.raises(NotAskedError):
            fast.infer("bright", image(GREY), timeout_s=PATIENCE_S)
        before = calls("fast/Inspect")
        with AgentClient.at(line.directory) as client:
            assert client.inspect(EncodedPicture(grey_picture(BRIGHT)), timeout_s=PATIENCE_S).verdict is Verdict.NG
        assert calls("fast/Inspect") == before
        ran = subprocess.run(
            [sys.executable, "-c", _ASK_AND_WAIT, str(line.path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=ROOT,
            check=False,
        )
        assert (ran.returncode, ran.stdout) == (0, b"asked\n")
    finally:
        for each in peers:
            each.close()


def test_many_threads_share_one_client(fast: FastPath, line: FastLine) -> None:
    def ask(value: int) -> float:
        return float(fast.infer("bright", image(value), timeout_s=PATIENCE_S)[1]["score"][0])

    values = [100 + number % 60 for number in range(120)]
    with ThreadPoolExecutor(8) as threads:
        assert [*threads.map(ask, values)] == pytest.approx([(value - 128) / 16 for value in values])


def test_a_segment_grows_when_a_request_needs_more(fast: FastPath, peer: FastPeer) -> None:
    for batch in (1, 50, 2, 4000):
        _, outputs = fast.infer("bright", image(BRIGHT, batch=batch), timeout_s=PATIENCE_S)
        assert outputs["score"].tolist() == pytest.approx([2.0] * batch)
    for size in (4096 * 3, 1 << 20, 1 << 13):
        memory = peer.lend(size)
        memory[:PIXELS] = image(BRIGHT)["image"].tobytes()
        assert error_of(peer.ask(infer("bright", [IMAGE], (4096, 4096)))) is None


def test_a_segment_that_the_agent_refused_is_never_asked_about(
    inline: FastLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refused = lent._opened, []

    def without_descriptors(descriptor: int) -> int:
        refused.append(descriptor)
        raise InferenceError(Code.FAILED_PRECONDITION, "segment: expected one that can be opened, came too many files")

    with FastPath(inline.path) as fast:
        fast.infer("bright", image(112), timeout_s=PATIENCE_S)
        monkeypatch.setattr(lent, "_opened", without_descriptors)
        with pytest.raises(NotAskedError, match="too many files"):
            fast.infer("bright", image(112, batch=9000), timeout_s=PATIENCE_S)
        monkeypatch.setattr(lent, "_opened", real)
        assert len(refused) == 2, "once on the old connection, once on a new one"
        fast._not_before = 0.0
        _, outputs = fast.infer("bright", image(144), timeout_s=PATIENCE_S)
    assert outputs["score"].tolist() == pytest.approx([1.0])


def test_lending_memory_takes_no_longer_than_the_request_that_needs_it_has(
    inline: FastLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, goes_on = lent._opened, threading.Event()

    def late(descriptor: int) -> int:
        assert goes_on.wait(PATIENCE_S)
        return real(descriptor)

    with FastPath(inline.path) as fast:
        fast.infer("bright", image(112), timeout_s=PATIENCE_S)
        monkeypatch.setattr(lent, "_opened", late)
        started = time.monotonic()
        with pytest.raises(NotAskedError, match="takes no segment"):
            fast.infer("bright", image(112, batch=9000), timeout_s=0.2)
        assert time.monotonic() - started < PATIENCE_S / 2, "not as long as the request before had"
        goes_on.set()


def test_what_is_too_large_for_a_segment_goes_another_way_at_once_and_the_connection_stays(
    fast: FastPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast.infer("bright", image(112), timeout_s=PATIENCE_S)
    monkeypatch.setattr(frames, "SEGMENT_LIMIT_BYTES", (64 << 20) + (8 << 20))
    for _ in range(2):
        with pytest.raises(NotAskedError, match="expected at most"):
            fast.infer("bright", image(112, batch=9 * (1 << 20) // PIXELS), timeout_s=PATIENCE_S)
    _, outputs = fast.infer("bright", image(144), timeout_s=PATIENCE_S)
    assert outputs["score"].tolist() == pytest.approx([1.0])


class Interrupted:
    """A socket on which waiting for the next reply ends as by Ctrl-C."""

    def __init__(self, real: socket.socket) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def recv(self, _size: int) -> bytes:
        raise KeyboardInterrupt


def test_the_reply_to_a_request_that_was_interrupted_is_never_given_to_the_next(line: FastLine, fast: FastPath) -> None:
    fast.infer("bright", image(112), timeout_s=PATIENCE_S)
    connection = fast._idle[0]
    connection._socket = Interrupted(connection._socket)  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        fast.infer("bright", image(112), timeout_s=PATIENCE_S)
    assert fast._idle == []
    _, outputs = fast.infer("bright", image(144), timeout_s=PATIENCE_S)
    assert outputs["score"].tolist() == pytest.approx([1.0])


def test_a_reply_to_another_request_is_no_answer(line: FastLine, fast: FastPath) -> None:
    fast.infer("bright", image(112), timeout_s=PATIENCE_S)
    connection = fast._idle[0]
    connection._socket.send(frames.HEAD.pack(frames.Kind.INFER, 0, 0))
    assert asked(lambda: fast.infer("bright", image(144), timeout_s=PATIENCE_S)) is Code.INTERNAL
    assert fast._idle == []


def test_only_the_group_may_connect_and_a_living_server_is_not_taken_over(tmp_path: Path, engines: Path) -> None:
    with fast_line(tmp_path, engines=engines, names=("bright",), isolation="inline") as line:
        assert stat.S_IMODE(line.path.stat().st_mode) == 0o660
        second = FastServer(line.fast._service, calls=1)
        with pytest.raises(ConfigError, match="another process answers on it"):
            second.listen_on(line.path, "")
        second.stop(0)
        with FastPeer(line.path) as peer:
            line.fast.stop(1.0)
            assert peer.socket.recv(100) == b""
        assert not line.path.exists()
        assert line.fast.connections == 0
    stale = tmp_path / "fast.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as left:
        left.bind(str(stale))
    third = FastServer(line.fast._service, calls=1)
    third.listen_on(stale, "")
    third.start()
    with FastPeer(stale):
        pass
    third.stop(1.0)


def test_a_request_under_way_is_answered_before_the_server_stops(
    inline: FastLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = inline.registry.active()["bright"]
    infer_, begun, goes_on = session.infer, threading.Event(), threading.Event()

    def held(*arguments: Any, **more: Any) -> dict[str, Any]:
        begun.set()
        assert goes_on.wait(PATIENCE_S)
        return infer_(*arguments, **more)

    monkeypatch.setattr(session, "infer", held)
    with FastPath(inline.path) as fast, ThreadPoolExecutor(2) as threads:
        slow = threads.submit(fast.infer, "bright", image(BRIGHT), timeout_s=PATIENCE_S)
        assert begun.wait(PATIENCE_S)
        stopping = threads.submit(inline.fast.stop, PATIENCE_S)
        until(lambda: not inline.path.exists(), "a server that stops")
        goes_on.set()
        stopping.result()
        assert slow.result()[1]["score"] == pytest.approx(2.0)
        with pytest.raises(NotAskedError):
            fast.infer("bright", image(BRIGHT), timeout_s=1.0)


def test_a_client_goes_on_with_an_agent_that_was_started_again(inline: FastLine) -> None:
    with FastPath(inline.path) as fast:
        fast.infer("bright", image(BRIGHT), timeout_s=PATIENCE_S)
        inline.fast.stop(1.0)
        again = FastServer(inline.fast._service, calls=4)
        again.listen_on(inline.path, "")
        again.start()
        try:
            assert fast.infer("bright", image(BRIGHT), timeout_s=PATIENCE_S)[1]["score"] == pytest.approx(2.0)
        finally:
            again.stop(1.0)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C example, as its documentation compiles it."""
    program = tmp_path_factory.mktemp("c") / "example"
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2"]
    ran = subprocess.run(
        ["cc", *flags, "-o", program, CLIENT / "example.c"], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return program


def run(program: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False, timeout=PATIENCE_S)


def test_the_c_client_gets_the_same_tensors_to_the_bit(line: FastLine, example: Path) -> None:
    expected = line.predict("spots", {"image": np.full((2, SIDE, SIDE, 3), BRIGHT, np.uint8)})
    ran = run(example, line.path, "infer", "spots", f"2x{SIDE}x{SIDE}x3", BRIGHT)
    told = [f"{name} {value.tobytes().hex()}" for name, value in expected.items()]
    assert (ran.returncode, ran.stdout.splitlines()) == (0, ["spots 1", *told])


def test_the_c_client_gets_the_same_verdict(line: FastLine, example: Path, tmp_path: Path) -> None:
    (tmp_path / "part.png").write_bytes(grey_picture(BRIGHT))
    frame = line.inspector.inspect(EncodedPicture(grey_picture(BRIGHT)), with_mask=True, timeout_s=PATIENCE_S)
    ran = run(example, line.path, "inspect", tmp_path / "part.png")
    results = [
        f"{r.application} {r.model} {r.version} {r.verdict.value} {r.score:.17g} {r.threshold:.17g} {r.area:.17g} "
        f"{r.label} mask {len(r.mask_png)}"
        for r in frame.results
    ]
    assert (ran.returncode, ran.stdout.splitlines()) == (0, [f"NG {frame.width}x{frame.height} ", *results])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("infer", "nobody", "1x16x16x3", "1"), "5 NOT_FOUND: "),
        (("infer", "bright", "1x16x16x-3", "1"), "3 INVALID_ARGUMENT: "),
        (("infer", "bright", "1x16x16", "1"), "3 INVALID_ARGUMENT: "),
        (("inspect", str(CLIENT / "example.c")), None),
    ],
)
def test_the_c_client_tells_the_agents_words(
    line: FastLine, example: Path, words: tuple[str, ...], told: str | None
) -> None:
    ran = run(example, line.path, *words)
    if told is None:
        assert (ran.returncode, ran.stdout.partition(" ")[0]) == (0, "NO_RESULT")
    else:
        assert (ran.returncode, ran.stdout, ran.stderr.startswith(told)) == (1, "", True)


def test_the_c_header_is_c_plus_plus_too(tmp_path: Path) -> None:
    source = tmp_path / "line.cc"
    source.write_text('#include "edge_agent.h"\nint main() { return edge_agent_open("", 4096) != nullptr; }\n')
    flags = ["-std=c++11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{CLIENT}"]
    ran = subprocess.run(["g++", *flags, source], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_no_time_at_all_is_told_before_anything_is_asked(fast: FastPath, line: FastLine) -> None:
    # A request of an earlier test is counted when its answer is there already.
    until(lambda: line.fast.connections == 0, "no connection")
    before = calls("fast/Infer")
    for timeout_s in (0.0, -1.0):
        assert (
            asked(lambda timeout_s=timeout_s: fast.infer("bright", image(GREY), timeout_s=timeout_s))
            is Code.DEADLINE_EXCEEDED
        )
    assert calls("fast/Infer") == before
    assert fast.infer("bright", image(BRIGHT), timeout_s=1e300)[1]["score"] == pytest.approx(2.0)
