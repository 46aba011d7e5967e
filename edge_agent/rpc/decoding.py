"""From a request's bytes to its message, in our hands.

gRPC's own server never closes the stream of a request that it cannot decode: after as many of them as a
connection may have streams, it answers that connection no more.
"""

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from edge_agent.errors import Code, InferenceError


def reader(method: str, parse: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """Return what makes the message of a method's request.

    Args:
        method: for the error.
        parse: what the generated code brings; None: the method takes bytes.

    Returns:
        A function that raises ``InferenceError`` INVALID_ARGUMENT for bytes that are no such message.
    """

    def read(content: bytes) -> Any:
        if parse is None:
            return content
        try:
            return parse(content)
        except (DecodeError, ValueError) as exc:
            message = f"{method}: expected a request of its form, came {len(content)} bytes that are none"
            raise InferenceError(Code.INVALID_ARGUMENT, message) from exc

    return read
