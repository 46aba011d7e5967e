"""TorchScript and Keras become bundles through their own converters; what would execute code is refused."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud_tools.errors import CloudError
from cloud_tools.evaluation.device import DeviceModel
from cloud_tools.export.convert import converted
from cloud_tools.export.told import Layout, Range, Told
from cloud_tools.export.wrap import wrap
from edge_agent.errors import Code

torch = pytest.importorskip("torch", reason="the extra train is not installed")

SIDE = 16
TOLD = Told(range=Range.UNIT, labels=("good", "bad"), normal_labels=("good",), size=(SIDE, SIDE), layout=Layout.NCHW)
PICTURES = np.random.default_rng(2).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)


class Network(torch.nn.Module):  # type: ignore[misc]  # skipped where torch is not installed
    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 4, 3, 2)
        self.head = torch.nn.Linear(4, 2)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.convolution(pictures)).mean((2, 3))
        return torch.softmax(self.head(features), 1)


@pytest.fixture(scope="module")
def network() -> Any:
    torch.manual_seed(1)
    return Network().eval()


def said(source: Path, told: Told, work: Path) -> Any:
    wrapped = wrap(converted(source, told, work), told, work / "wrapped.onnx")
    return DeviceModel(wrapped.path).run(PICTURES)["probabilities"]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", ["traced.pt", "scripted.ts"])
def test_torchscript_says_as_a_bundle_what_it_said(network: Any, tmp_path: Path, name: str) -> None:
    script = torch.jit.trace(network, torch.zeros(1, 3, SIDE, SIDE)) if "traced" in name else torch.jit.script(network)
    torch.jit.save(script, str(tmp_path / name))
    with torch.inference_mode():
        expected = network(torch.from_numpy(PICTURES).permute(0, 3, 1, 2) / 255).numpy()
    np.testing.assert_allclose(said(tmp_path / name, TOLD, tmp_path), expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_without_a_size_is_asked_for_it(network: Any, tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(network), str(tmp_path / "x.pt"))
    with pytest.raises(CloudError, match="--size WIDTHxHEIGHT and --layout"):
        converted(tmp_path / "x.pt", TOLD._replace(size=None), tmp_path)


class Mischief:
    """What a stranger's pickle does when it is read."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._trace),)


@pytest.mark.parametrize("how", ["pickle", "torch.save", "torch.save, as it was"])
def test_a_pickle_is_never_read(network: Any, tmp_path: Path, how: str) -> None:
    source, trace = tmp_path / "model.pth", tmp_path / "was-here"
    if how == "pickle":
        source.write_bytes(pickle.dumps(Mischief(trace)))
    else:
        torch.save(Mischief(trace), source, _use_new_zipfile_serialization=how == "torch.save")
    with pytest.raises(CloudError, match="expected a TorchScript archive"):
        converted(source, TOLD, tmp_path)
    assert not trace.exists()


@pytest.fixture(scope="module")
def keras() -> Any:
    os.environ["KERAS_BACKEND"] = "torch"
    return pytest.importorskip("keras", reason="the extra keras is not installed")


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_keras_says_as_a_bundle_what_it_said(keras: Any, tmp_path: Path, name: str) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((SIDE, SIDE, 3)),
            layers.Conv2D(4, 3, 2, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.save(tmp_path / name)
    expected = model.predict(PICTURES.astype(np.float32) / 255, verbose=0)[:, 0]
    told = TOLD._replace(layout=None, size=None)
    np.testing.assert_allclose(said(tmp_path / name, told, tmp_path)[:, 1], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_keras_with_code_of_its_own_is_refused(keras: Any, tmp_path: Path, name: str) -> None:
    layers = keras.layers
    model = keras.Sequential([layers.Input((SIDE, SIDE, 3)), layers.Lambda(lambda x: x * 2), layers.Flatten()])
    model.save(tmp_path / name)
    with pytest.raises(CloudError, match="expected a Keras model of Keras' own layers"):
        converted(tmp_path / name, TOLD, tmp_path)


def test_formats_that_no_converter_reads_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CloudError, match="of a SavedModel make ONNX with tf2onnx"):
        converted(tmp_path / "saved_model.pb", TOLD, tmp_path)
    with pytest.raises(CloudError) as caught:
        converted(tmp_path / "model.pt", TOLD, tmp_path)
    assert caught.value.code is Code.NOT_FOUND
    for name in ("model.keras", "model.h5", "model.pt"):
        (tmp_path / name).write_bytes(b"no model")
        with pytest.raises(CloudError, match="expected a"):
            converted(tmp_path / name, TOLD, tmp_path)


def test_tensorflow_lite_names_the_extra_that_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_tools.export.convert.find_spec", lambda _name: None)
    (tmp_path / "model.tflite").write_bytes(b"TFL3")
    with pytest.raises(CloudError) as caught:
        converted(tmp_path / "model.tflite", TOLD, tmp_path)
    assert caught.value.code is Code.RUNTIME_MISSING
    assert "pip install 'edge-agent[tensorflow]'" in caught.value.message


def test_what_tf2onnx_refuses_is_told_in_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_tools.export.convert.find_spec", lambda name: name)
    monkeypatch.setattr("cloud_tools.export.convert.sys.executable", "/bin/false")
    (tmp_path / "model.tflite").write_bytes(b"TFL3")
    with pytest.raises(CloudError, match="a TensorFlow Lite model that tf2onnx can write as ONNX"):
        converted(tmp_path / "model.tflite", TOLD, tmp_path)
