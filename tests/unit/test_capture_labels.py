"""Which labels a person may give a captured part, and what is told of a model's classes."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from edge_agent.agent.captures import CaptureDesk
from edge_agent.capture import labels
from edge_agent.capture.authors import LabelledBy
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import CaptureStatus, EncodedPicture
from edge_agent.store import AuditLog
from edge_agent.telemetry import metrics
from edge_agent.wire import reports
from tests.fakes.capture_line import CaptureLine
from tests.fakes.page_agent import a_model


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CaptureLine]:
    made = CaptureLine(tmp_path / "captures", EncodedPicture(b"\xff\xd8"))
    made.take("f1")
    yield made
    made.end()


@pytest.fixture
def desk(line: CaptureLine, tmp_path: Path) -> CaptureDesk:
    return CaptureDesk(line.spool, AuditLog(tmp_path / "audit.log"), lambda _: ("good", "a/b"))


def test_a_slip_of_the_pen_makes_no_class_but_a_class_that_is_meant_to_be_new_is_one(desk: CaptureDesk) -> None:
    with pytest.raises(InferenceError, match="expected one of OK, NG, good, a/b, or nothing to take it back, came 'go"):
        desk.label_capture("f1", "godo", "anna")
    assert desk.label_capture("f1", "Kerbe 2", "anna", other=True).label == "Kerbe 2"
    assert desk.label_capture("f1", "a/b", "anna", other=True).label == "a/b"
    assert desk.label_capture("f1", "", "anna", other=True).label == ""


def test_a_label_is_given_in_place_of_the_one_that_was_seen_and_of_no_other(line: CaptureLine) -> None:
    assert line.spool.label("f1", "NG", "anna", instead_of="").label == "NG"
    for seen in ("", "OK"):
        with pytest.raises(InferenceError, match=f"expected the label '{seen}' to stand, 'NG' does") as refused:
            line.spool.label("f1", "dust", "ben", instead_of=seen)
        assert refused.value.code is Code.FAILED_PRECONDITION
    assert line.spool.find("f1").labelled_by == "anna"
    assert line.spool.label("f1", "", "ben", instead_of="NG").label == ""


@pytest.mark.parametrize("name", ["../up", "-rf", ".hidden", "a/c", "x" * 65, "<b>", "tab\tbed"])
def test_a_new_class_is_a_name_that_a_folder_may_have(desk: CaptureDesk, name: str) -> None:
    with pytest.raises(InferenceError, match="at most 64, a letter or digit first, came") as caught:
        desk.label_capture("f1", name, "anna", other=True)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert desk.captures(9)[0].label == ""


def test_a_models_classes_and_that_captures_stay_here_pass_the_wire() -> None:
    model = a_model(labels=("good", "dent"), normal_labels=("good",))
    assert reports.model_from_proto(reports.model_to_proto(model)) == model
    captures = CaptureStatus(kept_here=True)
    assert reports.captures_from_proto(reports.captures_to_proto(captures)) == captures


def labelled_by(line: CaptureLine, how: LabelledBy, **who: str) -> object:
    """Label, send, and return what the cloud is told of who did."""
    line.begin(labelled_by=how)
    line.now += 1
    line.spool.label("f1", f"class {line.now}", "dashboard anna 10.0.0.7", **who)
    line.send(2)
    assert "10.0.0.7" not in str(line.bucket.stored), "no address leaves the device"
    return line.label("f1")["labelledBy"]


def test_the_cloud_is_told_the_role_and_a_name_only_where_that_is_wanted(line: CaptureLine) -> None:
    anna = {"role": "operator", "user": "anna"}
    assert labelled_by(line, "role", **anna) == "operator"
    assert labelled_by(line, "name", **anna) == "anna"
    assert labelled_by(line, "name", role="admin") == "admin", "nobody logs in on this device"
    assert labelled_by(line, "role") == "person", "a client that does not tell"
    assert line.spool.list(9)[0].labelled_by == "dashboard anna 10.0.0.7"


def test_a_pseudonym_is_always_the_same_tells_people_apart_and_is_another_one_elsewhere(
    line: CaptureLine, tmp_path: Path
) -> None:
    anna, ben = ({"role": "operator", "user": user} for user in ("anna", "ben"))
    first = labelled_by(line, "pseudonym", **anna)
    assert re.fullmatch("operator-[0-9a-f]{8}", str(first))
    assert labelled_by(line, "pseudonym", **ben) != first
    assert labelled_by(line, "pseudonym", **anna) == first
    assert (line.directory / "pseudonyms.key").stat().st_mode & 0o777 == 0o600
    elsewhere = CaptureLine(tmp_path / "other", EncodedPicture(b"\xff\xd8"))
    elsewhere.take("f1")
    assert labelled_by(elsewhere, "pseudonym", **anna) not in {first, "operator"}
    elsewhere.end()


def test_the_last_word_is_the_later_one_also_with_a_clock_that_was_set_back(line: CaptureLine) -> None:
    line.send()
    line.spool.label("f1", "NG", "anna")
    line.send()
    first = line.label("f1")
    line.now -= 86_400
    line.spool.label("f1", "OK", "anna")
    line.send()
    assert line.label("f1")["label"] == "OK"
    assert cast("float", line.label("f1")["labelledAt"]) > cast("float", first["labelledAt"])
    count = len(line.bucket.order)
    line.send(3)
    assert len(line.bucket.order) == count, "it is not sent for ever"


def test_on_a_device_that_sends_nothing_no_label_waits_and_old_ones_are_forgotten(
    line: CaptureLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "_KEPT", 3)
    monkeypatch.setattr(labels, "_PRUNED", 2)
    line.begin(uploads=False)
    for number in range(6):
        line.take(f"g{number}")
        line.now += 1
        line.spool.label(f"g{number}", "NG", "anna")
    assert line.spool.status().kept_here
    assert b"edge_agent_labels_unsent 0.0" in metrics.exposition()
    assert {told.id for told in line.spool.list(9) if told.label} == {"g3", "g4", "g5"}


def many_labels(path: Path, count: int) -> list[labels.Label]:
    given = [
        labels.Label(f"f{n:05}", "NG", "anna " + "x" * 200, float(n), 1.0, ("unet",), "operator", "anna")
        for n in range(count)
    ]
    kept = labels.Labels(path)
    for label in given:
        kept.set(label)
    kept.mark_sent(given[0])
    kept.close()
    return given


def test_what_can_be_read_of_damaged_labels_is_carried_over(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    given = many_labels(path, 60)
    content = bytearray(path.read_bytes())
    content[-4096:] = b"\xa5" * 4096
    path.write_bytes(content)
    kept = labels.Labels(path)
    found = kept.of([label.id for label in given])
    kept.close()
    assert 20 < len(found) < 60, "some are lost with their page, and no others"
    assert all(found[label.id] == label for label in given if label.id in found)
    assert (tmp_path / "labels.db.damaged").read_bytes() == bytes(content)


def test_labels_of_a_newer_agent_are_carried_over_whole_and_its_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    given = many_labels(path, 3)
    newer = sqlite3.connect(path)
    newer.execute("ALTER TABLE labels ADD COLUMN mood TEXT")
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    for _ in range(2):
        kept = labels.Labels(path)
        assert list(kept.of([label.id for label in given]).values()) == given
        assert [label.id for label in kept.unsent()] == ["f00002", "f00001"]
        kept.close()
    assert (tmp_path / "labels.db.damaged").exists()
