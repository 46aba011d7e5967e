"""A client of an agent that is so busy that its first word on a connection takes a while."""

import contextlib
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from edge_agent.client import AgentClient
from edge_agent.errors import Code, InferenceError

# Longer than any wait between two tries to connect.
SPEECHLESS_S = 2.5


class SlowDoor:
    """A socket that takes connections at once, and hands them on only after a while."""

    def __init__(self, path: Path, behind: Path) -> None:
        self.connections = 0
        self._behind = str(behind)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._sockets = [self._listener]
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._take, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(60)
        for one in self._sockets:
            one.close()

    def _take(self) -> None:
        while not self._ended.is_set():
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._ended.wait(SPEECHLESS_S)
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._behind)
            self._sockets += [caller, server]
            for source, sink in ((caller, server), (server, caller)):
                self._threads.append(threading.Thread(target=_pass_on, args=(source, sink), daemon=True))
                self._threads[-1].start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while content := source.recv(1 << 16):
            sink.sendall(content)
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def door() -> Iterator[tuple[SlowDoor, Path]]:
    directory = Path(tempfile.mkdtemp(prefix="door-"))
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_insecure_port(f"unix:{directory}/behind.sock")
    server.start()
    slow = SlowDoor(directory / "slow.sock", directory / "behind.sock")
    yield slow, directory / "slow.sock"
    server.stop(None).wait()
    slow.close()
    shutil.rmtree(directory)


def test_an_agent_whose_first_word_takes_long_is_waited_for_and_not_taken_for_absent(
    door: tuple[SlowDoor, Path],
) -> None:
    slow, path = door
    with AgentClient(f"unix:{path}") as client, pytest.raises(InferenceError) as caught:
        client.status(timeout_s=60)
    # There is no such service behind the door, but somebody answered.
    assert caught.value.code is not Code.UNAVAILABLE
    assert slow.connections == 1
