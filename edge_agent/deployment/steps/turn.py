"""What answers changes, for good or not: ACTIVATING, COMMITTED, ROLLING_BACK."""

import logging

from edge_agent.deployment.commit import Commits
from edge_agent.deployment.contents import Contents
from edge_agent.deployment.record import Deployment
from edge_agent.deployment.serving import Serving
from edge_agent.deployment.work import Work
from edge_agent.errors import AgentError

_log = logging.getLogger(__name__)


class Turn:
    """The steps that change what answers.

    Args:
        contents: what the targets are on disk.
        serving: sessions in memory.
        commits: what is committed.
    """

    def __init__(self, contents: Contents, serving: Serving, commits: Commits) -> None:
        self._contents = contents
        self._serving = serving
        self._commits = commits

    def activate(self, record: Deployment, _work: Work) -> Deployment:
        """Note how the versions before have answered lately, and turn new leases to the candidates at once."""
        lately = {name: answers for name, answers in self._serving.lately().items() if answers.requests}
        # After a restart there is nothing to remember: what was noted before it still holds.
        before = {**record.probation.before, **lately}
        self._serving.activate()
        return record.model_copy(update={"probation": record.probation.model_copy(update={"before": before})})

    def commit(self, record: Deployment, _work: Work) -> Deployment:
        """Make the new versions durable and drain the old ones.

        Raises:
            StorageError: the generation could not be written.
        """
        self._commits.make_durable(record)
        self._serving.use_thresholds(self._commits.thresholds())
        if not self._serving.answer_all(record.versions):
            self._answer_late(record)
        self._serving.settle()
        return record

    def _answer_late(self, record: Deployment) -> None:
        """Let what is committed answer, should a restart not have got that far; committed it is in any case."""
        try:
            for target in record.targets:
                self._serving.open(self._contents.installed(target))
            self._serving.activate()
        except AgentError as exc:
            _log.error("committed, not answering", extra={"action": "model_unavailable", "reason": exc.message})

    def roll_back(self, record: Deployment, _work: Work) -> Deployment:
        """Turn leases back to what answered before."""
        self._serving.restore()
        return record
