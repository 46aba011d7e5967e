"""Unsupervised methods from end to end on planted defects: one command, one graph, one answer everywhere."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cloud_tools.cli import build_app
from cloud_tools.datasets import Split
from cloud_tools.datasets.texture import draw, photographs
from cloud_tools.errors import CloudError
from cloud_tools.evaluation.device import DeviceModel, largest_difference
from cloud_tools.packaging.bundle import MANIFEST, package_run
from cloud_tools.packaging.parts import read_parts
from cloud_tools.release.publish import publish, read_bundle
from cloud_tools.training.methods import METHODS
from cloud_tools.training.report import read_predictions
from cloud_tools.training.run import PARITY, TrainingOptions, train
from edge_agent import vision
from edge_agent.client import AgentClient
from edge_agent.formats import EncodedPicture, Kind, Manifest, Verdict, parse
from edge_agent.formats.bank import nearest, read_bank
from edge_agent.inference.engines.source import Source
from edge_agent.inference.runtimes.table import Tuning, load_engine
from tests.fakes.device import AgentDevice
from tests.fakes.repository import SignedRepository

pytest.importorskip("torch", reason="the extra train is not installed")

PATIENCE_S = 60.0
# EfficientAD learns for minutes before it is any good: test_training_efficientad.
ANOMALY = [name for name, method in METHODS.items() if method.kind is Kind.ANOMALY and name != "efficientad"]
_QUICK = TrainingOptions(depth=7, size=96, threads=1, override="a test needs no quality")


def _write(root: Path) -> Path:
    """Brick with holes: good ones to learn from, both to judge with."""
    photos = photographs()
    numbers = [number for number in range(60) if (number + number // 3) % 3 == 0]  # those that are brick
    holes = [
        number for number in range(300) if (number + number // 3) % 3 == 0 and (number // 3 + number // 9) % 3 == 0
    ]
    folders = {
        "train/good": (Split.TRAIN, numbers[:16]),
        "test/good": (Split.TEST, numbers[:5]),
        "test/hole": (Split.TEST, holes[:5]),
    }
    for folder, (split, chosen) in folders.items():
        (root / folder).mkdir(parents=True)
        defective = folder.endswith("hole")
        drawn = [draw(photos, split, 4, number, defective=defective) for number in chosen]
        assert {(one.surface, one.defect) for one in drawn} == {("brick", "hole" if defective else "")}
        for index, one in enumerate(drawn):
            (root / folder / f"{index:02d}.png").write_bytes(vision.encode_png(one.picture))
            if defective:
                (root / "ground_truth/hole").mkdir(parents=True, exist_ok=True)
                (root / f"ground_truth/hole/{index:02d}_mask.png").write_bytes(vision.encode_png(one.mask))
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("brick") / "data")


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    for name in ANOMALY:
        assert train(name, data, root / name, _QUICK, lambda _line: None).ok
    return {name: root / name for name in ANOMALY}


@pytest.fixture(params=ANOMALY)
def run(request: pytest.FixtureRequest, runs: dict[str, Path]) -> Path:
    return runs[request.param]


def _package(run: Path, out: Path) -> tuple[Path, Manifest]:
    packaged = package_run(run, "brick", "1", out)
    return packaged.directory, parse(Manifest, (out / MANIFEST).read_bytes(), what="manifest")


def test_holes_are_told_from_good_brick(run: Path) -> None:
    metrics = json.loads((run / "report.json").read_text())["metrics"]
    assert metrics["image_auroc"] >= 0.9
    assert metrics["pixel_auroc"] >= 0.7


def test_the_bundle_says_on_every_picture_what_the_training_said(run: Path, data: Path, tmp_path: Path) -> None:
    directory, manifest = _package(run, tmp_path / "bundle")
    assert manifest.kind is Kind.ANOMALY
    device = DeviceModel(directory / manifest.model_artefact.path)
    predictions = read_predictions(run / "predictions.csv")
    outcomes = [device.outcome(vision.decode((data / p.file).read_bytes()), manifest) for p in predictions]
    assert len(predictions) == 26
    assert largest_difference([p.score for p in predictions], [o.score for o in outcomes]) <= PARITY
    assert [p.verdict for p in predictions] == [o.verdict for o in outcomes]
    assert {o.mask.shape for o in outcomes if o.mask is not None} == {(192, 192)}


def test_a_bundle_remembers_the_parts_that_were_learnt_from_and_no_others(run: Path, tmp_path: Path) -> None:
    directory, manifest = _package(run, tmp_path / "bundle")
    assert manifest.bank is not None
    bank = read_bank((directory / manifest.bank.path).read_bytes(), "bank")
    learnt = [p.file for p in read_predictions(run / "predictions.csv") if p.split == "train"]
    assert [part.file for part in bank.parts] == learnt
    assert {part.label for part in bank.parts} == {"good"}
    assert {max(vision.size_of(small)) for small in bank.thumbnails} == {96}
    assert len(bank.distances) == 4
    assert bank.limit(0.99) == bank.distances.max()


def test_the_graph_finds_a_part_that_was_learnt_where_the_bank_has_it(run: Path, data: Path) -> None:
    bank = read_bank((run / "bank.safetensors").read_bytes(), "bank")
    device = DeviceModel(run / "model.onnx")
    image, _ = vision.prepare(vision.decode((data / bank.parts[3].file).read_bytes()), read_parts(run).preprocess)
    embedding = device.run(image[np.newaxis])["embedding"][0]
    (first, cosine), (_, second) = nearest(bank.embeddings, embedding, 2)
    assert (first, round(cosine, 4)) == (3, 1.0)
    assert second < cosine


def test_a_bundle_without_pictures_or_without_memory_is_a_matter_of_a_flag(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    words = ["package", str(runs["patchcore"]), "--name", "brick", "--version", "1", "-o"]
    assert CliRunner().invoke(build_app(), [*words, str(tmp_path / "blind"), "--no-thumbnails"]).exit_code == 0
    blind = read_bank((tmp_path / "blind/bank.safetensors").read_bytes(), "bank")
    assert set(blind.thumbnails) == {b""}
    assert CliRunner().invoke(build_app(), [*words, str(tmp_path / "bare"), "--no-bank"]).exit_code == 0
    bare = parse(Manifest, (tmp_path / "bare" / MANIFEST).read_bytes(), what="manifest")
    assert bare.bank is None
    assert not (tmp_path / "bare/bank.safetensors").exists()


def test_openvino_says_the_same(run: Path) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    images = np.random.default_rng(1).integers(0, 256, (3, 96, 96, 3), np.uint8)
    graph = run / "model.onnx"
    source = Source(graph.read_bytes(), graph.parent)
    answers = DeviceModel(graph).run(images)
    other = load_engine("openvino", source, Tuning(1)).run({"image": images})
    for name in ("score", "map"):
        np.testing.assert_allclose(other[name], answers[name], rtol=2e-3, atol=2e-3)
    assert (answers["score"].shape, answers["map"].shape) == ((3,), (3, 96, 96))


def test_the_batch_is_free_and_changes_no_answer(run: Path) -> None:
    device = DeviceModel(run / "model.onnx")
    images = np.random.default_rng(1).integers(0, 256, (3, 96, 96, 3), np.uint8)
    together = device.run(images)
    for index, image in enumerate(images):
        for name, values in device.run(image[np.newaxis]).items():
            np.testing.assert_allclose(values[0], together[name][index], rtol=1e-3, atol=1e-3)


def test_a_run_says_how_its_threshold_came_about_and_what_random_weights_reach(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    told = "95% prediction limit of 4 good pictures held out of training and 12 held out of it fold by fold"
    assert report["thresholds"].partition(";")[0] == told
    assert report["data"]["pictures"] == {"train": 12, "validation": 4, "test": 10}
    assert (report["kind"], report["method"]) == ("anomaly", run.name)
    assert 0 <= report["metrics"]["random_control_auroc"] <= 1
    assert report["random_control"]["image_auroc"] == report["metrics"]["random_control_auroc"]
    assert set(report["metrics"]) >= {"image_auroc", "image_ap", "f1", "pixel_auroc", "pixel_ap", "iou", "size_bytes"}
    assert report["parity"]["max_difference"] <= PARITY


def test_a_bundle_tells_the_options_of_its_training(run: Path, tmp_path: Path) -> None:
    _, manifest = _package(run, tmp_path / "bundle")
    told = {"size": 96, "depth": 7, "epochs": 0, "seed": 0, "method": run.name}
    own = {"scope": "both", "tune": "none"} if run.name == "dfm" else {}
    assert manifest.provenance.items() >= (told | own).items()
    assert bool(own) == ("scope" in manifest.provenance)


def test_no_test_picture_has_a_say_in_the_decision(data: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    """Test pictures of noise change the figures and nothing else."""
    changed = tmp_path / "data"
    for path in sorted(data.rglob("*.png")):
        (changed / path.relative_to(data)).parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes()
        if path.parent == data / "test/good":
            noise = np.random.default_rng(int(path.stem)).integers(0, 256, (192, 192, 3), np.uint8)
            content = vision.encode_png(noise)
        (changed / path.relative_to(data)).write_bytes(content)
    train("padim", changed, tmp_path / "run", _QUICK, lambda _line: None)
    assert read_parts(tmp_path / "run").decision == read_parts(runs["padim"]).decision


def test_a_good_picture_unlike_the_others_is_named_and_hides_no_defect(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    odd = tmp_path / "data/train/good/03.png"
    odd.write_bytes(vision.encode_png(255 - vision.decode(odd.read_bytes())))
    lines: list[str] = []
    result = train("padim", tmp_path / "data", tmp_path / "run", _QUICK, lines.append)
    assert result.report["thresholds"].endswith("; unlike the others, and not counted: train/good/03.png")
    assert any(line.startswith("thresholds: look at good pictures") and "train/good/03.png" in line for line in lines)
    holes = [p.verdict for p in read_predictions(tmp_path / "run/predictions.csv") if "/hole/" in p.file]
    assert holes == [Verdict.NG] * 5


def test_good_parts_alone_make_a_model_that_nothing_could_judge(data: Path, tmp_path: Path) -> None:
    for path in sorted((data / "train/good").iterdir()):
        (tmp_path / "data/train/good").mkdir(parents=True, exist_ok=True)
        (tmp_path / "data/train/good" / path.name).write_bytes(path.read_bytes())
    result = train("dfm", tmp_path / "data", tmp_path / "run", _QUICK._replace(override=""), lambda _line: None)
    assert result.ok
    assert result.metrics["image_auroc"] is None
    assert result.metrics["random_control_auroc"] is None
    assert "pixel_auroc" in result.metrics


def test_one_command_and_one_last_line_serve_all_kinds(data: Path, tmp_path: Path) -> None:
    arguments = ["train", "dfm", "--data", str(data), "--out", str(tmp_path / "run"), "--depth", "4", "--size", "96"]
    result = CliRunner().invoke(build_app(), [*arguments, "--seed", "2", "--threads", "1", "--json"])
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
    assert set(answer) == {"ok", "metrics", "seconds"}
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"model.onnx", "report.json", "predictions.csv"}


def test_an_unknown_kind_is_told_which_there_are(data: Path, tmp_path: Path) -> None:
    with pytest.raises(CloudError, match="expected a kind of classification, segmentation, patchcore"):
        train("patchcor", data, tmp_path / "run", _QUICK, lambda _line: None)


def test_a_real_agent_answers_with_the_scores_of_each_methods_training(
    runs: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    for name in ANOMALY:
        package_run(runs[name], name, "1", tmp_path / "bundles" / name)
    repository = SignedRepository(tmp_path / "cloud", now=time.time())
    publish(repository.open(), [read_bundle(tmp_path / "bundles" / name) for name in ANOMALY])
    trust = {"root": repository.root, "allow_demo_root": True}
    device = AgentDevice(tmp_path, {"repository": {"url": repository.directory.as_uri()}, "trust": trust})
    mapped = {f"{name}-app": name for name in ANOMALY}
    (device.state_dir / "models_config.json").write_text(json.dumps({"mappings": mapped, "models": []}))
    device.start()
    try:
        assert device.install(*((name, "1") for name in ANOMALY)).state == "COMMITTED"
        with AgentClient(f"unix:{device.runtime_dir}/agent.sock", f"unix:{device.runtime_dir}/control.sock") as client:
            for name in ANOMALY:
                _compare(client, data, runs[name], f"{name}-app")
    finally:
        assert device.stop() == 0


def _compare(client: AgentClient, data: Path, run: Path, application: str) -> None:
    for prediction in (p for p in read_predictions(run / "predictions.csv") if p.split == "test"):
        picture = EncodedPicture((data / prediction.file).read_bytes())
        asked = client.inspect(picture, applications=[application], with_mask=True, timeout_s=PATIENCE_S)
        (result,) = asked.results
        assert (result.model, result.kind) == (run.name, "anomaly")
        assert result.score == pytest.approx(prediction.score, abs=PARITY)
        assert result.verdict is prediction.verdict
        drawn = vision.decode(result.mask_png).any()
        assert drawn or result.verdict is Verdict.OK or run.name != "patchcore"
