"""What ``bench models`` makes of what it trained, and what the control says of the data."""

from typing import Any

import pytest

from scripts.benchlib import models
from scripts.benchlib.lessons import ANOMALY, SUPERVISED, Row
from scripts.benchlib.models import Seen, lines_of, summary, table

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
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(models.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(
        models, "_train", lambda row, data, seed: Seen(row.name, seed, {"file": data.name}, 0.0, 1.0, "")
    )
    seen = models.measure([[_ROW]], tmp_path, 3, deadline=3)
    assert [(one.seed, one.metrics["file"]) for one in seen] == [(0, "one"), (0, "two"), (1, "one")]


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
