"""An older agent's directory becomes today's, wherever the power goes on the way; a newer one's is left alone."""

import errno
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.errors import StorageError
from edge_agent.storage import durable
from edge_agent.storage.device_key import device_key
from edge_agent.store import Store, check_layout, layout
from tests.fakes.faulty_os import Killed, faults
from tests.fakes.releases import install, make_release

RELEASE = make_release()


def directory_of_layout_1(root: Path) -> None:
    """Make what the first agents left: a committed version, and engines that a plain digest vouches for."""
    layout.prepare(root, target=1)
    with faults():
        # Versions and generations were then what they are now, so today's store writes them; then it is undone.
        store = Store(root)
        install(store, RELEASE)
        store.commit({"unet": RELEASE.committed()})
    (root / "device.key").unlink()
    (root / "layout_version").write_text("1\n")
    engines = root / "engines"
    engines.mkdir()
    for name in ("aa.onnx", "aa.onnx.sha256", "bb.onnx"):
        (engines / name).write_bytes(b"native code")
    assert layout.read_version(root) == 1


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Return every file with its mode and content."""
    return {
        str(path.relative_to(root)): (stat.S_IMODE(path.lstat().st_mode), path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def check_migrated(root: Path) -> None:
    assert layout.read_version(root) == layout.LAYOUT_VERSION
    assert list((root / "engines").iterdir()) == []
    key = root / "device.key"
    assert (stat.S_IMODE(key.stat().st_mode), len(key.read_bytes())) == (0o600, 32)
    store = Store(root)
    committed = store.generations.current().models["unet"]
    assert store.verify(RELEASE.model_version, manifest_sha256=committed.manifest_sha256) == RELEASE.manifest


def calls_of(root: Path) -> int:
    with faults() as counted:
        layout.prepare(root)
    return len(counted.calls)


def test_a_directory_of_the_first_layout_becomes_todays(tmp_path: Path) -> None:
    directory_of_layout_1(tmp_path / "state")
    assert layout.prepare(tmp_path / "state") == 1
    check_migrated(tmp_path / "state")
    assert layout.prepare(tmp_path / "state") == layout.LAYOUT_VERSION


@pytest.mark.parametrize("begin", [directory_of_layout_1, lambda _root: None], ids=["layout 1", "new"])
@pytest.mark.parametrize("error", [None, errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_migration_that_is_cut_off_at_any_step_is_ended_by_the_next_start(
    tmp_path: Path, begin: Callable[[Path], None], error: int | None
) -> None:
    begin(tmp_path / "first")
    steps = calls_of(tmp_path / "first")
    assert steps > 5
    for at in range(1, steps + 1):
        root = tmp_path / str(at)
        begin(root)
        with faults(at=at, error=error) as faulty:
            try:
                layout.prepare(root)
            except (Killed, StorageError):
                assert layout.read_version(root) < layout.LAYOUT_VERSION or faulty.calls[-1] != "rename"
        assert faulty.fired
        layout.prepare(root)
        assert layout.read_version(root) == layout.LAYOUT_VERSION
        durable.sweep(root)
        if begin is directory_of_layout_1:
            check_migrated(root)
        assert len(device_key(root)) == 32


def test_a_newer_layout_is_refused_clearly_and_nothing_is_touched(tmp_path: Path) -> None:
    directory_of_layout_1(tmp_path / "state")
    (tmp_path / "state" / "layout_version").write_text("99\n")
    before = tree(tmp_path / "state")
    for refuse in (check_layout, layout.prepare, Store):
        with pytest.raises(StorageError, match="came 99 of a newer agent; nothing was changed"):
            refuse(tmp_path / "state")
    assert tree(tmp_path / "state") == before


def test_a_key_is_made_once_and_kept(tmp_path: Path) -> None:
    key = device_key(tmp_path)
    assert device_key(tmp_path) == key
    assert device_key(tmp_path / "another") != key
