"""The names by which SageMaker Edge clients know models, and where they may load from.

An alias belongs to the server: it outlives the client that asked for it, and follows the
model when another version is activated. Three kinds of directory may be loaded: an
installed version, one whose manifest was signed, and one under a root that the
configuration names. The last two may hold models that no deployment brought.
"""

import contextlib
import logging
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from edge_agent.errors import Code, InferenceError
from edge_agent.formats import Manifest
from edge_agent.formats.model_version import NAME_PATTERN
from edge_agent.rpc.ports import ModelCatalog, ModelLoader
from edge_agent.rpc.sagemaker.directories import existing, read_manifest

_LOG = logging.getLogger(__name__)
_NAME = re.compile(NAME_PATTERN)
# Captures are filed under it, and a file system takes 255 bytes.
_NAME_LIMIT = 255
_ALIAS_LIMIT = 256
_DROPPED_LIMIT = 1024
_SHOWN = 80


class NamedModel(NamedTuple):
    """A model under a client's name."""

    name: str
    model: str
    manifest: Manifest
    url: str


class _Alias(NamedTuple):
    model: str
    url: str
    own: bool  # loaded for a client, not deployed


class LoadRules(NamedTuple):
    """Where models may be loaded from.

    Attributes:
        versions: the store's directory of installed versions.
        is_trusted: tells whether a manifest with this SHA-256 was signed for this device.
        roots: ``trust.local_model_roots``.
    """

    versions: Path
    is_trusted: Callable[[str], bool]
    roots: tuple[Path, ...] = ()


class ClientModels:
    """Aliases and what they stand for.

    Args:
        catalog: which models answer.
        loader: loads what no deployment brought; None: nothing of that kind is loaded.
        rules: where models may be loaded from.
    """

    def __init__(self, catalog: ModelCatalog, loader: ModelLoader | None, rules: LoadRules) -> None:
        self._catalog = catalog
        self._loader = loader
        self._rules = rules
        self._loading = threading.Lock()  # one load or unload at a time; requests go on meanwhile
        self._lock = threading.Lock()
        self._aliases: dict[str, _Alias] = {}
        self._dropped: dict[str, None] = {}

    def find(self, name: str) -> NamedModel | None:
        """Return the model that a client means; None: it is not loaded."""
        model, alias = self._meant(name)
        loaded = self._catalog.active().get(model) if model else None
        if model is None or loaded is None:
            return None
        manifest = loaded.manifest
        url = alias.url if alias else str(self._rules.versions / manifest.model / manifest.version)
        return NamedModel(name, model, manifest, url)

    def named(self, name: str) -> NamedModel:
        """Return the model that a client means.

        Raises:
            InferenceError: NOT_FOUND.
        """
        found = self.find(name)
        if found is None:
            raise InferenceError(Code.NOT_FOUND, f"no model {_shown(name)} is loaded")
        return found

    def awaited(self, name: str, timeout_s: float) -> NamedModel:
        """Return the model that a client means, waiting while it is being loaded or replaced.

        Raises:
            InferenceError: NOT_FOUND; UNAVAILABLE: it was not there in time.
        """
        model, _ = self._meant(name)
        if model is None:
            return self.named(name)
        self._catalog.wait_for(model, timeout_s)
        found = self.find(name)
        if found is None and self._catalog.resolve(model) is not None:
            raise InferenceError(Code.UNAVAILABLE, f"{_shown(name)} is being loaded, and was not there in time")
        return found or self.named(name)

    def all(self) -> list[NamedModel]:
        """Return the active models and the aliases, by name."""
        with self._lock:
            names = {*self._catalog.active(), *self._aliases}
        return [found for found in map(self.find, sorted(names)) if found is not None]

    def load(self, url: str, name: str, timeout_s: float = 0.0) -> NamedModel:
        """Answer under ``name`` for the model at ``url``; one that is on its way is waited for.

        Raises:
            InferenceError: ALREADY_EXISTS, NOT_FOUND, INVALID_ARGUMENT (the name),
                FAILED_PRECONDITION (not trusted, not active, not for this machine), RESOURCE_EXHAUSTED.
        """
        check_name("name", name)
        self._wait_for(url, timeout_s)
        with self._loading:
            if name in self._aliases or self._catalog.resolve(name) == name:
                raise InferenceError(Code.ALREADY_EXISTS, f"a model {name} is loaded")
            if len(self._aliases) >= _ALIAS_LIMIT:
                message = f"expected at most {_ALIAS_LIMIT} names that clients gave; unload some"
                raise InferenceError(Code.RESOURCE_EXHAUSTED, message)
            alias = self._open(url)
            with self._lock:
                self._aliases[name] = alias
                self._dropped.pop(name, None)
        _LOG.info("a client loaded a model", extra={"action": "alias_added", "alias": name, "url": url})
        return self.named(name)

    def unload(self, name: str) -> None:
        """Forget a client's name for a model; a deployed version stays and answers others.

        Raises:
            InferenceError: NOT_FOUND.
        """
        with self._loading:
            self.named(name)
            with self._lock:
                alias = self._aliases.pop(name, None)
                if name not in self._catalog.active():
                    self._drop(name)
            last = alias is not None and all(other.model != alias.model for other in self._aliases.values())
            if alias is not None and alias.own and last and self._loader is not None:
                self._loader.unload(alias.model)
        _LOG.info("a client unloaded a model", extra={"action": "alias_dropped", "alias": name})

    def _meant(self, name: str) -> tuple[str | None, _Alias | None]:
        """Return the model that a client means, and the alias by which it does, if there is one."""
        with self._lock:
            alias = self._aliases.get(name)
            model = alias.model if alias else self._catalog.resolve(name)
            # One that was unloaded means nothing, unless it is a model's own name.
            gone = alias is None and name in self._dropped and model != name
        return None if gone else model, alias

    def _wait_for(self, url: str, timeout_s: float) -> None:
        """Wait for the model of a directory while no other load or unload has to; what is wrong is told later."""
        with contextlib.suppress(InferenceError):
            manifest, _ = read_manifest(self._directory(url), url)
            self._catalog.wait_for(manifest.model, timeout_s)

    def _drop(self, name: str) -> None:
        self._dropped[name] = None
        if len(self._dropped) > _DROPPED_LIMIT:
            # One of so many identifiers means its model again.
            del self._dropped[next(iter(self._dropped))]

    def _open(self, url: str) -> _Alias:
        directory = self._directory(url)
        manifest, digest = read_manifest(directory, url)
        active = self._catalog.active().get(manifest.model)
        if _within(directory, self._rules.versions):
            return self._installed(directory, manifest, active is not None)
        if self._rules.is_trusted(digest):
            if active is not None and active.manifest.version == manifest.version:
                return _Alias(manifest.model, str(directory), own=False)
        elif not any(_within(directory, root) for root in self._rules.roots):
            message = f"{url}: nobody signed its manifest, and it is not under trust.local_model_roots"
            raise InferenceError(Code.FAILED_PRECONDITION, message)
        return self._loaded(directory, manifest, active is not None)

    def _installed(self, directory: Path, manifest: Manifest, active: bool) -> _Alias:
        if not active:
            message = f"{manifest.model_version} is installed, but no version of it is active"
            raise InferenceError(Code.FAILED_PRECONDITION, message)
        return _Alias(manifest.model, str(directory), own=False)

    def _loaded(self, directory: Path, manifest: Manifest, active: bool) -> _Alias:
        own = any(alias.own and alias.model == manifest.model for alias in self._aliases.values())
        if active and not own:
            message = f"{manifest.model}: a deployed version answers for it, and only a deployment may replace that"
            raise InferenceError(Code.FAILED_PRECONDITION, message)
        here = self._catalog.active().get(manifest.model)
        if here is not None and here.manifest != manifest:
            message = f"{manifest.model}: another version of it was loaded, {here.manifest.version}; unload that first"
            raise InferenceError(Code.FAILED_PRECONDITION, message)
        if self._loader is None:
            raise InferenceError(Code.FAILED_PRECONDITION, f"{directory}: only deployed versions are loaded here")
        if not active:
            self._loader.load(directory, manifest)
        return _Alias(manifest.model, str(directory), own=True)

    def _directory(self, url: str) -> Path:
        """Return the directory that a client means; a relative one lies with the versions or under a root."""
        if not url or "\0" in url:
            raise InferenceError(Code.NOT_FOUND, "url: expected a directory, came none")
        bases = (self._rules.versions, self._rules.versions.parent, *self._rules.roots)
        for base in bases:
            path = existing(base / url.removeprefix("file://"))
            if path is not None:
                return path
        raise InferenceError(Code.NOT_FOUND, f"{url[:_SHOWN]}: expected a directory, there is none")


def check_name(what: str, name: str) -> None:
    """Check that a client's name for a model is one.

    Raises:
        InferenceError: INVALID_ARGUMENT.
    """
    # The length first: matching takes a hundred bytes and more for each character.
    if len(name) > _NAME_LIMIT or not _NAME.fullmatch(name):
        rule = f"letters, digits and inner dashes, at most {_NAME_LIMIT}"
        raise InferenceError(Code.INVALID_ARGUMENT, f"{what}: expected {rule}, came {_shown(name)}")


def _within(path: Path, root: Path) -> bool:
    return path.is_relative_to(root.resolve()) and path != root.resolve()


def _shown(name: str) -> str:
    return repr(name[:_SHOWN])
