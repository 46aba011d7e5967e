"""Bundles are made of graphs that keep the contract, or not at all."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cloud_tools.cli import build_app
from cloud_tools.errors import CloudError
from cloud_tools.evaluation.device import DeviceModel
from cloud_tools.export.check import check_graph
from cloud_tools.packaging.bundle import MANIFEST, package
from cloud_tools.packaging.foreign import describe_graph, golden_pictures
from edge_agent.errors import DocumentError
from edge_agent.formats import Kind, Manifest, parse
from edge_agent.vision import calibrate, decode, prepare
from tests.fakes.training_run import write_run

onnx = pytest.importorskip("onnx", reason="the extra cloud is not installed")


def _graph(*, batch: int | str = "batch", dtype: int | None = None, score: str = "score", opset: int = 17) -> Any:
    """Return a graph: the score is the mean brightness less 100, the map the brightness less 128."""
    helper, types = onnx.helper, onnx.TensorProto
    image = helper.make_tensor_value_info("image", dtype or types.UINT8, [batch, 16, 24, 3])
    outputs = [
        helper.make_tensor_value_info(score, types.FLOAT, [batch]),
        helper.make_tensor_value_info("map", types.FLOAT, [batch, 16, 24]),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=types.FLOAT),
        helper.make_node("ReduceMean", ["real"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Sub", ["mean", "middle"], [score]),
        helper.make_node("ReduceMean", ["real"], ["grey"], axes=[3], keepdims=0),
        helper.make_node("Sub", ["grey", "middle"], ["map"]),
    ]
    weights = [onnx.numpy_helper.from_array(np.array(128.0, np.float32), "middle")]
    graph = helper.make_graph(nodes, "brightness", [image], outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _written(tmp_path: Path, model: Any) -> Path:
    path = tmp_path / "given.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def _packaged(tmp_path: Path, name: str = "brightness", version: str = "3") -> Manifest:
    path = _written(tmp_path, _graph())
    parts = describe_graph(path, labels=(), normal_labels=(), threshold=0.5)
    pictures = golden_pictures(None, parts.preprocess)
    package(path, parts, pictures, name, version, tmp_path / "bundle")
    return parse(Manifest, (tmp_path / "bundle" / MANIFEST).read_bytes(), what="manifest")


def test_a_graph_from_elsewhere_becomes_a_bundle(tmp_path: Path) -> None:
    path = _written(tmp_path, _graph())
    arguments = ["package", str(path), "--name", "brightness", "--version", "3", "-o", str(tmp_path / "out"), "--json"]
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 0
    manifest = parse(Manifest, (tmp_path / "out" / MANIFEST).read_bytes(), what="manifest")
    assert manifest.kind is Kind.SEGMENTATION
    assert (manifest.preprocess.width, manifest.preprocess.height) == (24, 16)
    assert manifest.release_seq == 1


def test_golden_scores_are_those_of_the_files_in_the_bundle(tmp_path: Path) -> None:
    manifest = _packaged(tmp_path)
    device = DeviceModel(tmp_path / "bundle" / "model.onnx")
    for sample in manifest.golden.samples:
        image, _ = prepare(decode((tmp_path / "bundle" / sample.image).read_bytes()), manifest.preprocess)
        raw = float(device.run(image[np.newaxis])["score"][0])
        assert calibrate(raw, manifest.decision.calibration) == sample.score
        assert raw == pytest.approx(image.mean() - 128, abs=1e-3)


def test_a_batch_that_is_not_free_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CloudError, match=r"uint8\[-1, height, width, 3\], came image uint8\[1, 16, 24, 3\]"):
        check_graph(_written(tmp_path, _graph(batch=1)))


def test_an_input_of_another_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CloudError, match="came image int32"):
        check_graph(_written(tmp_path, _graph(dtype=onnx.TensorProto.INT32)))


def test_a_graph_without_a_score_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CloudError, match="an output score"):
        check_graph(_written(tmp_path, _graph(score="points")))


def test_weights_outside_the_file_are_refused(tmp_path: Path) -> None:
    model = _graph()
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    with pytest.raises(CloudError, match="all weights inside the file, came 1 outside"):
        check_graph(_written(tmp_path, model))


def test_operators_of_strangers_are_refused(tmp_path: Path) -> None:
    model = _graph()
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    with pytest.raises(CloudError, match=r"com\.example"):
        check_graph(_written(tmp_path, model))


def test_an_opset_that_no_runtime_has_is_refused(tmp_path: Path) -> None:
    model = _graph()
    model.opset_import[0].version = 9
    with pytest.raises(CloudError, match="opset"):
        check_graph(_written(tmp_path, model))


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x08"])
def test_bytes_that_are_no_graph_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(CloudError, match="expected"):
        check_graph(path)


@pytest.mark.parametrize(("name", "version"), [("a_b", "1"), ("", "1"), ("good", "1.x"), ("good", "01")])
def test_a_bad_name_or_version_leaves_nothing_behind(tmp_path: Path, name: str, version: str) -> None:
    with pytest.raises(DocumentError):
        _packaged(tmp_path, name, version)
    assert [path.name for path in tmp_path.iterdir()] == ["given.onnx"]


def test_a_bundle_is_never_written_over(tmp_path: Path) -> None:
    _packaged(tmp_path)
    before = (tmp_path / "bundle" / MANIFEST).read_bytes()
    with pytest.raises(CloudError, match="new or empty"):
        _packaged(tmp_path, version="4")
    assert (tmp_path / "bundle" / MANIFEST).read_bytes() == before


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    arguments = ["package", str(tmp_path), "--name", "a", "--version", "1", "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(build_app(), arguments)
    assert isinstance(result.exception, CloudError)
    assert "manifest-parts.json" in result.exception.message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("message", ["", "the quality gate stops this model"])
def test_a_model_that_a_gate_stopped_is_not_packaged_without_a_word(tmp_path: Path, message: str) -> None:
    run = write_run(tmp_path / "run", ok=not message, message=message)
    arguments = ["package", str(run), "--name", "pads", "--version", "1", "-o", str(tmp_path / "out"), "--json"]
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 0, result.output
    assert ("its training was stopped" in result.stderr) == bool(message)
    assert message in result.stderr
