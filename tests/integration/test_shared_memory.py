"""Callers' segments read and filled directly: who may, and what holds when they change meanwhile."""

import os
import subprocess
import sys
import threading
from collections import Counter

import pytest

from edge_agent.errors import Code, InferenceError
from edge_agent.rpc.shared_memory import SharedMemory, posix_target, read_posix, read_system_v, rest_of_system_v
from tests.fakes.posix_memory import PosixMemory
from tests.fakes.system_v import SystemV
from tests.fakes.tree import ROOT

NOBODY = 65534
# Tells the code with which each access is refused.
_STRANGER = """
import os, sys
from edge_agent.errors import InferenceError
from edge_agent.rpc.shared_memory import SharedMemory, posix_target, read_posix, read_system_v, rest_of_system_v
os.setgid({nobody}); os.setuid({nobody})
name, segment = sys.argv[1], SharedMemory(int(sys.argv[2]), 0, 0)
def fill():
    with posix_target(name, 0, 4):
        pass
for act in (lambda: read_posix(name, 0, 4), fill, lambda: read_system_v(segment, 4), lambda: rest_of_system_v(segment)):
    try:
        act()
        print("OK")
    except InferenceError as exc:
        print(exc.code.value)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("mode", [0o400, 0o444])
def test_another_users_segment_is_opened_as_its_mode_says(mode: int) -> None:
    with PosixMemory(b"1234") as memory, SystemV(b"1234", mode=mode) as segment:
        memory.path.chmod(mode)
        command = [sys.executable, "-c", _STRANGER.format(nobody=NOBODY), memory.name, str(segment.id)]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    reading = "OK" if mode == 0o444 else "PERMISSION_DENIED"
    assert told == [reading, "PERMISSION_DENIED", reading, reading]


def test_a_segment_that_is_removed_while_it_waits_is_still_its_makers() -> None:
    with PosixMemory(8) as memory, posix_target(memory.name, 2, 4) as target:
        memory.path.unlink()
        target.write(b"abcd")
        assert memory.read() == b"\0\0abcd\0\0"


def test_more_than_was_announced_is_not_written_beyond_the_end() -> None:
    with PosixMemory(8) as memory, posix_target(memory.name, 4, 4) as target:
        with pytest.raises(InferenceError) as caught:
            target.write(b"abcdefgh")
        assert caught.value.code is Code.INVALID_ARGUMENT
        assert (memory.size, memory.read()) == (8, bytes(8))


def test_a_rest_ends_with_its_segment() -> None:
    with SystemV(b"123456") as segment:
        assert rest_of_system_v(SharedMemory(segment.id, 2, 0)) == 4
        assert rest_of_system_v(SharedMemory(segment.id, 6, 0)) == 0
        for wrong in (SharedMemory(segment.id, 7, 0), SharedMemory(segment.id + 1, 0, 0), SharedMemory(2**40, 0, 0)):
            with pytest.raises(InferenceError) as caught:
                rest_of_system_v(wrong)
            assert caught.value.code is Code.INVALID_ARGUMENT
    with pytest.raises(InferenceError):
        read_system_v(SharedMemory(segment.id, 0, 0), 4)


def test_a_segment_that_shrinks_and_grows_while_it_is_read_is_read_whole_or_refused() -> None:
    size = 4 << 20
    ended = threading.Event()
    outcomes: Counter[Code | None] = Counter()
    with PosixMemory(b"x" * size) as memory:

        def change() -> None:
            while not ended.is_set():
                memory.truncate(size // 3)
                memory.truncate(size)

        thread = threading.Thread(target=change)
        thread.start()
        try:
            while len(outcomes) < 2 and outcomes.total() < 20_000:
                outcomes[outcome_of(memory.name, size)] += 1
        finally:
            ended.set()
            thread.join()
    assert set(outcomes) == {None, Code.INVALID_ARGUMENT}


def outcome_of(name: str, size: int) -> Code | None:
    try:
        assert len(read_posix(name, 0, size)) == size
    except InferenceError as exc:
        return exc.code
    return None
