"""Verbs that bring what a device knows into one file, and back."""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from edge_agent.cli.context import Places, places
from edge_agent.cli.output import AsJson, moment, note, show_json, show_lines, size
from edge_agent.cli.remote_verbs import actor
from edge_agent.config import DEFAULT_FILE, Settings
from edge_agent.errors import Code, RefusedError, StorageError

if TYPE_CHECKING:
    from edge_agent.backup import Contents

File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")]
_NOBODY_YET = Settings().device.thing


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("backup")(backup)
    app.command("restore")(restore)


def backup(
    context: typer.Context,
    file: File,
    with_models: Annotated[
        bool, typer.Option("--with-models", help="Also what is committed, and the versions before it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write what this device knows into a new file: configuration, floors, journal, counts, labels, audit log.

    The agent may go on. Without --with-models a restored device fetches its models from the repository.
    Private keys and captured pictures are not in it.
    """
    from edge_agent.backup import make  # noqa: PLC0415 - only these verbs pay for it
    from edge_agent.storage import durable  # noqa: PLC0415 - as above

    where = places(context)
    if file.exists():
        raise StorageError(Code.ALREADY_EXISTS, f"{file}: expected the name of a new file, it is there")
    thing, target = where.settings().device.thing, file.absolute()
    staged = durable.staging_path(target)
    try:
        with durable.translated(target), _new(staged) as out, as_owner_of(where.state_dir):
            contents = make(
                where.state_dir, where.config_file, out, thing=thing, now=time.time(), with_models=with_models
            )
        durable.publish(staged, target)
    finally:
        staged.unlink(missing_ok=True)
    _tell(contents, target, as_json=as_json)


def restore(
    context: typer.Context,
    file: File,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also where models are committed already; what was counted here goes.")
    ] = False,
    other_device: Annotated[
        bool, typer.Option("--other-device", help="Another device's state; this one keeps its own configuration.")
    ] = False,
    keep_config: Annotated[bool, typer.Option("--keep-config", help="Leave the configuration as it is.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring back what a backup holds, as a whole or not at all; the agent must not run.

    Floors never sink: a version that was revoked since is refused. The configuration that was there is kept beside.
    """
    from edge_agent.backup import check, unpack  # noqa: PLC0415 - only these verbs pay for it
    from edge_agent.backup import restore as put_back  # noqa: PLC0415 - as above
    from edge_agent.storage import durable  # noqa: PLC0415 - as above
    from edge_agent.store import exchange  # noqa: PLC0415 - as above

    where = places(context)
    root, config, here = where.state_dir, None, where.settings().device.thing
    with durable.translated(file), file.open("rb") as source, _locked(root), _scratch(root) as scratch:
        with as_owner_of(root):
            # What was decided here counts, also where nobody has started since.
            exchange.finish(root)
            contents = unpack(source, scratch, what=str(file))
            _check_identity(here, contents, other_device=other_device)
            check(root, scratch, contents, replace=replace)
            # As the owner too, who may put a link in its place.
            came = _config_in(scratch)
        if came is not None and not keep_config and not other_device:
            # First: rules without models answer nothing, models without the rules of then might answer wrongly.
            config = _restore_config(where, came)
        with as_owner_of(root):
            put_back(root, scratch, contents, actor=actor())
    if config is not None:
        note(f"{config} is as it was then; what was there is beside it, as {config.name}.before-restore")
    _tell(contents, root, as_json=as_json)


@contextmanager
def as_owner_of(directory: Path) -> Iterator[None]:
    """Be the directory's owner for the block, where root asks: what comes into it belongs to the agent."""
    owner = directory.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    group = os.getegid()
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    from edge_agent.storage import durable  # noqa: PLC0415 - as above
    from edge_agent.storage.lock import StateLock  # noqa: PLC0415 - as above

    durable.make_directory(root)
    with ExitStack() as stack:
        with as_owner_of(root):
            stack.enter_context(StateLock(root / "lock"))
        yield


@contextmanager
def _scratch(root: Path) -> Iterator[Path]:
    """Give a directory that is gone afterwards, or is swept by the next start."""
    from edge_agent.storage import durable  # noqa: PLC0415 - as above

    scratch = durable.staging_path(root / "restore")
    try:
        with as_owner_of(root):
            durable.make_directory(scratch, mode=0o700)
        yield scratch
    finally:
        with as_owner_of(root):
            durable.remove_tree(scratch)


def _check_identity(here: str, contents: "Contents", *, other_device: bool) -> None:
    """Refuse another device's backup.

    Raises:
        RefusedError: FAILED_PRECONDITION.
    """
    if not other_device and here not in (_NOBODY_YET, contents.thing):
        message = f"expected a backup of {here}, which this device is, came one of {contents.thing}"
        raise RefusedError(Code.FAILED_PRECONDITION, f"{message}; --other-device takes its state, not its identity")


def _new(file: Path) -> BinaryIO:
    """Open a new file that is nobody else's from its first byte."""
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _config_in(unpacked: Path) -> bytes | None:
    from edge_agent.backup.contents import CONFIG  # noqa: PLC0415 - as above

    path = unpacked / CONFIG
    return path.read_bytes() if path.exists() else None


def _restore_config(where: Places, came: bytes) -> Path | None:
    """Replace the configuration, keeping what was there; return its path, None where nothing changes."""
    from edge_agent.storage import durable  # noqa: PLC0415 - as above

    target = where.config or DEFAULT_FILE
    before = target.read_bytes() if target.exists() else b""
    if before == came:
        return None
    durable.make_directory(target.parent)
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o640
    durable.write(target.with_name(f"{target.name}.before-restore"), before, mode=mode)
    durable.write(target, came, mode=mode)
    # A new file is root's; the agent reads its configuration as a member of the directory's group.
    if os.geteuid() == 0:
        os.chown(target, target.parent.stat().st_uid, target.parent.stat().st_gid)
    return target


def _tell(contents: "Contents", where: Path, *, as_json: bool) -> None:
    size_bytes = sum(entry.size_bytes for entry in contents.files)
    if as_json:
        show_json(
            {
                "ok": True,
                "path": str(where),
                "thing": contents.thing,
                "created": contents.created,
                "agent": contents.agent,
                "files": len(contents.files),
                "bytes": size_bytes,
            }
        )
    else:
        told = f"{contents.thing}, {moment(contents.created)}, agent {contents.agent}"
        show_lines([f"{where}: {told}, {len(contents.files)} files, {size(size_bytes)}"])
