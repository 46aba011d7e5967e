"""What the deployer is asked, and by whom; orders wait at its desk."""

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

from edge_agent.deployment.plan import read_job
from edge_agent.deployment.record import Deployment, JobIdentity
from edge_agent.deployment.states import UNDER_WATCH
from edge_agent.errors import DocumentError, RefusedError
from edge_agent.formats import DeploymentReport, JobDocument


class JobOrder(NamedTuple):
    """A job that the cloud offers, or that waits in its queue."""

    job_id: str
    execution_number: int
    document: dict[str, Any]
    queued_at: int = 0
    """Epoch seconds; tells a job from another one that had its id before."""

    @property
    def identity(self) -> JobIdentity:
        """Return which execution it is."""
        return JobIdentity(job_id=self.job_id, execution_number=self.execution_number, queued_at=self.queued_at)


class LocalOrder(NamedTuple):
    """A call on the control socket."""

    identity: str
    document: JobDocument
    reason: str
    actor: str
    result: "Future[DeploymentReport]"
    accepted: bool = False
    """Whether its record is durable already: then it is carried out, whatever becomes of the caller."""


class Reported(NamedTuple):
    """The cloud took a job's last report, or never will."""

    job_id: str
    refusal: str = ""
    """Why it never will, in the service's word."""


Order = JobOrder | LocalOrder | Reported


def takes_back(document: JobDocument, running: Deployment) -> bool:
    """Tell whether to end ``running`` now is all that the order asks for.

    A rollback of a model under watch is: the version before it stays, or answers again. One that names another
    version than that, or a model whose version does not change, waits for its turn.
    """
    if running.state not in UNDER_WATCH or document.operation != "rollback":
        return False
    before = {target.name: target.from_ for target in running.targets if target.from_ != target.to}
    return all(model.name in before and model.version in (None, before[model.name]) for model in document.models)


def job_takes_back(document: Mapping[str, Any], running: Deployment) -> bool:
    """Tell the same of a job in the queue; one that makes no sense is refused when its turn comes."""
    try:
        return takes_back(read_job(document), running)
    except (RefusedError, DocumentError):
        return False
