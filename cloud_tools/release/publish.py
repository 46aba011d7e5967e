"""Publishes bundles: blobs first, then the manifests, then the signatures that name them.

``release_seq`` is given here: one more than the model's last. Doing it twice is
doing it once; a version that is out keeps its content for ever.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from cloud_tools.errors import CloudError
from cloud_tools.release.repository import Repository, Target
from cloud_tools.storage import Storage, read
from edge_agent.errors import Code, DocumentError
from edge_agent.formats import Artefact, Manifest, ModelVersion, parse
from edge_agent.formats.manifest import LIMIT_BYTES

MANIFEST = "manifest.json"


class Bundle(NamedTuple):
    """A directory that holds a manifest and its artefacts."""

    directory: Path
    manifest: Manifest


class Published(NamedTuple):
    """What became of one bundle.

    Attributes:
        model_version: what was published.
        release_seq: its place in the model's releases.
        sha256: of the signed manifest.
        uploaded_bytes: of blobs that the repository did not hold.
        new: False when the same release was there.
    """

    model_version: ModelVersion
    release_seq: int
    sha256: str
    uploaded_bytes: int
    new: bool


def read_bundle(directory: Path) -> Bundle:
    """Return a bundle whose files are all there and are what its manifest says.

    Raises:
        CloudError: NOT_FOUND (no manifest, no file), MANIFEST_INVALID, DIGEST_MISMATCH.
    """
    path = directory / MANIFEST
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        # A packager does not know the sequence; whatever it wrote is replaced here.
        manifest = parse(Manifest, {**content, "release_seq": 1}, what=str(path))
    except OSError as exc:
        raise CloudError(Code.NOT_FOUND, f"{directory}: expected a bundle with {MANIFEST}, {exc.strerror}") from exc
    except (ValueError, TypeError) as exc:
        raise CloudError(Code.MANIFEST_INVALID, f"{path}: expected a JSON object, {exc}") from exc
    except DocumentError as exc:
        raise CloudError(Code.MANIFEST_INVALID, exc.message) from exc
    for artefact in manifest.artefacts:
        _check_file(directory / artefact.path, artefact)
    return Bundle(directory, manifest)


def publish(
    repository: Repository,
    bundles: Sequence[Bundle],
    *,
    above: int = 0,
    progress: Callable[[float], None] = lambda _bytes: None,
) -> list[Published]:
    """Publish all bundles under one signature, or none.

    Args:
        repository: opened for signing.
        bundles: what is to be released.
        above: new releases get a higher sequence than this too: after a thief raised floors on devices.
        progress: told the bytes of each blob once it is there.

    Raises:
        CloudError: ALREADY_EXISTS (the version is out with other content, or another
            version has its identifier), FAILED_PRECONDITION (another publisher was first: nothing of this
            is visible, it can be run again), and as the storage and the keys say.
    """
    repository.unlock([target_path(bundle.manifest.model_version) for bundle in bundles])
    targets = repository.targets()
    changes: dict[str, tuple[bytes, dict[str, Any]]] = {}
    plans = [_plan(repository.storage, bundle, targets, changes, above) for bundle in bundles]
    results = [
        _upload(repository.storage, bundle, planned, progress) for bundle, planned in zip(bundles, plans, strict=True)
    ]
    if changes:
        repository.sign(changes)
    return results


def revoke(repository: Repository, model: str, below: int) -> int:
    """Raise the model's signed floor: devices refuse every release whose sequence is lower.

    Returns:
        The floor from now on; it never sinks.

    Raises:
        CloudError: NOT_FOUND (no such model), OUT_OF_RANGE (above the last release).
    """
    customs = {path: t.custom for path, t in repository.targets().items() if t.custom.get("model") == model}
    if not customs:
        raise CloudError(Code.NOT_FOUND, f"expected a published model, came {model!r}")
    last = max(int(custom["release_seq"]) for custom in customs.values())
    if not 0 <= below <= last:
        raise CloudError(
            Code.OUT_OF_RANGE, f"{model}: expected a floor from 0 to its last release {last}, came {below}"
        )
    floor = max(below, _floor(customs.values()))
    repository.change_custom({path: {**custom, "min_release_seq": floor} for path, custom in customs.items()})
    return floor


def target_path(model_version: ModelVersion) -> str:
    """Return the TUF target of a release."""
    return f"{model_version.name}/{model_version.version}/{MANIFEST}"


def blob_key(digest: str) -> str:
    """Return where an artefact lies."""
    return f"blobs/sha256/{digest}"


def _plan(
    storage: Storage,
    bundle: Bundle,
    targets: Mapping[str, Target],
    changes: dict[str, tuple[bytes, dict[str, Any]]],
    above: int,
) -> Published:
    identity = bundle.manifest.model_version
    path = target_path(identity)
    if path in changes:
        raise CloudError(Code.ALREADY_EXISTS, f"{identity}: expected each version once, came twice")
    if path in targets:
        return _same(storage, bundle, targets[path])
    customs = [t.custom for t in targets.values()] + [custom for _, custom in changes.values()]
    _check_identifier(identity, customs)
    own = [custom for custom in customs if custom.get("model") == identity.name]
    sequence = 1 + max([above, *(int(custom["release_seq"]) for custom in own)])
    manifest = bundle.manifest.model_copy(update={"release_seq": sequence})
    content = manifest.to_json()
    if len(content) > LIMIT_BYTES:
        raise CloudError(Code.MANIFEST_INVALID, f"{identity}: expected a manifest of at most {LIMIT_BYTES} bytes")
    changes[path] = content, _custom(manifest, _floor(own))
    return Published(identity, sequence, sha256(content).hexdigest(), 0, new=True)


def _same(storage: Storage, bundle: Bundle, target: Target) -> Published:
    content = read(storage, target.key, limit_bytes=LIMIT_BYTES)
    if sha256(content).hexdigest() != target.sha256:
        raise CloudError(
            Code.DIGEST_MISMATCH, f"{storage.url}/{target.key}: the bytes are not the ones that were signed"
        )
    released = parse(Manifest, content, what=target.path)
    if released.model_copy(update={"release_seq": 1}) != bundle.manifest:
        raise CloudError(
            Code.ALREADY_EXISTS,
            f"{released.model_version} is out with other content; expected a new version for what is new",
        )
    return Published(released.model_version, released.release_seq, target.sha256, 0, new=False)


def _check_identifier(identity: ModelVersion, customs: Iterable[Mapping[str, Any]]) -> None:
    for custom in customs:
        other = ModelVersion(str(custom.get("model")), str(custom.get("version")))
        if other != identity and other.identifier == identity.identifier:
            raise CloudError(
                Code.ALREADY_EXISTS,
                f"{identity}: old clients know it as {identity.identifier}, and so they know {other}",
            )


def _custom(manifest: Manifest, floor: int) -> dict[str, Any]:
    return {
        "model": manifest.model,
        "version": manifest.version,
        "release_seq": manifest.release_seq,
        "min_release_seq": floor,
        "machines": list(manifest.requires.machines),
        "runtime": manifest.runtime.name,
        "agent": manifest.requires.agent,
        "size_bytes": manifest.size_bytes,
    }


def _floor(customs: Iterable[Mapping[str, Any]]) -> int:
    return max((int(custom.get("min_release_seq", 0)) for custom in customs), default=0)


def _upload(storage: Storage, bundle: Bundle, planned: Published, progress: Callable[[float], None]) -> Published:
    # Also for a release that is out: a publish that was cut off, or a lost blob, is mended so.
    sent = 0
    for artefact in {artefact.sha256: artefact for artefact in bundle.manifest.artefacts}.values():
        key = blob_key(artefact.sha256)
        if storage.size(key) != artefact.size_bytes:
            storage.write(key, bundle.directory / artefact.path)
            sent += artefact.size_bytes
        progress(artefact.size_bytes)
    return planned._replace(uploaded_bytes=sent)


def _check_file(path: Path, artefact: Artefact) -> None:
    digest = sha256()
    size = 0
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
                size += len(block)
    except OSError as exc:
        raise CloudError(Code.NOT_FOUND, f"{path}: expected an artefact of the manifest, {exc.strerror}") from exc
    if size != artefact.size_bytes or digest.hexdigest() != artefact.sha256:
        raise CloudError(
            Code.DIGEST_MISMATCH,
            f"{path}: expected {artefact.size_bytes} bytes with SHA-256 {artefact.sha256}, "
            f"came {size} with {digest.hexdigest()}",
        )
