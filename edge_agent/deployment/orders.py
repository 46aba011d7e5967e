"""What the deployer is asked, and by whom; orders wait in its inbox."""

from concurrent.futures import Future
from typing import Any, NamedTuple

from edge_agent.formats import DeploymentReport, JobDocument


class JobOrder(NamedTuple):
    """A job that the cloud offers."""

    job_id: str
    execution_number: int
    document: dict[str, Any]
    queued_at: int = 0
    """Epoch seconds; tells a job from another one that had its id before."""


class LocalOrder(NamedTuple):
    """A call on the control socket."""

    identity: str
    document: JobDocument
    reason: str
    actor: str
    result: "Future[DeploymentReport]"


class Reported(NamedTuple):
    """The cloud took a job's last report, or never will."""

    job_id: str


class Stop(NamedTuple):
    """Nothing comes after this."""


Order = JobOrder | LocalOrder | Reported
