import errno
import os
import stat
from pathlib import Path

import pytest

from edge_agent.errors import Code, StorageError
from edge_agent.storage import durable
from tests.fakes.faulty_os import faults


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_a_file_is_written_synced_renamed_and_its_directory_synced_in_this_order(tmp_path: Path) -> None:
    with faults() as counted:
        durable.write(tmp_path / "file", b"content")
    assert counted.calls == ["open", "write", "fchmod", "fsync", "rename", "open", "fsync"]


def test_what_is_written_has_its_content_and_mode_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    durable.write(tmp_path / "file", b"old")
    durable.write(tmp_path / "file", b"new", mode=0o600)
    assert (tmp_path / "file").read_bytes() == b"new"
    assert _mode(tmp_path / "file") == 0o600
    assert _names(tmp_path) == ["file"]


def test_a_write_that_fails_leaves_the_old_content_and_names_the_file(tmp_path: Path) -> None:
    durable.write(tmp_path / "file", b"old")
    with faults(at=2, error=errno.ENOSPC), pytest.raises(StorageError, match="file: No space left") as told:
        durable.write(tmp_path / "file", b"new")
    assert told.value.code is Code.NO_SPACE
    assert (tmp_path / "file").read_bytes() == b"old"
    assert _names(tmp_path) == ["file"]


def test_a_symlink_in_place_of_a_file_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"not ours")
    (tmp_path / "file").symlink_to(tmp_path / "elsewhere")
    durable.write(tmp_path / "file", b"ours")
    assert (tmp_path / "elsewhere").read_bytes() == b"not ours"
    assert not (tmp_path / "file").is_symlink()


def test_bytes_are_not_appended_through_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"not ours")
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        durable.append(tmp_path / "log", b"ours")
    assert (tmp_path / "elsewhere").read_bytes() == b"not ours"


def test_bytes_are_appended_and_the_new_length_is_told(tmp_path: Path) -> None:
    assert durable.append(tmp_path / "log", b"one") == 3
    assert durable.append(tmp_path / "log", b"two") == 6
    assert (tmp_path / "log").read_bytes() == b"onetwo"


def test_an_append_that_fails_cuts_the_file_back(tmp_path: Path) -> None:
    durable.append(tmp_path / "log", b"one")
    with faults(at=2, error=errno.ENOSPC), pytest.raises(StorageError):
        durable.append(tmp_path / "log", b"two")
    assert (tmp_path / "log").read_bytes() == b"one"


def test_a_published_file_keeps_its_bytes_and_gets_its_mode(tmp_path: Path) -> None:
    (tmp_path / "staged").write_bytes(b"bytes")
    durable.publish(tmp_path / "staged", tmp_path / "target", mode=0o444)
    assert (tmp_path / "target").read_bytes() == b"bytes"
    assert _mode(tmp_path / "target") == 0o444
    assert not (tmp_path / "staged").exists()


def test_a_staged_file_whose_fsync_fails_is_thrown_away(tmp_path: Path) -> None:
    (tmp_path / "staged").write_bytes(b"bytes")
    with faults(at=2, error=errno.EIO) as faulty, pytest.raises(StorageError):
        durable.publish(tmp_path / "staged", tmp_path / "target")
    assert faulty.calls == ["open", "fsync", "unlink"]
    assert _names(tmp_path) == []


def test_a_published_directory_has_all_its_directories_synced_before_the_rename(tmp_path: Path) -> None:
    (tmp_path / "staged" / "golden").mkdir(parents=True)
    with faults() as counted:
        durable.publish(tmp_path / "staged", tmp_path / "target")
    assert counted.calls == ["open", "fsync", "open", "fsync", "rename", "open", "fsync"]
    assert (tmp_path / "target" / "golden").is_dir()


@pytest.mark.parametrize("refusal", [errno.EPERM, errno.EMLINK, errno.EXDEV, errno.EOPNOTSUPP])
def test_where_hard_links_are_impossible_a_symlink_stands_in(tmp_path: Path, refusal: int) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "version").mkdir()
    (tmp_path / "blobs" / "a").write_bytes(b"bytes")
    with faults(at=1, error=refusal):
        durable.link(tmp_path / "blobs" / "a", tmp_path / "version" / "model.onnx")
    assert (tmp_path / "version" / "model.onnx").readlink() == Path("../blobs/a")
    assert (tmp_path / "version" / "model.onnx").read_bytes() == b"bytes"


def test_where_no_links_are_possible_a_copy_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "FAT")

    durable.write(tmp_path / "a", b"bytes", mode=0o444)
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "symlink", refuse)
    durable.link(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"bytes"
    assert not (tmp_path / "b").is_symlink()
    assert (tmp_path / "b").stat().st_nlink == 1
    assert _mode(tmp_path / "b") == 0o444


def test_replacing_by_a_link_to_the_same_file_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"bytes")
    for _ in range(2):
        durable.replace_by_link(tmp_path / "a", tmp_path / "b")
    assert _names(tmp_path) == ["a", "b"]


def test_directories_are_made_with_their_parents_and_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    durable.make_directory(tmp_path / "a" / "b")
    durable.make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(StorageError) as told:
        durable.make_directory(tmp_path / "file" / "c")
    assert told.value.code is Code.STORAGE_FAILED


def test_a_directory_whose_name_could_not_be_synced_is_made_again(tmp_path: Path) -> None:
    with faults(at=3, error=errno.EIO), pytest.raises(StorageError):
        durable.make_directory(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_removing_what_is_not_there_is_fine(tmp_path: Path) -> None:
    durable.remove(tmp_path / "none")
    durable.remove_tree(tmp_path / "none")
    assert _names(tmp_path) == []


def test_a_tree_is_removed_without_following_its_links(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "tree" / "inner").mkdir(parents=True)
    (tmp_path / "tree" / "inner" / "link").symlink_to(tmp_path / "kept")
    durable.remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
    assert (tmp_path / "kept" / "file").exists()


def test_a_sweep_deletes_staged_leftovers_and_nothing_else(tmp_path: Path) -> None:
    durable.staging_path(tmp_path / "file").touch()
    durable.staging_path(tmp_path / "version").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / ".hidden").touch()
    assert durable.sweep(tmp_path) == 2
    assert _names(tmp_path) == [".hidden", "file"]
    assert durable.sweep(tmp_path / "none") == 0
