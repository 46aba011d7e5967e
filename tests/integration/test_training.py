"""Training from end to end on a few pictures of the sample line: quick, and no figure is expected to be good."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cloud_tools.cli import build_app
from cloud_tools.datasets.sample_line import write_dataset
from cloud_tools.errors import CloudError
from cloud_tools.evaluation.device import DeviceModel, largest_difference
from cloud_tools.packaging.bundle import MANIFEST, package_run
from cloud_tools.packaging.parts import read_parts
from cloud_tools.training.report import read_predictions
from cloud_tools.training.run import PARITY, TrainingOptions, train
from cloud_tools.training.runfile import read_run
from edge_agent import vision
from edge_agent.formats import Kind, Manifest, Role, parse

pytest.importorskip("torch", reason="the extra train is not installed")

_QUICK = TrainingOptions(depth=4, size=64, epochs=1, threads=1, override="a test needs no quality")
_KINDS = [Kind.CLASSIFICATION, Kind.SEGMENTATION]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample") / "data"
    write_dataset(root, count=80, seed=3)
    return root


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Path]:
    root = tmp_path_factory.mktemp("runs")
    for kind in _KINDS:
        assert train(kind, data / kind.value, root / kind.value, _QUICK, lambda _line: None).ok
    return {kind: root / kind.value for kind in _KINDS}


@pytest.fixture(params=_KINDS, ids=lambda kind: kind.value)
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind(request.param)


def _invoke(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(build_app(), list(arguments))
    lines = result.stdout.strip().splitlines()
    return result.exit_code, json.loads(lines[-1]) if lines else {}


def _package(run: Path, out: Path) -> tuple[Path, Manifest]:
    packaged = package_run(run, "part-check", "1.2", out)
    return packaged.directory, parse(Manifest, (out / MANIFEST).read_bytes(), what="manifest")


def test_the_bundle_says_on_every_picture_what_the_training_said(
    runs: dict[Kind, Path], data: Path, kind: Kind, tmp_path: Path
) -> None:
    directory, manifest = _package(runs[kind], tmp_path / "bundle")
    device = DeviceModel(directory / manifest.model_artefact.path)
    predictions = read_predictions(runs[kind] / "predictions.csv")
    outcomes = [
        device.outcome(vision.decode((data / kind.value / p.file).read_bytes()), manifest, with_mask=False)
        for p in predictions
    ]
    assert len(predictions) == 80
    assert largest_difference([p.score for p in predictions], [o.score for o in outcomes]) <= PARITY
    assert [p.verdict for p in predictions] == [o.verdict for o in outcomes]


def test_the_batch_is_free_and_changes_no_answer(runs: dict[Kind, Path], kind: Kind) -> None:
    device = DeviceModel(runs[kind] / "model.onnx")
    images = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), np.uint8)
    together = device.run(images)
    single = [device.run(image[np.newaxis]) for image in images]
    for name, values in together.items():
        apart = np.concatenate([answer[name] for answer in single])
        np.testing.assert_allclose(values, apart, rtol=1e-3, atol=1e-4)
    assert together["score"].shape == (3,)


def test_a_bundle_is_complete_and_its_golden_samples_show_both_verdicts(
    runs: dict[Kind, Path], kind: Kind, tmp_path: Path
) -> None:
    directory, manifest = _package(runs[kind], tmp_path / "bundle")
    files = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    assert files == {artefact.path for artefact in manifest.artefacts} | {MANIFEST}
    assert {artefact.role for artefact in manifest.artefacts} == {Role.MODEL, Role.GOLDEN}
    assert {sample.verdict for sample in manifest.golden.samples} == {"OK", "NG"}
    assert str(manifest.model_version) == "part-check 1.2"
    assert manifest.kind is kind
    low, high = manifest.decision.threshold_range
    assert low < manifest.decision.threshold < high
    assert manifest.provenance["gate_override"] == "a test needs no quality"
    options = json.loads((runs[kind] / "report.json").read_text())["options"]
    assert {name: manifest.provenance[name] for name in ("depth", "epochs")} == {
        n: options[n] for n in ("depth", "epochs")
    }
    assert manifest.provenance["size"] == manifest.preprocess.width


def test_a_run_keeps_a_report_and_a_prediction_for_every_picture(runs: dict[Kind, Path], kind: Kind) -> None:
    report = json.loads((runs[kind] / "report.json").read_text())
    assert report["parity"]["max_difference"] <= PARITY
    assert report["data"]["pictures"] == {"train": 48, "validation": 16, "test": 16}
    assert set(report) >= {"metrics", "seed", "code_version", "gate", "decision", "seconds", "options"}
    assert len(report["data"]["sha256"]) == 64
    assert set(report["metrics"]) >= {"f1", "image_auroc"} | ({"iou", "dice"} if kind is Kind.SEGMENTATION else set())
    with (runs[kind] / "predictions.csv").open() as file:
        assert next(csv.reader(file)) == ["file", "score", "label", "verdict", "split"]


def test_a_run_calls_its_method_as_the_command_does(runs: dict[Kind, Path], kind: Kind) -> None:
    """Whoever trains by the function may name a kind by the enumeration, whose text is another."""
    assert json.loads((runs[kind] / "report.json").read_text())["method"] == kind.value
    assert read_parts(runs[kind]).provenance["method"] == kind.value
    assert read_run(runs[kind] / "run.yaml")["kind"] == kind.value


def test_the_same_seed_gives_the_same_scores(data: Path, runs: dict[Kind, Path], tmp_path: Path) -> None:
    train(Kind.CLASSIFICATION, data / "classification", tmp_path / "again", _QUICK, lambda _line: None)
    first = read_predictions(runs[Kind.CLASSIFICATION] / "predictions.csv")
    again = read_predictions(tmp_path / "again" / "predictions.csv")
    assert largest_difference([p.score for p in first], [p.score for p in again]) <= 1e-6


def test_thresholds_are_chosen_without_the_test_pictures(data: Path, runs: dict[Kind, Path], tmp_path: Path) -> None:
    """Turning every test label changes the figures and nothing else."""
    turned = tmp_path / "data"
    for path in (data / "classification").rglob("*.png"):
        label = path.parent.name
        if path.name.startswith("test-"):
            label = {"normal": "anomalous", "anomalous": "normal"}[label]
        (turned / label).mkdir(parents=True, exist_ok=True)
        (turned / label / path.name).write_bytes(path.read_bytes())
    rows = [f"{p.parent.name}/{p.name},{p.name.split('-')[0]}" for p in sorted(turned.rglob("*.png"))]
    (turned / "split.csv").write_text("file,split\n" + "\n".join(rows) + "\n")
    trained = train(Kind.CLASSIFICATION, turned, tmp_path / "run", _QUICK, lambda _line: None)
    assert read_parts(tmp_path / "run").decision == read_parts(runs[Kind.CLASSIFICATION]).decision
    first = json.loads((runs[Kind.CLASSIFICATION] / "report.json").read_text())["metrics"]
    assert trained.metrics["image_auroc"] == pytest.approx(1 - first["image_auroc"])


def test_the_hygiene_gate_stops_a_training_before_it_begins(data: Path, tmp_path: Path) -> None:
    arguments = ["train", "classification", "--data", str(data / "classification"), "--out", str(tmp_path / "run")]
    code, answer = _invoke(*arguments, "--part-regex", "-([a-z]+)-", "--json")
    assert code == 1
    assert answer["ok"] is False
    assert answer["metrics"] == {}
    assert "parts" in answer["message"]
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert [finding["level"] for finding in report["gate"]["findings"]] == ["block"]
    assert not (tmp_path / "run" / "model.onnx").exists()


def test_an_override_trains_and_stands_in_the_report(data: Path, tmp_path: Path) -> None:
    options = _QUICK._replace(part_regex="-([a-z]+)-", override="designs repeat on purpose")
    assert train(Kind.CLASSIFICATION, data / "classification", tmp_path / "run", options, lambda _line: None).ok
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["gate"]["override"] == "designs repeat on purpose"
    assert report["gate"]["findings"]


def test_the_quality_gate_ends_the_command_with_one(data: Path, tmp_path: Path) -> None:
    arguments = ["train", "segmentation", "--data", str(data / "segmentation"), "--out", str(tmp_path / "run")]
    code, answer = _invoke(*arguments, "--depth", "2", "--size", "32", "--epochs", "1", "--threads", "1", "--json")
    assert code == 1
    assert answer["ok"] is False
    assert "expected iou of at least" in answer["message"]
    assert answer["metrics"]["iou"] < 0.3
    assert (tmp_path / "run" / "model.onnx").exists()


@pytest.mark.parametrize("wrong", [{"depth": 16}, {"size": 100}, {"size": 2048}])
def test_wrong_options_are_refused(data: Path, tmp_path: Path, wrong: dict[str, Any]) -> None:
    options = _QUICK._replace(**wrong)
    with pytest.raises(CloudError, match="expected"):
        train(Kind.CLASSIFICATION, data / "classification", tmp_path / "run", options, lambda _line: None)


def test_a_run_is_never_written_over(runs: dict[Kind, Path], data: Path) -> None:
    run = runs[Kind.CLASSIFICATION]
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    with pytest.raises(CloudError, match="new or empty"):
        train(Kind.CLASSIFICATION, data / "classification", run, _QUICK, lambda _line: None)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_the_same_seed_draws_the_same_sample_line(data: Path, tmp_path: Path) -> None:
    code, answer = _invoke("data", "sample", "--out", str(tmp_path / "again"), "--count", "80", "--seed", "3", "--json")
    assert (code, answer["pictures"], answer["anomalous"]) == (0, 80, 40)
    for path in sorted(data.rglob("*.png")):
        assert (tmp_path / "again" / path.relative_to(data)).read_bytes() == path.read_bytes()


def test_the_sample_line_passes_the_gate(data: Path) -> None:
    for kind in _KINDS:
        code, answer = _invoke("data", "check", "--data", str(data / kind.value), "--json")
        assert code == 0, answer["findings"]
