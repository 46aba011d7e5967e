"""Golden parts: known parts are inspected at each shift's begin, and what was found is told and kept."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.errors import Code, InferenceError, StorageError
from edge_agent.formats import EncodedPicture, GoldenCheck, InspectedFrame, ModelResult, Picture, Verdict
from edge_agent.inference import Priority
from edge_agent.inspection import GoldenParts
from edge_agent.inspection.known_parts import LIMIT_PARTS, known_parts
from edge_agent.inspection.shifts import ShiftSpan

PATIENCE_S = 60.0
EARLY, LATE = ShiftSpan("early", 0, 100), ShiftSpan("late", 100, 200)


class Memory:
    def __init__(self) -> None:
        self.kept: tuple[int, str] | None = None
        self.fault: StorageError | None = None

    def golden(self) -> tuple[int, str] | None:
        return self.kept

    def keep_golden(self, shift_began: int, found: str) -> None:
        if self.fault:
            raise self.fault
        self.kept = (shift_began, found)


class Line:
    """A line whose verdict is what a picture says."""

    def __init__(self, tmp_path: Path) -> None:
        self.directory = tmp_path / "golden"
        for verdict in ("OK", "NG"):
            (self.directory / verdict).mkdir(parents=True)
            (self.directory / verdict / "part.png").write_bytes(verdict.encode())
        (self.directory / "OK" / "notes.txt").write_text("not a picture")
        self.memory = Memory()
        self.span = EARLY
        self.judges = "bright 1"
        self.ready = True
        self.asked: list[Priority] = []
        self.answer: Callable[[bytes], Verdict] = lambda content: Verdict(content.decode())
        self.told: list[GoldenCheck] = []
        self.heard = threading.Condition()
        self.made: list[GoldenParts] = []

    def look(self, picture: Picture, *, priority: Priority, timeout_s: float) -> InspectedFrame:
        assert isinstance(picture, EncodedPicture)
        self.asked.append(priority)
        verdict = self.answer(picture.content)
        result = ModelResult(application="a", model="m", verdict=verdict, score=0.75)
        return InspectedFrame(id="f", at=0.0, verdict=verdict, results=(result,), message="no room" * (verdict is NONE))

    def hold_answers(self) -> threading.Event:
        """Answer nothing before the event is set."""
        gate = threading.Event()

        def wait(content: bytes) -> Verdict:
            assert gate.wait(PATIENCE_S)
            return Verdict(content.decode())

        self.answer = wait
        return gate

    def tell(self, check: GoldenCheck) -> None:
        with self.heard:
            self.told.append(check)
            self.heard.notify_all()

    def parts(self, **more: object) -> GoldenParts:
        made = GoldenParts(
            self.directory,
            self.look,
            lambda: self.span,
            self.memory,
            judges=lambda: self.judges,
            is_ready=lambda: self.ready,
            told=self.tell,
            now=lambda: 7.0,
            look_every_s=0.01,
            **more,  # type: ignore[arg-type]
        )
        self.made.append(made)
        made.start()
        return made

    def wait_for(self, *states: str) -> GoldenCheck:
        """Return the check of the last of these states, that were told in this order."""
        with self.heard:
            assert self.heard.wait_for(lambda: [check.state for check in self.told] == list(states), PATIENCE_S), (
                self.told
            )
            return self.told[-1]


NONE = Verdict.NO_RESULT


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path)
    yield made
    for parts in made.made:
        parts.stop()


def test_a_shift_begins_with_a_check_behind_the_line(line: Line) -> None:
    parts = line.parts()
    found = line.wait_for("DUE", "RUNNING", "PASSED")
    assert (found.message, found.at, found.actor) == ("2 golden parts were judged as they should be", 7.0, "")
    assert [(part.name, part.verdict, part.score) for part in found.parts] == [
        ("OK/part.png", Verdict.OK, 0.75),
        ("NG/part.png", Verdict.NG, 0.75),
    ]
    assert set(line.asked) == {Priority.SHADOW}
    assert parts.status() == found
    line.span = LATE
    assert line.wait_for("DUE", "RUNNING", "PASSED", "DUE", "RUNNING", "PASSED") == found


def test_a_part_that_is_misjudged_fails_the_check_and_is_named(line: Line) -> None:
    line.answer = lambda _content: Verdict.OK
    found = line.parts().check("anna", timeout_s=PATIENCE_S)
    assert (found.state, found.actor) == ("FAILED", "anna")
    assert found.message == "1 of 2 golden parts were misjudged: NG/part.png came OK"


def test_a_part_without_a_result_is_asked_again_and_then_fails(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.inspection.golden_parts._REST_S", 0.0)
    line.answer = lambda _content: NONE if len(line.asked) == 1 else Verdict(_content.decode())
    assert line.parts().check("anna", timeout_s=PATIENCE_S).state == "PASSED"
    line.answer = lambda _content: NONE
    found = line.made[0].check("anna", timeout_s=PATIENCE_S)
    assert found.message == "2 of 2 golden parts were misjudged: OK/part.png came NO RESULT (no room)"


def test_what_was_found_survives_a_restart_and_no_check_is_made_for_it(line: Line) -> None:
    line.answer = lambda _content: Verdict.OK
    line.parts()
    found = line.wait_for("DUE", "RUNNING", "FAILED")
    line.made[0].stop()
    line.told.clear()
    asked = len(line.asked)
    again = line.parts()
    assert line.wait_for("FAILED") == found
    assert (again.status(), len(line.asked)) == (found, asked)


@pytest.mark.parametrize("kept", ["no JSON", '{"state": 5, "x": 1}'])
def test_what_cannot_be_read_after_a_restart_is_checked_again(line: Line, kept: str) -> None:
    line.memory.kept = (EARLY.began, kept)
    line.parts()
    line.wait_for("DUE", "RUNNING", "PASSED")


def test_until_the_check_of_its_shift_is_passed_no_part_is_ok_where_that_is_required(line: Line) -> None:
    line.ready = False
    parts = line.parts(required=True)
    line.wait_for("DUE")
    assert parts.doubt() == "the golden parts of this shift were not judged as they should be yet"
    line.answer = lambda _content: Verdict.NG
    assert parts.check("anna", timeout_s=PATIENCE_S).state == "FAILED"
    assert "OK/part.png came NG" in parts.doubt()
    line.answer = lambda content: Verdict(content.decode())
    assert parts.check("anna", timeout_s=PATIENCE_S).state == "PASSED"
    assert parts.doubt() == ""
    line.span = LATE
    assert parts.doubt() != ""


def test_other_models_are_checked_too(line: Line) -> None:
    line.parts()
    line.wait_for("DUE", "RUNNING", "PASSED")
    line.answer = lambda _content: Verdict.OK
    line.judges = "bright 2"
    with line.heard:
        assert line.heard.wait_for(lambda: line.told[-1].state == "FAILED", PATIENCE_S)


def test_what_was_found_of_other_models_vouches_for_no_part_from_the_moment_of_the_change(line: Line) -> None:
    parts = line.parts(required=True)
    line.wait_for("DUE", "RUNNING", "PASSED")
    line.ready = False
    assert parts.doubt() == ""
    line.judges = "bright 2"
    assert parts.doubt() == "the golden parts of this shift were judged by other models, thresholds or mappings"
    assert parts.status().state == "DUE"
    line.judges = "bright 1"
    assert parts.doubt() == "", "those that were judged answer again"


@pytest.mark.parametrize("changed", ["models", "a picture", "a further picture"])
def test_what_changed_while_the_agent_was_off_is_checked_at_the_start(line: Line, changed: str) -> None:
    line.parts()
    line.wait_for("DUE", "RUNNING", "PASSED")
    line.made[0].stop()
    line.told.clear()
    if changed == "models":
        line.judges = "bright 2"
    else:
        name = "part.png" if changed == "a picture" else "more.png"
        (line.directory / "OK" / name).write_bytes(b"NG")
    line.answer = lambda content: Verdict.OK if line.judges == "bright 2" else Verdict(content.decode())
    again = line.parts(required=True)
    line.wait_for("DUE", "RUNNING", "FAILED")
    assert again.doubt() != ""


def test_nobody_is_vouched_for_before_what_was_kept_was_compared(line: Line) -> None:
    line.parts(required=True)
    line.wait_for("DUE", "RUNNING", "PASSED")
    line.made[0].stop()
    judges = "bright 1".strip
    unstarted = GoldenParts(line.directory, line.look, lambda: EARLY, line.memory, judges=judges, required=True)
    assert unstarted.doubt() != ""


def test_parts_that_were_judged_by_two_models_in_turn_are_judged_again_before_anybody_is_answered(line: Line) -> None:
    line.ready = False
    parts = line.parts()

    def swap(content: bytes) -> Verdict:
        line.judges, line.answer = "bright 2", lambda content: Verdict(content.decode())
        return Verdict(content.decode())

    line.answer = swap
    assert parts.check("anna", timeout_s=PATIENCE_S).state == "PASSED"
    assert len(line.asked) > 2, "the first check ended with the change"
    assert parts.status().state == "PASSED"


def test_a_new_shift_never_passes_on_the_check_of_the_one_before(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = line.parts(required=True)
    line.wait_for("DUE", "RUNNING", "PASSED")
    doubts: list[str] = []

    def set_and_look(self: GoldenParts, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
        doubts.append(self.doubt())

    line.answer = lambda _content: Verdict.OK
    line.span = LATE
    monkeypatch.setattr(GoldenParts, "__setattr__", set_and_look)
    assert parts.check("anna", timeout_s=PATIENCE_S).state == "FAILED"
    assert doubts
    assert "" not in doubts


def test_where_there_are_none_a_check_is_refused_and_the_state_is_off() -> None:
    parts = GoldenParts(None, Line.look, lambda: EARLY, Memory(), judges=str)  # type: ignore[arg-type]
    assert (parts.status(), parts.doubt()) == (GoldenCheck(state="OFF"), "")
    with pytest.raises(InferenceError, match=r"inspection\.golden_parts names their directory") as caught:
        parts.check("anna", timeout_s=1.0)
    assert caught.value.code is Code.FAILED_PRECONDITION


def test_a_disk_that_does_not_keep_what_was_found_costs_a_further_check_only(line: Line) -> None:
    line.memory.fault = StorageError(Code.NO_SPACE, "the disk is full")
    parts = line.parts()
    found = line.wait_for("DUE", "RUNNING", "PASSED")
    assert parts.status() == found


def test_a_directory_without_pictures_or_with_too_many_fails_and_says_so(line: Line) -> None:
    for file in line.directory.glob("*/*.png"):
        file.unlink()
    found = line.parts().check("anna", timeout_s=PATIENCE_S)
    assert found.state == "FAILED"
    assert "expected 1 to 200 pictures" in found.message
    assert "came 0" in found.message
    for number in range(LIMIT_PARTS + 1):
        (line.directory / "OK" / f"{number}.png").touch()
    with pytest.raises(StorageError, match="came 201"):
        known_parts(line.directory)


def test_a_check_that_a_stop_cuts_short_is_no_answer_and_is_not_kept(line: Line) -> None:
    line.ready = False
    parts = line.parts()

    def stop(content: bytes) -> Verdict:
        parts._thread.stopping.set()
        return Verdict(content.decode())

    line.answer = stop
    with pytest.raises(InferenceError, match="is being stopped") as caught:
        parts.check("anna", timeout_s=PATIENCE_S)
    assert caught.value.code is Code.UNAVAILABLE
    assert line.memory.kept is None
    assert len(line.asked) == 1


def test_who_does_not_wait_long_enough_is_told_that_the_check_goes_on(line: Line) -> None:
    line.ready = False
    gate = line.hold_answers()
    parts = line.parts()
    with pytest.raises(InferenceError, match="goes on") as caught:
        parts.check("anna", timeout_s=0.05)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    gate.set()
    with line.heard:
        assert line.heard.wait_for(lambda: line.told and line.told[-1].state == "PASSED", PATIENCE_S)


def test_who_asks_many_times_while_a_check_goes_on_has_one_more_made(line: Line) -> None:
    gate = line.hold_answers()
    parts = line.parts()
    line.wait_for("DUE", "RUNNING")
    for _ in range(9):
        with pytest.raises(InferenceError, match="goes on"):
            parts.check("anna", timeout_s=0.001)
    gate.set()
    # Behind the others, so that they were answered: with the same check, or with the one before.
    assert parts.check("anna", timeout_s=PATIENCE_S).state == "PASSED"
    assert len(line.asked) <= 3 * 2
