"""What ``bench models`` makes of what it trained, and what the control says of the data."""

import json
from pathlib import Path

import pytest

from cloud_tools.training.report import code_version
from scripts.benchlib import models
from scripts.benchlib.lessons import ANOMALY, PARTS, SUPERVISED, Part, Row
from scripts.benchlib.models import lines_of, summary, table
from scripts.benchlib.trainings import Seen, place_of, seen_in

_ROW = Row("paper", "padim", ("one", "two"), (("image_auroc", 0.9), ("random_control_auroc", 0.0)))


def _seen(seed: int, area: float | None, parity: float = 1e-6, note: str = "") -> Seen:
    return Seen("paper padim", seed, {"image_auroc": area, "random_control_auroc": 0.6}, parity, 2.0, note)


def test_a_figure_is_the_mean_over_sets_and_seeds_beside_its_goal() -> None:
    lines = lines_of(_ROW, [_seen(0, 1.0), _seen(0, 0.9), _seen(1, 0.8), _seen(1, 0.8, parity=2e-4)])
    area, control, parity = lines
    assert (area.value, area.least, area.greatest, area.ok) == (pytest.approx(0.875), 0.8, 1.0, False)
    assert (area.trainings, area.seeds) == (4, 2)
    assert (control.goal, control.ok) == (None, None)
    assert (parity.value, parity.ok) == (2e-4, False)
    text = table(lines, {})
    assert text.splitlines()[1].split()[:7] == ["paper", "padim", "image_auroc", ">=", "0.9", "0.8750", "0.800..1.000"]
    assert text.splitlines()[1].endswith("4 of 2 seeds  MISSED")


def test_what_was_not_trained_has_no_figure_and_misses_no_goal() -> None:
    lines = lines_of(_ROW, [])
    assert {(line.value, line.ok, line.trainings) for line in lines} == {(None, None, 0)}
    assert summary(lines, [], {})["missed"] == []


def test_the_last_line_names_what_is_missed_and_what_reports_say_of_the_data() -> None:
    seen = [_seen(0, 0.5, note="near chance")]
    told = summary(lines_of(_ROW, seen), seen, {"patchcore_over_trunk": 1.2})
    assert told["missed"] == ["paper padim image_auroc"]
    assert told["notes"] == {"paper padim": "near chance"}
    assert (told["seconds"], told["patchcore_over_trunk"]) == (2.0, 1.2)


def test_when_the_time_is_up_no_training_begins_and_seeds_are_even(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(models.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(
        models, "seen_in", lambda row, data, seed, _run: Seen(row.name, seed, {"file": data.name}, 0.0, 1.0, "")
    )
    seen = models.measure([Part((_ROW,))], tmp_path, 3, deadline=3, keep=tmp_path)
    assert [(one.seed, one.metrics["file"]) for one in seen] == [(0, "one"), (0, "two"), (1, "one")]


def test_after_a_training_that_failed_none_of_the_others_begins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun = []

    def failing(_row: Row, data: Path, seed: int, _run: Path) -> Seen:
        begun.append((data.name, seed))
        raise RuntimeError("no model")

    monkeypatch.setattr(models, "seen_in", failing)
    with pytest.raises(RuntimeError, match="no model"):
        models.measure([Part((_ROW,))], tmp_path, 3, deadline=float("inf"), keep=tmp_path)
    assert begun == [("one", 0)]


def test_two_trainings_with_labels_run_at_once_a_core_each() -> None:
    assert [part.at_once for part in PARTS["all"]] == [1, 2]
    assert all("--threads 1" in " ".join(row.options) for row in SUPERVISED)


def _ended(run: Path, version: str) -> None:
    run.mkdir(parents=True)
    report = {"code_version": version, "metrics": {"f1": 0.5}, "parity": {"max_difference": 1e-6}, "seconds": 3.0}
    (run / "report.json").write_text(json.dumps(report))


def test_a_training_that_has_ended_is_read_and_not_done_again(tmp_path: Path) -> None:
    run = place_of(tmp_path, _ROW, "paper/one", 2)
    _ended(run, code_version())
    assert seen_in(_ROW, tmp_path / "there is no data", 2, run) == Seen("paper padim", 2, {"f1": 0.5}, 1e-6, 3.0, "")


def test_what_has_ended_is_told_though_the_time_is_up(tmp_path: Path) -> None:
    _ended(place_of(tmp_path, _ROW, "two", 1), code_version())
    seen = models.measure([Part((_ROW,))], tmp_path / "there is no data", 3, deadline=0.0, keep=tmp_path)
    assert seen == [Seen("paper padim", 1, {"f1": 0.5}, 1e-6, 3.0, "")]


def test_a_kept_training_of_other_code_is_told_in_a_line_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    row = SUPERVISED[0]
    _ended(place_of(tmp_path, row, row.sets[0], 0), "0.0+other")
    monkeypatch.setenv("EDGE_TEST_DATA", str(tmp_path))
    arguments = ["bench", "--part", "supervised", "--minutes", "0", "--keep", str(tmp_path)]
    monkeypatch.setattr(models.sys, "argv", arguments)
    assert models.main() == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"bench: {place_of(tmp_path, row, row.sets[0], 0)}: expected a run of ")
    assert told.err.endswith("came one of 0.0+other: remove it, or name another folder with --keep\n")


def test_a_training_of_other_code_is_no_figure_of_this_one(tmp_path: Path) -> None:
    _ended(tmp_path / "run", "0.0+other")
    with pytest.raises(RuntimeError, match=r"expected a run of .*, came one of 0\.0\+other"):
        seen_in(_ROW, tmp_path, 0, tmp_path / "run")


def test_each_training_has_a_folder_of_its_own(tmp_path: Path) -> None:
    rows = (*ANOMALY, *SUPERVISED)
    places = [place_of(tmp_path, row, folder, seed) for row in rows for folder in row.sets for seed in range(3)]
    assert len(places) == len(set(places))


def test_each_row_has_a_name_of_its_own() -> None:
    names = [row.name for row in (*ANOMALY, *SUPERVISED)]
    assert len(names) == len(set(names))


def test_the_control_says_which_data_proves_nothing_and_which_does_not_suit() -> None:
    pytest.importorskip("torch", reason="the extra train is not installed")
    from cloud_tools.training.fit import control_of  # noqa: PLC0415 - it needs torch

    assert control_of(0.99, 0.90).note == ""
    assert "proves nothing" in control_of(0.99, 0.98).note
    assert "does not suit" in control_of(0.55, 0.54).note
    assert "does not suit" in control_of(0.60, 0.40).note
    assert [control_of(0.99, area).proves_nothing for area in (0.90, 0.98)] == [False, True]
