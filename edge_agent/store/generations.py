"""Which version of every model is committed: the truth, in numbered files.

``generations/N.json`` appears by one durable rename, so several models change all
or none. Each file carries a checksum; a torn one is skipped and the one before it
counts.
"""

import errno
import hashlib
import json
import logging
import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from edge_agent.errors import DocumentError, StorageError
from edge_agent.formats import Document, ModelName, Version, parse
from edge_agent.formats.manifest import Sha256
from edge_agent.storage import durable

KEPT = 32

_log = logging.getLogger(__name__)
_FILE = re.compile(r"(0|[1-9][0-9]{0,17})\.json")


class Committed(Document):
    """One model of a generation."""

    version: Version
    manifest_sha256: Sha256
    release_seq: int = Field(ge=1)
    previous: Version | None = Field(None, description="where a rollback goes")
    threshold: float | None = Field(None, ge=0, le=1, description="set on this device; None: as it was signed")
    previous_threshold: float | None = Field(None, ge=0, le=1, description="what ``previous`` had")
    # None and not False: generations of before keep their checksum.
    unsigned: Literal[True] | None = Field(None, description="out of a package that nobody signed; so is ``previous``")


class Generation(Document):
    """What is committed; number 0 is the empty one of a new device."""

    number: int = Field(ge=0)
    models: dict[ModelName, Committed] = Field(default_factory=dict)
    deployment: str | None = Field(None, description="which one committed it")


class _Sealed(Document):
    generation: Generation
    sha256: Sha256


class Generations:
    """The generation files in ``directory``."""

    def __init__(self, directory: Path) -> None:
        """Keep the directory; nothing is read yet."""
        self._directory = directory

    def current(self) -> Generation:
        """Return the newest sound generation, number 0 and empty when there is none.

        Raises:
            StorageError: STORAGE_FAILED, the files could not be read. (Torn ones are skipped.)
        """
        for number in reversed(self._numbers()):
            generation = self._read(number)
            if generation is not None:
                return generation
        return Generation(number=0)

    def history(self) -> list[Generation]:
        """Return the sound generations, the newest last; about the last 32 are kept.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        read = [self._read(number) for number in self._numbers()]
        return [generation for generation in read if generation is not None]

    def commit(self, models: dict[str, Committed], deployment: str | None = None) -> Generation:
        """Make ``models`` the committed ones, all of them at once, and return the new generation.

        On an error the generation before stays the current one. Should even taking the
        new file back fail, ``current`` tells which of the two it is; both are complete, and
        ``retract`` is there for who must not leave it so.

        Raises:
            StorageError: NO_SPACE or STORAGE_FAILED.
        """
        numbers = self._numbers()
        generation = Generation(number=max(numbers, default=0) + 1, models=models, deployment=deployment)
        path = self._path(generation.number)
        try:
            durable.write(path, _seal(generation))
        except StorageError:
            self._take_back(path)
            raise
        self._forget(numbers)
        return generation

    def retract(self, deployment: str) -> Generation | None:
        """Take back what a deployment committed last, if it did; return the generation that went.

        Raises:
            StorageError: STORAGE_FAILED; it may still be there.
        """
        current = self.current()
        if not deployment or current.deployment != deployment:
            return None
        durable.remove(self._path(current.number))
        return current

    def made_by(self, deployment: str) -> bool:
        """Tell whether a deployment committed one of the generations that are kept.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        return bool(deployment) and any(kept.deployment == deployment for kept in self.history())

    def is_unsigned(self, manifest_sha256: str) -> bool:
        """Tell whether a version, when it was committed last, came out of a package that nobody signed.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        entries = (entry for kept in reversed(self.history()) for entry in kept.models.values())
        return next((bool(entry.unsigned) for entry in entries if entry.manifest_sha256 == manifest_sha256), False)

    def sweep(self) -> None:
        """Delete what an unclean end left staged.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        durable.sweep(self._directory)

    def _path(self, number: int) -> Path:
        return self._directory / f"{number}.json"

    def _numbers(self) -> list[int]:
        with durable.translated(self._directory):
            try:
                names = [entry.name for entry in self._directory.iterdir()]
            except FileNotFoundError:
                return []
        return sorted(int(match[1]) for name in names if (match := _FILE.fullmatch(name)))

    def _read(self, number: int) -> Generation | None:
        path = self._path(number)
        try:
            sealed = parse(_Sealed, _content(path), what=path.name)
        except DocumentError as exc:
            _warn_skipped(path, exc.message)
            return None
        if sealed.sha256 != _digest(sealed.generation) or sealed.generation.number != number:
            _warn_skipped(path, "its checksum or its number does not fit")
            return None
        return sealed.generation

    def _take_back(self, path: Path) -> None:
        # The rename may have happened and only the directory's fsync failed.
        try:
            durable.remove(path)
        except StorageError as exc:
            _log.warning("generation in doubt", extra={"action": "generation_in_doubt", "reason": exc.message})

    def _forget(self, numbers: list[int]) -> None:
        try:
            for number in numbers[: -(KEPT - 1)]:
                durable.remove(self._path(number))
        except StorageError as exc:
            # The commit stands; the next one forgets them.
            _log.warning("old generations stay", extra={"action": "generations_kept", "reason": exc.message})


def _digest(generation: Generation) -> str:
    return hashlib.sha256(generation.to_json()).hexdigest()


def _seal(generation: Generation) -> bytes:
    content = {"generation": json.loads(generation.to_json()), "sha256": _digest(generation)}
    return json.dumps(content, sort_keys=True, indent=2).encode() + b"\n"


def _content(path: Path) -> bytes:
    with durable.translated(path):
        try:
            return path.read_bytes()
        except OSError as exc:
            # A block that the disk no longer gives is as torn as a half-written one.
            if exc.errno == errno.EIO:
                return b""
            raise


def _warn_skipped(path: Path, reason: str) -> None:
    _log.warning("generation skipped", extra={"action": "generation_skipped", "file": path.name, "reason": reason})
