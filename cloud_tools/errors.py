"""What a cloud operator's verb can fail with, and the exit code that each word means.

Errors of the shared tree pass through here too: the code decides, not the class.
Not done here: printing (``output``) and translating errors of outside libraries
(each door does that for its own).
"""

from enum import IntEnum

from edge_agent.errors import AgentError, Code


class Exit(IntEnum):
    """Exit codes of ``edge-cloud``."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    NOT_ALLOWED = 5
    PARTLY_FAILED = 6
    TIMED_OUT = 7
    CONFIGURATION = 78


class CloudError(AgentError):
    """A verb cannot be carried out; its code decides the exit code."""


PASSING = frozenset({Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED})
"""What the cloud answers when asking again may help."""

_EXITS = {
    Code.INVALID_ARGUMENT: Exit.USAGE,
    Code.OUT_OF_RANGE: Exit.USAGE,
    Code.DOCUMENT_INVALID: Exit.USAGE,
    Code.JOB_INVALID: Exit.USAGE,
    Code.NOT_FOUND: Exit.NOT_FOUND,
    Code.OBJECT_MISSING: Exit.NOT_FOUND,
    Code.RELEASE_UNKNOWN: Exit.NOT_FOUND,
    Code.CONTENT_MISSING: Exit.NOT_FOUND,
    Code.ALREADY_EXISTS: Exit.CONFLICT,
    Code.FAILED_PRECONDITION: Exit.CONFLICT,
    Code.PERMISSION_DENIED: Exit.NOT_ALLOWED,
    Code.ACCESS_DENIED: Exit.NOT_ALLOWED,
    Code.DEADLINE_EXCEEDED: Exit.TIMED_OUT,
    Code.CONFIG_INVALID: Exit.CONFIGURATION,
    Code.RUNTIME_MISSING: Exit.CONFIGURATION,
}


def exit_code(error: AgentError) -> Exit:
    """Return what the process ends with after ``error``."""
    return _EXITS.get(error.code, Exit.FAILED)
