"""Stored versions beside those that deployments let answer, for who tries or compares one by hand.

Only what the store holds, signed, not revoked and not quarantined. Beside a version that answers
another one answers only to who names it; so what is committed is never touched. Nothing of it
survives the agent's end.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from edge_agent.agent.local_models import LocalModels
from edge_agent.errors import AgentError, Code, InferenceError, RefusedError
from edge_agent.formats import Manifest, ModelVersion
from edge_agent.inference import Registry, Session
from edge_agent.store import Store

_log = logging.getLogger(__name__)
_DRAIN_S = 10.0


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
        # None: it answers for its name, as nothing else does.
        self._loaded: dict[ModelVersion, Session | None] = {}

    def installed(self) -> Sequence[ModelVersion]:
        """Return every version that is stored whole."""
        return self._store.installed()

    def trusts(self, manifest_sha256: str) -> bool:
        """Tell whether a manifest is that of a stored version that was signed, so that a copy of it may be loaded.

        Raises:
            RefusedError: it was, and may not run: QUARANTINED, BELOW_FLOOR.
        """
        for version in self._store.installed():
            if self._store.digest(version) == manifest_sha256:
                if self._store.generations.is_unsigned(manifest_sha256):
                    return False
                self._check_allowed(_Candidate(self._store.manifest(version), manifest_sha256))
                return True
        return False

    def load(self, model: str, version: str | None) -> ModelVersion:
        """Let a stored version answer to who names it, and to everybody where nothing else does.

        Args:
            model: its name.
            version: None: what answers now will do; where nothing does, the newest release that may run.

        Raises:
            InferenceError: NOT_FOUND; FAILED_PRECONDITION: nobody signed it, or a deployment is at work on the model.
            RefusedError: QUARANTINED, BELOW_FLOOR, MEMORY_EXCEEDED, or it is not made for this device.
            AgentError: it is damaged, or cannot be loaded here.
        """
        with self._lock:
            active = self._registry.active().get(model)
            if active is not None and version is None:
                return active.manifest.model_version
            for session in self._registry.loaded():
                if session.manifest.model_version == (model, version):
                    return session.manifest.model_version
            if active is None and model in self._store.generations.current().models:
                message = f"{model} is deployed and does not answer now, expected it to be back first"
                raise InferenceError(Code.FAILED_PRECONDITION, message)
            manifest = self._choose(model, version)
            self._loaded[manifest.model_version] = self._open(manifest, alone=active is None)
        extra = {"action": "version_loaded", "model": model, "version": manifest.version}
        _log.info("a stored version was loaded by hand", extra=extra)
        return manifest.model_version

    def unload(self, model: str) -> None:
        """Close what ``load`` opened of a model.

        Raises:
            InferenceError: NOT_FOUND; FAILED_PRECONDITION: somebody else lets it answer.
        """
        with self._lock:
            mine = [version for version in self._loaded if version.name == model]
            if not mine:
                raise self._not_mine(model)
            for version in mine:
                session = self._loaded.pop(version)
                if session is None:
                    self._local.unload(model)
                else:
                    self._registry.retire(session, timeout_s=_DRAIN_S)
        extra = {"action": "versions_unloaded", "model": model, "versions": [version.version for version in mine]}
        _log.info("versions that were loaded by hand were unloaded", extra=extra)

    def _open(self, manifest: Manifest, *, alone: bool) -> Session | None:
        if not alone:
            return self._local.load_beside(manifest)
        self._local.load(self._store.directory(manifest.model_version), manifest)
        return None

    def _not_mine(self, model: str) -> InferenceError:
        if model in self._registry.active() or model in self._store.generations.current().models:
            message = f"{model}: no version of it was loaded by hand, and what was deployed or brought stays"
            return InferenceError(Code.FAILED_PRECONDITION, message)
        return InferenceError(Code.NOT_FOUND, f"Request for unknown model: {model[:80]!r} is not loaded")

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
        self._check_allowed(candidate)

    def _check_allowed(self, candidate: _Candidate) -> None:
        what = candidate.manifest.model_version
        if self._store.is_quarantined(candidate.digest):
            raise RefusedError(Code.QUARANTINED, f"{what} took the device down before and is quarantined")
        self._check_floor(candidate.manifest)
