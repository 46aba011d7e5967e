"""What is committed, and how a deployment changes it: one durable generation.

Idempotent, so that a power cut at any point is followed by doing it again.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

from edge_agent.deployment.plan import already_current
from edge_agent.deployment.record import Deployment, Target
from edge_agent.errors import DocumentError, StorageError
from edge_agent.formats import CommittedModel, ModelVersion
from edge_agent.store import AuditLog, Committed, Generation, Store, read_models_config, write_models_config

_log = logging.getLogger(__name__)


class Commits:
    """Generations, the live ``models_config.json`` that follows them, and the audit log."""

    def __init__(self, store: Store, audit: AuditLog, models_config: Path) -> None:
        self._store = store
        self._audit = audit
        self._models_config = models_config

    def models(self) -> dict[str, Committed]:
        """Return what is committed, by model."""
        return dict(self._store.generations.current().models)

    def make_durable(self, record: Deployment) -> None:
        """Commit what the record says, if that is not done yet; needs no session.

        Raises:
            StorageError: it could not be written; the generation before stays.
        """
        committed = self.models()
        if not already_current(record.targets, committed):
            news = {target.name: self._committed(target, record.operation, committed) for target in record.targets}
            generation = self._store.commit({**committed, **news})
            self._note(record, generation)
        self.follow_up()

    def _note(self, record: Deployment, generation: Generation) -> None:
        """Add the commit to the audit log; the generation stands, whether it can be noted or not."""
        fields = {
            "deployment": record.id,
            "job": record.job_id,
            "operation": record.operation,
            "generation": generation.number,
            "models": {target.name: target.to for target in record.targets},
            "actor": record.actor,
            "reason": record.reason,
        }
        try:
            self._audit.append("committed", **fields)
        except StorageError as exc:
            _log.error("commit not in the audit log", extra={**fields, "action": "audit_failed", "why": exc.message})

    def follow_up(self) -> None:
        """Write ``models_config.json`` if that is possible; the generation is the truth without it."""
        try:
            self.write_models_config()
        except (StorageError, DocumentError) as exc:
            _log.warning("models_config.json not written", extra={"action": "models_config", "reason": exc.message})

    def write_models_config(self) -> None:
        """Make the live file tell what is committed.

        Raises:
            StorageError: it could not be written.
            DocumentError: what stands there is not a models_config.
        """
        config = read_models_config(self._models_config)
        models = tuple(
            CommittedModel(name=name, version=entry.version, identifier=ModelVersion(name, entry.version).identifier)
            for name, entry in sorted(self.models().items())
        )
        if config.models != models:
            write_models_config(self._models_config, config.with_models(models))

    def _committed(self, target: Target, operation: str, committed: Mapping[str, Committed]) -> Committed:
        current = committed.get(target.name)
        if operation == "rollback":
            previous = self._previous_of(target)
        elif current is None:
            previous = None
        else:
            previous = current.version if current.version != target.to else current.previous
        return Committed(
            version=target.to or "",
            manifest_sha256=target.manifest_sha256,
            release_seq=target.release_seq,
            previous=previous,
        )

    def _previous_of(self, target: Target) -> str | None:
        """Return what stood before the version that is gone back to, if the store still has it."""
        for generation in reversed(self._store.generations.history()):
            entry = generation.models.get(target.name)
            if entry is not None and entry.manifest_sha256 == target.manifest_sha256:
                kept = entry.previous and ModelVersion(target.name, entry.previous) in self._store.installed()
                return entry.previous if kept else None
        return None
