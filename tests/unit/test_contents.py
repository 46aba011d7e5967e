"""What a file is, is told by its content: a name proves nothing."""

import gzip
import io
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_agent.errors import BundleError, Code
from edge_agent.formats.contents import check_model, check_other, external_files
from tests.fakes.tiny_models import write_version

SAMPLES = sorted(Path(__file__).resolve().parents[2].glob("samples/bundles/*/*/model.onnx"))


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("executed",))


def saved(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def archive() -> bytes:
    """An archive as PyTorch writes it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("model/data.pkl", pickle.dumps({"weights": 1}))
    return file.getvalue()


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tarred:
        tarred.addfile(tarfile.TarInfo("../../etc/passwd"))
    return file.getvalue()


FORBIDDEN = {
    **{f"pickle, protocol {protocol}": pickle.dumps({"a": [1]}, protocol) for protocol in range(6)},
    **{f"harmful pickle, protocol {protocol}": pickle.dumps(Harmful(), protocol) for protocol in range(6)},
    "archive of PyTorch": archive(),
    "array of objects": saved(np.array([Harmful()], dtype=object)),
    "record array with objects": saved(np.array([(1, "a")], dtype=[("a", "i4"), ("b", "O")])),
    "gzip": gzip.compress(b"weights"),
    "tar": tar(),
    "program": Path("/bin/sh").resolve().read_bytes()[:4096],
    "script": b"#!/bin/sh\nrm -rf /\n",
    "finished engine": b"ftrt" + bytes(100),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
}
ORDINARY = {
    "text": b"scratch\ndent\n",
    "JSON": b'{"labels": []}',
    "PNG": b"\x89PNG\r\n\x1a\n",
    "weights": np.linspace(-1, 1, 500, dtype=np.float32).tobytes(),
    "array of numbers": saved(np.zeros(5, np.float32)),
    "nothing": b"",
}


def model_with(location: str, *, deep: bool = False) -> bytes:
    """An ONNX file whose one weight lies in another file; ``deep``: inside a branch of a branch."""
    weight = numpy_helper.from_array(np.ones(3, np.float32), "w")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "12")):
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    inner = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "inner", [], [], [weight])
    for _ in range(3 if deep else 0):
        branch = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
        inner = helper.make_graph([branch], "outer", [], [])
    return helper.make_model(inner, ir_version=9).SerializeToString()


def check_refused(content: bytes, runtime: str = "onnxruntime") -> str:
    with pytest.raises(BundleError) as refused:
        check_model(content, runtime)
    assert refused.value.code is Code.FORMAT_FORBIDDEN
    return refused.value.message


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: "/".join(path.parts[-3:-1]))
def test_real_models_are_allowed_and_have_no_data_elsewhere(sample: Path) -> None:
    content = sample.read_bytes()
    check_model(content, "onnxruntime")
    assert external_files(content, "model.onnx") == frozenset()


@pytest.mark.parametrize("name", FORBIDDEN)
@pytest.mark.parametrize("runtime", ["onnxruntime", "tensorrt", "openvino", "dlr"])
def test_what_executes_when_it_is_read_is_no_model_of_any_runtime(name: str, runtime: str) -> None:
    check_refused(FORBIDDEN[name], runtime)


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_executes_when_it_is_read_is_refused_beside_a_model_too(name: str) -> None:
    with pytest.raises(BundleError) as refused:
        check_other(FORBIDDEN[name], "extra/file.txt")
    assert refused.value.code is Code.FORMAT_FORBIDDEN
    assert "extra/file.txt" in refused.value.message


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_data_may_lie_beside_a_model_but_is_none(name: str) -> None:
    check_other(ORDINARY[name], "extra")
    check_refused(ORDINARY[name])


def test_the_message_says_what_came_instead() -> None:
    assert "expected an ONNX file for onnxruntime, came a pickle" in check_refused(FORBIDDEN["pickle, protocol 4"])
    assert "PyTorch" in check_refused(FORBIDDEN["archive of PyTorch"])


@pytest.mark.parametrize("ir", [b'<?xml version="1.0"?>\n<net name="a" version="11">', b"<net name='a'>"])
def test_openvinos_ir_is_for_openvino_alone(ir: bytes) -> None:
    check_model(ir, "openvino")
    check_refused(ir, "onnxruntime")
    check_refused(b'<?xml version="1.0"?><html>', "openvino")


def test_a_file_that_is_onnx_only_at_its_beginning_is_refused(tmp_path: Path) -> None:
    write_version(tmp_path)
    content = (tmp_path / "model.onnx").read_bytes()
    check_model(content, "onnxruntime")
    for wrong in (content[:-1], content + b"\x00", content + pickle.dumps({}), b"\x08\x09", content[3:], content * 0):
        check_refused(wrong)


@pytest.mark.parametrize("deep", [False, True])
def test_external_data_is_found_however_deep_it_lies(deep: bool) -> None:
    content = model_with("weights/w.bin", deep=deep)
    assert external_files(content, "model.onnx") == {"weights/w.bin"}
    assert external_files(content, "graphs/model.onnx") == {"graphs/weights/w.bin"}
    check_model(content, "onnxruntime")


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    "location",
    ["/etc/passwd", "../other/w.bin", "a/../../w.bin", "./w.bin", "", ".", "a//b", "a\\..\\b", "w\n.bin", "a/"],
)
def test_external_data_that_points_outside_is_refused(location: str, deep: bool) -> None:
    with pytest.raises(BundleError) as refused:
        external_files(model_with(location, deep=deep), "model.onnx")
    assert refused.value.code is Code.FORMAT_FORBIDDEN


def test_graphs_in_graphs_without_end_are_refused_and_cost_nothing() -> None:
    graph = b"\x0a\x00"
    for _ in range(5000):
        attribute = b"\x32" + _size(graph) + graph
        node = b"\x2a" + _size(attribute) + attribute
        graph = b"\x0a" + _size(node) + node
    with pytest.raises(BundleError, match="graphs in graphs"):
        external_files(b"\x08\x09\x3a" + _size(graph) + graph, "model.onnx")


def _size(content: bytes) -> bytes:
    size, out = len(content), bytearray()
    while size >= 0x80:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*out, size])


def test_the_walk_reads_what_onnx_itself_reads(tmp_path: Path) -> None:
    """A model saved by the library with its weights aside."""
    weight = numpy_helper.from_array(np.ones((20, 20), np.float32), "w")
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [], [weight])
    model = helper.make_model(graph, ir_version=9)
    onnx.save_model(model, str(tmp_path / "m.onnx"), save_as_external_data=True, location="w.bin", size_threshold=0)
    assert external_files((tmp_path / "m.onnx").read_bytes(), "m.onnx") == {"w.bin"}
