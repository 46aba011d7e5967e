"""What python-tuf verified, in our words: the chain, a signed file, the floors that follow.

The agent keeps all of a refresh or nothing, and only after its own rules had their say.
Delegated roles stand each for itself: one that fails takes its own models with it and no other.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

from tuf.api.metadata import DelegatedRole, Metadata, Root, Snapshot, Targets, Timestamp

from edge_agent.errors import Code, TrustError
from edge_agent.storage import durable
from edge_agent.trust import rules, working_copy
from edge_agent.trust.floors import Floors, RoleFloor
from edge_agent.trust.working_copy import Readable, WorkingCopy

# Each is one more file to fetch and verify at a refresh.
MAX_DELEGATIONS: Final = 64


class SignedFile(NamedTuple):
    """A target: what is signed of one file.

    Attributes:
        key: where it lies in the repository.
        size_bytes: its length.
        sha256: its digest.
        custom: the facts beside it, unchecked.
        expires: when the first of the roles that vouch for it expires, epoch seconds.
    """

    key: str
    size_bytes: int
    sha256: str
    custom: Any
    expires: float


class Delegated(NamedTuple):
    """A role that targets lets sign some models: what it signed, or why that is not believed.

    Attributes:
        role: its name, keys and paths, as targets signed them.
        signed: its verified metadata, or the refusal that everyone hears who asks for one of its models.
    """

    role: DelegatedRole
    signed: Targets | TrustError

    def believed(self) -> Targets:
        """Return the verified metadata.

        Raises:
            TrustError: why there is none.
        """
        if isinstance(self.signed, TrustError):
            raise TrustError(self.signed.code, self.signed.message) from self.signed
        return self.signed

    def customs(self) -> dict[str, Any]:
        """Return what is signed beside the files that this role may sign at all."""
        targets = {} if isinstance(self.signed, TrustError) else self.signed.targets
        return {path: file.custom for path, file in targets.items() if self.role.is_delegated_path(path)}


class Chain(NamedTuple):
    """Verified metadata, root to targets, and the roles that targets delegates to."""

    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    targets: Targets
    delegated: tuple[Delegated, ...] = ()

    @property
    def expires(self) -> float:
        """Return when the first of the four top roles expires, epoch seconds."""
        return min(role.expires.timestamp() for role in self._top)

    def observed(self) -> Floors:
        """Return what floors follow from this; a delegated role that is not believed says nothing."""
        floors = {role.type: RoleFloor(version=role.version, keys=self._keys(role.type)) for role in self._top}
        for role, signed in self.delegated:
            if isinstance(signed, Targets):
                floors[role.name] = RoleFloor(version=signed.version, keys=_digest(role.keyids))
        customs = [{path: file.custom for path, file in self.targets.targets.items()}]
        return Floors(
            roles=floors,
            issued=rules.issued(self.timestamp.unrecognized_fields),
            models=rules.release_floors([*customs, *(role.customs() for role in self.delegated)]),
        )

    def refusing(self, refusals: Mapping[str, TrustError]) -> "Chain":
        """Return the chain in which these delegated roles are not believed."""
        kept = (Delegated(role, refusals.get(role.name, signed)) for role, signed in self.delegated)
        return self._replace(delegated=tuple(kept))

    def find(self, path: str) -> SignedFile | None:
        """Return what is signed of the file ``path``, None when nothing is.

        Targets has the first say, then the delegated roles in their order (TUF 1.0 §5.6.7), one level deep:
        the agent follows no delegation of a delegated role.

        Raises:
            TrustError: the role that may sign it is not believed.
        """
        if path in self.targets.targets:
            return self._signed(path, self.targets)
        for delegated in self.delegated:
            if delegated.role.is_delegated_path(path):
                signed = delegated.believed()
                if path in signed.targets or delegated.role.terminating:
                    return self._signed(path, signed)
        return None

    def _signed(self, path: str, by: Targets) -> SignedFile | None:
        file = by.targets.get(path)
        digest = file.hashes.get("sha256") if file else None
        if file is None or digest is None:
            return None
        directory, _, name = path.rpartition("/")
        # Consistent snapshot: the digest stands before the file's name.
        key = f"targets/{directory}/{digest}.{name}" if self.root.consistent_snapshot else f"targets/{path}"
        return SignedFile(key, file.length, digest, file.custom, min(self.expires, by.expires.timestamp()))

    @property
    def _top(self) -> tuple[Root, Timestamp, Snapshot, Targets]:
        return self.root, self.timestamp, self.snapshot, self.targets

    def _keys(self, role: str) -> str:
        # Root vouches for its own successors: its count never begins anew.
        return "" if role == Root.type else _digest(self.root.roles[role].keyids)


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
    return _delegations(copy, Chain(*copy.refresh()))


def remembered(directory: Path) -> dict[str, int]:
    """Return the models' floors that the kept metadata carries: what is left where both copies of the floors are lost.

    What lies there was verified before it was kept; like the floors, it is believed as it lies.
    """
    kept = directory / "metadata"
    targets = _kept(kept / "targets.json")
    delegations = targets.delegations.roles if targets and targets.delegations else None
    roles = [
        Delegated(role, signed)
        for role in (delegations or {}).values()
        if (signed := _kept(kept / working_copy.file_name(role.name)))
    ]
    customs = [{path: file.custom for path, file in targets.targets.items()}] if targets else []
    return rules.release_floors([*customs, *(role.customs() for role in roles)])


def _kept(path: Path) -> Targets | None:
    try:
        with working_copy.translated(path.name):
            metadata: Metadata[Targets] = Metadata.from_bytes(path.read_bytes())
    except (OSError, TrustError):
        return None
    return metadata.signed if isinstance(metadata.signed, Targets) else None


def keep(directory: Path) -> None:
    """Write what ``refresh`` brought into ``metadata``, durably, where it differs.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED.
    """
    working_copy.keep(directory / "metadata", directory / "refreshing")


def drop(directory: Path, role: str) -> None:
    """Let ``keep`` not write a delegated role that python-tuf verified and our rules refuse.

    Raises:
        StorageError: STORAGE_FAILED.
    """
    working_copy.drop(directory / "refreshing", role)


def _delegations(copy: WorkingCopy, chain: Chain) -> Chain:
    # Succinct (hashed) delegations have no roles of their own; nobody signs a model through them here.
    roles = (chain.targets.delegations.roles or {}) if chain.targets.delegations else {}
    if len(roles) > MAX_DELEGATIONS:
        raise TrustError(
            Code.SIGNATURE_INVALID, f"targets: expected at most {MAX_DELEGATIONS} delegations, came {len(roles)}"
        )
    return chain._replace(delegated=tuple(Delegated(role, _load(copy, role.name)) for role in roles.values()))


def _load(copy: WorkingCopy, role: str) -> Targets | TrustError:
    # One team's mistake, or its thief, must not stop the other teams' models.
    try:
        return copy.load(role)
    except TrustError as exc:
        return exc


def _digest(keyids: Iterable[str]) -> str:
    return sha256(" ".join(sorted(keyids)).encode()).hexdigest()
