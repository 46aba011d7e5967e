"""Which labels a person may give a captured part, and what is told of a model's classes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.agent.captures import CaptureDesk
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import CaptureStatus, EncodedPicture
from edge_agent.store import AuditLog
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
