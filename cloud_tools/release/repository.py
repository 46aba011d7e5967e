"""Writes a TUF repository: roles, versions, expiry, signatures, and the safe order.

A change is signed whole before a byte of it is uploaded. Then the versioned files go up under names
that nobody has, and the timestamp that points to them last, and only where it is still the one that was
read: a reader finds a consistent whole at any moment, and of two publishers one is told to run again.
All file names but the timestamp's carry a version (consistent snapshot, TUF 1.0 §6.2).
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from cloud_tools.errors import CloudError
from cloud_tools.release.chain import TIMESTAMP, Chain, read_chain
from cloud_tools.release.keys import ROLES, ROOT_KEYS, ROOT_THRESHOLD, KeyDirectory, read_public, read_root
from cloud_tools.release.pending import PendingRoot, PendingUpload, Upload, add_signature
from cloud_tools.storage import Storage
from edge_agent.errors import Code

# Sites go offline: a device accepts the last timestamp for so long. Targets and root are
# signed offline, by people, and must outlast the pauses between releases.
VALIDITY_DAYS: Final = {"root": 1825, "targets": 1095, "snapshot": 365, "timestamp": 30}
_HASHES: Final = ["sha256"]
_INIT: Final = "init"
# The roles whose signatures a root's change of their keys makes worthless, in the order of signing.
_FOLLOWERS: Final = {
    "root": (),
    "targets": ("targets", "snapshot", "timestamp"),
    "snapshot": ("snapshot", "timestamp"),
    "timestamp": ("timestamp",),
}


class Target(NamedTuple):
    """One signed file.

    Attributes:
        path: under ``targets/``.
        sha256: digest of its content.
        size_bytes: length of its content.
        custom: the signed facts beside it.
    """

    path: str
    sha256: str
    size_bytes: int
    custom: dict[str, Any]

    @property
    def key(self) -> str:
        """Return where a TUF client looks for it (consistent snapshot)."""
        directory, _, name = self.path.rpartition("/")
        return f"targets/{directory}/{self.sha256}.{name}"


class Repository:
    """One repository, opened for signing.

    Args:
        storage: where it lies.
        keys: who signs.
        now: epoch seconds.
    """

    def __init__(self, storage: Storage, keys: KeyDirectory, now: float) -> None:
        """Only remember the parts."""
        self.storage = storage
        self.keys = keys
        self.pending_root = PendingRoot(keys.directory)
        self.pending_upload = PendingUpload(keys.directory)
        self._now = now

    def create(self, *, demo: bool, sticks: Sequence[Path] = (), public: Sequence[Path] = ()) -> list[str]:
        """Make keys, root and empty roles, and put root.json beside the keys for pinning; again: finish that.

        Args:
            demo: one root key, nothing encrypted; the root says so.
            sticks: where the root keys are made, one each; none: beside the others.
            public: public parts of root keys that were made elsewhere, in place of ``sticks``.

        Returns:
            What still lacks before the root is published: nothing, or signatures by ``public`` keys.

        Raises:
            CloudError: ALREADY_EXISTS (a repository or keys are there), INVALID_ARGUMENT.
        """
        if self.pending_upload.what == _INIT:
            self.pending_upload.finish(self.storage)
            return []
        if self.pending_root.what == _INIT:
            return self.advance()
        if self.storage.size("metadata/1.root.json") is not None:
            raise CloudError(Code.ALREADY_EXISTS, f"{self.storage.url}: expected no repository, one is there")
        self.keys.check_empty()
        root = Root(expires=self.expiry("root"), consistent_snapshot=True)
        if demo:
            root.unrecognized_fields["demo"] = True
        for key in self._root_keys(demo=demo, sticks=sticks, public=public):
            root.add_key(key, "root")
        for role in ROLES[1:]:
            root.add_key(self.keys.add(role, demo=demo).public_key, role)
        root.roles["root"].threshold = 1 if demo else ROOT_THRESHOLD
        self.pending_root.begin(root, _INIT)
        return self.advance()

    def read(self) -> Chain:
        """Return what the pinned root vouches for; expired metadata too.

        Raises:
            CloudError: CONFIG_INVALID (no root.json beside the keys), SIGNATURE_INVALID, NOT_FOUND.
        """
        return read_chain(self.storage, read_root(self.keys.pinned_root), None)

    def begin(self) -> Chain:
        """Finish an upload that was cut off, then return what the pinned root vouches for.

        Raises:
            CloudError: as ``read``, or as the storage says.
        """
        self.pending_upload.finish(self.storage)
        return self.read()

    def targets(self) -> dict[str, Target]:
        """Return all signed files by path."""
        return signed_targets(self.begin())

    def unlock(self, paths: Collection[str]) -> None:
        """Open all keys that signing ``paths`` needs, so that nothing is uploaded and then not signed.

        Raises:
            CloudError: CONFIG_INVALID, PERMISSION_DENIED.
        """
        chain = self.begin()
        for role in {*map(chain.owner, paths), *ROLES[2:]}:
            self._signers(chain, role)

    def sign(self, changes: Mapping[str, tuple[bytes, dict[str, Any]]]) -> None:
        """Add or change signed files: path -> content and custom. Contents are uploaded first.

        Raises:
            CloudError: FAILED_PRECONDITION (another publisher was first), as ``read``, or as the storage says.
        """
        chain = self.begin()
        for path, (content, custom) in changes.items():
            file = TargetFile.from_data(path, content, _HASHES)
            file.unrecognized_fields["custom"] = custom
            chain.signed_by(chain.owner(path)).targets[path] = file
            self._upload_target(path, content)
        self.commit(chain, {chain.owner(path) for path in changes})
        # Whoever lost against another publisher may have left his own there.
        for path, (content, _) in changes.items():
            if self.storage.tag(f"targets/{path}") != sha256(content).hexdigest():
                self.storage.write(f"targets/{path}", content)

    def change_custom(self, customs: Mapping[str, dict[str, Any]]) -> None:
        """Change the signed facts beside files that are there."""
        chain = self.begin()
        for path, custom in customs.items():
            chain.signed_by(chain.owner(path)).targets[path].unrecognized_fields["custom"] = custom
        self.commit(chain, {chain.owner(path) for path in customs})

    def refresh(self) -> None:
        """Renew snapshot and timestamp; needs the online keys alone."""
        self.commit(self.begin(), ())

    def commit(self, chain: Chain, roles: Collection[str]) -> None:
        """Sign ``roles`` (targets, delegated ones) anew, and what points to them, and upload it.

        Raises:
            CloudError: FAILED_PRECONDITION (another publisher was first), PERMISSION_DENIED, or as the storage says.
        """
        for upload in self._signed(chain, [*sorted(roles), "snapshot", "timestamp"]):
            upload.do(self.storage)

    def advance(self) -> list[str]:
        """Sign the waiting root with what is at hand; when that is enough, publish it and what it changes.

        Returns:
            What still lacks: empty when it is published.

        Raises:
            CloudError: NOT_FOUND (no root waits), PERMISSION_DENIED, or as the storage says.
        """
        metadata = self.pending_root.load()
        new = metadata.signed
        chain = self.begin() if new.version > 1 else self._nothing(new)
        old = chain.root if new.version > 1 else None
        lacking = self.pending_root.sign(self.keys, old)
        if lacking:
            return lacking
        uploads = self._advancing(chain, new, old)
        if old is None:
            self.keys.pinned_root.write_bytes(self.pending_root.content(old))
        self.pending_upload.save(self.pending_root.what, uploads)
        self.pending_root.discard()
        self.pending_upload.finish(self.storage)
        return []

    def _advancing(self, chain: Chain, new: Root, old: Root | None) -> list[Upload]:
        """Return what makes ``new`` the repository's root, in an order in which each step leaves a consistent whole.

        What the root's change makes worthless is signed by new keys and old ones: it is good under both
        roots, and goes up first. Where the old keys are not at hand (lost, or there was no root) the root
        has to come before the timestamp; a reader between the two finds no consistent whole.
        """
        content = self.pending_root.content(old)
        roots = [
            Upload(f"metadata/{new.version}.root.json", content, None),
            Upload("metadata/root.json", content, None, anyway=True),
        ]
        changed = [role for role in ROLES[1:] if old is None or old.roles[role] != new.roles[role]]
        followers = sorted({follower for role in changed for follower in _FOLLOWERS[role]}, key=ROLES.index)
        lower = self._signed(chain._replace(root=new), followers, old)
        if old is not None and all(self._suffice(old, role) for role in followers):
            return [*lower, *roots]
        # Nobody else's timestamp is good under the new root: ours replaces it.
        return [*lower[:-1], *roots, *(upload._replace(anyway=True) for upload in lower[-1:])]

    def _suffice(self, root: Root, role: str) -> bool:
        return len(self.keys.signers(role, root.roles[role].keyids)) >= root.roles[role].threshold

    def _root_keys(self, *, demo: bool, sticks: Sequence[Path], public: Sequence[Path]) -> list[Key]:
        count = 1 if demo else ROOT_KEYS
        for given in (sticks, public):
            if given and len(set(given)) != count:
                raise CloudError(Code.INVALID_ARGUMENT, f"expected {count} places of root keys, came {len(given)}")
        if public:
            return [read_public(path) for path in public]
        places = list(sticks) or [self.keys.directory] * count
        return [self.keys.add("root", demo=demo, directory=place).public_key for place in places]

    @staticmethod
    def _nothing(root: Root) -> Chain:
        chain = Chain(root, Timestamp(), Snapshot(), Targets(), {}, None)
        # Signing raises versions, which count from one.
        chain.timestamp.version = chain.snapshot.version = chain.targets.version = 0
        return chain

    def _signed(self, chain: Chain, roles: Sequence[str], old: Root | None = None) -> list[Upload]:
        """Sign new versions of ``roles``, those that point to others last, and return their files in order."""
        uploads: list[Upload] = []
        for role in roles:
            signed, days = _edition(chain, role)
            signed.version = self._free(role, signed.version + 1)
            signed.expires = self.expiry(days)
            if isinstance(signed, Timestamp):
                # A device's clock may not lie before this moment.
                signed.unrecognized_fields["issued"] = int(self._now)
            content = sign(signed, self._signers(chain, role, old))
            if isinstance(signed, Targets):
                chain.snapshot.meta[f"{role}.json"] = MetaFile.from_data(signed.version, content, _HASHES)
            elif isinstance(signed, Snapshot):
                chain.timestamp.snapshot_meta = MetaFile.from_data(signed.version, content, _HASHES)
            key = TIMESTAMP if role == "timestamp" else f"metadata/{signed.version}.{role}.json"
            uploads.append(Upload(key, content, chain.tag if role == "timestamp" else None))
        return uploads

    def _free(self, role: str, version: int) -> int:
        # A publisher that died, or is at work beside this one, has taken the name; the timestamp decides.
        while role != "timestamp" and self.storage.size(f"metadata/{version}.{role}.json") is not None:
            version += 1
        return version

    def _signers(self, chain: Chain, role: str, old: Root | None = None) -> list[Signer]:
        named = chain.delegations().get(role) or chain.root.roles[role]
        former = old.roles[role].keyids if old else []
        signers = self.keys.signers(role, {*named.keyids, *former})
        count = sum(signer.public_key.keyid in named.keyids for signer in signers)
        if count < named.threshold:
            raise CloudError(
                Code.PERMISSION_DENIED,
                f"{role}: expected {named.threshold} of the keys that may sign it, came {count}",
            )
        return signers

    def _upload_target(self, path: str, content: bytes) -> None:
        # The plain name is for people and simple tools; TUF clients ask for the one with the digest.
        self.storage.write(Target(path, sha256(content).hexdigest(), len(content), {}).key, content)
        self.storage.write(f"targets/{path}", content)

    def expiry(self, role: str) -> datetime:
        """Return until when a role that is signed now is good."""
        return datetime.fromtimestamp(self._now, timezone.utc) + timedelta(days=VALIDITY_DAYS[role])


def sign(signed: Signed, signers: Sequence[Signer]) -> bytes:
    """Return the file of a role, signed by all of ``signers``."""
    metadata: Metadata[Any] = Metadata(signed)
    for signer in signers:
        add_signature(metadata, signer)
    return metadata.to_bytes(JSONSerializer(compact=False))


def signed_targets(chain: Chain) -> dict[str, Target]:
    """Return the signed files by path; a delegated role has no say beside its paths, nor one that is not believed."""
    signed = {
        path: file
        for name, targets in chain.delegated.items()
        if isinstance(targets, Targets)
        for path, file in targets.targets.items()
        if chain.owner(path) == name
    }
    return {
        path: Target(path, file.hashes["sha256"], file.length, dict(file.custom or {}))
        for path, file in {**signed, **chain.targets.targets}.items()
    }


def _edition(chain: Chain, role: str) -> tuple[Targets | Snapshot | Timestamp, str]:
    if role == "timestamp":
        return chain.timestamp, role
    if role == "snapshot":
        return chain.snapshot, role
    return chain.signed_by(role), "targets"
