"""What may be deleted: never what is committed, previous or in flight."""

from collections.abc import Sequence

from edge_agent.formats import Manifest, ModelVersion
from edge_agent.storage import durable
from edge_agent.store.blobs import Blobs
from edge_agent.store.generations import Generation
from edge_agent.store.versions import Versions


def protected(generation: Generation) -> set[ModelVersion]:
    """Return the committed versions and those a rollback goes to."""
    names = [
        (model, version)
        for model, committed in generation.models.items()
        for version in (committed.version, committed.previous)
    ]
    return {ModelVersion(model, version) for model, version in names if version is not None}


def committed_last(current: Generation, history: Sequence[Generation], count: int) -> set[ModelVersion]:
    """Return of each model that is committed the ``count`` versions that were committed last.

    Args:
        current: what is committed.
        history: generations, the newest last.
        count: at least 1; the committed version is one of them.
    """
    found: dict[str, list[str]] = {model: [] for model in current.models}
    for generation in reversed(history):
        for model, committed in generation.models.items():
            versions = found.get(model)
            if versions is not None and committed.version not in versions and len(versions) < count:
                versions.append(committed.version)
    return {ModelVersion(model, version) for model, versions in found.items() for version in versions}


def discard(manifest: Manifest, versions: Versions, blobs: Blobs) -> None:
    """Delete one version, its partial bytes, and the blobs of it that no other version names.

    Raises:
        StorageError: STORAGE_FAILED.
    """
    versions.remove(manifest.model_version)
    own = {artefact.sha256 for artefact in manifest.artefacts}
    for sha256 in own & set(blobs.unused(versions.used())):
        blobs.remove(sha256)
    for sha256 in own:
        durable.remove(blobs.partial_path(sha256))


def prune_versions(kept: set[ModelVersion], versions: Versions) -> list[ModelVersion]:
    """Delete all versions but ``kept`` and return those that went.

    Raises:
        StorageError: STORAGE_FAILED.
    """
    doomed = [version for version in versions.installed() if version not in kept]
    for version in doomed:
        versions.remove(version)
    return doomed


def prune_bytes(versions: Versions, blobs: Blobs, *, before: float, keep: set[str]) -> None:
    """Delete blobs and partial bytes that no version names and that are older than ``before``.

    Args:
        versions: what is installed.
        blobs: what to choose from.
        before: epoch seconds; younger bytes belong to a download that may go on.
        keep: digests that stay however old they are.

    Raises:
        StorageError: STORAGE_FAILED.
    """
    for sha256 in blobs.unused(versions.used() | keep):
        if blobs.modified(sha256) < before:
            blobs.remove(sha256)
    for partial in blobs.partials():
        with durable.translated(partial):
            written = partial.lstat().st_mtime
        if partial.name not in keep and written < before:
            durable.remove(partial)
