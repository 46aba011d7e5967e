"""What a backup holds comes back as a whole or not at all, and no floor is lower than it was."""

import errno
import io
import json
import os
import shutil
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pytest

from edge_agent.backup import Contents, check, make, making, restore, unpack
from edge_agent.errors import AgentError, Code, RefusedError, StorageError
from edge_agent.storage.database import Database, snapshot
from edge_agent.store import AuditLog, Store, exchange
from edge_agent.trust.floors import FloorFiles, Floors, RoleFloor
from tests.fakes.faulty_os import Killed, faults
from tests.fakes.releases import install, make_release

OLD, NEW = make_release(version="1"), make_release(version="2", release_seq=2)
NOW = 1_800_000_000.0


class Backup(NamedTuple):
    """A backup in memory."""

    content: bytes
    contents: Contents


def floors(unet: int, timestamp: int = 7, keys: str = "k") -> Floors:
    roles = {"timestamp": RoleFloor(version=timestamp, keys=keys)}
    return Floors(serial=1, roles=roles, issued=float(timestamp), models={"unet": unet})


def device(root: Path, *, lowest: int = 1) -> Path:
    """Make a state directory in which something was done."""
    with faults():
        store = Store(root)
        for release in (OLD, NEW):
            install(store, release)
        store.commit({"unet": OLD.committed()})
        store.commit({"unet": NEW.committed(previous="1")})
        AuditLog(root / "audit.log").append("threshold_set", model="unet")
        (root / "trust").mkdir()
        FloorFiles(root / "trust").save(floors(lowest))
        (root / "models_config.json").write_text('{"mappings": {"image-segmentation-app": "unet"}}')
        (root / "device.key").write_bytes(b"s" * 32)
        counts = Database(root / "inspections.db", ("CREATE TABLE counts (ok INTEGER);",))
        counts.execute("INSERT INTO counts VALUES (41)")
        counts.close()
    return root


def backed_up(root: Path, config: Path | None = None, *, with_models: bool = False) -> Backup:
    out = io.BytesIO()
    contents = make(root, config, out, thing="press-4", now=NOW, with_models=with_models)
    return Backup(out.getvalue(), contents)


def brought_back(content: bytes, root: Path, scratch: Path, *, replace: bool = False) -> None:
    """Do what the verb does."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    contents = unpack(io.BytesIO(content), scratch, what="press-4.backup")
    check(root, scratch, contents, replace=replace)
    restore(root, scratch, contents, actor="cli:anna")


def cut_off(backup: Backup, root: Path, tmp_path: Path) -> Path:
    """Return a state directory whose restore was decided, and not finished."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(exchange, "finish", lambda _: None)
        brought_back(backup.content, root, tmp_path / "scratch", replace=True)
    assert exchange.is_pending(root)
    return root


def count(root: Path) -> int:
    copy = root / "look.db"
    snapshot(root / "inspections.db", copy)
    database = Database(copy, ("",))
    (row,) = database.query("SELECT ok FROM counts")
    database.close()
    copy.unlink()
    return int(row["ok"])


def tree(root: Path) -> dict[str, bytes]:
    hidden = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in hidden if not path.name.startswith(".")}


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Backup:
    return backed_up(device(tmp_path_factory.mktemp("device") / "state"), with_models=True)


def members(content: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return [(info, file.read()) for info in tar if (file := tar.extractfile(info))]


def packed(parts: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for info, content in parts:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def test_a_new_device_has_what_the_old_one_knew(backup: Backup, tmp_path: Path) -> None:
    root = tmp_path / "state"
    brought_back(backup.content, root, tmp_path / "scratch")
    store = Store(root)
    assert store.generations.current().models["unet"] == NEW.committed(previous="1")
    for release in (OLD, NEW):
        assert store.verify(release.model_version, manifest_sha256=release.sha256) == release.manifest
    assert count(root) == 41
    assert FloorFiles(root / "trust").load().models == {"unet": 1}
    assert AuditLog(root / "audit.log").verify() == 2
    assert '"actor":"cli:anna"' in (root / "audit.log").read_text()
    assert not exchange.is_pending(root)


def test_a_backup_holds_no_secret_of_the_device(backup: Backup) -> None:
    assert not any("device.key" in entry.path or "trust/" in entry.path for entry in backup.contents.files)
    assert b"s" * 32 not in backup.content


def test_without_models_a_backup_has_none(tmp_path: Path) -> None:
    root = device(tmp_path / "old")
    small = backed_up(root)
    assert not any(entry.path.startswith(("blobs/", "manifests/")) for entry in small.contents.files)
    brought_back(small.content, tmp_path / "new", tmp_path / "scratch")
    assert Store(tmp_path / "new").generations.current().models["unet"].version == "2"
    assert Store(tmp_path / "new").installed() == []


def test_more_files_than_a_package_may_have_come_back_too(tmp_path: Path) -> None:
    root = device(tmp_path / "old")
    for number in range(1100):
        (root / f"quarantine/{number:064x}").write_text('{"reason": "it took the device down"}')
    with faults():
        brought_back(backed_up(root).content, tmp_path / "new", tmp_path / "scratch")
    assert len(list((tmp_path / "new/quarantine").iterdir())) == 1100


def test_more_files_than_a_backup_may_have_are_refused_with_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.backup.contents.LIMIT_FILES", 3)
    with pytest.raises(StorageError, match=r"expected at most 3 files for a backup, came \d+"):
        backed_up(device(tmp_path / "state"))


def test_settings_that_change_meanwhile_are_whole_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, config = device(tmp_path / "state"), tmp_path / "config.toml"
    config.write_text("[device]\n")
    digest = making._digest

    def changed(file: BinaryIO) -> str:
        found = digest(file)
        config.write_text('[rpc]\n[device]\nthing = "press-4"\n')
        return found

    monkeypatch.setattr(making, "_digest", changed)
    (tmp_path / "scratch").mkdir()
    unpack(io.BytesIO(backed_up(root, config).content), tmp_path / "scratch", what="press-4.backup")
    assert (tmp_path / "scratch/config.toml").read_text() == "[device]\n"


def test_a_restore_that_was_cut_off_is_no_state_to_back_up(backup: Backup, tmp_path: Path) -> None:
    root = cut_off(backup, device(tmp_path / "state"), tmp_path)
    with pytest.raises(RefusedError, match="expected a state directory in which no restore was cut off"):
        backed_up(root)


def test_making_one_changes_nothing(tmp_path: Path) -> None:
    root = device(tmp_path / "state")
    before = tree(root)
    backed_up(root, with_models=True)
    assert {name: content for name, content in tree(root).items() if "inspections" not in name} == {
        name: content for name, content in before.items() if "inspections" not in name
    }
    assert count(root) == 41


def test_floors_of_the_device_stay_where_they_are_higher(backup: Backup, tmp_path: Path) -> None:
    root = tmp_path / "state"
    with faults():
        Store(root)
        (root / "trust").mkdir()
        FloorFiles(root / "trust").save(floors(2, timestamp=9))
    brought_back(backup.content, root, tmp_path / "scratch")
    joined = FloorFiles(root / "trust").load()
    assert (joined.models, joined.roles["timestamp"].version, joined.issued) == ({"unet": 2}, 9, 9.0)


@pytest.mark.parametrize(
    ("here", "there", "version"),
    [
        (floors(1, 5), floors(1, 9), 9),
        (floors(1, 9), floors(1, 5), 9),
        # Keys were exchanged here since: a version of before says nothing about those of now.
        (floors(1, 2, "new"), floors(1, 9, "old"), 2),
        (Floors(), floors(1, 9), 9),
    ],
)
def test_joined_floors_are_never_lower_than_those_here(here: Floors, there: Floors, version: int) -> None:
    joined = here.joined(there)
    assert joined.roles["timestamp"].version == version
    assert joined.models["unet"] == 1
    assert joined.serial > max(here.serial, there.serial)
    assert joined.issued >= here.issued


def test_what_was_revoked_since_does_not_come_back(backup: Backup, tmp_path: Path) -> None:
    root = tmp_path / "state"
    with faults():
        Store(root)
        (root / "trust").mkdir()
        FloorFiles(root / "trust").save(floors(3))
    before = tree(root)
    with pytest.raises(RefusedError, match=r"unet 2 \(release 2\) was revoked since .* below 3") as caught:
        brought_back(backup.content, root, tmp_path / "scratch")
    assert caught.value.code is Code.BELOW_FLOOR
    assert tree(root) == before


def test_a_device_with_models_of_its_own_is_left_alone_unless_told(backup: Backup, tmp_path: Path) -> None:
    root = device(tmp_path / "state")
    with faults():
        Store(root).commit({"unet": OLD.committed()})
    AuditLog(root / "audit.log").append("rolled_back", model="unet")
    before = tree(root)
    with pytest.raises(RefusedError, match="expected a device without models, unet committed here; --replace"):
        brought_back(backup.content, root, tmp_path / "scratch")
    assert tree(root) == before
    brought_back(backup.content, root, tmp_path / "scratch", replace=True)
    assert Store(root).generations.current().models["unet"].version == "2"
    # Its own audit log is not lost.
    (kept,) = root.glob("audit-before-*/audit.log")
    assert AuditLog(kept).verify() == 2


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    parts = members(content)
    info, last = parts[-1]
    return packed([*parts[:-1], (info, bytes([last[0] ^ 1]) + last[1:])])


def shortened(content: bytes) -> bytes:
    return packed(members(content)[:-1])


def longer(content: bytes) -> bytes:
    return packed([*members(content), (tarfile.TarInfo("state/more"), b"more")])


def exchanged(content: bytes) -> bytes:
    first, second, third, *rest = members(content)
    return packed([first, third, second, *rest])


def listing(content: bytes, **changes: object) -> bytes:
    (info, header), *rest = members(content)
    return packed([(info, json.dumps({**json.loads(header), **changes}).encode()), *rest])


def with_foreign_path(content: bytes, path: str) -> bytes:
    (_, header), *_ = members(content)
    files = json.loads(header)["files"]
    return listing(content, files=[*files, {"path": path, "size_bytes": 0, "sha256": "0" * 64}])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (cut, "it ends early"),
        (lambda _: b"", "it ends early"),
        (lambda _: b"PK\3\4 a zip archive" * 100, "a header"),
        (lambda content: packed([(tarfile.TarInfo("etc/passwd"), b"root")]), r"first file is backup\.json, came 'etc"),
        (flipped, "the bytes are not the ones that were backed up"),
        (shortened, r"expected \d+ files, came \d+"),
        (longer, "expected no more files, came state/more of 4"),
        (exchanged, "expected state/.* bytes, came"),
        (lambda content: listing(content, schema="another/1"), "schema: "),
        (lambda content: with_foreign_path(content, "state/device.key"), "came 'state/device.key'"),
        (lambda content: with_foreign_path(content, "state/generations/../../x.json"), "expected what belongs"),
        (lambda content: with_foreign_path(content, "/etc/passwd"), "came '/etc/passwd'"),
    ],
)
def test_what_is_no_whole_backup_is_refused_with_a_word_and_changes_nothing(
    backup: Backup, tmp_path: Path, spoil: object, told: str
) -> None:
    root = device(tmp_path / "state")
    before = tree(root)
    expected = f"press-4.backup: expected a whole backup of edge-agent: .*{told}"
    with pytest.raises(StorageError, match=expected):
        brought_back(spoil(backup.content), root, tmp_path / "scratch", replace=True)  # type: ignore[operator]
    assert tree(root) == before


def test_a_backup_of_a_newer_agent_is_refused(backup: Backup, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="expected a backup of layout 2 or older, came 99"):
        brought_back(listing(backup.content, layout=99), tmp_path / "state", tmp_path / "scratch")
    assert not (tmp_path / "state").exists()


def test_where_there_is_no_state_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="expected the state directory of an agent, there is none"):
        backed_up(tmp_path / "state")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [None, errno.ENOSPC, errno.EIO])
def test_a_restore_that_is_cut_off_at_any_step_leaves_the_old_state_or_the_new_one(
    backup: Backup, tmp_path: Path, error: int | None
) -> None:
    here = make_release("other", "5")

    def begin(root: Path) -> Path:
        with faults():
            store = Store(root)
            install(store, here)
            store.commit({"other": here.committed()})
            AuditLog(root / "audit.log").append("installed", model="other")
        return root

    first = begin(tmp_path / "first")
    with faults() as counted:
        brought_back(backup.content, first, tmp_path / "scratch", replace=True)
    seen = set()
    every = 1 if os.environ.get("EDGE_TEST_SWEEP") else 4 if error is None else 11
    for at in range(1, len(counted.calls) + 1, every):
        root = begin(tmp_path / str(at))
        with faults(at=at, error=error) as faulty, suppress(Killed, AgentError):
            brought_back(backup.content, root, tmp_path / "scratch", replace=True)
        assert faulty.fired
        with faults():
            # What a start does.
            exchange.finish(root)
            store = Store(root)
            store.recover()
            committed = store.generations.current().models
            (name,) = committed
            seen.add(name)
            if name == "other":
                assert not (root / "inspections.db").exists()
                assert store.verify(here.model_version, manifest_sha256=here.sha256)
            else:
                assert count(root) == 41
                assert store.verify(NEW.model_version, manifest_sha256=NEW.sha256)
            assert AuditLog(root / "audit.log").verify() >= 1
        shutil.rmtree(root)
    assert seen == {"other", "unet"}
