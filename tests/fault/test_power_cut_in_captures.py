"""Whatever a power cut or a kill leaves of the spool: what was on disk still waits, whole, and nothing half is sent.

So do a person's acts: a pause and a label that were acknowledged hold.
"""

import random
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from edge_agent.capture import files
from edge_agent.capture.labels import Labels
from edge_agent.capture.pauses import Paused, Pauses
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
            # Sent or not, its file is here: it waits or is kept.
            assert len(list((after / "captures").glob("*-f1.*"))) == 1
        assert promised <= found <= set(NAMES)
        assert "f1" not in found or moment < finished
        shutil.rmtree(after)
        count += 1
    assert count > 20


def test_power_cut_at_any_moment_leaves_the_pause_that_was_acknowledged(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    disk = PowerCut(state)
    acknowledged: list[tuple[int, Paused]] = [(-1, Paused())]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edge_agent.storage.steps.os", disk)
        pauses = Pauses(state / "pauses.json")
        for capture, upload in ((True, None), (None, True), (False, None), (False, False)):
            asked = pauses.set(capture=capture, upload=upload)
            acknowledged.append((disk.clock, asked))
    count = 0
    for moment, left in disk.states(random.Random(5)):
        after = tmp_path / "after"
        disk.write_out(left, after)
        found = Pauses(after / "pauses.json").now
        number = max(index for index, (at, _) in enumerate(acknowledged) if at <= moment)
        # What was acknowledged last, or what was being written.
        assert found in [paused for _, paused in acknowledged[number : number + 2]]
        shutil.rmtree(after)
        count += 1
    assert count > 10


LABELLER = """
import sys
from pathlib import Path
from edge_agent.capture.labels import Label, Labels
labels = Labels(Path(sys.argv[1]))
for number in range(100_000):
    labels.set(Label(f"f{number}", "NG", "anna", number, 0.0, ("unet",)))
    print(number, flush=True)
"""


@pytest.mark.parametrize("acknowledgements", [1, 7, 40])
def test_killed_while_people_label_every_label_that_was_acknowledged_is_there(
    tmp_path: Path, acknowledgements: int
) -> None:
    path = tmp_path / "labels.db"
    with subprocess.Popen([sys.executable, "-c", LABELLER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(acknowledgements):
            assert process.stdout.readline()
        process.kill()
        rest = process.stdout.read().split()
    told = acknowledgements + len(rest)
    acknowledged = {f"f{number}" for number in range(told)}
    labels = Labels(path)
    found, unsent = labels.of(acknowledged), labels.count_unsent()
    labels.close()
    assert found.keys() == acknowledged
    assert told <= unsent <= told + 1


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
