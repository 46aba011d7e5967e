"""Captures as people see them: kept, labelled, paused, in bounded room."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_agent.capture import Sampling, files, history, labels
from edge_agent.capture.ageing import Uptime, uptime
from edge_agent.capture.browsing import CapturePart
from edge_agent.capture.records import from_frame
from edge_agent.errors import Code, InferenceError, StorageError
from edge_agent.formats import EncodedPicture, Verdict
from edge_agent.storage import durable
from edge_agent.storage.database import Database
from edge_agent.telemetry import metrics
from edge_agent.vision import decode, encode_jpeg, encode_png
from tests.fakes.capture_line import FOLDER, CaptureLine
from tests.fakes.captures import AT, frame, tensors

PIXELS = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
PICTURE = EncodedPicture(encode_jpeg(PIXELS))
MASK = encode_png(np.zeros((300, 400), np.uint8))


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CaptureLine]:
    made = CaptureLine(tmp_path / "captures", PICTURE)
    yield made
    made.end()


def missing(line: CaptureLine, name: str, part: CapturePart) -> str:
    with pytest.raises(InferenceError) as caught:
        line.spool.content(name, part)
    assert caught.value.code is Code.NOT_FOUND
    return caught.value.message


@pytest.mark.parametrize("sent", [False, True])
def test_a_capture_tells_what_it_is_and_shows_its_pictures_before_and_after_it_was_sent(
    line: CaptureLine, *, sent: bool
) -> None:
    line.take("f1", mask=MASK)
    if sent:
        line.send()
        line.begin()
    (told,) = line.spool.list(10)
    assert (told.state, told.score, told.threshold, told.reason) == ("UPLOADED" if sent else "PENDING", 0.9, 0.5, "ng")
    assert (told.source, told.name, told.has_picture, told.has_mask, told.label) == ("cam", "", True, True, "")
    assert line.spool.content("f1", "picture") == (PICTURE.content, "image/jpeg")
    assert line.spool.content("f1", "mask") == (MASK, "image/png")
    small, kind = line.spool.content("f1", "thumbnail")
    assert (decode(small).shape, kind) == ((180, 240, 3), "image/jpeg")
    assert not any("thumbnail" in key for key in line.bucket.stored)


def test_what_is_not_there_is_said_so(line: CaptureLine) -> None:
    line.take("f1")
    line.spool.capture_tensors(tensors("c1"))
    assert line.spool.drain(30)
    assert missing(line, "f1", "mask") == "capture f1: expected a mask, it was captured without one"
    assert missing(line, "f2", "picture") == "there is no capture f2"
    assert "captured without one" in missing(line, "c1", "picture")
    assert line.here() == {"f1"}


def test_a_picture_that_cannot_be_read_is_captured_without_a_thumbnail(line: CaptureLine) -> None:
    line.take("f1", picture=EncodedPicture(b"\xff\xd8 broken"))
    assert line.spool.content("f1", "picture")[0] == b"\xff\xd8 broken"
    assert "cannot be read" in missing(line, "f1", "thumbnail")


def test_the_list_is_paged_and_filtered(line: CaptureLine) -> None:
    for number in range(4):
        line.take(f"ng{number}", at=AT + number)
        line.take(f"ok{number}", Verdict.OK, at=AT + number + 0.5)
    line.send(2)
    ids = [report.id for report in line.spool.list(3)]
    assert ids == ["ok3", "ng3", "ok2"]
    assert [report.id for report in line.spool.list(3, before=AT + 2.5)] == ["ng2", "ok1", "ng1"]
    assert [report.id for report in line.spool.list(9, verdict="NG")] == ["ng3", "ng2", "ng1", "ng0"]
    assert [report.id for report in line.spool.list(9, state="UPLOADED")] == ["ng3", "ng2"]
    assert [report.id for report in line.spool.list(9, verdict="NG", state="PENDING")] == ["ng1", "ng0"]


def test_the_reason_that_wanted_it_is_kept_in_the_record(line: CaptureLine) -> None:
    line.begin(policy="chosen", sampling=Sampling(every=2))
    assert [line.take(f"f{number}") for number in range(4)] == [False, True, False, True]
    line.send(2)
    record = json.loads(line.bucket.stored[f"{FOLDER}/f3.jsonl"])
    told = next(entry for entry in record["deviceFleetAuxiliaryOutputs"] if entry["observedContentType"] == "json")
    assert json.loads(base64.b64decode(told["data"]))["reason"] == "every"


def test_what_is_in_the_cloud_gives_way_the_oldest_first_and_defects_last(line: CaptureLine) -> None:
    size = len(files.encode(*from_frame(frame("ng0"), PICTURE, reason="ng")))
    line.begin(quota_bytes=4 * size + size // 2)
    for number, verdict in enumerate([Verdict.NG, Verdict.OK, Verdict.OK, Verdict.NG]):
        line.take(f"f{number}", verdict, at=AT + number)
    line.send(4)
    assert line.here() == {"f0", "f1", "f2", "f3"}
    line.take("f4", at=AT + 4)
    assert line.here() == {"f0", "f2", "f3", "f4"}
    line.take("f5", at=AT + 5)
    line.take("f6", at=AT + 6)
    assert line.here() == {"f3", "f4", "f5", "f6"}
    line.begin(quota_bytes=4 * size + size // 2)
    assert line.here() == {"f3", "f4", "f5", "f6"}
    assert "not on this device any more" in missing(line, "f0", "picture")


def test_what_waits_never_gives_way(line: CaptureLine) -> None:
    size = len(files.encode(*from_frame(frame("f0"), PICTURE, reason="ng")))
    line.begin(quota_bytes=2 * size + size // 2)
    assert [line.take(f"f{number}", at=AT + number) for number in range(4)] == [True, True, False, False]
    assert (line.spool.status().pending, line.spool.status().dropped) == (2, 2)
    assert line.spool.status().quota_bytes == 2 * size + size // 2


def test_a_full_disk_takes_the_place_of_what_the_cloud_has(line: CaptureLine, monkeypatch: pytest.MonkeyPatch) -> None:
    line.take("f0")
    line.send()
    write, tries = durable.write, []

    def full_once(path: Path, content: bytes, *, mode: int = 0o644) -> None:
        tries.append(path)
        if len(tries) == 1:
            raise StorageError(Code.NO_SPACE, f"{path}: no space left on device")
        write(path, content, mode=mode)

    with monkeypatch.context() as patched:
        patched.setattr(durable, "write", full_once)
        line.take("f1")
    assert line.here() == {"f1"}
    assert line.spool.status().dropped == 0


def test_a_device_that_sends_nothing_keeps_the_newest(line: CaptureLine) -> None:
    size = len(files.encode(*from_frame(frame("f0"), PICTURE, reason="ng")))
    line.begin(quota_bytes=2 * size + size // 2, uploads=False)
    assert all(line.take(f"f{number}", at=AT + number) for number in range(5))
    assert line.here() == {"f3", "f4"}


DAY_S = 86_400.0


@pytest.mark.parametrize(("uploads", "stays"), [(True, {"f1", "f2"}), (False, {"f2"})])
def test_age_removes_what_nothing_waits_for(line: CaptureLine, *, uploads: bool, stays: set[str]) -> None:
    line.begin(uploads=uploads, max_age_s=DAY_S)
    line.take("f0")
    if uploads:
        line.send()
    line.take("f1")
    line.spool.shelf.expire()
    line.passes(DAY_S)
    line.take("f2")
    line.spool.shelf.expire()
    assert line.here() == {"f0", "f1", "f2"}
    line.passes(1.0)
    line.spool.shelf.expire()
    assert line.here() == stays


def test_without_a_limit_nothing_is_ever_too_old(line: CaptureLine) -> None:
    line.begin(uploads=False)
    line.take("f0")
    line.passes(1000 * DAY_S)
    line.spool.shelf.expire()
    assert line.here() == {"f0"}


@pytest.mark.parametrize("jump_s", [30 * 365 * DAY_S, -30 * 365 * DAY_S])
def test_a_clock_that_is_set_makes_no_capture_old(line: CaptureLine, jump_s: float) -> None:
    line.begin(uploads=False, max_age_s=DAY_S)
    line.take("taken before", at=line.now)
    line.spool.shelf.expire()
    line.now += jump_s
    line.take("taken after", at=max(0.0, line.now))
    line.spool.shelf.expire()
    line.begin(uploads=False, max_age_s=DAY_S)
    line.spool.shelf.expire()
    assert line.here() == {"taken before", "taken after"}


def test_age_is_counted_over_restarts_of_the_agent_and_of_the_machine(line: CaptureLine) -> None:
    line.begin(uploads=False, max_age_s=DAY_S)
    line.take("f0")
    line.spool.shelf.expire()
    line.end()
    line.passes(DAY_S / 2)
    line.begin(uploads=False, max_age_s=DAY_S)
    line.spool.shelf.expire()
    line.uptime, line.now = Uptime("the next boot", DAY_S / 2), line.now + 5 * DAY_S
    line.begin(uploads=False, max_age_s=DAY_S)
    line.spool.shelf.expire()
    assert line.here() == {"f0"}, "how long the machine was off is not known"
    line.passes(1.0)
    line.spool.shelf.expire()
    assert line.here() == set()


def test_the_machine_tells_its_own_uptime() -> None:
    first, second = uptime(), uptime()
    assert first.boot == second.boot
    assert 0 < first.seconds <= second.seconds


def test_a_label_follows_its_capture_to_the_cloud_between_defects_and_the_rest(line: CaptureLine) -> None:
    line.take("f1")
    line.take("ok", Verdict.OK)
    assert line.spool.label("f1", "OK", "anna").label == "OK"
    assert line.spool.status().pending == 2
    assert b"edge_agent_labels_unsent 1.0" in metrics.exposition()
    line.send(3)
    line.spool.status()
    assert b"edge_agent_labels_unsent 0.0" in metrics.exposition()
    keys = [key.removeprefix(f"{FOLDER}/") for key in line.bucket.order if "raw-data" not in key]
    assert keys == ["f1.jsonl", "f1.label.json", "ok.jsonl"]
    assert line.label("f1") | {"labelledAt": 0} == {
        "schema": "edge-agent/label/1",
        "eventId": "f1",
        "deviceId": "press",
        "deviceFleetName": "line",
        "label": "OK",
        "labelledBy": "person",
        "labelledAt": 0,
    }


def test_a_capture_that_was_sent_long_ago_is_labelled_and_the_last_word_reaches_the_cloud(line: CaptureLine) -> None:
    line.take("f1")
    line.send()
    line.spool.label("f1", "NG", "anna")
    line.begin()
    assert [(told.label, told.labelled_by) for told in line.spool.list(9)] == [("NG", "anna")]
    line.send()
    assert line.label("f1")["label"] == "NG"
    line.spool.label("f1", "", "ben")
    assert [(told.label, told.labelled_by) for told in line.spool.list(9)] == [("", "")]
    line.send()
    assert (line.label("f1")["label"], line.label("f1")["labelledBy"]) == ("", "person")
    count = len(line.bucket.order)
    line.send(3)
    assert len(line.bucket.order) == count


def test_a_label_that_is_changed_while_it_is_sent_is_sent_again(line: CaptureLine) -> None:
    line.take("f1")
    line.send()
    line.spool.label("f1", "NG", "anna")
    put = line.bucket.put

    def slow(key: str, content: bytes) -> None:
        put(key, content)
        line.now += 1
        line.bucket.put = put  # type: ignore[method-assign]
        line.spool.label("f1", "OK", "ben")

    line.bucket.put = slow  # type: ignore[method-assign]
    line.send(2)
    assert line.label("f1")["label"] == "OK"


def test_a_label_that_can_never_be_sent_does_not_hold_up_the_rest(line: CaptureLine) -> None:
    line.take("f1")
    line.send()
    line.spool.label("f1", "NG", "anna")
    for number in range(3):
        line.take(f"ok{number}", Verdict.OK)
    line.bucket.refuses = "label"
    line.send(4)
    assert line.spool.status().pending == 0
    line.bucket.refuses = ""
    line.send()
    assert line.label("f1")["label"] == "NG"


def test_old_labels_are_forgotten_when_the_cloud_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "_KEPT", 3)
    monkeypatch.setattr(labels, "_PRUNED", 2)
    said = labels.Labels(tmp_path / "labels.db")
    given = [labels.Label(f"f{number}", "NG", "anna", number, AT, ("unet",)) for number in range(6)]
    for number, label in enumerate(given):
        said.set(label)
        if number != 1:
            said.mark_sent(label)
    assert set(said.of([label.id for label in given])) == {"f1", "f3", "f4", "f5"}
    assert [label.id for label in said.unsent()] == ["f1"]
    said.close()


def test_an_unknown_capture_gets_no_label(line: CaptureLine) -> None:
    with pytest.raises(InferenceError, match="there is no capture f9"):
        line.spool.label("f9", "NG", "anna")
    line.send()
    assert line.bucket.stored == {}


def test_pauses_hold_each_its_own_also_after_a_restart_and_drop_nothing(line: CaptureLine) -> None:
    line.take("f1")
    line.spool.pauses.set(capture=True)
    line.begin()
    assert not line.take("f2")
    with pytest.raises(InferenceError, match="capture is paused on this device"):
        line.spool.capture_tensors(tensors("c1"))
    line.send()
    assert sorted(line.bucket.stored) == [f"{FOLDER}/f1.jsonl", f"{FOLDER}/raw-data/f1-1.jpg"]
    line.spool.pauses.set(capture=False, upload=True)
    line.begin()
    status = line.spool.status()
    assert (status.capture_paused, status.upload_paused, status.dropped) == (False, True, 0)
    assert line.take("f3")
    line.send(3)
    assert f"{FOLDER}/f3.jsonl" not in line.bucket.stored
    line.spool.pauses.set(upload=False)
    line.send()
    assert f"{FOLDER}/f3.jsonl" in line.bucket.stored


def test_a_damaged_file_of_pauses_pauses_nothing_and_says_so(
    line: CaptureLine, caplog: pytest.LogCaptureFixture
) -> None:
    line.end()
    (line.directory / "pauses.json").write_bytes(b"{")
    line.begin()
    assert line.take("f1")
    assert "pauses of captures damaged" in [record.message for record in caplog.records]


def test_an_interrupted_upload_does_not_send_again_what_is_large_and_there_also_after_a_restart(
    line: CaptureLine,
) -> None:
    line.take("f1", picture=EncodedPicture(b"\xff\xd8" + bytes(1 << 20)))
    line.bucket.refuses = ".jsonl"
    line.send(2)
    line.begin()
    line.bucket.refuses = ""
    line.send()
    assert line.bucket.order == [f"{FOLDER}/raw-data/f1-1.jpg", f"{FOLDER}/f1.jsonl"]
    assert line.spool.status().uploaded == 1


def test_a_capture_that_waits_since_before_there_were_thumbnails_is_shown_and_sent(line: CaptureLine) -> None:
    line.end()
    header = (
        '{"at":1780257924.0,"events":[{"entries":[{"content_type":"jpg","group":"deviceFleetAuxiliaryInputs",'
        '"name":"Input-1","part":0},{"content_type":"json","group":"deviceFleetAuxiliaryOutputs","name":"Output-1",'
        '"part":1}],"model":"unet","version":"1"}],"id":"old","kind":"frame","parts":[{"file":"old-1.jpg",'
        f'"size_bytes":{len(PICTURE.content)}}},{{"file":"old-2.json","size_bytes":2}}],"verdict":"NG"}}\n'
    )
    (line.directory / "001780257924000-old.capture").write_bytes(header.encode() + PICTURE.content + b"{}")
    line.begin()
    (told,) = line.spool.list(9)
    assert (told.id, told.model, told.state, told.has_picture, told.reason) == ("old", "unet", "PENDING", True, "")
    assert decode(line.spool.content("old", "thumbnail")[0]).shape == (180, 240, 3)
    line.send()
    assert sorted(line.bucket.stored) == [f"{FOLDER}/old.jsonl", f"{FOLDER}/raw-data/old-1.jpg"]


def test_the_history_of_before_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "captures" / "history.db"
    old = Database(path, history._SCHEMA[:1])
    old.execute(
        "INSERT INTO finished (id, at, model, version, verdict, state, bytes)"
        " VALUES ('f0', ?, 'unet', '1', 'NG', 'UPLOADED', 7)",
        (AT,),
    )
    old.close()
    line = CaptureLine(tmp_path / "captures", PICTURE)
    try:
        (told,) = line.spool.list(9)
        assert (told.id, told.bytes, told.has_picture) == ("f0", 7, False)
        line.spool.label("f0", "OK", "anna")
        line.send()
        assert line.label("f0")["label"] == "OK"
    finally:
        line.end()
