"""Whatever a package or a graph from elsewhere holds, it is brought, or refused in our own words with nothing left."""

import contextlib
import io
import json
import random
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cloud_tools.export.check import check_graph
from cloud_tools.export.told import Channels, Head, Layout, OutputKind, Range, Told
from cloud_tools.export.wrap import wrap
from cloud_tools.packaging import lookout
from cloud_tools.packaging.imported import Order, import_package
from cloud_tools.packaging.unpack import unpack
from edge_agent.errors import AgentError
from scripts.fuzzlib.mutate import mutate
from tests.fakes.foreign_graphs import SIDE, write_graph
from tests.fakes.packages import Entry, tar

RELAXED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
TOLD = Told(range=Range.UNIT, labels=("good", "bad"), normal_labels=("good",))
STAGE = {"type": "mochi", "image_width": SIDE, "image_height": SIDE, "class_normal_ids": [1]}
MANIFEST: dict[str, Any] = {
    "model_graph": {
        "model_graph_type": "single_stage_model_graph",
        "stages": [STAGE],
        "image_level_classes": {"names": ["anomaly", "normal"], "normal_ids": [1]},
    }
}


def graph(head: str) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        return write_graph(Path(directory) / "x.onnx", head).read_bytes()


def package_of(form: str) -> bytes:
    files = {"manifest.json": json.dumps(MANIFEST).encode(), "mochi/mochi.onnx": graph("softmax")}
    if form == "tar":
        return tar(Entry(name, content) for name, content in files.items())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


PACKAGES = {form: package_of(form) for form in ("tar", "zip")}
GRAPHS = {head: graph(head) for head in ("softmax", "map", "planes")}
ORDER = Order(TOLD, None, letterbox=False, golden=None, allow_native_code=False, name="x", version="1")


@pytest.mark.parametrize("form", PACKAGES)
@settings(max_examples=60, **RELAXED)
@given(seed=st.integers(0, 2**64))
def test_a_damaged_package_is_imported_whole_or_not_at_all(form: str, seed: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "package"
        source.write_bytes(mutate(PACKAGES[form], random.Random(seed)))
        try:
            import_package(source, ORDER, Path(directory) / "out")
        except AgentError:
            assert sorted(path.name for path in Path(directory).iterdir()) == ["package"]


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20) | st.sampled_from(
    ["../x", "/x", "a/../../x", "a", "a/b", "./a", "a//b", "C:\\x", "\u202ex", "x" * 300, "."]
)


@settings(max_examples=150, **RELAXED)
@given(names=st.lists(NAMES, max_size=4), form=st.sampled_from(["zip", "tar"]))
@example(names=["\x00"], form="zip")
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_no_name_in_a_package_leads_out_of_its_folder(names: list[str], form: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        source = root / "package"
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name in names if form == "zip" else ():
                # Set afterwards, a name is written as it is, also what stands behind a NUL.
                entry = zipfile.ZipInfo("of any name")
                entry.filename = name
                archive.writestr(entry, b"content")
        source.write_bytes(buffer.getvalue() if form == "zip" else tar(Entry(name, b"content") for name in names))
        (root / "inside").mkdir()
        with contextlib.suppress(AgentError):
            unpack(source, root / "inside")
        assert sorted(path.name for path in root.iterdir()) == ["inside", "package"]
        assert not any(path.is_symlink() for path in (root / "inside").rglob("*"))


def assert_wrapped_or_refused(source: Path, told: Told) -> None:
    target = source.with_name("wrapped.onnx")
    with contextlib.suppress(AgentError):
        wrap(source, told, target)
        assert {spec.name for spec in check_graph(target)["outputs"]} <= {"score", "map", "probabilities"}


@pytest.mark.parametrize("head", GRAPHS)
@settings(max_examples=60, **RELAXED)
@given(seed=st.integers(0, 2**64))
@example(seed=1030)  # a name that is no text
def test_a_damaged_graph_is_wrapped_or_refused_in_our_words(head: str, seed: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "x.onnx"
        source.write_bytes(mutate(GRAPHS[head], random.Random(seed)))
        assert_wrapped_or_refused(source, TOLD)


TELLINGS = st.builds(
    Told,
    range=st.none() | st.sampled_from(Range),
    mean=st.lists(st.floats(), max_size=4).map(tuple),
    std=st.lists(st.floats(), max_size=4).map(tuple),
    layout=st.none() | st.sampled_from(Layout),
    channels=st.sampled_from(Channels),
    size=st.none() | st.tuples(st.integers(1, 64), st.integers(1, 64)),
    heads=st.lists(
        st.builds(Head, st.sampled_from(["", "score", "other"]), st.none() | st.sampled_from(OutputKind)), max_size=3
    ).map(tuple),
    labels=st.lists(st.text(max_size=3), max_size=4).map(tuple),
    normal_labels=st.lists(st.text(max_size=3), max_size=4).map(tuple),
    normal_channels=st.lists(st.integers(-2, 4), max_size=4).map(tuple),
)


@settings(max_examples=80, **RELAXED)
@given(told=TELLINGS, head=st.sampled_from(sorted(GRAPHS)))
def test_whatever_is_told_of_a_graph_it_is_wrapped_or_refused_in_our_words(told: Told, head: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "x.onnx"
        source.write_bytes(GRAPHS[head])
        assert_wrapped_or_refused(source, told)


_leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
VALUES = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


@settings(max_examples=150, **RELAXED)
@given(key=st.sampled_from(["threshold", "image_width", "type", "normalize", "class_normal_ids"]), value=VALUES)
def test_any_field_of_a_lookout_manifest_is_understood_or_named(key: str, value: Any) -> None:
    stage = STAGE | {key: value}
    content = {"model_graph": MANIFEST["model_graph"] | {"stages": [stage]}}
    with contextlib.suppress(AgentError):
        package = lookout.read(content)
        told = lookout.told_of(package, {"score": 2})
        assert 0 <= package.threshold <= 1
        assert set(told.normal_labels) <= set(told.labels)
