"""Who listens on ``fast.sock``: a thread that accepts, and one for each connection, of which there are only so many."""

import logging
import os
import socket
import struct
import threading
import time
from collections import Counter
from pathlib import Path

from edge_agent.rpc.addresses import open_to_group, prepare_socket
from edge_agent.rpc.fast.connection import Connection
from edge_agent.rpc.fast.service import FastService
from edge_agent.rpc.server import DATA_GROUP
from edge_agent.telemetry.threads import Watched

_LOG = logging.getLogger(__name__)
SOCKET = "fast.sock"
CONNECTIONS = 64
CONNECTIONS_OF_ONE_PROCESS = 32
_CREDENTIALS = struct.Struct("iII")
_PAUSE_S = 0.1
_LAST_S = 2.0


class FastServer:
    """The server; a connection costs a thread, so their number is bounded, in all and for one process.

    Args:
        service: answers.
        calls: requests answered at a time; one more is refused RESOURCE_EXHAUSTED.
    """

    def __init__(self, service: FastService, *, calls: int) -> None:
        self._service = service
        self._calls = threading.BoundedSemaphore(calls)
        self._lock = threading.Lock()
        self._connections: dict[threading.Thread, tuple[Connection, int]] = {}
        self._accepting = Watched("fast", self._accept)
        self._listener: socket.socket | None = None
        self._path: Path | None = None
        self._inode = 0

    def listen_on(self, path: Path, group: str) -> None:
        """Take the unix socket, which ``group`` may use; nobody is answered before ``start``.

        Raises:
            ConfigError: another process answers there, or it cannot be made.
        """
        prepare_socket(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self._listener.bind(str(path))
        open_to_group(path, group)
        self._listener.listen(CONNECTIONS)
        self._path, self._inode = path, path.stat().st_ino

    def start(self) -> None:
        """Answer from now on."""
        self._accepting.start()

    def stop(self, grace_s: float) -> None:
        """Take no new requests, let running ones end within ``grace_s``, end all connections, remove the socket."""
        self._accepting.stopping.set()
        listener, self._listener = self._listener, None
        if listener is not None:
            self._end_listening(listener)
        self._accepting.stop()
        for how, seconds in ((socket.SHUT_RD, grace_s), (socket.SHUT_RDWR, _LAST_S)):
            deadline = time.monotonic() + seconds
            for connection, _ in self._living().values():
                connection.end(how)
            for thread in self._living():
                thread.join(max(0.0, deadline - time.monotonic()))

    @property
    def connections(self) -> int:
        """Return how many clients are connected."""
        return len(self._living())

    def _end_listening(self, listener: socket.socket) -> None:
        try:
            listener.shutdown(socket.SHUT_RDWR)
        finally:
            listener.close()
        if self._path is not None and os.path.lexists(self._path) and self._path.lstat().st_ino == self._inode:
            self._path.unlink()

    def _living(self) -> dict[threading.Thread, tuple[Connection, int]]:
        with self._lock:
            return dict(self._connections)

    def _accept(self, thread: Watched) -> None:
        while (listener := self._listener) is not None and not thread.stopping.is_set():
            try:
                channel, _ = listener.accept()
            except OSError as exc:
                if not thread.stopping.is_set():
                    extra = {"action": "fast_path_refused", "reason": str(exc)}
                    _LOG.warning("a connection could not be accepted", extra=extra)
                    thread.wait(_PAUSE_S)
                continue
            self._take(channel)

    def _take(self, channel: socket.socket) -> None:
        credentials = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        process = _CREDENTIALS.unpack(credentials)[0]
        connection = Connection(channel, self._service, self._calls)
        thread = threading.Thread(target=self._run, args=(connection,), name="fast-connection", daemon=True)
        with self._lock:
            of_process = Counter(owner for _, owner in self._connections.values())[process]
            room = len(self._connections) < CONNECTIONS and of_process < CONNECTIONS_OF_ONE_PROCESS
            if room:
                self._connections[thread] = (connection, process)
        if not (room and self._started(thread)):
            channel.close()  # who may not stay sees the end of the connection in place of a welcome

    def _started(self, thread: threading.Thread) -> bool:
        try:
            thread.start()
        except RuntimeError as exc:  # the machine gives no more threads
            with self._lock:
                self._connections.pop(thread, None)
            _LOG.warning("no thread for a connection", extra={"action": "fast_path_refused", "reason": str(exc)})
            return False
        return True

    def _run(self, connection: Connection) -> None:
        try:
            connection.run()
        finally:
            with self._lock:
                self._connections.pop(threading.current_thread(), None)


def fast_server(service: FastService, runtime_dir: Path, *, calls: int) -> FastServer:
    """Return the fast path on ``fast.sock``, listening and not started.

    Raises:
        ConfigError: the socket is taken.
    """
    server = FastServer(service, calls=calls)
    server.listen_on(runtime_dir / SOCKET, DATA_GROUP)
    return server
