"""Letting stored versions answer that no deployment has in use, for who tries one out by hand.

Only what the store holds, signed, not revoked and not quarantined; and only for models of
which nothing is committed. Nothing of it survives the agent's end.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from edge_agent.agent.local_models import LocalModels
from edge_agent.errors import AgentError, Code, InferenceError, RefusedError
from edge_agent.formats import Manifest, ModelVersion
from edge_agent.inference import Registry
from edge_agent.store import Store

_log = logging.getLogger(__name__)


class _Candidate(NamedTuple):
    manifest: Manifest
    digest: str


class StoredVersions:
    """What is stored, and loading it.

    Args:
        store: of the device.
        registry: what answers.
        local: loads what no deployment brought.
        check_floor: raises for a version that was revoked.
    """

    def __init__(
        self, store: Store, registry: Registry, local: LocalModels, check_floor: Callable[[Manifest], None]
    ) -> None:
        self._store = store
        self._registry = registry
        self._local = local
        self._check_floor = check_floor
        self._lock = threading.Lock()  # one load or unload at a time; requests go on meanwhile
        self._loaded: dict[str, ModelVersion] = {}

    def installed(self) -> Sequence[ModelVersion]:
        """Return every version that is stored whole."""
        return self._store.installed()

    def load(self, model: str, version: str | None) -> ModelVersion:
        """Answer for ``model`` by a stored version; where that is so already, nothing happens.

        Args:
            model: its name.
            version: None: the newest release that may run.

        Raises:
            InferenceError: NOT_FOUND; FAILED_PRECONDITION: a deployment or somebody else lets another version
                answer, or nobody signed it.
            RefusedError: QUARANTINED, BELOW_FLOOR.
            AgentError: it is damaged, or cannot be loaded here.
        """
        with self._lock:
            active = self._registry.active().get(model)
            if active is not None and version in (None, active.manifest.version):
                return active.manifest.model_version
            self._check_free(model)
            manifest = self._choose(model, version)
            self._local.load(self._store.directory(manifest.model_version), manifest)
            self._loaded[model] = manifest.model_version
        extra = {"action": "version_loaded", "model": model, "version": manifest.version}
        _log.info("a stored version was loaded by hand", extra=extra)
        return manifest.model_version

    def unload(self, model: str) -> None:
        """Close what ``load`` opened.

        Raises:
            InferenceError: NOT_FOUND; FAILED_PRECONDITION: somebody else lets it answer.
        """
        with self._lock:
            if model not in self._loaded:
                self._check_free(model)
                raise InferenceError(Code.NOT_FOUND, f"Request for unknown model: {model[:80]!r} is not loaded")
            version = self._loaded.pop(model)
            self._local.unload(model)
        extra = {"action": "version_unloaded", "model": model, "version": version.version}
        _log.info("a version that was loaded by hand was unloaded", extra=extra)

    def _check_free(self, model: str) -> None:
        committed = self._store.generations.current().models.get(model)
        if committed is not None:
            message = f"{model}: version {committed.version} is deployed, and only a deployment changes what answers"
            raise InferenceError(Code.FAILED_PRECONDITION, message)
        active = self._registry.active().get(model)
        if active is not None:
            message = f"{active.manifest.model_version} is loaded, expected it to be unloaded first by who loaded it"
            raise InferenceError(Code.FAILED_PRECONDITION, message)

    def _choose(self, model: str, version: str | None) -> Manifest:
        """Return the newest that may run; where none may, say it of the newest."""
        named = [each for each in self._store.installed() if each.name == model and version in (None, each.version)]
        if not named:
            what = f"{model[:80]!r}" if version is None else f"{model[:80]!r} version {version[:80]!r}"
            message = f"failed to load {what}: the device's store does not hold it"
            raise InferenceError(Code.NOT_FOUND, message)
        candidates = [_Candidate(self._store.manifest(each), self._store.digest(each)) for each in named]
        failure: AgentError | None = None
        for candidate in sorted(candidates, key=lambda each: each.manifest.release_seq, reverse=True):
            try:
                self._check(candidate)
            except AgentError as exc:
                failure = failure or exc
                continue
            return candidate.manifest
        assert failure is not None
        raise failure

    def _check(self, candidate: _Candidate) -> None:
        what = candidate.manifest.model_version
        if self._store.generations.is_unsigned(candidate.digest):
            raise InferenceError(Code.FAILED_PRECONDITION, f"{what}: nobody signed it")
        if self._store.is_quarantined(candidate.digest):
            raise RefusedError(Code.QUARANTINED, f"{what} took the device down before and is quarantined")
        self._check_floor(candidate.manifest)
