"""A state directory out of a backup: as a whole or not at all, and no floor lower than it was.

Everything is checked before anything is changed. Models come first, as they only add to the store;
floors next, as they only rise; then what shall be there is prepared beside and exchanged by one
rename, which a start of the agent finishes if this process cannot.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from edge_agent.backup import contents as names
from edge_agent.backup.contents import Contents
from edge_agent.errors import Code, RefusedError, StorageError
from edge_agent.formats import parse
from edge_agent.storage import durable
from edge_agent.store import AuditLog, Committed, Generations, Store, exchange, kept_layouts, layout
from edge_agent.trust.floors import FloorFiles, Floors

_KEY = "captures/pseudonyms.key"


def check(state_dir: Path, unpacked: Path, contents: Contents, *, replace: bool = False) -> None:
    """Look whether a backup may be restored here; nothing is changed.

    Args:
        state_dir: where.
        unpacked: the backup's files, as ``unpack`` left them.
        contents: what they are.
        replace: also where models are committed already.

    Raises:
        RefusedError: FAILED_PRECONDITION, models are committed here; BELOW_FLOOR, the backup would bring a
            version back that was revoked since.
        StorageError: STORAGE_FAILED, the backup, or what is here, is of a newer agent, or cannot be read.
    """
    if contents.layout > layout.LAYOUT_VERSION:
        message = f"expected a backup of layout {layout.LAYOUT_VERSION} or older, came {contents.layout}"
        raise StorageError(Code.STORAGE_FAILED, f"{message} of agent {contents.agent}: install that agent first")
    layout.check_version(state_dir)
    here = Generations(state_dir / "generations").current()
    if here.models and not replace:
        message = f"{state_dir}: expected a device without models, {', '.join(sorted(here.models))} committed here"
        raise RefusedError(Code.FAILED_PRECONDITION, f"{message}; --replace puts the backup in their place")
    floors = _joined(state_dir, unpacked)
    _check_revoked(Generations(unpacked / names.STATE / "generations").current().models, floors)


def restore(state_dir: Path, unpacked: Path, contents: Contents, *, actor: str) -> None:
    """Make a state directory what a backup says that ``check`` let pass; the caller holds its lock.

    Args:
        state_dir: where.
        unpacked: the backup's files, which are used up.
        contents: what they are.
        actor: who wants it, for the audit log.

    Raises:
        StorageError: STORAGE_FAILED or NO_SPACE.
        BundleError: a model in it is not what its manifest says.
    """
    exchange.finish(state_dir)
    _bring_models(Store(state_dir), unpacked)
    durable.make_directory(state_dir / "trust")
    FloorFiles(state_dir / "trust").save(_joined(state_dir, unpacked))
    exchange.begin(state_dir, _prepare(state_dir, unpacked, contents, actor))
    exchange.finish(state_dir)


def _joined(state_dir: Path, unpacked: Path) -> Floors:
    content = (unpacked / names.FLOORS).read_bytes()
    return FloorFiles(state_dir / "trust").load().joined(parse(Floors, content, what=names.FLOORS))


def _check_revoked(models: Mapping[str, Committed], floors: Floors) -> None:
    for name, entry in models.items():
        floor = floors.models.get(name, 0)
        if entry.release_seq < floor:
            message = f"{name} {entry.version} (release {entry.release_seq}) was revoked since the backup was made"
            raise RefusedError(Code.BELOW_FLOOR, f"{message}: releases below {floor} may not run here")


def _bring_models(store: Store, unpacked: Path) -> None:
    for blob in sorted((unpacked / names.BLOBS).glob("*")):
        partial = store.partial_path(blob.name)
        shutil.move(blob, partial)
        store.admit(blob.name, partial)
    for manifest in sorted((unpacked / names.MANIFESTS).glob("*/*.json")):
        store.install(manifest.read_bytes())


def _prepare(state_dir: Path, unpacked: Path, contents: Contents, actor: str) -> Path:
    """Return a directory to exchange: the backup's files, and with them all that it replaces goes."""
    source = unpacked / names.STATE
    # The log that will be there goes on with who brought it.
    AuditLog(source / "audit.log").append("restored", created=contents.created, thing=contents.thing, actor=actor)
    found = {path.relative_to(source).as_posix(): path for path in sorted(source.rglob("[!.]*")) if path.is_file()}
    # This device's own lines stay as well: two chains cannot become one.
    own = [path for path in sorted(state_dir.glob("audit*.log")) if path.stat().st_size]
    found |= {f"audit-before-{path.stat().st_mtime_ns}/{path.name}": path for path in own}
    prepared = durable.staging_path(state_dir / exchange.NAME)
    durable.make_directory(prepared)
    place = {name: str(number) for number, name in enumerate(found)}
    for name, path in found.items():
        durable.write(prepared / place[name], path.read_bytes(), mode=0o600 if name == _KEY else 0o640)
    exchange.write_index(prepared, place=place, remove=[name for name in _replaced(state_dir) if name not in place])
    return prepared


def _replaced(state_dir: Path) -> list[str]:
    """Return what goes: whatever a backup could hold, databases' logs, and what was kept of older layouts."""
    held = [path.relative_to(state_dir).as_posix() for pattern in names.FILES for path in state_dir.glob(pattern)]
    databases = [name + suffix for name in names.DATABASES for suffix in ("", "-wal", "-shm")]
    kept = [kept_layouts.path_of(state_dir, version).name for version in kept_layouts.kept(state_dir)]
    return [name for name in (*held, *databases, *kept) if (state_dir / name).exists()]
