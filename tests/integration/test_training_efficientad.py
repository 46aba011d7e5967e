"""EfficientAD and the tuned DFM say the same everywhere and survive being killed; how well they judge is not asked."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cloud_tools.datasets import Split
from cloud_tools.datasets.texture import draw, photographs
from cloud_tools.errors import CloudError
from cloud_tools.evaluation.device import DeviceModel
from cloud_tools.training.run import PARITY, TrainingOptions, train
from edge_agent import vision
from edge_agent.inference.engines.source import Source
from edge_agent.inference.runtimes.table import Tuning, load_engine

pytest.importorskip("torch", reason="the extra train is not installed")

_QUICK = TrainingOptions(depth=4, size=32, epochs=2, threads=1, override="a test needs no quality")
_TRAININGS = {
    "efficientad": ("efficientad", _QUICK),
    "simsiam": ("dfm", _QUICK._replace(tune="simsiam", scope="patch")),
    "cutpaste": ("dfm", _QUICK._replace(tune="cutpaste", scope="image")),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("parts") / "data"
    photos = photographs()
    for folder, split, count in (
        ("train/good", Split.TRAIN, 8),
        ("test/good", Split.TEST, 3),
        ("test/bad", Split.TEST, 3),
    ):
        (root / folder).mkdir(parents=True)
        for index in range(count):
            one = draw(photos, split, 5, index, defective=folder.endswith("bad"))
            (root / folder / f"{index}.png").write_bytes(vision.encode_png(one.picture))
    return root


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    for name, (method, options) in _TRAININGS.items():
        assert train(method, data, root / name, options, lambda _line: None).ok
    return {name: root / name for name in _TRAININGS}


@pytest.fixture(params=_TRAININGS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _made(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in ("model.onnx", "predictions.csv")}


def test_the_graph_says_what_the_training_said(name: str, runs: dict[str, Path]) -> None:
    report = json.loads((runs[name] / "report.json").read_text())
    assert report["parity"]["max_difference"] <= PARITY
    assert report["parity"]["pictures"] == 14
    assert report["options"]["device"] == "cpu"
    assert 0 <= report["random_control"]["image_auroc"] <= 1
    answers = DeviceModel(runs[name] / "model.onnx").run(np.zeros((2, 32, 32, 3), np.uint8))
    assert (answers["score"].shape, answers["map"].shape) == ((2,), (2, 32, 32))


def test_the_batch_is_free_and_openvino_says_the_same(name: str, runs: dict[str, Path]) -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    graph = runs[name] / "model.onnx"
    together = DeviceModel(graph).run(images)
    for index, image in enumerate(images):
        for output, values in DeviceModel(graph).run(image[np.newaxis]).items():
            np.testing.assert_allclose(values[0], together[output][index], rtol=1e-3, atol=1e-3)
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    other = load_engine("openvino", Source(graph.read_bytes(), graph.parent), Tuning(1)).run({"image": images})
    for output in ("score", "map"):
        np.testing.assert_allclose(other[output], together[output], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", ["simsiam", "cutpaste"])
def test_an_interrupted_training_ends_as_if_it_had_not_been(
    name: str, data: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    method, options = _TRAININGS[name]
    with pytest.raises(KeyboardInterrupt):
        train(method, data, tmp_path / "run", options, _Interrupting(after=", epoch 2"))
    with pytest.raises(CloudError, match="--resume goes on with"):
        train(method, data, tmp_path / "run", options, lambda _line: None)
    lines: list[str] = []
    assert train(method, data, tmp_path / "run", options, lines.append, resume=True).ok
    assert not any(", epoch 1" in line for line in lines)
    assert _made(tmp_path / "run") == _made(runs[name])


class _Interrupting:
    """Ctrl-C at the first line that holds some text."""

    def __init__(self, after: str) -> None:
        self.after = after

    def __call__(self, line: str) -> None:
        if self.after in line:
            raise KeyboardInterrupt


def test_a_killed_training_goes_on_after_its_last_epoch(data: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    flags = ["--depth", "4", "--size", "32", "--epochs", "2", "--threads", "1"]
    given = ["--data", data, "--out", tmp_path / "run", *flags, "--override-gate", _QUICK.override]
    command = [sys.executable, "-m", "cloud_tools.cli", "train", "efficientad", *map(str, given)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        seen = next((line for line in process.stderr if "student, epoch 2" in line), "")
        process.send_signal(signal.SIGKILL)
    assert seen
    assert process.returncode == -signal.SIGKILL
    lines: list[str] = []
    assert train("efficientad", data, tmp_path / "run", _QUICK, lines.append, resume=True).ok
    assert not any("teacher, epoch" in line or "student, epoch 1" in line for line in lines)
    assert _made(tmp_path / "run") == _made(runs["efficientad"])


def test_a_training_is_not_resumed_as_another_one(data: Path, tmp_path: Path) -> None:
    method, options = _TRAININGS["simsiam"]
    with pytest.raises(KeyboardInterrupt):
        train(method, data, tmp_path / "run", options, _Interrupting(after=", epoch 2"))
    kept = {path.name: path.read_bytes() for path in (tmp_path / "run/checkpoint").iterdir()}
    with pytest.raises(CloudError, match="seed was 0, came 1"):
        train(method, data, tmp_path / "run", options._replace(seed=1), lambda _line: None, resume=True)
    (tmp_path / "run/checkpoint/simsiam.pt").write_bytes(b"half of a file")
    with pytest.raises(CloudError, match=r"simsiam\.pt: expected the state of an interrupted training"):
        train(method, data, tmp_path / "run", options, lambda _line: None, resume=True)
    assert set(kept) == {path.name for path in (tmp_path / "run/checkpoint").iterdir()}


def test_another_seed_makes_another_model(data: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    method, options = _TRAININGS["simsiam"]
    assert train(method, data, tmp_path / "run", options._replace(seed=1), lambda _line: None).ok
    assert _made(tmp_path / "run")["model.onnx"] != _made(runs["simsiam"])["model.onnx"]
