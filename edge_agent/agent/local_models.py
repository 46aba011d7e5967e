"""Models that clients bring: none that a deployment brought, and none that could push one out."""

import hashlib
import stat
import threading
from collections import Counter
from pathlib import Path

from edge_agent.agent.models import Runtimes
from edge_agent.deployment.capacity import Machine, check_machine, choose_memory, memory_need
from edge_agent.errors import Code, InferenceError, RefusedError
from edge_agent.formats import Manifest
from edge_agent.inference import Registry, Session
from edge_agent.store import Store

_CHUNK_BYTES = 1 << 20


class LocalModels:
    """Loads models that no deployment brought, for clients of the old protocol.

    Args:
        runtimes: opens them.
        registry: where they answer.
        store: what was signed.
        machine: what this device is, and how much memory it has for models.
    """

    def __init__(self, runtimes: Runtimes, registry: Registry, store: Store, machine: Machine) -> None:
        self._machine = machine
        self._runtimes = runtimes
        self._registry = registry
        self._store = store
        self._loaded: dict[str, Session] = {}
        self._lock = threading.Lock()

    def load(self, directory: Path, manifest: Manifest) -> None:
        """Answer for ``manifest.model`` from this directory.

        Raises:
            InferenceError: ALREADY_EXISTS; FAILED_PRECONDITION: a file is not as its manifest says, or the model is
                deployed and does not answer now.
            RefusedError: it is not made for this device, or MEMORY_EXCEEDED.
            ActivationError: it cannot be loaded here.
        """
        stored = self._stored(manifest)
        # Native code may come only from where nobody else can write.
        check_machine(manifest, self._machine, signed=stored is not None)
        directory = stored or self._verified(directory, manifest)
        with self._lock:
            self._check_memory(manifest)
            if manifest.model in self._registry.active():
                raise InferenceError(Code.ALREADY_EXISTS, f"{manifest.model} is loaded")
            if self._is_deployed(manifest.model):
                message = f"{manifest.model} is deployed and does not answer now, expected it to be back first"
                raise InferenceError(Code.FAILED_PRECONDITION, message)
            session = self._runtimes.open(directory, manifest)
            self._registry.activate({manifest.model: session})
            self._loaded[manifest.model] = session

    def load_beside(self, manifest: Manifest) -> Session:
        """Load a stored version beside the one that answers; it answers only to who names it, until it is retired.

        Raises:
            RefusedError: it is not made for this device, or MEMORY_EXCEEDED.
            StorageError: CONTENT_MISSING.
            ActivationError: it cannot be loaded here.
        """
        version, budget_bytes = manifest.model_version, self._machine.memory_bytes
        check_machine(manifest, self._machine)
        self._store.verify(version)
        with self._lock:
            taken = sum(session.memory_bytes for session in self._registry.loaded())
            if budget_bytes and taken + memory_need(manifest) > budget_bytes:
                need = f"{version} needs {memory_need(manifest)} bytes of memory"
                message = f"{need}, {budget_bytes} are for models, {taken} are taken"
                raise RefusedError(Code.MEMORY_EXCEEDED, message)
            session = self._runtimes.open(self._store.directory(version), manifest)
            self._registry.keep(session)
        return session

    def unload(self, model: str) -> None:
        """Close what ``load`` opened; a committed version is never touched."""
        with self._lock:
            session = self._loaded.pop(model, None)
            if session is not None and self._registry.active().get(model) is session:
                self._registry.withdraw(model)
                self._registry.retire(session, timeout_s=10.0)

    def _is_deployed(self, model: str) -> bool:
        """Tell whether a deployment brought the model, or brings it just now: its place is not free, only empty."""
        return model in self._store.generations.current().models or self._registry.resolve(model) == model

    def _check_memory(self, manifest: Manifest) -> None:
        taken: Counter[str] = Counter()
        for session in self._registry.loaded():
            taken[session.manifest.model] += session.memory_bytes
        choose_memory([manifest], taken, self._machine.memory_bytes, strict=True)

    def _stored(self, manifest: Manifest) -> Path | None:
        """Return the store's own copy of the version, which nobody else can write; None: it has none."""
        version = manifest.model_version
        if version in self._store.installed() and self._store.manifest(version) == manifest:
            self._store.verify(version)
            return self._store.directory(version)
        return None

    def _verified(self, directory: Path, manifest: Manifest) -> Path:
        version = manifest.model_version
        for artefact in manifest.artefacts:
            if _digest(directory / artefact.path, artefact.size_bytes) != artefact.sha256:
                message = f"{artefact.path}: expected the bytes that {version}'s manifest names, came others"
                raise InferenceError(Code.FAILED_PRECONDITION, message)
        return directory


def _digest(path: Path, size_bytes: int) -> str:
    """Return a file's SHA-256, empty where it is no file of that size."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size != size_bytes:
            return ""
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while content := file.read(_CHUNK_BYTES):
                digest.update(content)
    except OSError:
        return ""
    return digest.hexdigest()
