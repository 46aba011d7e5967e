"""What is committed, and how a deployment changes it: one durable generation.

Idempotent, so that a power cut at any point is followed by doing it again.
"""

import logging
from collections.abc import Callable, Collection
from pathlib import Path

from edge_agent.deployment.record import Deployment, Target
from edge_agent.deployment.succession import after, is_done
from edge_agent.errors import DocumentError, StorageError
from edge_agent.formats import CommittedModel, ModelVersion
from edge_agent.store import AuditLog, Committed, Generation, Store, read_models_config, write_models_config

_log = logging.getLogger(__name__)


class Commits:
    """Generations, the live ``models_config.json`` that follows them, and the audit log.

    Args:
        store: holds the generations.
        audit: told of every change.
        models_config: the live file.
        asked_by: the applications that are mapped to a model, as the mappings were last read.
    """

    def __init__(
        self,
        store: Store,
        audit: AuditLog,
        models_config: Path,
        *,
        asked_by: Callable[[str], Collection[str]] = lambda _model: (),
    ) -> None:
        self._store = store
        self._audit = audit
        self._models_config = models_config
        self._asked_by = asked_by

    def models(self) -> dict[str, Committed]:
        """Return what is committed, by model."""
        return dict(self._store.generations.current().models)

    def thresholds(self) -> dict[ModelVersion, float]:
        """Return what was set on this device, for the committed versions and those that a rollback goes to."""
        found = {}
        for name, entry in self.models().items():
            for version, threshold in ((entry.version, entry.threshold), (entry.previous, entry.previous_threshold)):
                if version is not None and threshold is not None:
                    found[ModelVersion(name, version)] = threshold
        return found

    def asked_by(self, model: str) -> set[str]:
        """Return the applications that ask for the model now, or will once the live file is read again.

        Raises:
            StorageError: the file could not be read.
            DocumentError: what stands there is not a models_config.
        """
        mappings = read_models_config(self._models_config).mappings
        return {*self._asked_by(model), *(application for application, name in mappings.items() if name == model)}

    def make_durable(self, record: Deployment) -> None:
        """Commit what the record says, if that is not done yet; needs no session.

        Raises:
            StorageError: it could not be written; the generation before stays.
        """
        committed = self.models()
        if not is_done(record.operation, record.targets, committed):
            models = after(record.operation, record.targets, committed, self._former)
            generation = self._store.commit(models, record.id)
            self._note(record, generation)
        self.follow_up()

    def take_back(self, record: Deployment) -> None:
        """Undo the commit of a deployment that ends otherwise, should it have become visible.

        Else a restart would serve what the cloud was told has failed.

        Raises:
            StorageError: it could not be undone.
        """
        generation = self._store.generations.retract(record.id)
        if generation is not None:
            self._note(record, generation, "commit_taken_back")
            self.follow_up()

    def withdraw_previous(self, version: ModelVersion, reason: str) -> bool:
        """Let no rollback go to a version any more; tell whether one could have.

        Raises:
            StorageError: it could not be written; all is as it was.
        """
        committed = self.models()
        entry = committed.get(version.name)
        if entry is None or entry.previous != version.version:
            return False
        entry = entry.model_copy(update={"previous": None, "previous_threshold": None})
        generation = self._store.commit({**committed, version.name: entry})
        try:
            fields = {"generation": generation.number, "model": version.name, "version": version.version}
            self._audit.append("previous_withdrawn", **fields, reason=reason)
        except StorageError as exc:
            _log.error("withdrawal not in the audit log", extra={"action": "audit_failed", "why": exc.message})
        return True

    def has_made(self, record: Deployment) -> bool:
        """Tell whether this very deployment has committed already, be it overtaken since or not.

        Raises:
            StorageError: the generations could not be read.
        """
        return self._store.generations.made_by(record.id)

    def is_overtaken(self, record: Deployment) -> bool:
        """Tell whether something else was committed since the record was planned: the journal is an old one.

        Raises:
            StorageError: the generations could not be read.
        """
        committed = self.models()
        planned = [target for target in record.targets if target.manifest_sha256]
        entries = {target.name: committed.get(target.name) for target in planned}
        versions = {name: entry.version if entry else None for name, entry in entries.items()}
        return any(versions[target.name] != target.from_ for target in planned) and not is_done(
            record.operation, record.targets, committed
        )

    def _note(self, record: Deployment, generation: Generation, action: str = "committed") -> None:
        """Add it to the audit log; it is done, whether it can be noted or not."""
        fields = {
            "deployment": record.id,
            "job": record.job_id,
            "operation": record.operation,
            "generation": generation.number,
            "models": {target.name: target.to for target in record.targets},
            "thresholds": {target.name: target.threshold for target in record.targets if record.sets_thresholds},
            "actor": record.actor,
            "reason": record.reason,
            **({"unsigned": True} if any(target.unsigned for target in record.targets) else {}),
        }
        try:
            self._audit.append(action, **fields)
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

    def _former(self, target: Target) -> Committed | None:
        """Return how the version that is gone back to was committed; without what the store no longer has."""
        for generation in reversed(self._store.generations.history()):
            entry = generation.models.get(target.name)
            if entry is not None and entry.manifest_sha256 == target.manifest_sha256:
                kept = entry.previous and ModelVersion(target.name, entry.previous) in self._store.installed()
                return entry if kept else entry.model_copy(update={"previous": None, "previous_threshold": None})
        return None
