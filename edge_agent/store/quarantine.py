"""Manifests that took the device down; they are not tried again until a person says so."""

from pathlib import Path

from pydantic import Field

from edge_agent.errors import DocumentError
from edge_agent.formats import Document, parse
from edge_agent.storage import durable
from edge_agent.store.blobs import checked


class _Entry(Document):
    reason: str = Field(max_length=2000)


class Quarantine:
    """The entries in ``directory``, one file for each manifest digest."""

    def __init__(self, directory: Path) -> None:
        """Keep the directory; nothing is read yet."""
        self._directory = directory

    def add(self, digest: str, reason: str) -> None:
        """Quarantine the manifest with this SHA-256.

        Raises:
            BundleError: MANIFEST_INVALID, this is no digest.
            StorageError: NO_SPACE or STORAGE_FAILED.
        """
        durable.make_directory(self._directory)
        durable.write(self._path(digest), _Entry(reason=reason[:2000]).to_json())

    def holds(self, digest: str) -> bool:
        """Tell whether the manifest is quarantined.

        Raises:
            BundleError: MANIFEST_INVALID, this is no digest.
        """
        return self._path(digest).exists()

    def entries(self) -> dict[str, str]:
        """Return the reasons by digest; a damaged entry still counts.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        with durable.translated(self._directory):
            if not self._directory.is_dir():
                return {}
            return {path.stem: _reason(path) for path in sorted(self._directory.glob("[!.]*.json"))}

    def clear(self, digest: str) -> bool:
        """Let the manifest be tried again; tell whether it was quarantined.

        Raises:
            BundleError: MANIFEST_INVALID, this is no digest.
            StorageError: STORAGE_FAILED.
        """
        path = self._path(digest)
        held = path.exists()
        durable.remove(path)
        return held

    def _path(self, digest: str) -> Path:
        return self._directory / f"{checked(digest)}.json"


def _reason(path: Path) -> str:
    try:
        return parse(_Entry, path.read_bytes(), what=path.name).reason
    except DocumentError:
        return "the reason is no longer readable"
