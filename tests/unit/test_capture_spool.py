import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.capture import files, records
from edge_agent.errors import Code, InferenceError, StorageError
from edge_agent.formats import EncodedPicture, RawPicture, Verdict
from edge_agent.storage import durable
from edge_agent.telemetry import metrics
from tests.fakes.capture_line import CaptureLine
from tests.fakes.captures import AT, frame, tensors

PICTURE = EncodedPicture(b"\xff\xd8" + bytes(5000))


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CaptureLine]:
    made = CaptureLine(tmp_path / "captures", PICTURE)
    yield made
    made.end()


class Stuck(threading.Event):
    """A disk that hangs until this is set; ``reached`` tells that something is to be written."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stuck]:
    free = Stuck()
    write = durable.write

    def hang(path: Path, content: bytes, *, mode: int = 0o644) -> None:
        free.reached.set()
        assert free.wait(60)
        write(path, content, mode=mode)

    monkeypatch.setattr(durable, "write", hang)
    yield free
    free.set()


def refusal(act: Callable[[], object]) -> Code:
    with pytest.raises(InferenceError) as caught:
        act()
    return caught.value.code


def test_a_captured_frame_is_on_disk_then_in_the_cloud_then_gone(line: CaptureLine) -> None:
    assert line.take("f1")
    (path,) = line.files()
    status = line.spool.status()
    assert (status.pending, status.bytes, status.oldest_s, status.uploaded) == (1, path.stat().st_size, 60.0, 0)
    assert line.send() == [0.0]
    assert sorted(line.bucket.stored) == [
        "line/unet/2026/05/31/20/f1.jsonl",
        "line/unet/2026/05/31/20/raw-data/f1-1.jpg",
    ]
    assert line.files() == []
    status = line.spool.status()
    assert (status.pending, status.bytes, status.oldest_s, status.uploaded, status.message) == (0, 0, 0.0, 1, "")


def test_what_the_policy_does_not_want_leaves_no_trace(line: CaptureLine) -> None:
    line.begin(policy="ng")
    assert not line.take("f1", Verdict.OK)
    assert line.files() == []
    assert line.spool.status().message == ""


def test_pending_captures_are_found_again_after_a_restart(line: CaptureLine) -> None:
    for name in ("f1", "f2"):
        line.take(name)
    size = line.spool.status().bytes
    line.begin()
    assert (line.spool.status().pending, line.spool.status().bytes) == (2, size)
    line.send(2)
    assert sorted(line.sent()) == ["f1", "f2"]
    line.begin()
    assert (line.spool.status().pending, line.spool.status().uploaded) == (0, 2)


def test_defects_are_sent_first_the_newest_before_all_and_of_the_rest_the_oldest(line: CaptureLine) -> None:
    line.take("ok-old", Verdict.OK, AT)
    line.take("ng-new", Verdict.NG, AT + 3)
    line.take("ok-new", Verdict.OK, AT + 1)
    line.take("ng-old", Verdict.NG, AT + 2)
    line.send(4)
    assert line.sent() == ["ng-new", "ng-old", "ok-old", "ok-new"]


def test_an_outage_delays_and_loses_nothing(line: CaptureLine) -> None:
    names = ["f1", "f2", "f3"]
    for number, name in enumerate(names):
        line.take(name, at=AT + number)
    line.bucket.away = True
    delays = line.send(200)
    assert all(0 <= delay <= 120 for delay in delays)
    assert max(delays) > 60
    assert line.spool.status().pending == 3
    assert "the store is away" in line.spool.status().message
    line.bucket.away = False
    line.send(3)
    assert sorted(line.sent()) == names
    assert line.spool.status().message == ""


def test_one_that_can_never_be_sent_does_not_hold_up_the_rest(line: CaptureLine) -> None:
    line.take("poison", at=AT)
    for number in range(5):
        line.take(f"f{number}", at=AT - 1 - number)
    line.bucket.refuses = "poison"
    delays = line.send(6)
    assert line.sent() == ["f0", "f1", "f2", "f3", "f4"]
    assert [delay > 0 for delay in delays] == [True, False, False, False, False, False]
    line.bucket.refuses = ""
    line.send()
    assert line.sent()[-1] == "poison"


def test_files_that_cannot_be_read_do_not_hold_up_the_rest_however_many(line: CaptureLine) -> None:
    for number in range(3):
        line.take(f"gone{number}", at=AT - number)
    line.take("sound", at=AT - 3)
    for path in line.files()[1:]:
        path.unlink()
    line.send(4)
    assert line.sent() == ["sound"]
    assert line.spool.status().pending == 3


def _counted(name: str) -> float:
    return float(metrics.exposition().decode().split(f"\n{name} ")[1].split("\n")[0])


def test_a_full_quota_drops_the_newest_and_says_so(line: CaptureLine) -> None:
    line.take("f1")
    room = line.spool.status().bytes * 2 + 100
    line.begin(quota_bytes=room)
    dropped = _counted("edge_agent_captures_dropped_total")
    assert line.take("f2")
    assert not line.take("f3")
    assert _counted("edge_agent_captures_dropped_total") == dropped + 1
    assert line.spool.status().pending == 2
    assert line.spool.status().message.startswith("1 captures dropped")
    line.send()
    assert line.take("f4")
    assert {report.id for report in line.spool.list(10) if report.state == "PENDING"} == {"f2", "f4"}


def test_offer_never_waits_for_the_disk(line: CaptureLine, stuck: Stuck) -> None:
    line.begin(queue_bytes=len(PICTURE.content) * 3)
    started = time.monotonic()
    taken = [line.spool.offer(frame(f"f{number}"), PICTURE) for number in range(10)]
    # The disk hangs for as long as it likes; a wait for it would never end.
    assert time.monotonic() - started < 30
    assert taken == [True] * 3 + [False] * 7
    assert line.spool.status().message.startswith("7 captures dropped")
    stuck.set()
    assert line.spool.drain(30)
    assert line.spool.status().pending == 3


def test_a_picture_larger_than_the_queue_is_taken_when_the_queue_is_empty(line: CaptureLine) -> None:
    line.begin(queue_bytes=10)
    assert line.take("f1")
    assert line.spool.status().pending == 1


def test_pixels_in_borrowed_memory_are_copied_before_they_change(line: CaptureLine, stuck: Stuck) -> None:
    pixels = bytearray(b"\x07" * 30 * 20 * 3)
    assert line.spool.offer(frame("f1"), RawPicture(memoryview(pixels), 30, 20))
    pixels[:] = bytes(len(pixels))
    stuck.set()
    assert line.spool.drain(30)
    (path,) = line.files()
    _, expected = records.from_frame(frame("f1"), RawPicture(b"\x07" * 30 * 20 * 3, 30, 20), reason="ng")
    assert path.read_bytes().endswith(b"".join(expected))


def test_pixels_that_do_not_fill_their_size_are_refused(line: CaptureLine) -> None:
    assert refusal(lambda: line.spool.offer(frame("f1"), RawPicture(b"123", 2, 2))) is Code.INVALID_ARGUMENT
    assert line.take("f2")


def test_a_full_disk_drops_counts_and_goes_on(
    line: CaptureLine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, content: bytes, *, mode: int = 0o644) -> None:
        raise StorageError(Code.NO_SPACE, f"{path}: no space left")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(durable, "write", full)
        assert line.take("f1")
    assert [record.message for record in caplog.records] == ["capture dropped"]
    assert line.spool.status().message.startswith("1 captures dropped")
    assert line.take("f1")
    assert line.spool.status().pending == 1


def test_a_capture_that_cannot_be_encoded_is_lost_alone_said_and_counted(
    line: CaptureLine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a fault of the encoder")

    dropped = _counted("edge_agent_captures_dropped_total")
    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR):
        patched.setattr(records, "from_frame", broken)
        patched.setattr(records, "from_tensors", broken)
        assert line.take("f1")
        line.spool.capture_tensors(tensors("c1"))
        assert line.spool.drain(30)
    assert [record.message for record in caplog.records] == ["capture not encoded"] * 2
    assert caplog.records[0].__dict__["capture"] == "f1"
    assert caplog.records[0].exc_info is not None
    assert _counted("edge_agent_captures_dropped_total") == dropped + 2
    assert line.spool.status().message == "2 captures lost: they could not be encoded, see the log"
    assert line.spool.capture_state("c1") == "FAILURE"
    assert line.spool.capture_state("f1") is None
    assert line.take("f2")
    assert line.spool.status().pending == 1


def test_what_a_stop_leaves_unwritten_is_said_and_counted_and_what_is_under_way_is_written(
    line: CaptureLine, stuck: Stuck, caplog: pytest.LogCaptureFixture
) -> None:
    line.uploader.stop()
    for number in range(3):
        assert line.spool.offer(frame(f"f{number}"), PICTURE)
    assert stuck.reached.wait(60)
    dropped = _counted("edge_agent_captures_dropped_total")

    def disk_that_comes_back() -> None:
        assert line.spool._writer.stopping.wait(60)
        stuck.set()

    disk = threading.Thread(target=disk_that_comes_back)
    disk.start()
    line.running = False
    with caplog.at_level(logging.WARNING):
        line.spool.stop(timeout_s=0.01)
    disk.join()
    assert len(line.files()) == 1
    assert _counted("edge_agent_captures_dropped_total") == dropped + 2
    (record,) = caplog.records
    assert (record.message, record.__dict__["captures"]) == ("captures lost at the stop", 2)


@pytest.mark.parametrize("damage", [b"", b"{}\n", b"\x00" * 300, b"garbage"])
def test_a_damaged_file_is_found_at_the_start_and_given_up(
    line: CaptureLine, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    line.take("f1")
    line.take("f2", at=AT + 1)
    line.end()
    line.files()[0].write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        line.begin()
    assert [record.message for record in caplog.records] == ["capture damaged"]
    assert line.spool.status().pending == 1
    line.send()
    assert line.sent() == ["f2"]


def test_a_file_that_cannot_be_read_at_the_start_waits_for_the_next(
    line: CaptureLine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    line.take("f1")

    def unreadable(path: Path) -> records.Capture:
        raise StorageError(Code.STORAGE_FAILED, f"{path}: input/output error")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(files, "read_header", unreadable)
        line.begin()
    assert [record.message for record in caplog.records] == ["capture cannot be read"]
    line.begin()
    line.send()
    assert line.sent() == ["f1"]


def test_a_file_damaged_while_it_waits_is_told_as_failed(line: CaptureLine) -> None:
    line.take("f1")
    (path,) = line.files()
    path.write_bytes(path.read_bytes()[:-1])
    line.send()
    assert line.bucket.stored == {}
    assert (line.spool.status().failed, line.spool.status().pending) == (1, 0)
    assert [report.state for report in line.spool.list(5)] == ["FAILED"]


def test_the_power_going_between_sent_and_forgotten_sends_nothing_twice(
    line: CaptureLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.take("f1")

    def dies(path: Path, target: Path) -> None:
        raise StorageError(Code.STORAGE_FAILED, f"{path}: input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(durable, "publish", dies)
        line.send()
    assert line.sent() == ["f1"]
    assert len(line.files()) == 1
    line.begin()
    assert line.files() == []
    assert (line.spool.status().pending, line.spool.status().uploaded) == (0, 1)


def test_half_written_files_of_an_unclean_end_are_swept(line: CaptureLine) -> None:
    line.end()
    leftover = durable.staging_path(line.directory / "x.capture")
    leftover.write_bytes(b"half")
    line.begin()
    assert not leftover.exists()


def test_a_damaged_history_costs_old_news_only(line: CaptureLine, caplog: pytest.LogCaptureFixture) -> None:
    line.take("f1")
    line.end()
    for path in line.directory.glob("history.db*"):
        path.write_bytes(b"not a database" * 100)
    with caplog.at_level(logging.WARNING):
        line.begin()
    told = [(record.message, vars(record)["database"]) for record in caplog.records if "database" in vars(record)]
    assert told == [("database begun anew", "history.db")]
    line.send()
    assert line.sent() == ["f1"]


def test_labels_that_cannot_be_read_just_now_are_said_and_end_nothing(
    line: CaptureLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable() -> None:
        raise StorageError(Code.STORAGE_FAILED, "labels.db: disk I/O error")

    line.take("f1", Verdict.OK)
    with monkeypatch.context() as trouble:
        trouble.setattr(line.spool.labels, "unsent", unreadable)
        (pause_s,) = line.send()
        assert pause_s > 0
        assert line.spool.status().message == "labels.db: disk I/O error"
        assert line.sent() == []
    line.send()
    assert (line.sent(), line.spool.status().message) == (["f1"], "")


def test_captures_are_listed_newest_first_with_their_state(line: CaptureLine) -> None:
    for number, name in enumerate(["f1", "f2", "f3"]):
        line.take(name, at=AT + number)
    line.send()
    reports = line.spool.list(10)
    assert [(report.id, report.state) for report in reports] == [
        ("f3", "UPLOADED"),
        ("f2", "PENDING"),
        ("f1", "PENDING"),
    ]
    assert (reports[0].model, reports[0].version, reports[0].verdict, reports[0].at) == ("unet", "1", "NG", AT + 2)
    assert [report.id for report in line.spool.list(1)] == ["f3"]
    assert line.spool.list(0) == []


def test_a_client_s_tensors_are_in_progress_until_they_are_in_the_cloud_also_after_a_restart(line: CaptureLine) -> None:
    capture = tensors()
    assert line.spool.capture_state(capture.capture_id) is None
    line.spool.capture_tensors(capture)
    assert line.spool.capture_state(capture.capture_id) == "IN_PROGRESS"
    line.begin()
    assert line.spool.capture_state(capture.capture_id) == "IN_PROGRESS"
    line.send()
    assert line.spool.capture_state(capture.capture_id) == "SUCCESS"
    line.begin()
    assert line.spool.capture_state(capture.capture_id) == "SUCCESS"


def test_tensors_are_captured_whatever_the_policy_for_frames_is(line: CaptureLine) -> None:
    line.begin(policy="none")
    line.spool.capture_tensors(tensors("c1"))
    assert line.spool.drain(30)
    line.send()
    assert line.sent() == ["c1"]


@pytest.mark.parametrize("moment", ["queued", "waiting", "sent", "restarted"])
def test_an_id_is_taken_once(line: CaptureLine, moment: str) -> None:
    line.spool.capture_tensors(tensors("c1"))
    if moment != "queued":
        assert line.spool.drain(30)
    if moment in ("sent", "restarted"):
        line.send()
    if moment == "restarted":
        line.begin()
    assert refusal(lambda: line.spool.capture_tensors(tensors("c1"))) is Code.ALREADY_EXISTS


def test_tensors_beyond_the_quota_are_refused_at_once(line: CaptureLine) -> None:
    line.begin(quota_bytes=1000)
    assert refusal(lambda: line.spool.capture_tensors(tensors("c1", size=1000))) is Code.RESOURCE_EXHAUSTED
    assert line.spool.capture_state("c1") is None


def test_tensors_are_refused_while_the_buffer_is_full(line: CaptureLine, stuck: Stuck) -> None:
    line.begin(queue_bytes=1)
    line.spool.capture_tensors(tensors("c1"))
    assert refusal(lambda: line.spool.capture_tensors(tensors("c2"))) is Code.RESOURCE_EXHAUSTED
    assert line.spool.capture_state("c1") == "IN_PROGRESS"
    stuck.set()


def test_tensors_that_could_not_be_written_have_failed_also_after_a_restart(
    line: CaptureLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes, *, mode: int = 0o644) -> None:
        raise StorageError(Code.NO_SPACE, f"{path}: no space left")

    with monkeypatch.context() as patched:
        patched.setattr(durable, "write", full)
        line.spool.capture_tensors(tensors("c1"))
        assert line.spool.drain(30)
    assert line.spool.capture_state("c1") == "FAILURE"
    line.begin()
    assert line.spool.capture_state("c1") == "FAILURE"


def test_a_time_that_has_no_folder_is_refused(line: CaptureLine) -> None:
    for at in (-1.0, float("nan"), float("inf"), 1e15):
        assert refusal(lambda at=at: line.spool.capture_tensors(tensors("c1", at=at))) is Code.OUT_OF_RANGE  # type: ignore[misc]


def test_without_a_destination_a_capture_is_done_when_it_is_on_disk(line: CaptureLine) -> None:
    line.begin(uploads=False)
    line.spool.capture_tensors(tensors("c1"))
    assert line.spool.drain(30)
    assert line.spool.capture_state("c1") == "SUCCESS"
    line.begin(uploads=False)
    assert line.spool.capture_state("c1") == "SUCCESS"


def test_a_very_long_id_still_gets_a_file_and_its_full_name_in_the_cloud(line: CaptureLine) -> None:
    name = "é/" * 200
    assert line.take(name)
    line.begin()
    line.send()
    assert len(line.sent()) == 1
    assert line.spool.list(1)[0].id == name


def test_the_threads_bring_a_capture_to_the_cloud_and_end_when_asked(line: CaptureLine) -> None:
    line.uploader.start()
    assert line.spool.offer(frame("f1"), PICTURE)
    assert line.bucket.has_record.wait(60)
    line.uploader.stop()
    assert line.spool.capture_state("f1") == "SUCCESS"
    line.end()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("capture-")]
