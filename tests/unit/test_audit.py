import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.errors import StorageError
from edge_agent.store import AuditLog


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    times = itertools.count(100)
    return AuditLog(tmp_path / "audit.log", now=lambda: float(next(times)))


def _fill(log: AuditLog, count: int = 4) -> None:
    for number in range(count):
        log.append("rolled_back", model="unet", reason=f"reason {number} — ü", number=number)


def test_lines_carry_what_was_done_and_the_digest_of_the_line_before(log: AuditLog, tmp_path: Path) -> None:
    assert log.verify() == 0
    _fill(log)
    lines = [json.loads(line) for line in (tmp_path / "audit.log").read_bytes().splitlines()]
    assert [line["number"] for line in lines] == [0, 1, 2, 3]
    assert [line["at"] for line in lines] == [100, 101, 102, 103]
    assert [line["previous"] for line in lines[1:]] == [line["sha256"] for line in lines[:-1]]
    assert log.verify() == 4


def test_another_process_goes_on_where_the_chain_ended(log: AuditLog, tmp_path: Path) -> None:
    _fill(log)
    AuditLog(tmp_path / "audit.log").append("committed")
    assert log.verify() == 5


def _alter(lines: list[bytes]) -> None:
    lines[1] = lines[1].replace(b"reason 1", b"reason 9")


def _swap(lines: list[bytes]) -> None:
    lines[1], lines[2] = lines[2], lines[1]


def _remove(lines: list[bytes]) -> None:
    del lines[1]


def _remove_first(lines: list[bytes]) -> None:
    del lines[0]


def _insert(lines: list[bytes]) -> None:
    lines.insert(2, lines[1])


def _spoil(lines: list[bytes]) -> None:
    lines[2] = b"not json\n"


@pytest.mark.parametrize("tamper", [_alter, _swap, _remove, _remove_first, _insert, _spoil])
def test_a_line_that_was_changed_moved_added_or_taken_out_breaks_the_chain(
    log: AuditLog, tmp_path: Path, tamper: object
) -> None:
    _fill(log)
    lines = (tmp_path / "audit.log").read_bytes().splitlines(keepends=True)
    assert callable(tamper)
    tamper(lines)
    (tmp_path / "audit.log").write_bytes(b"".join(lines))
    with pytest.raises(StorageError, match="was changed"):
        log.verify()


def test_a_line_that_a_power_cut_tore_is_not_counted_and_gives_way_to_the_next(log: AuditLog, tmp_path: Path) -> None:
    _fill(log)
    content = (tmp_path / "audit.log").read_bytes()
    (tmp_path / "audit.log").write_bytes(content[:-20])
    assert log.verify() == 3
    log.append("committed")
    assert log.verify() == 4
    assert json.loads((tmp_path / "audit.log").read_bytes().splitlines()[-1])["action"] == "committed"


def test_nothing_is_added_to_a_log_whose_last_line_was_changed(log: AuditLog, tmp_path: Path) -> None:
    _fill(log, 1)
    changed = (tmp_path / "audit.log").read_bytes().replace(b"reason 0", b"reason 9")
    (tmp_path / "audit.log").write_bytes(changed)
    with pytest.raises(StorageError):
        log.append("committed")
    assert (tmp_path / "audit.log").read_bytes() == changed


@pytest.mark.parametrize(
    "fields", [{"sha256": "x"}, {"at": 1}, {"what": object()}, {"what": float("nan")}, {"big": "x" * 70_000}]
)
def test_fields_that_cannot_stand_in_a_line_are_refused(
    log: AuditLog, tmp_path: Path, fields: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match=r"expected|JSON"):
        log.append("committed", **fields)
    assert not (tmp_path / "audit.log").exists()


def _aside(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("audit.*.log"))


def test_a_large_file_is_set_aside_and_the_chain_goes_on_in_a_new_one(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log", now=lambda: 1.0, limit_bytes=600)
    _fill(log, 12)
    assert len(_aside(tmp_path)) >= 3
    assert log.verify() == AuditLog(tmp_path / "audit.log").verify() == 12
    assert all(path.stat().st_size < 1000 for path in tmp_path.glob("audit*.log"))


def test_files_set_aside_are_read_by_their_numbers(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log", now=lambda: 1.0, limit_bytes=1)
    _fill(log, 12)
    assert len(_aside(tmp_path)) == 11
    assert log.verify() == 12


@pytest.mark.parametrize("tamper", ["gone", "first gone", "swapped", "line changed", "torn"])
def test_a_file_set_aside_that_was_changed_or_taken_out_breaks_the_chain(tmp_path: Path, tamper: str) -> None:
    log = AuditLog(tmp_path / "audit.log", now=lambda: 1.0, limit_bytes=600)
    _fill(log, 12)
    first, second = (tmp_path / f"audit.{number}.log" for number in (1, 2))
    if tamper == "gone":
        second.unlink()
    elif tamper == "first gone":
        first.unlink()
    elif tamper == "swapped":
        content = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(content)
    elif tamper == "torn":
        first.write_bytes(first.read_bytes()[:-5])
    else:
        first.write_bytes(first.read_bytes().replace(b"reason 1", b"reason 9"))
    with pytest.raises(StorageError, match="was changed"):
        log.verify()


def test_a_log_whose_file_was_just_set_aside_goes_on_from_there(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log", now=lambda: 1.0)
    _fill(log, 3)
    # As a power cut leaves it between the rename and the first line of the new file.
    (tmp_path / "audit.log").rename(tmp_path / "audit.1.log")
    assert log.verify() == 3
    _fill(log, 2)
    assert log.verify() == 5


def test_a_torn_line_is_not_set_aside(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log", now=lambda: 1.0, limit_bytes=100)
    _fill(log, 1)
    with (tmp_path / "audit.log").open("ab") as file:
        file.write(b'{"torn": ')
    _fill(log, 1)
    assert _aside(tmp_path) == ["audit.1.log"]
    assert log.verify() == 2


def test_several_processes_append_without_breaking_the_chain(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from edge_agent.store import AuditLog\n"
        "log = AuditLog(Path(sys.argv[1]), limit_bytes=2000)\n"
        "for number in range(25): log.append('tried', number=number)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "audit.log")]
    writers = [subprocess.Popen(command) for _ in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    assert AuditLog(tmp_path / "audit.log").verify() == 100
    assert len(_aside(tmp_path)) > 2
