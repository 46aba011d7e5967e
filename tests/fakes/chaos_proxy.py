"""A TCP proxy on loopback that hurts connections as told, one connection at a time.

``hurt(…)`` queues harms; each new connection takes the next one, and when none is left it is
honest. What was done is counted in ``fired``: a test asserts that its harm happened.
"""

import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal, NamedTuple

_CHUNK_BYTES = 1 << 14
_AT_ONCE = struct.pack("ii", 1, 0)

Way = Literal["cut", "reset", "half-close", "delay", "freeze"]


class Harm(NamedTuple):
    """What happens to what the server sends, after so many bytes of it."""

    way: Way
    after_bytes: int = 0
    seconds: float = 0.0  # of a delay


class ChaosProxy:
    """Passes connections on to ``target`` until a harm says otherwise."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.fired: Counter[str] = Counter()
        self.let_go = threading.Event()
        self._target = target
        self._harms: deque[Harm] = deque()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._begin(self._accept)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def hurt(self, *harms: Harm) -> None:
        self._harms.extend(harms)

    def close(self) -> None:
        self.let_go.set()
        # shutdown, since close alone does not wake who waits in accept.
        for end in (self._listener, *self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in self._threads:
            thread.join(10)

    def _begin(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name="chaos", daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._open += [client, server]
                harm = self._harms.popleft() if self._harms else None
                self._begin(self._pass_on, client, server, None)
                self._begin(self._pass_on, server, client, harm)

    def _pass_on(self, source: socket.socket, sink: socket.socket, harm: Harm | None) -> None:
        passed = 0
        with suppress(OSError):
            while chunk := source.recv(_CHUNK_BYTES):
                if harm is not None and passed + len(chunk) > harm.after_bytes:
                    sink.sendall(chunk[: max(0, harm.after_bytes - passed)])
                    if not self._do(harm, source, sink):
                        return
                    chunk, harm = chunk[max(0, harm.after_bytes - passed) :], None
                sink.sendall(chunk)
                passed += len(chunk)
            sink.shutdown(socket.SHUT_WR)

    def _do(self, harm: Harm, source: socket.socket, sink: socket.socket) -> bool:
        """Do the harm; return whether the connection goes on."""
        self.fired[harm.way] += 1
        if harm.way == "delay":
            self.let_go.wait(harm.seconds)
            return True
        if harm.way == "freeze":
            self.let_go.wait(60)
        if harm.way == "half-close":
            sink.shutdown(socket.SHUT_WR)
            source.shutdown(socket.SHUT_RD)
            return False
        if harm.way == "reset":
            sink.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            sink.close()
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        return False


@contextmanager
def chaos_proxy(target_url: str) -> Iterator[ChaosProxy]:
    """Yield a proxy in front of the server at ``target_url``."""
    host, port = target_url.removeprefix("http://").split(":")
    proxy = ChaosProxy((host, int(port)))
    try:
        yield proxy
    finally:
        proxy.close()
