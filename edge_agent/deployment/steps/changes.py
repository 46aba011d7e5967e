"""What changes without a candidate: a model is removed, or its threshold is set."""

from edge_agent.deployment import plan
from edge_agent.deployment.commit import Commits
from edge_agent.deployment.contents import Contents
from edge_agent.deployment.record import Deployment, note
from edge_agent.deployment.serving import Serving
from edge_agent.deployment.work import Work


class Changes:
    """CHECKING and COMMITTED of the operations ``remove`` and ``configure``.

    Args:
        contents: what is on disk.
        serving: sessions in memory.
        commits: what is committed.
    """

    def __init__(self, contents: Contents, serving: Serving, commits: Commits) -> None:
        self._contents = contents
        self._serving = serving
        self._commits = commits

    def check_removal(self, record: Deployment, _work: Work) -> Deployment:
        """Check that the models may go.

        Raises:
            RefusedError: one is not installed, is another version than the one meant, or is mapped.
        """
        targets = plan.plan_removal(record.targets, self._commits.models(), self._commits.asked_by)
        return record.model_copy(update={"targets": targets})

    def check_configuration(self, record: Deployment, _work: Work) -> Deployment:
        """Check that the thresholds lie where they were signed to lie.

        Raises:
            RefusedError: a model is not installed or another version; OUT_OF_RANGE.
        """
        committed = self._commits.models()
        targets = plan.plan_configuration(record.targets, committed, self._contents.offer)
        record = record.model_copy(update={"targets": targets})
        figures = {}
        for target in targets:
            signed = self._contents.offer(target.name, target.to or "").manifest.decision.threshold
            before, after = committed[target.name].threshold, target.threshold
            figures[f"{target.name}_threshold_before"] = signed if before is None else before
            figures[f"{target.name}_threshold"] = signed if after is None else after
        return note(record, figures)

    def commit_removal(self, record: Deployment, _work: Work) -> Deployment:
        """Make it durable that the models are gone, then let their sessions end.

        Raises:
            StorageError: the generation could not be written; they stay.
        """
        self._commits.make_durable(record)
        self._serving.dismiss([target.name for target in record.targets])
        self._serving.use_thresholds(self._commits.thresholds())
        return record

    def commit_configuration(self, record: Deployment, _work: Work) -> Deployment:
        """Make the thresholds durable, then let every request from now on be judged by them.

        Raises:
            StorageError: the generation could not be written; the thresholds before stay.
        """
        self._commits.make_durable(record)
        self._serving.use_thresholds(self._commits.thresholds())
        return record
