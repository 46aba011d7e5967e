"""Where a call comes from: memory of this machine is lent by callers on this machine only."""

from contextvars import ContextVar

from edge_agent.config import is_loopback
from edge_agent.errors import Code, InferenceError

_PEER: ContextVar[str] = ContextVar("peer", default="")


def note_caller(peer: str) -> None:
    """Note for the call under way where it comes from, in gRPC's words, as ``ipv4:10.0.0.7:50123``.

    It is read only where memory is lent, which few calls do.
    """
    _PEER.set(peer)


def check_on_this_machine(what: str) -> None:
    """Check that the caller can lend memory of this machine: a name means somebody else's segment otherwise.

    Raises:
        InferenceError: FAILED_PRECONDITION.
    """
    family, _, address = _PEER.get().partition(":")
    # gRPC escapes the brackets of IPv6.
    host = address.replace("%5B", "[").replace("%5D", "]").rpartition(":")[0]
    if family in ("ipv4", "ipv6") and not is_loopback(host):
        message = f"{what}: expected a caller on this machine, came one from the network; send the bytes"
        raise InferenceError(Code.FAILED_PRECONDITION, message)
