"""The candidate answers, for good or not: ACTIVATING, PROBATION, COMMITTED, ROLLING_BACK."""

import logging
import time

from edge_agent.config import Deployment as Limits
from edge_agent.deployment import guards
from edge_agent.deployment.commit import Commits
from edge_agent.deployment.contents import Contents
from edge_agent.deployment.record import Deployment, note
from edge_agent.deployment.serving import Serving
from edge_agent.deployment.work import Work
from edge_agent.errors import AgentError

_log = logging.getLogger(__name__)

# What a kill may cost of the time under watch; a probation of days must not wear out flash memory.
LOOK_S = 0.2
KEEP_WATCH_S = 1.0


class Turn:
    """The steps that change what answers.

    Args:
        contents: what the targets are on disk.
        serving: sessions in memory.
        commits: what is committed.
        limits: the device's own policy.
    """

    def __init__(self, contents: Contents, serving: Serving, commits: Commits, limits: Limits) -> None:
        self._contents = contents
        self._serving = serving
        self._commits = commits
        self._limits = limits

    def activate(self, record: Deployment, _work: Work) -> Deployment:
        """Turn new leases to the candidates, all in one assignment."""
        self._serving.activate()
        return record

    def probation(self, record: Deployment, work: Work) -> Deployment:
        """Watch the candidates while they answer.

        Raises:
            ActivationError: PROBATION_REGRESSION.
        """
        policy = record.policy.probation or self._limits.probation
        kept_at = before = time.monotonic()
        with self._serving.watching() as tally:
            while not guards.watched_enough(record.probation, policy):
                work.wait(min(LOOK_S, policy.max_seconds or LOOK_S))
                now = time.monotonic()
                watch = guards.grown(record.probation, tally.take(), now - before, self._serving.candidates_alive())
                before = now
                guards.check_probation(watch)
                record = record.model_copy(update={"probation": watch})
                if now - kept_at >= KEEP_WATCH_S:
                    kept_at = now
                    work.keep(record)
        figures = {"seconds_watched": record.probation.seconds, "requests": float(record.probation.requests)}
        return note(record, figures)

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
