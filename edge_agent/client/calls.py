"""The channels to the agent's two servers, and a call with its errors translated."""

from types import TracebackType
from typing import Any, NamedTuple

import grpc
from typing_extensions import Self

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2_grpc as services
from edge_agent.client import faults

_OPTIONS = (
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    # A proxy of the environment is not meant for a device's own sockets.
    ("grpc.enable_http_proxy", 0),
    # A client's connection is its own: closing it ends it.
    ("grpc.use_local_subchannel_pool", 1),
    # The agent is on this machine: look for it again at once after its restart.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Despite its name also the time that one try to connect may take: a busy agent's first word may take long.
    ("grpc.min_reconnect_backoff_ms", 20_000),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class FrameContent(NamedTuple):
    """A picture as a file's content."""

    content: bytes
    content_type: str


class Calls:
    """Channels to the data plane and the control plane.

    Args:
        data: gRPC target of the data plane.
        control: gRPC target of the operator's service; empty: those verbs are refused.
    """

    def __init__(self, data: str, control: str = "") -> None:
        self._targets = {"data": data, "control": control or data}
        self._data = grpc.insecure_channel(data, options=_OPTIONS)
        self._control = grpc.insecure_channel(control, options=_OPTIONS) if control else self._data
        self._inspection: Any = services.InspectionStub(self._data)
        self._operator: Any = services.OperatorStub(self._control)

    def close(self) -> None:
        """Close the connections; calls and streams under way end."""
        self._data.close()
        if self._control is not self._data:
            self._control.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _call(self, plane: str, method: Any, request: Any, timeout_s: float) -> Any:
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as exc:
            raise faults.from_call(exc, self._targets[plane]) from exc
