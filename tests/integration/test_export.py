"""A run in int8 or as OpenVINO's IR: as good as before by its figures, or refused and nothing of it left."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from typer.testing import CliRunner

from cloud_tools.cli import build_app
from cloud_tools.datasets import Dataset, Sample, Split
from cloud_tools.datasets.sample_line import write_dataset
from cloud_tools.errors import CloudError
from cloud_tools.evaluation.comparison import changed_verdicts, largest_drop
from cloud_tools.evaluation.device import DeviceModel
from cloud_tools.export.reform import PARITY, Form, reform
from cloud_tools.packaging.bundle import package_run
from cloud_tools.packaging.parts import BANK, read_parts
from cloud_tools.release.publish import read_bundle
from cloud_tools.training.report import read_predictions
from cloud_tools.training.run import TrainingOptions, train
from edge_agent import vision
from edge_agent.config import Inference
from edge_agent.formats.bank import EMBEDDING, read_bank
from edge_agent.inference import open_session, try_golden

pytest.importorskip("torch", reason="the extra train is not installed")
pytest.importorskip("nncf", reason="the extra nncf is not installed")

_QUICK = TrainingOptions(depth=4, size=64, epochs=1, threads=1, override="a test needs no quality")
_LENIENT = 0.9
PATIENCE_S = 120.0


Forms: TypeAlias = dict[Form, tuple[Path, dict[str, Any]]]


def quiet(_line: str) -> None:
    """Say nothing."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample") / "data"
    write_dataset(root, count=80, seed=3)
    return root / "segmentation"


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run") / "run"
    assert train("segmentation", data, root, _QUICK, quiet).ok
    return root


@pytest.fixture(scope="module")
def reformed(run: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Forms:
    """The run in every form, accepted whatever it cost: what is judged here is how, not how well."""
    root = tmp_path_factory.mktemp("forms")
    done = {form: reform(run, form, data, root / form.value, margin=_LENIENT, progress=quiet) for form in Form}
    assert all(one.ok for one in done.values()), {form: one.message for form, one in done.items()}
    return {form: (root / form.value, one.figures) for form, one in done.items()}


@pytest.fixture(params=list(Form), ids=lambda form: form.value)
def form(request: pytest.FixtureRequest) -> Form:
    return Form(request.param)


@pytest.mark.parametrize("form", [Form.ONNX_INT8, Form.OPENVINO_INT8], ids=lambda form: form.value)
def test_a_bundle_in_int8_is_served_by_the_agents_own_runtime_and_answers_its_golden_samples(
    reformed: Forms, form: Form, tmp_path: Path
) -> None:
    package_run(reformed[form][0], "part-check", "2", tmp_path / "v")
    manifest = read_bundle(tmp_path / "v").manifest
    assert manifest.runtime == form.runtime
    settings = Inference(runtimes=(form.runtime.name,), isolation="inline")
    session = open_session(tmp_path / "v", manifest, settings, engines=tmp_path / "engines")
    try:
        assert try_golden(session, tmp_path / "v", timeout_s=PATIENCE_S).max_difference <= manifest.golden.tolerance
    finally:
        session.close()


def test_the_report_says_what_it_cost_and_gained(run: Path, reformed: Forms, form: Form) -> None:
    directory, figures = reformed[form]
    report = json.loads((directory / "report.json").read_text())
    assert report["form"] == figures
    assert set(figures["before"]) >= {"f1", "iou", "image_auroc"} <= set(figures["after"])
    assert figures["size_bytes"]["before"] == (run / "model.onnx").stat().st_size
    assert figures["latency_ms"]["ratio"] > 0
    assert figures["pictures"] == 16
    assert figures["calibration_pictures"] == (0 if form is Form.OPENVINO else 48)
    parts = read_parts(directory)
    assert parts.evaluation["form"]["max_score_difference"] == figures["max_score_difference"]
    assert parts.provenance["form"] == form.value
    assert read_parts(run).decision == parts.decision
    assert len(read_predictions(directory / "predictions.csv")) == 80


def test_the_ir_says_what_the_graph_says(reformed: Forms) -> None:
    figures = reformed[Form.OPENVINO][1]
    assert figures["max_score_difference"] <= PARITY
    assert figures["changed_verdicts"] == []


def test_int8_is_smaller_and_another_graph(run: Path, reformed: Forms) -> None:
    directory, figures = reformed[Form.ONNX_INT8]
    assert figures["size_bytes"]["ratio"] < 0.7
    assert figures["max_score_difference"] > 0
    operators = {b"QuantizeLinear", b"DequantizeLinear"}
    assert all(name in (directory / "model.onnx").read_bytes() for name in operators)
    assert b"<net " in (reformed[Form.OPENVINO_INT8][0] / "model.xml").read_bytes()
    assert b"FakeQuantize" in (reformed[Form.OPENVINO_INT8][0] / "model.xml").read_bytes()


def test_what_costs_more_than_the_margin_is_refused_with_its_figures_and_leaves_nothing(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ruin(_model: Path, images: np.ndarray[Any, Any], target: Path) -> None:
        from cloud_tools.export.qdq import quantise  # noqa: PLC0415 - the real one, on pictures that tell nothing

        quantise(_model, np.zeros_like(images[:1]), target)

    monkeypatch.setattr("cloud_tools.export.reform.quantiser", lambda _form: ruin)
    arguments = ["export", str(run), "--data", str(data), "-o", str(tmp_path / "out"), "--int8", "onnxruntime"]
    result = CliRunner().invoke(build_app(), [*arguments, "--margin", "0.001", "--json"])
    answer = json.loads(result.stdout.splitlines()[-1])
    assert result.exit_code == 1
    assert not answer["ok"]
    assert "refused: expected every metric on validation to fall by less than 0.001" in answer["message"]
    assert answer["largest_drop"] >= 0.001
    assert answer["before"] != answer["after"]
    assert list(tmp_path.iterdir()) == []


def test_nobody_is_told_that_something_is_converted() -> None:
    program = (
        "import sys; from cloud_tools.export import ir; import nncf; "
        "from nncf.telemetry import wrapper; print(sys.modules['openvino_telemetry'], 'urllib3' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip().splitlines()[-1] == "None False"


def test_other_pictures_than_the_trainings_are_refused(run: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "other", count=60, seed=4)
    with pytest.raises(CloudError, match="expected the pictures and splits of the training"):
        reform(run, Form.OPENVINO, tmp_path / "other" / "segmentation", tmp_path / "out", margin=0.01, progress=quiet)
    assert not (tmp_path / "out").exists()


def test_a_form_has_no_further_form(reformed: Forms, data: Path, tmp_path: Path, form: Form) -> None:
    with pytest.raises(CloudError, match=r"expected a run with model\.onnx in fp32"):
        reform(reformed[form][0], Form.OPENVINO, data, tmp_path / "out", margin=0.01, progress=quiet)


@pytest.mark.parametrize("flags", [[], ["--int8", "nncf", "--openvino"], ["--openvino", "--margin", "0"]])
def test_wrong_orders_are_refused_before_any_work(run: Path, data: Path, tmp_path: Path, flags: list[str]) -> None:
    arguments = ["export", str(run), "--data", str(data), "-o", str(tmp_path / "out"), *flags]
    result = CliRunner().invoke(build_app(), arguments)
    assert isinstance(result.exception, CloudError)
    assert "expected" in result.exception.message
    assert list(tmp_path.iterdir()) == []


def test_without_a_defect_in_validation_made_ones_show_that_nothing_is_found_any_more(
    remembering: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight bits make of so small a trunk one whose distances all shrink: on good pictures alone it looks better."""
    run, data = remembering
    good = Dataset.of

    def without_defects(dataset: Dataset, *splits: Split) -> tuple[Sample, ...]:
        found = good(dataset, *splits)
        return tuple(s for s in found if not s.anomalous) if splits == (Split.VALIDATION,) else found

    monkeypatch.setattr(Dataset, "of", without_defects)
    said: list[str] = []
    done = reform(run, Form.ONNX_INT8, data, tmp_path / "out", margin=0.1, progress=said.append)
    held = done.figures["pictures"] - done.figures["made_defects"]
    assert done.figures["made_defects"] == 2 * held > 0
    assert any("validation holds no defect" in line for line in said)
    assert not done.ok
    assert "refused: expected every metric on validation to fall by less than 0.1" in done.message
    assert list(tmp_path.iterdir()) == []


def test_the_metric_that_fell_the_most_is_told() -> None:
    before = {"f1": 0.9, "iou": 0.5, "image_auroc": None, "confusion": {}}
    assert largest_drop(before, before | {"f1": 0.85, "iou": 0.2}) == ("iou", pytest.approx(0.3))
    assert largest_drop(before, before | {"f1": 1.0}) == ("", 0.0)
    assert changed_verdicts(["a", "b"], [0.4, 0.6], [0.5, 0.7], 0.5) == ["a"]


@pytest.fixture(scope="module")
def remembering(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of PatchCore, which the quality gate stopped, and its data."""
    root = tmp_path_factory.mktemp("remembering")
    write_dataset(root / "data", count=60, seed=3)
    data = root / "data/classification"
    trained = train("patchcore", data, root / "run", _QUICK, quiet)
    report = root / "run/report.json"
    report.write_text(json.dumps(trained.report | {"ok": False, "message": "the quality gate stops this model"}))
    return root / "run", data


@pytest.fixture
def accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is judged here is how a run is written, not how well so small a model stands eight bits."""
    monkeypatch.setattr("cloud_tools.export.reform._refusal", lambda *_given: "")


@pytest.mark.usefixtures("accepted")
def test_in_every_form_a_model_remembers_the_parts_that_it_learnt_from(
    remembering: tuple[Path, Path], form: Form, tmp_path: Path
) -> None:
    run, data = remembering
    assert reform(run, form, data, tmp_path / "run", margin=_LENIENT, progress=quiet).ok
    package_run(tmp_path / "run", "part-check", "2", tmp_path / "v")
    manifest = read_bundle(tmp_path / "v").manifest
    assert EMBEDDING in {spec.name for spec in manifest.outputs}
    assert manifest.bank is not None
    kept, first = (read_bank((place / BANK).read_bytes(), "bank") for place in (tmp_path / "v", run))
    assert kept.parts == first.parts
    device = DeviceModel(tmp_path / "v" / manifest.model_artefact.path, precision=manifest.runtime.precision)
    picture = vision.decode((data / kept.parts[0].file).read_bytes())
    image, _ = vision.prepare(picture, manifest.preprocess)
    place = device.run(image[np.newaxis])[EMBEDDING][0]
    np.testing.assert_allclose(kept.embeddings[0], place, atol=1e-5)
    assert form is Form.OPENVINO or (kept.embeddings != first.embeddings).any(), "eight bits put parts elsewhere"


@pytest.mark.usefixtures("accepted")
def test_another_form_passes_no_gate_that_stopped_the_training(remembering: tuple[Path, Path], tmp_path: Path) -> None:
    run, data = remembering
    assert reform(run, Form.ONNX_INT8, data, tmp_path / "run", margin=_LENIENT, progress=quiet).ok
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert (report["ok"], report["message"]) == (False, "the quality gate stops this model")
