"""What the session asks its caller to do; carried out in their order."""

from typing import NamedTuple

from edge_agent.jobs.messages import Event, Identity, Report


class Send(NamedTuple):
    """Publish this."""

    topic: str
    payload: bytes


class Learn(NamedTuple):
    """Keep that this is the job's execution, and its version."""

    identity: Identity
    version_number: int


class Settle(NamedTuple):
    """Take the report out of the outbox."""

    report: Report
    code: str
    """Why the service will never take it; empty when it did."""
    version_number: int | None
    """The execution's version after it, where it was told."""


class Repeat(NamedTuple):
    """Put the final report of this execution into the outbox once more."""

    identity: Identity


class Tell(NamedTuple):
    """Hand this over to the agent."""

    event: Event


class Ignored(NamedTuple):
    """A message was dropped; ``why`` is one of a few words, to count by."""

    why: str
    detail: str


Effect = Send | Learn | Settle | Repeat | Tell | Ignored
