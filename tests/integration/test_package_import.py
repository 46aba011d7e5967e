"""Packages of the systems that ended become bundles: Lookout's, Neo's, and graphs in archives."""

import hashlib
import json
import platform
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from cloud_tools.cli import build_app
from cloud_tools.errors import CloudError
from cloud_tools.evaluation.device import DeviceModel
from cloud_tools.export.told import Range, Told
from cloud_tools.packaging import lookout
from cloud_tools.packaging.imported import Order, import_package
from cloud_tools.release.publish import read_bundle
from edge_agent.errors import AgentError, Code
from edge_agent.formats import Kind, Manifest, Role, parse
from edge_agent.vision import sigmoid
from tests.fakes.foreign_graphs import SIDE, write_graph
from tests.fakes.neo_artefact import COMPILER, write_neo
from tests.fakes.packages import Entry, tar

ORDER = Order(Told(), None, letterbox=False, golden=None, allow_native_code=False, name="old", version="1")
STAGE = {
    "type": "mochi",
    "threshold": 0.7021560668945312,
    "normalize": True,
    "image_range_scale": True,
    "image_width": SIDE,
    "image_height": SIDE,
    "input_shape": [1, 3, SIDE, SIDE],
    "class_normal_ids": [1],
    "classification_head_enabled": True,
    "segmentation_head_enabled": False,
}
GRAPH = {
    "model_graph_type": "single_stage_model_graph",
    "stages": [STAGE],
    "image_level_classes": {"names": ["anomaly", "normal"], "normal_ids": [1]},
    "pixel_level_classes": {"names": ["background", "scratch"], "normal_ids": [0]},
}
MANIFEST: dict[str, Any] = {
    "model_graph": GRAPH,
    "compilable_models": [{"filename": "mochi.onnx", "data_input_config": {"input": [1, 3, SIDE, SIDE]}}],
    "dataset": {"image_width": 64, "image_height": 48},
}


@pytest.fixture
def graph(tmp_path: Path) -> bytes:
    return write_graph(tmp_path / "mochi.onnx", "softmax", shape=(1, 3, SIDE, SIDE)).read_bytes()


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def lookout_package(path: Path, graph: bytes, manifest: dict[str, Any] = MANIFEST) -> Path:
    return zipped(path, {"manifest.json": json.dumps(manifest).encode(), "mochi/mochi.onnx": graph})


def changed(**fields: Any) -> dict[str, Any]:
    return MANIFEST | {"model_graph": GRAPH | {"stages": [STAGE | fields]}}


def test_a_lookout_package_judges_as_its_manifest_says(tmp_path: Path, graph: bytes) -> None:
    source = lookout_package(tmp_path / "model.zip", graph)
    brought = import_package(source, ORDER, tmp_path / "out")
    manifest = read_bundle(tmp_path / "out").manifest
    assert (brought.form, manifest.kind) == ("lookout", Kind.CLASSIFICATION)
    assert (manifest.labels, manifest.normal_labels) == (("anomaly", "normal"), ("normal",))
    assert manifest.decision.threshold == pytest.approx(0.7022 - 5e-5, abs=1e-12)
    assert manifest.preprocess.letterbox is False
    assert manifest.provenance["package_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert manifest.provenance["lookout"]["threshold"] == STAGE["threshold"]
    assert manifest.provenance["lookout"]["colours"] == {"background": "#FFFFFF", "scratch": "#23A436"}


def test_its_score_is_the_sum_of_what_does_not_mean_normal(tmp_path: Path, graph: bytes) -> None:
    import_package(lookout_package(tmp_path / "model.zip", graph), ORDER, tmp_path / "out")
    picture = np.random.default_rng(1).integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
    scaled = (picture / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    said = DeviceModel(tmp_path / "out" / "model.onnx").run(picture)
    # The graph's first channel is the lower the greater the mean; it is the one that means anomaly.
    assert sigmoid(float(said["score"][0])) == pytest.approx(sigmoid(-float(scaled.mean() * 4)), abs=1e-5)


@pytest.mark.parametrize(("score", "anomalous"), [(0.70214, False), (0.702156, True), (0.7022, True), (0.70212, False)])
def test_the_threshold_rounds_as_lookout_rounded(score: float, anomalous: bool) -> None:
    package = lookout.read(MANIFEST)
    assert (round(score, 4) >= round(STAGE["threshold"], 4)) == anomalous  # type: ignore[call-overload]
    assert (score >= package.threshold) == anomalous


def test_a_package_with_both_heads_draws_masks_where_the_greatest_channel_is_no_normal_one(tmp_path: Path) -> None:
    graph = two_heads(tmp_path / "both.onnx")
    manifest = changed(segmentation_head_enabled=True, seg_normal_ids=[0])
    import_package(lookout_package(tmp_path / "model.zip", graph, manifest), ORDER, tmp_path / "out")
    bundle = read_bundle(tmp_path / "out").manifest
    assert bundle.kind is Kind.SEGMENTATION
    assert {spec.name for spec in bundle.outputs} == {"score", "map"}


def two_heads(path: Path) -> bytes:
    """Return a graph with a class head and a map of three channels."""
    both = onnx.load(write_graph(path, "softmax", shape=(1, 3, SIDE, SIDE)))
    planes = onnx.helper.make_tensor_value_info("planes", onnx.TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    both.graph.node.append(onnx.helper.make_node("Mul", ["input", "four"], ["planes"]))
    both.graph.output.append(planes)
    return bytes(both.SerializeToString())


UNSUPPORTED = [
    (MANIFEST | {"model_graph": GRAPH | {"model_graph_type": "two_stage_model_graph"}}, "expected a single_stage"),
    (MANIFEST | {"model_graph": GRAPH | {"stages": []}}, "stages"),
    (changed(threshold="high"), "threshold"),
    (changed(image_width=0), "image_width"),
    (changed(type="../mochi"), "type"),
    (changed(class_normal_ids=[7]), "class_normal_ids"),
    (changed(segmentation_head_enabled=True), "segmentation head"),
    (changed(classification_head_enabled=False), "classification head"),
    (changed(type="other"), "one model as"),
]


@pytest.mark.parametrize(("manifest", "message"), UNSUPPORTED)
def test_a_lookout_manifest_that_cannot_be_followed_is_refused(
    tmp_path: Path, graph: bytes, manifest: dict[str, Any], message: str
) -> None:
    with pytest.raises(AgentError, match=message):
        import_package(lookout_package(tmp_path / "model.zip", graph, manifest), ORDER, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["tar", "zip", "folder"])
def test_a_graph_in_any_package_is_imported_by_one_command(tmp_path: Path, graph: bytes, form: str) -> None:
    if form == "tar":
        (source := tmp_path / "package.tar").write_bytes(tar([Entry("model/mochi.onnx", graph), Entry("README", b"x")]))
    elif form == "zip":
        source = zipped(tmp_path / "package.zip", {"mochi.onnx": graph})
    else:
        (source := tmp_path / "package").mkdir()
        (source / "mochi.onnx").write_bytes(graph)
    flags = ["--range", "0..1", "--label", "a", "--label", "b", "--normal-label", "a", "--threshold", "0.6", "--json"]
    named = ["--name", "old", "--version", "4", "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(build_app(), ["package", "import", str(source), *named, *flags])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout.splitlines()[-1])
    assert (answer["package"], answer["model"], answer["version"]) == ("graph", "old", "4")
    manifest = parse(Manifest, (tmp_path / "out" / "manifest.json").read_bytes(), what="manifest")
    assert manifest.provenance["package_sha256"] == answer["source_sha256"]
    assert manifest.decision.threshold == 0.6


@pytest.mark.skipif(COMPILER is None or platform.machine() != "x86_64", reason="no C compiler, or another machine")
def test_what_neo_compiled_is_taken_with_leave_and_asked_for_its_golden_samples(tmp_path: Path) -> None:
    write_neo(tmp_path / "neo-version")
    entries = [Entry(path.name, path.read_bytes()) for path in sorted((tmp_path / "neo-version" / "neo").iterdir())]
    (source := tmp_path / "compiled.tar").write_bytes(tar(entries))
    told = Told(labels=("good", "bad"), normal_labels=("good",))
    with pytest.raises(CloudError) as caught:
        import_package(source, ORDER._replace(told=told), tmp_path / "out")
    assert caught.value.code is Code.PERMISSION_DENIED
    assert "--allow-native-code" in caught.value.message
    brought = import_package(source, ORDER._replace(told=told, allow_native_code=True), tmp_path / "out")
    manifest = read_bundle(tmp_path / "out").manifest
    assert (brought.form, manifest.runtime.name, manifest.requires.machines) == ("neo", "dlr", ("x86_64",))
    assert {library.path for library in manifest.libraries} == {"neo/compiled.so", "neo/libdlr.so"}
    assert manifest.model_artefact.path == "neo/compiled.meta"
    assert {artefact.role for artefact in manifest.artefacts} == set(Role) - {Role.BANK}


def link_in_zip(path: Path, graph: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("model.onnx")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return path


def test_nothing_leads_out_of_a_package(tmp_path: Path, graph: bytes) -> None:
    hostile = {
        "link.zip": lambda path: link_in_zip(path, graph),
        "up.zip": lambda path: zipped(path, {"../model.onnx": graph}),
        "absolute.zip": lambda path: zipped(path, {"/tmp/model.onnx": graph}),
        "back.zip": lambda path: zipped(path, {"a\\..\\model.onnx": graph}),
        "folder.zip": lambda path: zipped(path, {"a": b"x", "a/b": graph}),
    }
    for name, make in hostile.items():
        with pytest.raises(CloudError):
            import_package(make(tmp_path / name), ORDER, tmp_path / "out")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "model.onnx").symlink_to(tmp_path / "mochi.onnx")
    with pytest.raises(CloudError, match="a link or a device"):
        import_package(tmp_path / "linked", ORDER, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_zip_that_says_too_little_of_its_size_is_stopped(tmp_path: Path) -> None:
    source = zipped(tmp_path / "bomb.zip", {"model.onnx": bytes(1 << 20)})
    content = bytearray(source.read_bytes())
    at = content.rfind(b"PK\x01\x02") + 24
    content[at : at + 4] = (100).to_bytes(4, "little")
    source.write_bytes(bytes(content))
    with pytest.raises(CloudError, match="expected"):
        import_package(source, ORDER, tmp_path / "out")


def test_a_package_without_a_model_and_no_package_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CloudError, match="came none"):
        import_package(zipped(tmp_path / "empty.zip", {"README": b""}), ORDER, tmp_path / "out")
    with pytest.raises(CloudError, match="there is none"):
        import_package(tmp_path / "nothing", ORDER, tmp_path / "out")
    (tmp_path / "text.tar").write_bytes(b"text")
    with pytest.raises(AgentError, match="expected a whole tar archive"):
        import_package(tmp_path / "text.tar", ORDER, tmp_path / "out")


def test_a_damaged_zip_is_refused_in_our_words(tmp_path: Path) -> None:
    sound = zipped(tmp_path / "sound.zip", {"model.onnx": bytes(range(256)) * 40}).read_bytes()
    at = sound.index(b"model.onnx") + len(b"model.onnx")
    damaged = {
        "no zip": b"PK\x03\x04 no zip",
        "other bytes": sound[:at] + b"\xff" * 20 + sound[at + 20 :],
        "no names": sound.replace(b"model.onnx", b"\x00" * 10),
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CloudError, match="expected"):
            import_package(tmp_path / name, ORDER, tmp_path / "out")


def test_a_range_that_the_package_does_not_tell_is_asked_for(tmp_path: Path, graph: bytes) -> None:
    source = zipped(tmp_path / "package.zip", {"mochi.onnx": graph})
    with pytest.raises(CloudError, match="expected --range"):
        import_package(source, ORDER, tmp_path / "out")
    told = Told(range=Range.UNIT, labels=("a", "b"), normal_labels=("a",))
    assert import_package(source, ORDER._replace(told=told), tmp_path / "out").form == "graph"
