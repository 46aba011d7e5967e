"""A restore after one that was cut off, and what root does in directories of others: as their owner and no more."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import edge_agent.backup as room
from edge_agent.backup import Contents, check
from edge_agent.cli.app import build_app
from edge_agent.errors import RefusedError, StorageError
from edge_agent.storage import durable
from tests.fakes.faulty_os import faults
from tests.unit.test_backup import backed_up, cut_off, device

NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root acts for others")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return a state directory that belongs to nobody, below directories that everybody may pass."""
    root = tmp_path / "state"
    root.mkdir()
    os.chown(root, NOBODY, NOBODY)
    for directory in (tmp_path, *tmp_path.parents):
        directory.chmod(directory.stat().st_mode | 0o011)
    return root


def restoring(state: Path, tmp_path: Path) -> object:
    config = tmp_path / "config.toml"
    old = tmp_path / "old.toml"
    old.write_text('[device]\nthing = "press-4"\n')
    file = tmp_path / "press-4.backup"
    file.write_bytes(backed_up(device(tmp_path / "old"), old).content)
    words = ["--config", str(config), "--state-dir", str(state), "restore", str(file)]
    config.write_text("# what a package brings\n")
    with faults():
        return CliRunner().invoke(build_app(), words).exception


@as_root
def test_settings_are_read_as_who_owns_the_directory_that_they_were_unpacked_into(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "shadow"
    secret.write_text("root's alone")
    secret.chmod(0o600)

    def swapped(root: Path, unpacked: Path, contents: Contents, *, replace: bool = False) -> None:
        """Do what somebody with the agent's rights could do meanwhile."""
        check(root, unpacked, contents, replace=replace)
        (unpacked / "config.toml").unlink()
        (unpacked / "config.toml").symlink_to(secret)

    monkeypatch.setattr(room, "check", swapped)
    assert isinstance(restoring(state, tmp_path), StorageError)
    assert (tmp_path / "config.toml").read_text() == "# what a package brings\n"


@as_root
def test_what_was_unpacked_is_deleted_as_its_owner(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove: Callable[[Path], None] = durable.remove_tree
    deleted: list[tuple[bool, int]] = []

    def removed(path: Path) -> None:
        deleted.append(("restore" in path.name, os.geteuid()))
        remove(path)

    monkeypatch.setattr(durable, "remove_tree", removed)
    assert restoring(state, tmp_path) is None
    assert (True, NOBODY) in deleted
    assert (True, 0) not in deleted


@as_root
def test_a_backup_is_its_makers_alone_from_its_first_byte(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "press-4.backup"
    device(state)
    for path in (state, *state.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    # What is taken away from others later may have been opened by them before.
    monkeypatch.setattr(Path, "chmod", lambda *_: None)
    result = CliRunner().invoke(build_app(), ["--state-dir", str(state), "backup", str(file)])
    assert result.exception is None
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_a_restore_decided_that_was_cut_off_is_not_overlooked_by_the_next(tmp_path: Path) -> None:
    content = backed_up(device(tmp_path / "old"), with_models=True)
    (file := tmp_path / "press-4.backup").write_bytes(content.content)
    state = cut_off(content, tmp_path / "state", tmp_path)
    result = CliRunner().invoke(build_app(), ["--state-dir", str(state), "restore", str(file), "--keep-config"])
    assert isinstance(result.exception, RefusedError)
    assert "--replace puts the backup in their place" in result.exception.message
