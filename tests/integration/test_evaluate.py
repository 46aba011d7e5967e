"""``edge-cloud evaluate`` on two small categories: what it says, what it leaves, and that others come to the same."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cloud_tools.cli import build_app
from cloud_tools.evaluation.data import categories_for
from cloud_tools.evaluation.device import DeviceModel
from cloud_tools.evaluation.memory import peak_memory_bytes
from cloud_tools.packaging.bundle import package_run
from cloud_tools.release.publish import read_bundle
from edge_agent.formats import Kind
from edge_agent.vision import decode
from tests.fakes.evaluated import BROKEN, CATEGORIES, Evaluated

pytest.importorskip("torch", reason="the extra train is not installed")

FIELDS = {
    "method",
    "category",
    "image_auroc",
    "image_ap",
    "f1",
    "pixel_auroc",
    "pixel_ap",
    "iou",
    "fit_s",
    "latency_ms",
    "size_bytes",
    "random_control_auroc",
}


def run(*arguments: str) -> tuple[int, dict[str, Any], str]:
    result = CliRunner().invoke(build_app(), ["evaluate", *arguments, "--json"])
    lines = result.stdout.strip().splitlines()
    return result.exit_code, json.loads(lines[-1]) if lines else {}, f"{result.stderr}{result.exception or ''}"


def predictions(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def bundle(evaluated: Evaluated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bundle of the first method on the first category."""
    out = tmp_path_factory.mktemp("bundle") / "bundle"
    return package_run(evaluated.out / "runs" / "brick-padim", "brick", "7", out).directory


def test_the_last_line_has_a_row_for_each_method_and_category_and_their_means(evaluated: Evaluated) -> None:
    methods: Any = evaluated.answer["methods"]
    mean: Any = evaluated.answer["mean"]
    assert [(row["method"], row["category"]) for row in methods] == [
        (method, category) for method in ("padim", "dfm") for category in CATEGORIES
    ]
    assert all(set(row) >= FIELDS for row in methods)
    numbers = [row[name] for row in methods for name in FIELDS - {"method", "category"}]
    assert all(isinstance(number, int | float) for number in numbers)
    assert mean["padim"]["image_auroc"] == pytest.approx(np.mean([row["image_auroc"] for row in methods[:2]]))
    assert evaluated.answer["failed"] == []


def test_the_figures_are_scikit_learns_on_the_predictions_that_were_left(evaluated: Evaluated) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rows: Any = evaluated.answer["methods"]
    for row in rows:
        key = (row["method"], row["category"], "test")
        own = [p for p in predictions(evaluated.out) if (p["method"], p["category"], p["split"]) == key]
        truth, scores = [p["label"] != "good" for p in own], [float(p["score"]) for p in own]
        assert row["image_auroc"] == pytest.approx(metrics.roc_auc_score(truth, scores))
        assert row["image_ap"] == pytest.approx(metrics.average_precision_score(truth, scores))
        assert row["f1"] == pytest.approx(metrics.f1_score(truth, [p["verdict"] == "NG" for p in own]))


def test_iou_is_that_of_the_masks_that_a_device_draws_pooled_over_all_test_pixels(
    evaluated: Evaluated, bundle: Path
) -> None:
    manifest, device = read_bundle(bundle).manifest, DeviceModel(bundle / "model.onnx")
    both = either = 0
    category = evaluated.data / "brick"
    for path in sorted((category / "test").rglob("*.png")):
        mask = device.outcome(decode(path.read_bytes()), manifest).mask
        truth = np.zeros((192, 192), np.bool_)
        if path.parent.name == "hole":
            truth = decode((category / f"ground_truth/hole/{path.stem}_mask.png").read_bytes())[..., 0] > 127
        assert mask is not None
        both += int(np.count_nonzero(truth & (mask > 0)))
        either += int(np.count_nonzero(truth | (mask > 0)))
    rows: Any = evaluated.answer["methods"]
    assert rows[0]["iou"] == pytest.approx(both / either)


def test_what_would_stop_a_training_is_said_and_stops_nothing(evaluated: Evaluated) -> None:
    report = json.loads((evaluated.out / "report.json").read_text())
    said = [remark["text"] for remark in report["remarks"] if remark["category"] == "gravel"]
    assert any("hygiene gate would stop" in text and BROKEN in text for text in said)
    trial = next(trial for trial in report["trials"] if trial["category"] == "gravel")
    assert trial["unreadable"][0].startswith(f"test/good/{BROKEN} (")
    assert trial["gate"]["override"] == "an evaluation reports what the gates find and stops at nothing"
    assert not [p for p in predictions(evaluated.out) if p["file"].endswith(BROKEN)]


def test_every_picture_has_a_thumbnail_and_each_models_heat_map(evaluated: Evaluated) -> None:
    page = (evaluated.out / "explorer.html").read_text()
    data = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    assert data["models"] == ["padim", "dfm"]
    assert len(data["pictures"]) == 2 * (12 + 5 + 5)
    for picture in data["pictures"]:
        assert (evaluated.out / picture["thumb"]).stat().st_size < 40_000
        assert bool(picture["truth"]) == picture["bad"]
        for answer in picture["answers"]:
            assert (evaluated.out / answer[4]).is_file()


def test_the_report_is_one_file_and_its_markdown_holds_the_table(evaluated: Evaluated) -> None:
    page = (evaluated.out / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert "pictures/" not in page
    text = (evaluated.out / "report.md").read_text()
    assert "## Mean over categories" in text
    assert text.count("| padim | ") == 3


def test_a_bundle_is_judged_with_its_own_threshold_and_agrees_with_its_training(
    evaluated: Evaluated, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    code, answer, _ = run("--bundle", str(bundle), "--data", str(evaluated.data / "brick"), "--out", str(out))
    assert code == 0
    rows: Any = evaluated.answer["methods"]
    (row,) = answer["methods"]
    assert (row["method"], row["category"]) == ("brick-7", "brick")
    for name in ("image_auroc", "image_ap", "f1", "pixel_auroc", "iou", "size_bytes"):
        assert row[name] == pytest.approx(rows[0][name]), name
    assert (row["fit_s"], row["random_control_auroc"]) == (None, None)
    (trial,) = json.loads((out / "report.json").read_text())["trials"]
    assert trial["differences"] == []
    assert trial["rule"].startswith("the data and the split that it was trained with")


def test_a_bundle_that_promises_more_than_it_keeps_is_told_so(
    evaluated: Evaluated, bundle: Path, tmp_path: Path
) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["evaluation"]["f1"] = 0.999
    boasting = tmp_path / "bundle"
    boasting.mkdir()
    for path in bundle.rglob("*"):
        if path.is_file():
            (boasting / path.relative_to(bundle)).parent.mkdir(parents=True, exist_ok=True)
            (boasting / path.relative_to(bundle)).write_bytes(path.read_bytes())
    (boasting / "manifest.json").write_text(json.dumps(manifest))
    out = tmp_path / "report"
    code, _, _ = run("--bundle", str(boasting), "--data", str(evaluated.data), "--out", str(out))
    assert code == 0
    brick, gravel = json.loads((out / "report.json").read_text())["trials"]
    assert [(one["figure"], one["bundle"]) for one in brick["differences"]] == [("f1", 0.999)]
    assert gravel["rule"].startswith("other data, or another split")
    assert 'data-testid="differences"' in (out / "report.html").read_text()


def test_what_cannot_be_trained_has_no_figures_and_a_reason(tmp_path: Path, evaluated: Evaluated) -> None:
    good = tmp_path / "data/train/good"
    good.mkdir(parents=True)
    for path in (evaluated.data / "brick/train/good").iterdir():
        (good / path.name).write_bytes(path.read_bytes())
    code, answer, said = run("--methods", "classification", "--data", str(tmp_path / "data"), "--seeds", "1")
    assert code == 1
    assert answer["methods"] == []
    assert answer["failed"][0]["message"].endswith("came only ['good']")
    assert "no figures: " in said


def test_further_seeds_make_means_and_spreads_and_leave_no_runs(evaluated: Evaluated, tmp_path: Path) -> None:
    small = ("--depth", "4", "--size", "64", "--threads", "1", "--seeds", "2")
    data, out = str(evaluated.data / "brick"), str(tmp_path / "report")
    code, answer, _ = run("--methods", "dfm", "--data", data, "--out", out, *small)
    assert code == 0
    (row,) = answer["methods"]
    trials = json.loads((tmp_path / "report/report.json").read_text())["trials"]
    areas = [trial["figures"]["image_auroc"] for trial in trials]
    assert [trial["seed"] for trial in trials] == [0, 1]
    assert row["image_auroc"] == pytest.approx(np.mean(areas))
    assert row["spread"]["image_auroc"] == pytest.approx(np.std(areas, ddof=1))
    assert [path.name for path in (tmp_path / "report/runs").iterdir()] == ["brick-dfm"]
    first: Any = evaluated.answer["methods"]
    assert areas[0] == pytest.approx(first[2]["image_auroc"])


def test_each_method_takes_the_folder_of_its_kind_where_there_is_one(tmp_path: Path, evaluated: Evaluated) -> None:
    (tmp_path / "nut").mkdir()
    (tmp_path / "nut/anomaly").symlink_to(evaluated.data)
    (tmp_path / "nut/classification").symlink_to(evaluated.data / "brick")
    unsupervised = [category.name for category in categories_for(tmp_path / "nut", Kind.ANOMALY)]
    assert unsupervised == list(CATEGORIES)
    (one,) = categories_for(tmp_path / "nut", Kind.CLASSIFICATION)
    assert (one.name, one.root) == ("nut", tmp_path / "nut/classification")


def test_a_fresh_process_needs_the_memory_of_a_worker_and_not_of_a_training(evaluated: Evaluated) -> None:
    needed = peak_memory_bytes(evaluated.out / "runs/brick-padim/model.onnx", unexpected)
    assert needed is not None
    assert 40e6 < needed < 400e6


def unexpected(line: str) -> None:
    raise AssertionError(f"expected nothing to be told, came {line}")


def test_memory_that_cannot_be_measured_is_told_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    lines: list[str] = []
    assert peak_memory_bytes(tmp_path / "model.onnx", lines.append) is None
    (line,) = lines
    assert line.startswith("memory was not measured: edge_agent.errors.ActivationError")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected --methods or --bundle, came neither"),
        (("--methods", "padim", "--bundle", "b"), "expected --methods or --bundle, came both"),
        (("--methods", "padim,padimm"), "expected a kind of classification, segmentation, patchcore"),
        (("--bundle", "nothing-here"), "expected a bundle with manifest.json"),
    ],
)
def test_wrong_input_is_told_before_anything_is_trained(
    evaluated: Evaluated, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, answer, said = run(*arguments, "--data", str(evaluated.data), "--out", str(tmp_path / "out"))
    assert (code != 0, answer) == (True, {})
    assert message in said
    assert not list((tmp_path / "out").glob("runs/*"))


def test_a_report_is_never_written_over(evaluated: Evaluated) -> None:
    before = (evaluated.out / "report.json").read_bytes()
    code, _, said = run("--methods", "padim", "--data", str(evaluated.data), "--out", str(evaluated.out))
    assert code != 0
    assert "expected a new or empty folder for the report" in said
    assert (evaluated.out / "report.json").read_bytes() == before
