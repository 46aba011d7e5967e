"""From the agent's errors to gRPC's status: one table."""

import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NoReturn

import grpc

from edge_agent.client.faults import CLASS_KEY, CODE_KEY
from edge_agent.errors import AgentError, Code

_S = grpc.StatusCode

# Codes whose word is not gRPC's own. A missing one would be INTERNAL; a test sees that none is.
_OWN_WORD: dict[Code, grpc.StatusCode] = {
    code: _S.__members__[code.value] for code in Code if code.value in _S.__members__
}

STATUS: Final[Mapping[Code, grpc.StatusCode]] = MappingProxyType(
    _OWN_WORD
    | {
        Code.CONFIG_INVALID: _S.FAILED_PRECONDITION,
        Code.DOCUMENT_INVALID: _S.INVALID_ARGUMENT,
        Code.JOB_INVALID: _S.INVALID_ARGUMENT,
        Code.UNSIGNED_PACKAGE: _S.FAILED_PRECONDITION,
        Code.DOWNGRADE: _S.FAILED_PRECONDITION,
        Code.BELOW_FLOOR: _S.FAILED_PRECONDITION,
        Code.NO_PREVIOUS: _S.FAILED_PRECONDITION,
        Code.WRONG_HARDWARE: _S.FAILED_PRECONDITION,
        Code.RUNTIME_MISSING: _S.FAILED_PRECONDITION,
        Code.AGENT_TOO_OLD: _S.FAILED_PRECONDITION,
        Code.QUARANTINED: _S.FAILED_PRECONDITION,
        Code.MEMORY_EXCEEDED: _S.RESOURCE_EXHAUSTED,
        Code.MODEL_MAPPED: _S.FAILED_PRECONDITION,
        Code.WRONG_VERSION: _S.FAILED_PRECONDITION,
        Code.TRANSFER_FAILED: _S.UNAVAILABLE,
        Code.OBJECT_MISSING: _S.NOT_FOUND,
        Code.ACCESS_DENIED: _S.PERMISSION_DENIED,
        Code.SIGNATURE_INVALID: _S.FAILED_PRECONDITION,
        Code.METADATA_EXPIRED: _S.FAILED_PRECONDITION,
        Code.CLOCK_UNTRUSTED: _S.FAILED_PRECONDITION,
        Code.METADATA_ROLLBACK: _S.FAILED_PRECONDITION,
        Code.DEMO_ROOT: _S.FAILED_PRECONDITION,
        Code.RELEASE_UNKNOWN: _S.NOT_FOUND,
        Code.DIGEST_MISMATCH: _S.FAILED_PRECONDITION,
        Code.MANIFEST_INVALID: _S.FAILED_PRECONDITION,
        Code.FORMAT_FORBIDDEN: _S.FAILED_PRECONDITION,
        Code.NO_SPACE: _S.RESOURCE_EXHAUSTED,
        Code.STORAGE_FAILED: _S.UNAVAILABLE,
        Code.STORE_LOCKED: _S.UNAVAILABLE,
        Code.CONTENT_MISSING: _S.FAILED_PRECONDITION,
        Code.BUILD_FAILED: _S.FAILED_PRECONDITION,
        Code.LOAD_FAILED: _S.FAILED_PRECONDITION,
        Code.GOLDEN_MISMATCH: _S.FAILED_PRECONDITION,
        Code.SHADOW_REGRESSION: _S.ABORTED,
        Code.PROBATION_REGRESSION: _S.ABORTED,
        Code.ROLLED_BACK: _S.ABORTED,
        Code.INTERRUPTED: _S.ABORTED,
        Code.SUPERSEDED: _S.ABORTED,
        Code.CANCELLED: _S.CANCELLED,
        Code.NOT_CONNECTED: _S.UNAVAILABLE,
        Code.UPDATE_REJECTED: _S.UNAVAILABLE,
        Code.CAMERA_FAILED: _S.UNAVAILABLE,
        Code.OUTPUT_FAILED: _S.UNAVAILABLE,
    }
)

# HTTP/2 peers limit the sum of all headers, often to 8 KiB: with more, gRPC's client reports RESOURCE_EXHAUSTED in
# place of what it was told.
_DETAILS_LIMIT = 2000
_DETAILS_BYTES = 4096


def status_of(code: Code) -> grpc.StatusCode:
    """Return gRPC's word for a code."""
    return STATUS.get(code, _S.INTERNAL)


def abort(context: grpc.ServicerContext, error: AgentError) -> NoReturn:
    """End the call with the error's status; its class and code go beside it for our own client."""
    context.set_trailing_metadata(((CLASS_KEY, type(error).__name__), (CODE_KEY, error.code.value)))
    stop: Callable[[grpc.StatusCode, str], NoReturn] = context.abort
    stop(status_of(error.code), _shortened(error.message))


def _shortened(message: str) -> str:
    """Return as much of a message as its header may hold, where all but plain ASCII is three bytes for each of its."""
    kept = message[:_DETAILS_LIMIT].encode("utf-8", "replace").decode()
    sizes = (1 if " " <= character <= "~" and character != "%" else 3 * len(character.encode()) for character in kept)
    return kept[: sum(size <= _DETAILS_BYTES for size in itertools.accumulate(sizes))]
