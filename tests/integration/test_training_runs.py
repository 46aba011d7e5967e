"""Runs as files, and trainings that are killed and go on, by the command as a person gives it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cloud_tools.cli import build_app
from cloud_tools.datasets import Sample, Split
from cloud_tools.datasets.sample_line import write_dataset
from cloud_tools.datasets.texture import draw, photographs
from cloud_tools.errors import CloudError
from cloud_tools.training.methods import METHODS
from cloud_tools.training.run import TrainingOptions, train
from cloud_tools.training.runfile import read_run
from edge_agent import vision
from edge_agent.errors import Code
from edge_agent.formats import Decision, Preprocess

pytest.importorskip("torch", reason="the extra train is not installed")

from cloud_tools.training.batches import load
from cloud_tools.training.judge import Answers, figures

_FILE = """
kind: dfm
data: data
depth: 4
size: 64
seed: 3
threads: 1
override-gate: a test needs no quality
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run's file and its few pictures."""
    root = tmp_path_factory.mktemp("runs")
    photos = photographs()
    for folder, split, count in (
        ("train/good", Split.TRAIN, 8),
        ("test/good", Split.TEST, 3),
        ("test/bad", Split.TEST, 3),
    ):
        (root / "data" / folder).mkdir(parents=True)
        for index in range(count):
            one = draw(photos, split, 5, index, defective=folder.endswith("bad"))
            (root / "data" / folder / f"{index}.png").write_bytes(vision.encode_png(one.picture))
    (root / "part.yaml").write_text(_FILE)
    return root


@pytest.fixture(scope="module")
def run(root: Path) -> Path:
    answer = _train("--config", root / "part.yaml", "--out", root / "run", "--seed", "4")
    assert answer["ok"] is True
    return root / "run"


def _train(*arguments: object) -> dict[str, Any]:
    result = CliRunner().invoke(build_app(), ["train", *map(str, arguments), "--json"])
    if isinstance(result.exception, CloudError):
        raise result.exception
    answer: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
    return answer


def _made(run: Path) -> dict[str, bytes]:
    """What a run must have in common with its repetition."""
    names = ("model.onnx", "predictions.csv")
    report = json.loads((run / "report.json").read_text())
    told = {name: report[name] for name in ("decision", "options", "data", "random_control")}
    return {name: (run / name).read_bytes() for name in names} | {"report": json.dumps(told).encode()}


def test_a_run_from_a_file_is_written_down_with_what_was_left_open(run: Path, root: Path) -> None:
    said = read_run(run / "run.yaml")
    assert (said["kind"], said["data"], said["seed"]) == ("dfm", root / "data", 4)
    assert (said["device"], said["size"], said["override_gate"]) == ("cpu", 64, "a test needs no quality")
    assert json.loads((run / "report.json").read_text())["options"]["device"] == "cpu"
    assert not (run / "checkpoint").exists()


def test_a_run_is_repeated_to_the_bit_from_its_own_file(run: Path, root: Path) -> None:
    assert _train("--config", run / "run.yaml", "--out", root / "again")["ok"] is True
    assert _made(root / "again") == _made(run)


def test_a_run_that_has_ended_is_never_written_over(run: Path) -> None:
    before = _made(run)
    with pytest.raises(CloudError, match="expected a new or empty folder for the run"):
        _train("--config", run / "run.yaml", "--out", run, "--resume")
    assert _made(run) == before


def test_what_has_not_begun_is_begun_by_resume(root: Path, run: Path, tmp_path: Path) -> None:
    assert _train("--config", run / "run.yaml", "--out", tmp_path / "new", "--resume")["ok"] is True
    assert _made(tmp_path / "new") == _made(run)


def _stopping(line: str) -> None:
    if "epoch 2" in line:
        raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["classification", "segmentation"])
def test_learning_that_was_interrupted_goes_on_to_the_same_model(kind: str, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", count=40, seed=3)
    options = TrainingOptions(depth=2, size=32, epochs=3, threads=1, override="a test needs no quality")
    assert train(kind, tmp_path / "data" / kind, tmp_path / "whole", options, lambda _line: None).ok
    with pytest.raises(KeyboardInterrupt):
        train(kind, tmp_path / "data" / kind, tmp_path / "run", options, _stopping)
    lines: list[str] = []
    assert train(kind, tmp_path / "data" / kind, tmp_path / "run", options, lines.append, resume=True).ok
    assert [line[:7] for line in lines if line.startswith("epoch")] == ["epoch 2", "epoch 3"]
    for name in ("model.onnx", "predictions.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_how_long_and_how_large_it_learns_is_written_down_before_it_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was left open is chosen once: an interrupted training goes on with that."""
    write_dataset(tmp_path / "data", count=40, seed=3)
    row, data = METHODS["classification"], tmp_path / "data/classification"
    monkeypatch.setitem(METHODS, "classification", row._replace(sight=24 * 192 * 192 * 4))
    options = TrainingOptions(depth=2, threads=1, override="a test needs no quality")
    with pytest.raises(KeyboardInterrupt):
        train("classification", data, tmp_path / "run", options, _stopping)
    said = read_run(tmp_path / "run/run.yaml")
    assert (said["epochs"], said["size"]) == (4, 192)
    monkeypatch.setitem(METHODS, "classification", row)
    lines: list[str] = []
    chosen = options._replace(epochs=said["epochs"], size=said["size"])
    trained = train("classification", data, tmp_path / "run", chosen, lines.append, resume=True)
    assert [line[:7] for line in lines if line.startswith("epoch")] == ["epoch 2", "epoch 3", "epoch 4"]
    assert (trained.report["options"]["epochs"], trained.report["options"]["size"]) == (4, 192)


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"epochs": -1}, {"threads": -1}, {"override": "  "}], ids=lambda wrong: next(iter(wrong))
)
def test_what_no_training_can_be_told_is_refused_before_anything_is_written(
    root: Path, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    with pytest.raises(CloudError, match="expected"):
        train("patchcore", root / "data", tmp_path / "run", TrainingOptions(**wrong), lambda _line: None)
    assert not (tmp_path / "run").exists()


def _few(root: Path, data: Path, method: str) -> Path:
    """Copy so few pictures that validation gets none."""
    places = {"patchcore": ("train/good", "test/bad"), "classification": ("normal", "anomalous")}[method]
    for place, source in zip(places, ("train/good", "test/bad"), strict=True):
        (root / place).mkdir(parents=True)
        (root / place / "a.png").write_bytes((data / source / "0.png").read_bytes())
    return root


@pytest.mark.parametrize("method", ["patchcore", "classification"])
def test_without_anything_to_set_thresholds_by_an_override_cannot_help_either(
    root: Path, tmp_path: Path, method: str
) -> None:
    options = TrainingOptions(size=64, threads=1, override="there is no more yet")
    data = _few(tmp_path / "data", root / "data", method)
    trained = train(method, data, tmp_path / "run", options, lambda _line: None)
    assert not trained.ok
    assert "to set thresholds by (validation), there is none" in trained.message
    assert json.loads((tmp_path / "run/report.json").read_text())["message"] == trained.message


def test_a_mask_that_cannot_be_read_stops_no_training_that_overrides_the_gate(root: Path, tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for index in range(12):
        picture = (root / "data/train/good" / f"{index % 8}.png").read_bytes()
        (tmp_path / "data/images" / f"{index}.png").write_bytes(picture)
        mask = np.zeros(vision.decode(picture).shape[:2], np.uint8)
        mask[4:12, 4:12] = 255 * (index % 2)
        (tmp_path / "data/masks" / f"{index}.png").write_bytes(vision.encode_png(mask))
    (tmp_path / "data/masks/5.png").write_bytes(b"no mask")
    options = TrainingOptions(depth=4, size=64, epochs=1, threads=1, override="one mask is torn")
    trained = train("segmentation", tmp_path / "data", tmp_path / "run", options, lambda _line: None)
    assert trained.ok
    assert "images/5.png" not in (tmp_path / "run/predictions.csv").read_text()


def test_a_defect_that_nobody_drew_is_no_good_pixel(tmp_path: Path) -> None:
    """Where only some defects have masks, and the gate is overridden, pixels are counted of those alone."""
    mask = np.zeros((64, 64), np.uint8)
    mask[8:24, 8:24] = 255
    (tmp_path / "mask.png").write_bytes(vision.encode_png(mask))
    (tmp_path / "picture.png").write_bytes(vision.encode_png(np.zeros((64, 64, 3), np.uint8)))
    drawn = Sample("a", tmp_path / "picture.png", "bad", anomalous=True, part="a", split=Split.TEST)
    samples = (drawn._replace(mask=tmp_path / "mask.png"), drawn._replace(file="b"), drawn._replace(anomalous=False))
    maps = np.stack([mask, np.full((64, 64), 255, np.uint8), np.zeros((64, 64), np.uint8)]).astype(np.float32) / 16 - 8
    rule = Preprocess(width=64, height=64)
    answers = Answers(load(samples, rule), np.array([8, 8, -8], np.float32), maps)
    found = figures(answers, Decision(threshold=0.5), rule)
    assert (found["iou"], found["pixel_auroc"]) == (1.0, 1.0)


def test_a_method_that_learns_in_no_epochs_overlooks_how_many_were_told(root: Path, tmp_path: Path) -> None:
    """As evaluate tells all methods the same: its thresholds must not change by that."""
    decisions = []
    for epochs in (0, 3):
        options = TrainingOptions(depth=4, size=64, epochs=epochs, threads=1, override="a test needs no quality")
        trained = train("padim", root / "data", tmp_path / str(epochs), options, lambda _line: None)
        decisions.append((trained.report["decision"], trained.report["thresholds"]))
    assert decisions[0] == decisions[1]
    assert "fold by fold" in decisions[0][1]


def test_a_training_that_has_ended_says_so_when_it_is_to_go_on(run: Path) -> None:
    with pytest.raises(CloudError, match="its training has ended, there is nothing to go on with") as caught:
        _train("--resume", "--out", run)
    assert caught.value.code is Code.ALREADY_EXISTS
    assert (run / "model.onnx").is_file()
