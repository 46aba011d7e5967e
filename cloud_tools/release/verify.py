"""Checks a whole repository as a fresh client would: chain, manifests, every blob's digest."""

from hashlib import sha256
from typing import NamedTuple

from cloud_tools.errors import CloudError
from cloud_tools.release.chain import read_chain
from cloud_tools.release.publish import blob_key, target_path
from cloud_tools.release.repository import Target, signed_targets
from cloud_tools.storage import Storage, read
from edge_agent.errors import Code
from edge_agent.formats import Manifest, ModelVersion, parse
from edge_agent.formats.manifest import LIMIT_BYTES


class Verified(NamedTuple):
    """What was found good.

    Attributes:
        releases: the signed releases, in order.
        blobs: distinct blobs that were read.
        blob_bytes: their size.
        expires: epoch seconds at which the timestamp expires.
        demo: the root says that it is a demo's.
    """

    releases: list[ModelVersion]
    blobs: int
    blob_bytes: int
    expires: float
    demo: bool


def verify(storage: Storage, root: bytes, now: float) -> Verified:
    """Check everything that a device could ever ask for.

    Raises:
        CloudError: SIGNATURE_INVALID, METADATA_EXPIRED, NOT_FOUND, DIGEST_MISMATCH or
            MANIFEST_INVALID for the first thing that is wrong.
    """
    chain = read_chain(storage, root, now)
    for role in chain.delegations():
        chain.signed_by(role)
    manifests = [_read_manifest(storage, target) for target in signed_targets(chain).values()]
    sizes = {a.sha256: a.size_bytes for manifest in manifests for a in manifest.artefacts}
    for digest, size in sizes.items():
        _check_blob(storage, digest, size)
    demo = bool(chain.root.unrecognized_fields.get("demo"))
    releases = sorted(manifest.model_version for manifest in manifests)
    return Verified(releases, len(sizes), sum(sizes.values()), chain.timestamp.expires.timestamp(), demo)


def read_release(storage: Storage, root: bytes, release: ModelVersion, now: float) -> Manifest | None:
    """Return the signed manifest of one release, or None where nobody signed such a one.

    Raises:
        CloudError: SIGNATURE_INVALID, METADATA_EXPIRED, NOT_FOUND (no repository), DIGEST_MISMATCH, MANIFEST_INVALID.
    """
    target = signed_targets(read_chain(storage, root, now)).get(target_path(release))
    return None if target is None else _read_manifest(storage, target)


def _read_manifest(storage: Storage, target: Target) -> Manifest:
    content = read(storage, target.key, limit_bytes=LIMIT_BYTES)
    if len(content) != target.size_bytes or sha256(content).hexdigest() != target.sha256:
        raise CloudError(Code.DIGEST_MISMATCH, f"{target.key}: the bytes are not the ones that were signed")
    manifest = parse(Manifest, content, what=target.path)
    signed = {name: target.custom.get(name) for name in ("model", "version", "release_seq")}
    stated = {"model": manifest.model, "version": manifest.version, "release_seq": manifest.release_seq}
    if signed != stated:
        raise CloudError(Code.MANIFEST_INVALID, f"{target.path}: expected {signed} as signed beside it, came {stated}")
    return manifest


def _check_blob(storage: Storage, digest: str, size: int) -> None:
    came = sha256()
    length = 0
    for block in storage.blocks(blob_key(digest)):
        came.update(block)
        length += len(block)
        if length > size:
            break
    if length != size or came.hexdigest() != digest:
        raise CloudError(Code.DIGEST_MISMATCH, f"{blob_key(digest)}: the bytes are not the ones that were signed")
