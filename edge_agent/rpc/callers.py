"""Where a call comes from: memory of this machine is lent by callers on this machine only."""

from contextvars import ContextVar

from edge_agent.errors import Code, InferenceError
from edge_agent.telemetry.metrics import is_loopback

_FROM_ELSEWHERE: ContextVar[bool] = ContextVar("from_elsewhere", default=False)


def note_caller(peer: str) -> None:
    """Note for the call under way where it comes from; ``peer`` is gRPC's word, as ``ipv4:10.0.0.7:50123``."""
    family, _, address = peer.partition(":")
    # gRPC escapes the brackets of IPv6.
    host = address.replace("%5B", "[").replace("%5D", "]").rpartition(":")[0]
    _FROM_ELSEWHERE.set(family in ("ipv4", "ipv6") and not is_loopback(host))


def check_on_this_machine(what: str) -> None:
    """Check that the caller can lend memory of this machine: a name means somebody else's segment otherwise.

    Raises:
        InferenceError: FAILED_PRECONDITION.
    """
    if _FROM_ELSEWHERE.get():
        message = f"{what}: expected a caller on this machine, came one from the network; send the bytes"
        raise InferenceError(Code.FAILED_PRECONDITION, message)
