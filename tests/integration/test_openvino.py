"""OpenVINO's own ways: a graph of two files, a precision that must be pinned, devices, and silence."""

import hashlib
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

if find_spec("openvino") is None:
    pytest.skip("openvino is not installed", allow_module_level=True)

from edge_agent.config import Inference
from edge_agent.errors import ActivationError, AgentError, BundleError, Code, InferenceError
from edge_agent.formats import Manifest, parse
from edge_agent.inference import build_engine, open_session
from edge_agent.inference.engines.cache import engine_file
from edge_agent.inference.engines.source import Source, choose, read_model
from edge_agent.inference.runtimes import openvino
from edge_agent.inference.runtimes.table import Tuning
from tests.fakes.tiny_models import image, write_version

ov = openvino.ov
ROOT = Path(__file__).resolve().parents[2]
SETTINGS = Inference(runtimes=("openvino",))
PATIENCE_S = 60.0


def artefact(path: Path, role: str) -> dict[str, Any]:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return {"path": path.name, "role": role, "size_bytes": len(content), "sha256": digest}


def write_ir(directory: Path, *, bias: float = 0.0, precision: str = "fp32", with_weights: bool = True) -> Manifest:
    """Write the tiny model as OpenVINO's IR: a graph in XML, and its weights beside it."""
    runtime = {"name": "openvino", "precision": precision}
    manifest = write_version(directory, bias=bias, changes={"runtime": runtime})
    onnx = directory / "model.onnx"
    ov.save_model(ov.Core().read_model(onnx.read_bytes()), directory / "model.xml", compress_to_fp16=False)
    onnx.unlink()
    document = manifest.model_dump(mode="json", by_alias=True)
    golden = [each for each in document["artefacts"] if each["role"] == "golden"]
    weights = [artefact(directory / "model.bin", "extra")] if with_weights else []
    document["artefacts"] = [artefact(directory / "model.xml", "model"), *weights, *golden]
    return parse(Manifest, document, what="manifest")


def build(tmp_path: Path, manifest: Manifest) -> bool:
    engines = tmp_path / "engines"
    return build_engine(tmp_path / "v", manifest, SETTINGS, engines=engines, timeout_s=PATIENCE_S).cached


def test_a_graph_of_two_files_is_built_and_answers(tmp_path: Path) -> None:
    manifest = write_ir(tmp_path / "v", bias=0.25)
    assert not build(tmp_path, manifest)
    assert build(tmp_path, manifest)
    session = open_session(tmp_path / "v", manifest, SETTINGS, engines=tmp_path / "engines")
    assert session.infer(image(0), timeout_s=PATIENCE_S)["score"] == pytest.approx([-7.75])
    assert session.provider == "CPU"
    session.close()


def test_weights_that_are_not_the_signed_ones_are_never_loaded(tmp_path: Path) -> None:
    manifest = write_ir(tmp_path / "v")
    weights = tmp_path / "v" / "model.bin"
    weights.write_bytes(bytes(reversed(weights.read_bytes())))
    with pytest.raises(ActivationError) as caught:
        build(tmp_path, manifest)
    assert "model.bin: expected content with SHA-256" in caught.value.message
    weights.unlink()
    with pytest.raises(ActivationError) as caught:
        build(tmp_path, manifest)
    assert caught.value.message.startswith("expected model.bin at ")


def test_the_same_graph_with_other_weights_has_another_engine(tmp_path: Path) -> None:
    """The graph of an IR says where its weights lie, not what they are."""
    first = write_ir(tmp_path / "v")
    weights = tmp_path / "v" / "model.bin"
    weights.write_bytes(bytes(reversed(weights.read_bytes())))
    changed = [
        each.model_copy(update={"sha256": artefact(weights, "extra")["sha256"]}) if each.path == "model.bin" else each
        for each in first.artefacts
    ]
    second = first.model_copy(update={"artefacts": tuple(changed)})
    paths = {engine_file(manifest, tmp_path / "engines").path for manifest in (first, second)}
    assert len(paths) == 2


def test_the_same_files_under_each_others_names_have_another_engine(tmp_path: Path) -> None:
    """Which file holds the weights is told by its name, and by nothing else."""
    first = write_ir(tmp_path / "v")
    weights = next(each for each in first.artefacts if each.path == "model.bin")
    spare = weights.model_copy(update={"path": "spare.bin", "sha256": "0" * 64})
    others = [each for each in first.artefacts if each is not weights]
    swapped = (weights.model_copy(update={"path": "spare.bin"}), spare.model_copy(update={"path": "model.bin"}))
    releases = [first.model_copy(update={"artefacts": (*pair, *others)}) for pair in ((weights, spare), swapped)]
    paths = {engine_file(manifest, tmp_path / "engines").path for manifest in releases}
    assert len(paths) == 2


def test_a_graph_whose_weights_are_not_listed_is_refused(tmp_path: Path) -> None:
    manifest = write_ir(tmp_path / "v", with_weights=False)
    with pytest.raises(ActivationError) as caught:
        build(tmp_path, manifest)
    assert (caught.value.code, caught.value.message.startswith("OpenVINO: ")) == (Code.BUILD_FAILED, True)


def test_an_onnx_file_with_weights_beside_it_is_refused_since_they_would_be_sought_elsewhere(tmp_path: Path) -> None:
    manifest = write_version(tmp_path / "v", changes={"runtime": {"name": "openvino"}})
    path = tmp_path / "v" / "model.onnx"
    onnx.save(
        onnx.load(path),
        path,
        save_as_external_data=True,
        location="model.data",
        size_threshold=0,
        convert_attribute=True,
    )
    others = [each for each in manifest.artefacts if each is not manifest.model_artefact]
    files = [artefact(path, "model"), artefact(tmp_path / "v" / "model.data", "extra")]
    document = manifest.model_dump(mode="json", by_alias=True)
    document["artefacts"] = [*files, *(each.model_dump(mode="json") for each in others)]
    with pytest.raises(BundleError) as caught:
        build(tmp_path, parse(Manifest, document, what="manifest"))
    assert caught.value.code is Code.FORMAT_FORBIDDEN
    assert "came 'model.data' beside it" in caught.value.message


@pytest.mark.parametrize(
    "content",
    [b"<net", b'<?xml version="1.0"?><net></net>', b"<html></html>"],
)
def test_what_only_looks_like_a_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    manifest = write_ir(tmp_path / "v")
    (tmp_path / "v" / "model.xml").write_bytes(content)
    model = manifest.model_artefact
    changed = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    others = [each for each in manifest.artefacts if each is not model]
    manifest = manifest.model_copy(update={"artefacts": (model.model_copy(update=changed), *others)})
    with pytest.raises(AgentError) as caught:
        build(tmp_path, manifest)
    assert caught.value.code in (Code.BUILD_FAILED, Code.FORMAT_FORBIDDEN)


@pytest.mark.parametrize(("precision", "pinned"), [("fp32", "float32"), ("int8", "float32")])
def test_the_precision_is_the_signed_one_from_the_model_and_from_its_engine(
    tmp_path: Path, precision: str, pinned: str
) -> None:
    """Left to itself it computes in bf16 where the processor can."""
    manifest = write_ir(tmp_path / "v", precision=precision)
    build(tmp_path, manifest)
    engine = engine_file(manifest, tmp_path / "engines")
    for source in (read_model(tmp_path / "v", manifest), choose(engine, tmp_path / "v", manifest)):
        loaded = openvino.load(source, Tuning(1, precision))
        told = loaded._compiled
        assert told.get_property("INFERENCE_PRECISION_HINT").get_type_name() == {"float32": "f32"}[pinned]
        assert told.get_property("INFERENCE_NUM_THREADS") == 1
        assert told.get_property("NUM_STREAMS") == 1
    assert source.optimised


def test_a_lower_precision_is_another_engine(tmp_path: Path) -> None:
    exact, half = (write_ir(tmp_path / name, precision=name) for name in ("fp32", "fp16"))
    engines = tmp_path / "engines"
    assert engine_file(exact, engines).path != engine_file(half, engines).path
    loaded = openvino.load(read_model(tmp_path / "fp16", half), Tuning(1, "fp16"))
    assert loaded.run(image(0))["score"] == pytest.approx([-8.0], abs=0.05)


@pytest.mark.parametrize(
    ("providers", "wanted"), [((), ""), (("CPU",), ""), (("GPU", "CPU"), "GPU"), (("CUDAExecutionProvider",), "")]
)
def test_a_gpu_that_is_not_there_is_told_as_a_fallback(
    tmp_path: Path, providers: tuple[str, ...], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "_devices", lambda: ("CPU",))
    loaded = openvino.load(read_model(tmp_path / "v", write_ir(tmp_path / "v")), Tuning(providers=providers))
    told = f"expected {wanted}, it runs on CPU: OpenVINO finds only CPU" if wanted else ""
    assert (loaded.provider, loaded.fallback) == ("CPU", told)


def test_of_several_gpus_the_first_is_meant_and_threads_are_no_business_of_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openvino, "_devices", lambda: ("CPU", "GPU.0", "GPU.1"))
    assert openvino._device(("GPU",)) == ("GPU", "")
    assert openvino.providers() == ("CPU", "GPU.0", "GPU.1")
    assert "INFERENCE_NUM_THREADS" not in openvino._properties("GPU", Tuning())


@pytest.mark.parametrize("number", [-(1 << 31) - 1, 1 << 31])
def test_a_number_that_it_would_silently_change_is_refused(tmp_path: Path, number: int) -> None:
    model = ov.Model(
        [ov.opset13.add(counted := ov.opset13.parameter([-1], np.int64, name="n"), np.int64(1))], [counted], "count"
    )
    model.inputs[0].tensor.set_names({"n"})
    ov.save_model(model, tmp_path / "count.xml")
    content, weights = ((tmp_path / f"count.{kind}").read_bytes() for kind in ("xml", "bin"))
    loaded = openvino.load(Source(content, tmp_path, weights=weights), Tuning())
    with pytest.raises(InferenceError) as caught:
        loaded.run({"n": np.array([0, number])})
    assert (caught.value.code, str(number) in caught.value.message) == (Code.INVALID_ARGUMENT, True)


def test_a_library_that_cannot_be_imported_fails_the_build_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken" / "openvino"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('libtbb.so.12 is missing')")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    with pytest.raises(ActivationError) as caught:
        build(tmp_path, write_ir(tmp_path / "v"))
    assert (caught.value.code, caught.value.message) == (Code.BUILD_FAILED, "libtbb.so.12 is missing")


def test_it_tells_nobody_that_it_was_imported() -> None:
    code = (
        "from edge_agent.inference.runtimes import openvino\n"
        "from openvino.tools.ovc import telemetry_utils\n"
        "print(telemetry_utils.tm.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env={**os.environ}
    )
    assert done.stdout.strip() == "openvino.tools.ovc.telemetry_stub"
