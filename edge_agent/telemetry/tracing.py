"""W3C trace context: which trace of its caller a request belongs to, for whatever the request logs.

The context is taken as it came and told in the log; nothing is sampled, timed or sent from
here. What is malformed is ignored, as the recommendation asks: a trace is never a reason to
refuse a part.
"""

import re
from collections.abc import Iterable
from contextvars import ContextVar
from typing import NamedTuple

PARENT_KEY = "traceparent"
STATE_KEY = "tracestate"
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_KEY = r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
_MEMBER = re.compile(rf"({_KEY})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{{0,255}}[\x21-\x2b\x2d-\x3c\x3e-\x7e]", re.ASCII)
_MEMBERS_LIMIT = 32
_STATE_CHARACTERS = 512
_NO_VERSION = "ff"
_SAMPLED = 1


class TraceContext(NamedTuple):
    """Where a request stands in its caller's trace."""

    trace_id: str
    """32 hexadecimal digits."""
    parent_id: str
    """The caller's span, 16 hexadecimal digits."""
    sampled: bool
    """The caller records this trace."""
    state: str = ""
    """What tracing systems say to each other; told on as it came."""


_CURRENT: ContextVar[TraceContext | None] = ContextVar("trace", default=None)


def follow(metadata: Iterable[tuple[str, str | bytes]]) -> TraceContext | None:
    """Let what this context logs from now on belong to the trace that a request names; return that trace."""
    trace = read(metadata)
    _CURRENT.set(trace)
    return trace


def current() -> TraceContext | None:
    """Return the trace of the request that is being answered here; None: it named none."""
    return _CURRENT.get()


def read(metadata: Iterable[tuple[str, str | bytes]]) -> TraceContext | None:
    """Return the trace that a request names; None: none, several, or a malformed one."""
    parents, states = [], []
    for key, value in metadata:
        if key == PARENT_KEY:
            parents.append(value)
        elif key == STATE_KEY:
            states.append(value)
    if len(parents) != 1 or not isinstance(parents[0], str):
        return None
    found = _PARENT.fullmatch(parents[0])
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    # A later version may say more behind its flags; the first one may not.
    if version == _NO_VERSION or (version == "00" and more) or not (int(trace_id, 16) and int(parent_id, 16)):
        return None
    return TraceContext(trace_id, parent_id, bool(int(flags, 16) & _SAMPLED), _state(states))


def _state(values: Iterable[str | bytes]) -> str:
    """Return the list of members; empty when it is not one, which leaves the trace itself valid."""
    texts = [value for value in values if isinstance(value, str)]
    members = [member.strip(" \t") for text in texts for member in text.split(",")]
    members = [member for member in members if member]
    found = [_MEMBER.fullmatch(member) for member in members]
    keys = {match.group(1) for match in found if match is not None}
    state = ",".join(members)
    # Every key once, all of them well formed.
    fits = len(keys) == len(members) <= _MEMBERS_LIMIT and len(state) <= _STATE_CHARACTERS
    return state if fits else ""
