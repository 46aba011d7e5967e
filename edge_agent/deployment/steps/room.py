"""Room in memory for a candidate, where it holds one version only: the old one goes first and comes back if need be."""

import logging

from edge_agent.deployment import capacity
from edge_agent.deployment.contents import Contents
from edge_agent.deployment.record import Deployment
from edge_agent.deployment.serving import Serving
from edge_agent.errors import AgentError, StorageError

_log = logging.getLogger(__name__)


class Room:
    """What is loaded, against what may be.

    Args:
        contents: what is on disk.
        serving: sessions in memory.
        budget_bytes: for all loaded versions; 0: no limit is known.
    """

    def __init__(self, contents: Contents, serving: Serving, budget_bytes: int) -> None:
        self._contents = contents
        self._serving = serving
        self._budget_bytes = budget_bytes

    def make(self, record: Deployment) -> None:
        """End what the record's candidates replace; requests wait from here until one of them answers."""
        self._serving.make_room(target.name for target in record.targets)

    def load_unwatched(self, record: Deployment) -> Deployment:
        """See to it that the candidates are loaded, in place of a shadow: there is nothing beside them to compare with.

        Raises:
            ActivationError: LOAD_FAILED.
        """
        for target in record.targets:
            self._serving.open(self._contents.installed(target))
        return record

    def check(self) -> None:
        """Check what the candidates really take.

        Raises:
            ActivationError: MEMORY_EXCEEDED, their manifests promised less.
        """
        capacity.check_memory(self._serving.memory_bytes(), self._budget_bytes)

    def bring_back(self) -> None:
        """Load again what went for candidates that are gone; what does not load is no longer waited for."""
        for version in self._serving.unloaded():
            trouble: AgentError | None
            try:
                trouble = self._serving.bring_back(self._contents.stored(version))
            except StorageError as exc:
                trouble = exc
            if trouble is not None:
                self._serving.give_up(version.name)
                fields = {"action": "model_unavailable", "model": version.name, "reason": trouble.message}
                _log.error("version that made room does not load again", extra=fields)
