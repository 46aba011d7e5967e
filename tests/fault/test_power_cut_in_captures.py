"""Whatever a power cut leaves of the spool: what was on disk still waits, whole, and nothing half is sent."""

import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from edge_agent.capture import files
from edge_agent.capture.records import from_frame
from edge_agent.capture.shelf import Shelf
from edge_agent.formats import EncodedPicture
from tests.fakes.captures import AT, frame
from tests.fakes.faulty_os import Killed, faults
from tests.fakes.power_cut import PowerCut

NAMES = ("f1", "f2", "f3")


def put(shelf: Shelf, name: str) -> None:
    shelf.put(*from_frame(frame(name, at=AT), EncodedPicture(b"\xff\xd8" + name.encode() * 50)))


def waiting(directory: Path) -> set[str]:
    """Return what a fresh start finds; every one of it must be whole."""
    shelf = Shelf(directory, 1 << 20)
    found = shelf.waiting()
    for entry in found:
        capture, contents = files.read(entry.path)
        assert contents[0] == b"\xff\xd8" + capture.id.encode() * 50
    shelf.close()
    return {entry.capture.id for entry in found}


def test_power_cut_at_any_moment_loses_no_capture_that_was_on_disk(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    disk = PowerCut(state)
    put_at: dict[str, int] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edge_agent.storage.steps.os", disk)
        shelf = Shelf(state / "captures", 1 << 20)
        for name in NAMES:
            put(shelf, name)
            put_at[name] = disk.clock
        finishing = disk.clock
        shelf.finish(next(entry for entry in shelf.waiting() if entry.capture.id == "f1"), "UPLOADED")
        finished = disk.clock
        shelf.close()
    # SQLite keeps its own promises; an empty history is enough, and made once it costs no syncs.
    Shelf(tmp_path / "template", 0).close()
    count = 0
    for moment, left in disk.states(random.Random(3)):
        after = tmp_path / "after"
        disk.write_out(left, after)
        (after / "captures").mkdir(exist_ok=True)
        shutil.copy(tmp_path / "template/history.db", after / "captures")
        with faults():
            found = waiting(after / "captures")
        promised = {name for name, at in put_at.items() if at <= moment}
        if moment >= finishing:
            promised.discard("f1")
        assert promised <= found <= set(NAMES)
        assert "f1" not in found or moment < finished
        shutil.rmtree(after)
        count += 1
    assert count > 20


def test_killed_at_every_change_of_a_write_it_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    at = 0
    while True:
        at += 1
        directory = tmp_path / f"killed-{at}"
        shelf = Shelf(directory, 1 << 20)
        with faults(at=at) as faulty, suppress(Killed):
            put(shelf, "f1")
        shelf.close()
        found = waiting(directory)
        assert found == {"f1"} if not faulty.fired else found <= {"f1"}
        assert not list(directory.glob("*.staged"))
        if not faulty.fired:
            break
    assert at > 4
