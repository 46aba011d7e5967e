"""The agent's events as an iterator that can be closed from another thread."""

from collections.abc import Iterator
from types import TracebackType
from typing import Any

import grpc
from typing_extensions import Self

from edge_agent.client import faults
from edge_agent.formats import Event
from edge_agent.wire.events import event_from_proto


class EventStream:
    """Iterate over events; ``close`` ends the iteration without an error.

    Args:
        call: the streaming call.
        target: where it goes, for messages.
    """

    def __init__(self, call: Any, target: str) -> None:
        self._call = call
        self._target = target
        self._closed = False

    def __iter__(self) -> Iterator[Event]:
        """Yield events as they come.

        Raises:
            AgentError: the agent refused the stream, or went away.
        """
        try:
            for message in self._call:
                yield event_from_proto(message)
        except grpc.RpcError as exc:
            if not self._closed:
                raise faults.from_call(exc, self._target) from exc

    def close(self) -> None:
        """End the stream; safe from any thread, more than once."""
        self._closed = True
        self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
