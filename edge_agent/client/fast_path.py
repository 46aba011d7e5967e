"""The local fast path: ``fast.sock`` on this machine, a connection for each thread that asks at the time.

It answers what gRPC answers, at a fraction of its cost. Whatever keeps a request from being taken is
``NotAskedError``, and the caller goes another way; once it was taken, its end is the agent's word.
"""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from numpy.typing import NDArray
from typing_extensions import Self

from edge_agent.client.fast_connection import FastConnection, NotAskedError, microseconds
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import EncodedPicture, InspectedFrame, ModelResult, ModelVersion, Picture
from edge_agent.wire.fast import inspection
from edge_agent.wire.fast.inspection import Drawn, PictureOrder
from edge_agent.wire.inspection import InspectOrder

_IDLE = 4
_CONNECT_S = 10.0
# After a failure to connect nobody tries again for so long: the other way answers meanwhile.
_PAUSE_S = 1.0
_ROOM_BYTES = 64 << 20

T = TypeVar("T")


class FastPath:
    """Connections to one agent; safe to share between threads.

    Args:
        path: of ``fast.sock``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[FastConnection] = []
        self._not_before = 0.0
        self._closed = False

    def infer(
        self,
        model: str,
        tensors: Mapping[str, NDArray[Any]],
        *,
        version: str = "",
        timeout_s: float = 10.0,
        frame_priority: bool = False,
    ) -> tuple[ModelVersion, dict[str, NDArray[Any]]]:
        """Ask a model; return which version answered, and its outputs.

        Raises:
            NotAskedError: the agent did not take the request.
            AgentError: what the agent says, as over gRPC.
        """
        priority = int(frame_priority)
        told, outputs = self._asked(
            lambda connection: connection.infer(
                model, tensors, version=version, timeout_s=timeout_s, priority=priority
            ),
            timeout_s,
        )
        return told.model, outputs

    def inspect(self, picture: Picture, order: InspectOrder, *, timeout_s: float) -> InspectedFrame:
        """Inspect one picture.

        Args:
            picture: of ``order``.
            order: what is wanted.
            timeout_s: to wait.

        Raises:
            NotAskedError: the agent did not take the request.
            AgentError: what the agent says, as over gRPC.
        """
        encoded = isinstance(picture, EncodedPicture)
        content = picture.content if isinstance(picture, EncodedPicture) else memoryview(picture.rgb).cast("B")
        room_bytes = _ROOM_BYTES if order.with_mask or order.with_heat_map else 0
        asked = PictureOrder(
            picture=(0, len(content)),
            room=(0, room_bytes),
            width=0 if isinstance(picture, EncodedPicture) else picture.width,
            height=0 if isinstance(picture, EncodedPicture) else picture.height,
            applications=order.applications,
            source=order.source,
            frame_name=order.frame_name,
            with_mask=order.with_mask,
            with_heat_map=order.with_heat_map,
            priority=int(order.frame_priority),
            timeout_us=microseconds(timeout_s),
        )
        if not encoded and not asked.width and not asked.height:
            raise NotAskedError("a raw picture of no size")

        def ask(connection: FastConnection) -> InspectedFrame:
            def write(room_at: int) -> bytes:
                return inspection.inspect(0, asked._replace(room=(room_at, room_bytes)))

            reply = connection.inspect(content, room_bytes=room_bytes, write=write, timeout_s=timeout_s)
            frame, drawn = inspection.read_inspected(reply, asked, time.time())
            results = tuple(map(_pictured, frame.results, drawn, [connection] * len(drawn)))
            return frame.model_copy(update={"results": results})

        return self._asked(ask, timeout_s)

    def close(self) -> None:
        """End all connections that nobody is asking on; the others end with their request."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _asked(self, ask: Callable[[FastConnection], T], timeout_s: float) -> T:
        if timeout_s <= 0:
            raise InferenceError(Code.DEADLINE_EXCEEDED, f"expected time left for the request, came {timeout_s:g} s")
        while True:
            connection, fresh = self._connection(timeout_s)
            try:
                return ask(connection)
            except NotAskedError:
                # An agent that was started again knows nothing of old connections; of one that still serves
                # the request itself is not for this way.
                if fresh or connection.usable:
                    raise
            finally:
                self._put_back(connection)

    def _connection(self, timeout_s: float) -> tuple[FastConnection, bool]:
        with self._lock:
            if self._idle:
                return self._idle.pop(), False
            if self._closed:
                raise InferenceError(Code.UNAVAILABLE, "the client was closed")
            if time.monotonic() < self._not_before:
                raise NotAskedError("the agent could not be reached a moment ago")
        try:
            # What is left is for the other way.
            return FastConnection(self._path, min(timeout_s / 2, _CONNECT_S)), True
        except NotAskedError:
            self._not_before = time.monotonic() + _PAUSE_S
            raise

    def _put_back(self, connection: FastConnection) -> None:
        with self._lock:
            kept = connection.usable and not self._closed and len(self._idle) < _IDLE
            if kept:
                self._idle.append(connection)
        if not kept:
            connection.close()


def _pictured(result: ModelResult, drawn: Drawn, connection: FastConnection) -> ModelResult:
    if drawn.mask.left_out or drawn.heat_map.left_out:
        # Never a frame without the mask that was asked for.
        raise InferenceError(Code.RESOURCE_EXHAUSTED, f"expected masks within {_ROOM_BYTES} bytes, came larger ones")
    pngs = {"mask_png": drawn.mask, "heat_map_png": drawn.heat_map}
    found = {name: connection.png(at.offset, at.size_bytes) for name, at in pngs.items() if at.size_bytes}
    return result.model_copy(update=found) if found else result
