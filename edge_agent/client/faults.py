"""From a failed call back to the error that the agent raised."""

from typing import Any

import grpc

from edge_agent import errors
from edge_agent.errors import AgentError, Code, InferenceError

# Trailing metadata that carries an error's class and code beside gRPC's status.
CLASS_KEY = "edge-agent-error"
CODE_KEY = "edge-agent-code"

_CLASSES: dict[str, type[AgentError]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, AgentError)
}


def from_call(error: grpc.RpcError, target: str) -> AgentError:
    """Return what the agent raised, or InferenceError with gRPC's word for anything else."""
    call: Any = error
    details = {key: str(value) for key, value in call.trailing_metadata() or ()}
    message = call.details() or "no reason given"
    kind, word = details.get(CLASS_KEY, ""), details.get(CODE_KEY, "")
    if kind in _CLASSES and word in Code.__members__:
        return from_words(kind, word, message.removeprefix(f"{word}: "))
    return InferenceError(*_plain(call.code(), message, target))


def from_words(kind: str, word: str, message: str) -> AgentError:
    """Return what the agent raised, by the class and the code that it tells; a stranger's is INTERNAL."""
    return _CLASSES.get(kind, InferenceError)(Code.__members__.get(word, Code.INTERNAL), message)


def _plain(status: grpc.StatusCode, message: str, target: str) -> tuple[Code, str]:
    if status is grpc.StatusCode.UNAVAILABLE:
        # gRPC wraps the system's word in several layers of its own.
        return Code.UNAVAILABLE, f"{target}: the agent does not answer ({message.rpartition('error: ')[2]})"
    if status is grpc.StatusCode.UNIMPLEMENTED:
        return Code.FAILED_PRECONDITION, f"{target}: this call is not served there"
    code = Code.__members__.get(status.name, Code.INTERNAL)
    return code, f"{target}: {message}"
