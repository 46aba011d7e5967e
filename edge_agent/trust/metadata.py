"""What python-tuf verified, in our words: the chain, a signed file, the floors that follow.

The agent keeps all of a refresh or nothing, and only after its own rules had their say.
"""

from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from edge_agent.storage import durable
from edge_agent.trust import rules, working_copy
from edge_agent.trust.floors import Floors, RoleFloor
from edge_agent.trust.working_copy import Readable, WorkingCopy


class SignedFile(NamedTuple):
    """A target: what is signed of one file.

    Attributes:
        key: where it lies in the repository.
        size_bytes: its length.
        sha256: its digest.
        custom: the facts beside it, unchecked.
    """

    key: str
    size_bytes: int
    sha256: str
    custom: Any


class Chain(NamedTuple):
    """Verified metadata, root to targets."""

    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    targets: Targets

    @property
    def expires(self) -> float:
        """Return when the first of the roles expires, epoch seconds."""
        return min(role.expires.timestamp() for role in self)

    def observed(self) -> Floors:
        """Return what floors follow from this."""
        return Floors(
            roles={role.type: RoleFloor(version=role.version, keys=self._keys(role.type)) for role in self},
            issued=rules.issued(self.timestamp.unrecognized_fields),
            models=rules.release_floors({path: file.custom for path, file in self.targets.targets.items()}),
        )

    def find(self, path: str) -> SignedFile | None:
        """Return what is signed of the file ``path``, None when nothing is."""
        file = self.targets.targets.get(path)
        digest = file.hashes.get("sha256") if file else None
        if file is None or digest is None:
            return None
        directory, _, name = path.rpartition("/")
        # Consistent snapshot: the digest stands before the file's name.
        key = f"targets/{directory}/{digest}.{name}" if self.root.consistent_snapshot else f"targets/{path}"
        return SignedFile(key, file.length, digest, file.custom)

    def _keys(self, role: str) -> str:
        # Root vouches for its own successors: its count never begins anew.
        if role == Root.type:
            return ""
        return sha256(" ".join(sorted(self.root.roles[role].keyids)).encode()).hexdigest()


def root_fields(root: bytes) -> dict[str, Any]:
    """Return the fields of a root that TUF does not know, unverified.

    Raises:
        TrustError: SIGNATURE_INVALID, it is no root.json.
    """
    with working_copy.translated("trust.root"):
        metadata: Metadata[Root] = Metadata.from_bytes(root)
        return dict(metadata.signed.unrecognized_fields)


def refresh(directory: Path, root: bytes, objects: Readable, now: float) -> Chain:
    """Fetch what is new and verify all of it; ``directory`` is not changed but for ``refreshing``.

    Args:
        directory: holds ``metadata`` as it was kept.
        root: the pinned root.json.
        objects: the repository.
        now: epoch seconds to judge expiry at.

    Raises:
        TrustError: SIGNATURE_INVALID, METADATA_EXPIRED or METADATA_ROLLBACK.
        TransferError: as ``objects`` says.
        StorageError: the copy could not be made.
    """
    # Made here and not by the copy, since its name must be synced before what stands in it.
    durable.make_directory(directory)
    durable.sweep(directory)
    copy = WorkingCopy(directory / "metadata", directory / "refreshing", root, objects, now)
    return Chain(*copy.refresh())


def keep(directory: Path) -> None:
    """Write what ``refresh`` brought into ``metadata``, durably, where it differs.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED.
    """
    working_copy.keep(directory / "metadata", directory / "refreshing")
