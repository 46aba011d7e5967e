"""Writes a TUF repository: roles, versions, expiry, signatures, and the safe order.

Metadata is uploaded so that a reader at any moment finds a consistent whole:
targets, then snapshot, and the timestamp that points to them last. All file
names but the timestamp's carry a version (consistent snapshot, TUF 1.0 §6.2).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import Any, Final, NamedTuple

from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from cloud_tools.errors import CloudError
from cloud_tools.release.chain import Chain, read_chain
from cloud_tools.release.keys import ROLES, ROOT_THRESHOLD, KeyDirectory, read_root
from cloud_tools.release.storage import Storage
from edge_agent.errors import Code

# Sites go offline: a device accepts the last timestamp for so long. Targets and root are
# signed offline, by people, and must outlast the pauses between releases.
VALIDITY_DAYS: Final = {"root": 1825, "targets": 1095, "snapshot": 365, "timestamp": 30}
_HASHES: Final = ["sha256"]


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
        self._now = now

    def create(self, *, demo: bool) -> None:
        """Make keys, root and empty roles, and put root.json beside the keys for pinning.

        Raises:
            CloudError: ALREADY_EXISTS (a repository or keys are there).
        """
        if self.storage.size("metadata/1.root.json") is not None:
            raise CloudError(Code.ALREADY_EXISTS, f"{self.storage.url}: expected no repository, one is there")
        self.keys.create(demo=demo)
        root = Root(expires=self._expiry("root"), consistent_snapshot=True)
        if demo:
            root.unrecognized_fields["demo"] = True
        for role in ROLES:
            for signer in self.keys.signers(role):
                root.add_key(signer.public_key, role)
        root.roles["root"].threshold = 1 if demo else ROOT_THRESHOLD
        content = self._sign(root, root)
        self.keys.pinned_root.write_bytes(content)
        self._upload_root(root.version, content)
        self._upload(Chain(root, Timestamp(), Snapshot(), Targets()))

    def read(self) -> Chain:
        """Return what the pinned root vouches for; expired metadata too.

        Raises:
            CloudError: CONFIG_INVALID (no root.json beside the keys), SIGNATURE_INVALID, NOT_FOUND.
        """
        return read_chain(self.storage, read_root(self.keys.pinned_root), None)

    def targets(self) -> dict[str, Target]:
        """Return all signed files by path."""
        return signed_targets(self.read().targets)

    def unlock(self) -> None:
        """Open all keys that a release needs, so that nothing is uploaded and then not signed.

        Raises:
            CloudError: CONFIG_INVALID, PERMISSION_DENIED.
        """
        for role in ROLES[1:]:
            self.keys.signers(role)

    def sign(self, changes: Mapping[str, tuple[bytes, dict[str, Any]]]) -> None:
        """Add or change signed files: path -> content and custom. Contents are uploaded first.

        Raises:
            CloudError: as ``read``, or as the storage says.
        """
        chain = self.read()
        for path, (content, custom) in changes.items():
            file = TargetFile.from_data(path, content, _HASHES)
            file.unrecognized_fields["custom"] = custom
            chain.targets.targets[path] = file
            self._upload_target(path, content)
        self._upload(_next(chain))

    def change_custom(self, customs: Mapping[str, dict[str, Any]]) -> None:
        """Change the signed facts beside files that are there."""
        chain = self.read()
        for path, custom in customs.items():
            chain.targets.targets[path].unrecognized_fields["custom"] = custom
        self._upload(_next(chain))

    def refresh(self) -> None:
        """Renew snapshot and timestamp; needs the online keys alone."""
        chain = self.read()
        self._upload(_next(chain, with_targets=False), with_targets=False)

    def rotate(self, role: str) -> None:
        """Give ``role`` a new key in a new root; the old key is trusted no more.

        Raises:
            CloudError: INVALID_ARGUMENT (no such role), and as ``read``.
        """
        if role not in ROLES[1:]:
            raise CloudError(Code.INVALID_ARGUMENT, f"expected one of {', '.join(ROLES[1:])}, came {role!r}")
        chain = self.read()
        root = chain.root
        demo = bool(root.unrecognized_fields.get("demo"))
        root.version += 1
        root.expires = self._expiry("root")
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        root.add_key(self.keys.add(role, demo=demo).public_key, role)
        self._upload_root(root.version, self._sign(root, root))
        self._upload(_next(chain))

    def _upload(self, chain: Chain, *, with_targets: bool = True) -> None:
        targets, snapshot, timestamp = chain.targets, chain.snapshot, chain.timestamp
        if with_targets:
            targets.expires = self._expiry("targets")
            content = self._sign(chain.root, targets)
            snapshot.meta["targets.json"] = MetaFile.from_data(targets.version, content, _HASHES)
            self.storage.write(f"metadata/{targets.version}.targets.json", content)
        snapshot.expires = self._expiry("snapshot")
        content = self._sign(chain.root, snapshot)
        self.storage.write(f"metadata/{snapshot.version}.snapshot.json", content)
        timestamp.snapshot_meta = MetaFile.from_data(snapshot.version, content, _HASHES)
        timestamp.expires = self._expiry("timestamp")
        # A device's clock may not lie before this moment.
        timestamp.unrecognized_fields["issued"] = int(self._now)
        self.storage.write("metadata/timestamp.json", self._sign(chain.root, timestamp))

    def _upload_root(self, version: int, content: bytes) -> None:
        self.storage.write(f"metadata/{version}.root.json", content)
        self.storage.write("metadata/root.json", content)

    def _upload_target(self, path: str, content: bytes) -> None:
        # The plain name is for people and simple tools; TUF clients ask for the one with the digest.
        self.storage.write(Target(path, sha256(content).hexdigest(), len(content), {}).key, content)
        self.storage.write(f"targets/{path}", content)

    def _sign(self, root: Root, signed: Signed) -> bytes:
        role = root.roles[signed.type]
        signers = [s for s in self.keys.signers(signed.type) if s.public_key.keyid in role.keyids]
        if len(signers) < role.threshold:
            raise CloudError(
                Code.PERMISSION_DENIED,
                f"{signed.type}: expected {role.threshold} of the keys that root names, came {len(signers)}",
            )
        metadata: Metadata[Any] = Metadata(signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        return metadata.to_bytes(JSONSerializer(compact=False))

    def _expiry(self, role: str) -> datetime:
        return datetime.fromtimestamp(self._now, timezone.utc) + timedelta(days=VALIDITY_DAYS[role])


def signed_targets(targets: Targets) -> dict[str, Target]:
    """Return the signed files by path."""
    return {
        path: Target(path, file.hashes["sha256"], file.length, dict(file.custom or {}))
        for path, file in targets.targets.items()
    }


def _next(chain: Chain, *, with_targets: bool = True) -> Chain:
    chain.targets.version += int(with_targets)
    chain.snapshot.version += 1
    chain.timestamp.version += 1
    return chain
