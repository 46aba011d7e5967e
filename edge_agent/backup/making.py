"""A backup, made beside an agent that runs or of one that does not."""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edge_agent import __version__
from edge_agent.backup import contents as names
from edge_agent.backup.contents import Contents, Entry
from edge_agent.errors import Code, RefusedError, StorageError
from edge_agent.formats import ModelVersion
from edge_agent.storage import durable
from edge_agent.storage.database import snapshot
from edge_agent.store import Generations, exchange
from edge_agent.store.blobs import Blobs
from edge_agent.store.layout import check_version
from edge_agent.store.versions import Versions
from edge_agent.trust.floors import FloorFiles

_PRIVATE = 0o600


def make(
    state_dir: Path, config: Path | None, out: BinaryIO, *, thing: str, now: float, with_models: bool = False
) -> Contents:
    """Write a backup; the caller syncs it.

    Args:
        state_dir: whose; small copies are made in it meanwhile.
        config: the configuration file; None: there is none.
        out: where.
        thing: the device's name.
        now: epoch seconds.
        with_models: the committed versions and those before them as well; else they come from the repository.

    Raises:
        RefusedError: FAILED_PRECONDITION, a restore was cut off here.
        StorageError: NOT_FOUND, there is no state yet; STORAGE_FAILED, also where there are too many files; NO_SPACE;
            CONTENT_MISSING.
    """
    layout = check_version(state_dir)
    if layout == 0:
        raise StorageError(Code.NOT_FOUND, f"{state_dir}: expected the state directory of an agent, there is none")
    if exchange.is_pending(state_dir):
        message = (
            f"{state_dir}: expected a state directory in which no restore was cut off; start its agent, which ends it"
        )
        raise RefusedError(Code.FAILED_PRECONDITION, message)
    scratch = durable.staging_path(state_dir / "backup")
    try:
        durable.make_directory(scratch, mode=0o700)
        with durable.translated(state_dir):
            found = list(_gather(state_dir, config, scratch, with_models=with_models))
            _check_number(state_dir, len(found))
            files = [_entry(name, path) for name, path in found]
            told = {"created": now, "agent": __version__, "thing": thing, "layout": layout, "files": files}
            contents = Contents.model_validate({"schema": "edge-agent/backup/1", **told})
            _write(out, contents, [path for _, path in found])
    finally:
        durable.remove_tree(scratch)
    return contents


def _gather(state_dir: Path, config: Path | None, scratch: Path, *, with_models: bool) -> Iterator[tuple[str, Path]]:
    """Yield names and files. What an agent writes first comes first: a state that is ahead of its deed is resumed."""
    for number, name in enumerate(names.DATABASES):
        if (state_dir / name).exists():
            copy = scratch / f"{number}.db"
            snapshot(state_dir / name, copy)
            yield names.STATE + name, copy
    floors = scratch / "floors"
    floors.write_bytes(FloorFiles(state_dir / "trust").load().to_json())
    yield names.FLOORS, floors
    for number, (name, path) in enumerate(names.state_files(state_dir)):
        # What is appended to meanwhile is as long in the list as it is in the file.
        copy = scratch / f"{number}.file"
        copy.write_bytes(path.read_bytes())
        yield name, copy
    if config is not None:
        copy = scratch / "config"
        copy.write_bytes(config.read_bytes())
        yield names.CONFIG, copy
    if with_models:
        yield from _models(state_dir)


def _models(state_dir: Path) -> Iterator[tuple[str, Path]]:
    blobs = Blobs(state_dir)
    versions = Versions(state_dir / "versions", blobs)
    wanted = {
        ModelVersion(name, version)
        for name, entry in Generations(state_dir / "generations").current().models.items()
        for version in (entry.version, entry.previous)
        if version is not None
    }
    told: set[str] = set()
    for version in sorted(wanted):
        yield f"{names.MANIFESTS}{version.name}/{version.version}.json", versions.directory(version) / "manifest.json"
        for artefact in versions.manifest(version).artefacts:
            if artefact.sha256 not in told:
                told.add(artefact.sha256)
                yield names.BLOBS + artefact.sha256, blobs.path(artefact.sha256)


def _check_number(state_dir: Path, files: int) -> None:
    if files > names.LIMIT_FILES:
        message = f"{state_dir}: expected at most {names.LIMIT_FILES} files for a backup, came {files}"
        raise StorageError(Code.STORAGE_FAILED, message)


def _entry(name: str, path: Path) -> Entry:
    with path.open("rb") as file:
        return Entry(path=name, size_bytes=path.stat().st_size, sha256=_digest(file))


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def _write(out: BinaryIO, contents: Contents, paths: list[Path]) -> None:
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        header = contents.to_json()
        _add(tar, names.HEADER, len(header), io.BytesIO(header), contents.created)
        for entry, path in zip(contents.files, paths, strict=True):
            with path.open("rb") as file:
                _add(tar, entry.path, entry.size_bytes, file, contents.created)


def _add(tar: tarfile.TarFile, name: str, size_bytes: int, file: BinaryIO, at: float) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size_bytes, int(at), _PRIVATE
    tar.addfile(info, file)
