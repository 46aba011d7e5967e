"""Whatever comes over the fast path, bytes and memory: a reply or an end, and the agent is as it was."""

import mmap
import os
import socket
import struct
from collections import Counter
from contextlib import suppress
from typing import Any

from hypothesis import strategies as st

from edge_agent.client import FastPath
from edge_agent.wire.fast import frames
from tests.fakes.census import census
from tests.fakes.device import AgentDevice
from tests.fakes.fast_peer import SHRINK, FastPeer, error_of, infer, memfd
from tests.fakes.malformed import EXAMPLES, generated, settle
from tests.fakes.tiny_models import BRIGHT, SIDE, grey_picture, image

PIXELS = SIDE * SIDE * 3
SEGMENT_BYTES = 1 << 16
PICTURE = grey_picture(BRIGHT)
GREYS = bytes([BRIGHT])
CONTENT = (image(BRIGHT)["image"].tobytes().ljust(SEGMENT_BYTES // 2, GREYS) + PICTURE).ljust(SEGMENT_BYTES, GREYS)
WORDS = frozenset(("INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "OUT_OF_RANGE", "DEADLINE_EXCEEDED"))
EDGES = [0, 1, PIXELS - 1, PIXELS, 4096, SEGMENT_BYTES - 1, SEGMENT_BYTES, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1]
# As a lent segment's pages are, so that a descriptor can be followed by what it is.
KINDS = ("good", "good", "good", "unsealed", "sealed", "pipe", "socket", "none", "two", "empty", "read-only")


def mostly(good: Any, other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What is right, and now and then what is not: of a request full of faults only the first is noticed."""
    return st.integers(0, 9).flatmap(lambda die: other if die == 0 else st.just(good))


RIGHT = infer("anomaly", [("image", 0, [1, SIDE, SIDE, 3], 0, PIXELS)], (4096, 4096))
numbers = st.sampled_from(EDGES) | st.integers(0, SEGMENT_BYTES)
names = st.sampled_from(["anomaly-1", "nobody", "", "../x", "ä" * 40, "\0"])
shapes = st.sampled_from([[-1, SIDE, SIDE, 3], [0], [], [2**63 - 1] * 8, [PIXELS]]) | st.lists(
    st.integers(-(2**63), 2**63 - 1), max_size=9
)
tensors = st.tuples(
    mostly("image", st.sampled_from(["", "input", "x" * 300])),
    mostly(0, st.sampled_from([1, 5, 6, 7, 255])),
    mostly([1, SIDE, SIDE, 3], shapes),
    mostly(0, numbers),
    mostly(PIXELS, numbers),
)
rooms = mostly((4096, 4096), st.tuples(numbers, numbers))


@st.composite
def infers(draw: st.DrawFn) -> bytes:
    count = draw(mostly(1, st.sampled_from([0, 2, 63, 64, 65, 70])))
    return infer(
        draw(mostly("anomaly", names)),
        [draw(tensors) for _ in range(count)],
        draw(rooms),
        version=draw(mostly("", st.sampled_from(["1", "2", "9" * 100]))),
        timeout_us=draw(mostly(60_000_000, st.sampled_from([0, 1, 2**64 - 1]))),
        priority=draw(mostly(0, st.sampled_from([1, 2, 255]))),
        number=draw(st.integers(0, 2**32 - 1)),
    )


@st.composite
def inspects(draw: st.DrawFn) -> bytes:
    wrong = st.lists(st.sampled_from([b"anomaly-detection-app", b"x", b"", b"\xff"]), max_size=3)
    applications = draw(mostly([], wrong))
    source, name = draw(mostly(b"plc", st.sampled_from([b"", b"\xc3"]))), draw(mostly(b"1", st.binary(max_size=10)))
    good = draw(st.sampled_from([((SEGMENT_BYTES // 2, len(PICTURE)), (0, 0)), ((0, PIXELS), (SIDE, SIDE))]))
    picture = draw(mostly(good[0], st.tuples(numbers, numbers)))
    size = draw(mostly(good[1], st.sampled_from([(0, 0), (2**32 - 1, 2**32 - 1), (0, 7)])))
    fixed = struct.pack("<HHIQQQQQII", 4, 0, 5, 60_000_000, *picture, *draw(rooms), *size)
    flags = draw(st.tuples(mostly(0, st.just(2)), st.sampled_from([0, 1, 2, 3, 3, 4])))
    fixed += struct.pack("<HHBBBB", len(source), len(name), *flags, len(applications), 0)
    lengths = b"".join(struct.pack("<H", len(each)) for each in applications)
    return fixed + lengths + b"".join([source, name, *applications])


@st.composite
def spoilt(draw: st.DrawFn, messages: st.SearchStrategy[bytes]) -> bytes:
    content = bytearray(draw(messages))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        act = draw(st.sampled_from(["put", "change", "cut", "end"]))
        if act == "put":
            content[at:at] = draw(st.binary(min_size=1, max_size=4))
        elif act == "change":
            content[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif act == "cut":
            del content[at : at + draw(st.integers(1, 8))]
        else:
            del content[at:]
    # An empty packet cannot be told from the end of a connection.
    return bytes(content) or b"\0"


requests = infers() | inspects()
messages = (
    requests
    | spoilt(requests)
    | st.binary(min_size=1, max_size=200)
    | st.just(b"\3\0" * 9000)
    | st.just(frames.hello())
)
acts = st.one_of(
    st.tuples(st.just("ask"), messages),
    st.tuples(st.just("ask"), messages),
    st.tuples(st.just("ask"), messages),
    # What is drawn once is not drawn again, so each is drawn with a number.
    st.tuples(st.just("lend"), st.tuples(st.sampled_from(KINDS), st.integers(0, 2**20))),
    st.tuples(st.just("leave"), st.tuples(st.booleans(), st.integers(0, 2**20))),
    st.tuples(st.just("first"), st.binary(min_size=1, max_size=40) | messages),
)


class Hostile:
    """One connection after the other, each as far as it may go."""

    def __init__(self, device: AgentDevice) -> None:
        self._path = device.runtime_dir / "fast.sock"
        self.told: Counter[str] = Counter()
        self._begin()

    def do(self, act: str, what: Any) -> None:
        getattr(self, f"_{act}")(what)

    def close(self) -> None:
        self._peer.close()

    def _begin(self) -> None:
        self._peer = FastPeer(self._path)
        descriptor = _descriptors("good")[0]
        self._memory = mmap.mmap(descriptor, SEGMENT_BYTES)
        self._hear(self._peer.ask(frames.segment(3), [descriptor]))
        os.close(descriptor)

    def _ask(self, message: bytes) -> None:
        # What answers left there would be pictures over which the tiny models work for seconds.
        self._memory[:] = CONTENT
        try:
            self._hear(self._peer.ask(message))
        except OSError:
            self._hear(b"")

    def _lend(self, drawn: tuple[str, int]) -> None:
        descriptors = _descriptors(drawn[0])
        try:
            self._hear(self._peer.ask(frames.segment(3), descriptors))
            self._hear(self._peer.ask(RIGHT))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._peer.close()
        self._begin()

    def _leave(self, drawn: tuple[bool, int]) -> None:
        if drawn[0]:
            with suppress(OSError):
                self._peer.socket.send(infer("anomaly", [("image", 0, [1, SIDE, SIDE, 3], 0, PIXELS)], (4096, 4096)))
        self._peer.close()
        self._begin()

    def _first(self, message: bytes) -> None:
        with FastPeer(self._path, greet=False) as stranger, suppress(OSError):
            reply = stranger.ask(message)
            if message != frames.hello():
                assert error_of(reply) is not None
                assert stranger.socket.recv(100) == b""

    def _hear(self, reply: bytes) -> None:
        if not reply:
            self.told["ended"] += 1
            self._peer.close()
            self._begin()
            return
        fault = error_of(reply)
        assert fault is None or fault.word in WORDS, fault
        self.told[fault.word if fault else "OK"] += 1


def _descriptors(kind: str) -> list[int]:
    if kind == "none":
        return []
    if kind == "pipe":
        reading, writing = os.pipe()
        os.close(writing)
        return [reading]
    if kind == "socket":
        return [socket.socket(socket.AF_UNIX).detach()]
    if kind == "empty":
        return [memfd(0)]
    seals = {"unsealed": 0, "sealed": SHRINK | 0x8}
    descriptor = memfd(SEGMENT_BYTES, seals.get(kind, SHRINK))
    if kind == "good":
        os.pwrite(descriptor, CONTENT, 0)
    if kind == "read-only":
        again = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
        os.close(descriptor)
        return [again]
    return [descriptor, memfd(10)] if kind == "two" else [descriptor]


def test_malformed_messages_and_memory_get_a_reply_and_change_nothing(bombarded_device: AgentDevice) -> None:
    assert bombarded_device.process is not None
    pid = bombarded_device.process.pid
    hostile = Hostile(bombarded_device)

    def good() -> None:
        with FastPath(bombarded_device.runtime_dir / "fast.sock") as fast:
            model, outputs = fast.infer("anomaly", image(BRIGHT), timeout_s=60)
        assert (model.version, outputs["score"].tolist()) == ("1", [2.0])

    def run(examples: int) -> None:
        generated(acts, lambda act: hostile.do(*act), examples)

    good()
    run(100)
    good()
    before = census(pid)
    run(EXAMPLES)
    good()
    print(dict(hostile.told))  # noqa: T201 - shown with -s
    assert min(hostile.told[word] for word in ("OK", "INVALID_ARGUMENT", "FAILED_PRECONDITION")) >= 3
    hostile.close()
    settle(pid, before)
