"""The table, its means and spreads, and what the figures are said to mean."""

from pathlib import Path
from typing import Any

import pytest

from cloud_tools.datasets import Sample, Split
from cloud_tools.evaluation.assembly import differences
from cloud_tools.evaluation.curves import Point
from cloud_tools.evaluation.judging import Answer, Judgement
from cloud_tools.evaluation.report.charts import bars, line
from cloud_tools.evaluation.report.figures import cells, shown_columns
from cloud_tools.evaluation.report.markdown import markdown
from cloud_tools.evaluation.report.view import WORST, worst
from cloud_tools.evaluation.report.words import Remark, Weight, half_width, near_chance, remarks, unsure
from cloud_tools.evaluation.table import Trial, failures, means, rows
from edge_agent.formats import Verdict


def answer(index: int, *, anomalous: bool, score: float, limit: float = 0.5) -> Answer:
    sample = Sample(f"{index}.png", Path(f"{index}.png"), "x" if anomalous else "good", anomalous, "", Split.TEST)
    return Answer(sample, score, Verdict.NG if score >= limit else Verdict.OK, 1.0)


def a_trial(method: str = "padim", category: str = "nut", seed: int = 0, **figures: Any) -> Trial:
    """Return a trial with 40 test pictures, half of them anomalous."""
    answers = tuple(answer(index, anomalous=index % 2 == 0, score=0.5) for index in range(40))
    own = {"image_auroc": 0.9, "random_control_auroc": 0.6, **figures}
    judgement = Judgement(answers, Split.TEST, own) if seed == 0 else None
    return Trial(method, category, seed, "anomaly", figures=own, judgement=judgement)


def said(*trials: Trial) -> list[tuple[str, str]]:
    return [(remark.weight.value, remark.text) for remark in remarks(trials, rows(trials))]


def test_a_row_is_the_mean_over_seeds_with_its_sample_deviation() -> None:
    (row,) = rows([a_trial(image_auroc=0.9), a_trial(seed=1, image_auroc=0.8), a_trial(seed=2, image_auroc=0.7)])
    assert row["image_auroc"] == pytest.approx(0.8)
    assert row["spread"]["image_auroc"] == pytest.approx(0.1)
    assert (row["method"], row["category"], row["seeds"], row["pixel_auroc"]) == ("padim", "nut", 3, None)


def test_one_seed_has_no_spread_and_bytes_stay_whole() -> None:
    (row,) = rows([a_trial(size_bytes=1001)])
    assert row["spread"]["image_auroc"] is None
    assert row["size_bytes"] == 1001
    assert isinstance(row["size_bytes"], int)


def test_a_mean_is_over_the_categories_that_have_the_figure() -> None:
    table = rows([a_trial(category="a", iou=0.4), a_trial(category="b", image_auroc=None, iou=0.2)])
    assert means(table)["padim"]["image_auroc"] == pytest.approx(0.9)
    assert means(table)["padim"]["iou"] == pytest.approx(0.3)
    assert means(table)["padim"]["categories"] == 2


def test_what_failed_has_no_row_and_says_why() -> None:
    broken = Trial("dfm", "nut", 1, "anomaly", message="no good pictures")
    assert [row["method"] for row in rows([a_trial(), broken])] == ["padim"]
    assert failures([a_trial(), broken]) == [
        {"method": "dfm", "category": "nut", "seed": 1, "message": "no good pictures"}
    ]
    assert ("stop", "dfm with seed 1 has no figures: no good pictures") in said(a_trial(), broken)


def test_a_control_as_good_as_the_model_is_said_in_plain_words() -> None:
    text = "An untrained trunk scores as well: this data set proves nothing (padim 0.900, untrained 0.890)."
    assert ("stop", text) in said(a_trial(random_control_auroc=0.89))
    assert not [one for one in said(a_trial(random_control_auroc=0.7)) if "untrained trunk" in one[1].lower()]


def test_a_control_that_equals_one_of_two_methods_is_a_warning() -> None:
    found = said(a_trial(random_control_auroc=0.89), a_trial("dfm", random_control_auroc=0.5))
    assert [weight for weight, text in found if text.startswith("An untrained trunk")] == ["warn"]


def test_unsupervised_methods_near_chance_are_told_that_the_data_does_not_suit_them() -> None:
    found = said(a_trial(image_auroc=0.55), a_trial("dfm", image_auroc=0.5))
    text = "Unsupervised methods are near chance here (padim 0.550, dfm 0.500): the data does not suit them."
    assert ("stop", text) in found
    assert not [one for one in found if "untrained" in one[1].lower()]
    assert ("warn", "Near chance: dfm 0.500.") in said(a_trial(), a_trial("dfm", image_auroc=0.5))


def test_few_pictures_need_more_to_be_above_chance() -> None:
    assert unsure(0.84, good=5, anomalous=5)
    assert not unsure(0.84, good=50, anomalous=50)
    assert near_chance(0.59)
    assert not near_chance(0.61)
    text = "So few pictures cannot tell these from chance: padim 0.650."
    assert ("warn", text) in said(a_trial(image_auroc=0.65, random_control_auroc=0.4))


def test_the_doubt_of_an_auroc_is_hanley_and_mcneils() -> None:
    # Worked out: Q1 = .9/1.1, Q2 = 1.62/1.9; variance = (.09 + 19 (Q1 - .81) + 19 (Q2 - .81)) / 400.
    assert half_width(0.9, good=20, anomalous=20) == pytest.approx(0.1007, abs=1e-4)
    assert ("note", "20 good and 20 defective pictures judge: an AUROC is known to about ±0.10.") in said(a_trial())


def test_what_blocks_a_training_is_told_and_a_warning_is_left_to_its_section() -> None:
    findings = [
        {"check": "duplicates", "level": "block", "message": "2 pictures stand in two splits: a = b"},
        {"check": "sizes", "level": "warn", "message": "most pictures are 8 x 8"},
    ]
    found = said(a_trial()._replace(gate={"findings": findings, "override": "because"}))
    text = "The hygiene gate would stop a training: duplicates: 2 pictures stand in two splits: a = b"
    assert found[0] == ("stop", text)
    assert not any("8 x 8" in one for _, one in found)


def test_test_pictures_of_one_class_prove_nothing() -> None:
    answers = tuple(answer(index, anomalous=True, score=0.9) for index in range(6))
    trial = a_trial(image_auroc=None, random_control_auroc=None)
    trial = trial._replace(judgement=Judgement(answers, Split.TEST, trial.figures))
    assert ("warn", "All 6 pictures that judge are defective: nothing shows that they are told apart.") in said(trial)


def test_the_worst_mistakes_are_the_farthest_from_the_threshold() -> None:
    mistakes = [answer(index, anomalous=True, score=0.1 + index / 100) for index in range(9)]
    right = answer(20, anomalous=False, score=0.0)
    assert [one.sample.file for one in worst([right, *mistakes[::-1]], 0.5)] == [f"{i}.png" for i in range(WORST)]
    closest = worst([right, answer(21, anomalous=True, score=0.6)], 0.5)
    assert [one.sample.file for one in closest] == ["21.png", "20.png"]


def test_the_best_of_a_category_is_marked_unless_all_are_the_same() -> None:
    table = rows([a_trial(f1=0.5), a_trial("dfm", image_auroc=0.8, f1=0.5)])
    columns = shown_columns(table)
    assert [column.name for column in columns] == ["image_auroc", "f1", "random_control_auroc"]
    assert [cell.best for cell in cells(table[0], columns, table)] == [True, False, False]
    assert [cell.best for cell in cells(table[1], columns, table)] == [False, False, False]


def test_markdown_reads_no_name_as_markup() -> None:
    trials = [a_trial(category="a|b"), a_trial(category="*c*")]
    table = rows(trials)
    text = markdown("T", table, means(table), [Remark(Weight.STOP, "a|b", "<b>file_1</b>")])
    assert "- **stop** a\\|b: \\<b\\>file\\_1\\</b\\>" in text
    assert "| a\\|b | padim | 0.900 | 0.600 |" in text
    assert "| padim | 2 | 0.900 | 0.600 |" in text


def test_a_bundle_is_held_to_its_own_figures() -> None:
    measured = {"f1": 0.8, "image_auroc": 0.9, "iou": 0.5, "size_bytes": 10}
    assert differences({**measured, "latency_ms": 3.0, "parity_max_difference": 1e-6}, measured) == ()
    assert differences({"f1": 0.9, "pixel_ap": 0.3, "size_bytes": 11}, measured) == (
        {"figure": "f1", "bundle": 0.9, "here": 0.8},
        {"figure": "pixel_ap", "bundle": 0.3, "here": None},
        {"figure": "size_bytes", "bundle": 11, "here": 10},
    )


def test_drawings_grow_upwards_and_down_from_the_middle() -> None:
    assert line([Point(0, 0), Point(1, 1)]) == "M0.00 100.00L100.00 0.00"
    assert bars([0, 4], 4, down=False) == "M56.00 50V0.00H94.00V50z"
    assert bars([1, 0], 1000, down=True) == "M6.00 50V52.00H44.00V50z"
