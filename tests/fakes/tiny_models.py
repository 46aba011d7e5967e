"""Model versions small enough to be made in a test: real graphs, real manifests, known answers.

Each graph takes uint8 pictures and scores a part by how bright it is: raw score
``(mean - 128) / 16 + bias``. As much as the first pixel is redder than green, as much longer it works.
"""

import hashlib
import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge_agent.formats import Manifest, parse
from edge_agent.vision import encode_png

SIDE = 16
GREY, BRIGHT = 100, 160
# What the faults that begin with "glare-" wait for: no golden sample is as bright.
GLARE = 250
_GLARE_ABOVE = 240
_WORK = 96
_HUGE = {"glare-memory": 150_000_000, "glare-allocation": 1 << 42}


def grey_picture(value: int, width: int = 24, height: int = 16) -> bytes:
    """Return a PNG of one grey."""
    return encode_png(np.full((height, width, 3), value, np.uint8))


def image(value: int, *, work: int = 0, batch: int = 1) -> dict[str, NDArray[Any]]:
    """Return an input tensor of one grey; ``work`` 1..255 makes the graph compute for some milliseconds each."""
    pixels = np.full((batch, SIDE, SIDE, 3), value, np.uint8)
    pixels[:, 0, 0, :2] = (work, 0)
    return {"image": pixels}


def raw_score(pixels: NDArray[np.uint8], bias: float = 0.0) -> float:
    """Return what the graph answers."""
    return float((pixels[:, 1:].astype(np.float64).mean() - 128) / 16 + bias)


def write_version(
    directory: Path,
    *,
    name: str = "bright",
    version: str = "1",
    bias: float = 0.0,
    kind: str = "classification",
    fault: str = "",
    changes: Mapping[str, Any] | None = None,
) -> Manifest:
    """Write one version as the store lays it out and return its manifest.

    Args:
        directory: made when absent.
        name: of the model.
        version: of the model.
        bias: added to the raw score, so that versions can be told apart.
        kind: classification (score, probabilities) or anomaly (score, map).
        fault: "", "nan", "shape" or "garbage" (no ONNX at all); only on glaring pictures: "glare-nan",
            "glare-shape", "glare-crash" (SIGFPE), "glare-hang", "glare-memory" (600 MB), "glare-allocation" (absurd);
            "slow" works longer; "build-memory" and "build-hang" are too much for the builder.
        changes: fields of the manifest to replace.
    """
    directory.mkdir(parents=True, exist_ok=True)
    content = b"no graph" * 64 if fault == "garbage" else _graph(bias, kind, fault)
    (directory / "model.onnx").write_bytes(content)
    samples = []
    for label, value in (("OK", GREY), ("NG", BRIGHT)):
        (directory / f"{label}.png").write_bytes(grey_picture(value))
        score = 1 / (1 + math.exp(-((value - 128) / 16 + bias)))
        samples.append({"image": f"{label}.png", "score": score, "verdict": "NG" if score >= 0.5 else "OK"})
    document = _manifest(directory, name, version, kind) | {"golden": {"samples": samples}} | dict(changes or {})
    manifest = parse(Manifest, document, what="manifest")
    (directory / "manifest.json").write_bytes(manifest.to_json())
    return manifest


def replace_model(directory: Path, manifest: Manifest, content: bytes) -> Manifest:
    """Put other bytes in the model's place, and have the manifest tell of them."""
    model = manifest.model_artefact
    (directory / model.path).write_bytes(content)
    changed = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    others = [artefact for artefact in manifest.artefacts if artefact is not model]
    manifest = manifest.model_copy(update={"artefacts": (model.model_copy(update=changed), *others)})
    (directory / "manifest.json").write_bytes(manifest.to_json())
    return manifest


def _manifest(directory: Path, name: str, version: str, kind: str) -> dict[str, Any]:
    second = (
        {"name": "probabilities", "dtype": "float32", "shape": [-1, 2]}
        if kind == "classification"
        else {"name": "map", "dtype": "float32", "shape": [-1, SIDE, SIDE]}
    )
    roles = {"model.onnx": "model", "OK.png": "golden", "NG.png": "golden"}
    return {
        "schema": "edge-agent/manifest/1",
        "model": name,
        "version": version,
        "release_seq": 1,
        "kind": kind,
        "labels": ["good", "bad"] if kind == "classification" else [],
        "normal_labels": ["good"] if kind == "classification" else [],
        "runtime": {"name": "onnxruntime"},
        "inputs": [{"name": "image", "dtype": "uint8", "shape": [-1, SIDE, SIDE, 3]}],
        "outputs": [{"name": "score", "dtype": "float32", "shape": [-1]}, second],
        "preprocess": {"width": SIDE, "height": SIDE, "letterbox": False},
        "decision": {"threshold": 0.5, "threshold_range": [0.1, 0.9]},
        "artefacts": [_artefact(directory / path, role) for path, role in roles.items()],
    }


def _artefact(path: Path, role: str) -> dict[str, Any]:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return {"path": path.name, "role": role, "size_bytes": len(content), "sha256": digest}


def _graph(bias: float, kind: str, fault: str) -> bytes:
    constants = {
        "begin": np.array([1], np.int64),
        "end": np.array([SIDE], np.int64),
        "rows": np.array([1], np.int64),
        "inner": np.array([1, 2, 3], np.int64),
        "channels": np.array([3], np.int64),
        "middle": np.array(128, np.float32),
        "width": np.array(16, np.float32),
        "bias": np.array(math.nan if fault == "nan" else bias, np.float32),
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "last": np.array([-1], np.int64),
        "true": np.bool_(1).reshape(()),
        "nothing": np.zeros((_WORK, _WORK), np.float32),
        "matrix": np.full((_WORK, _WORK), 0.001, np.float32),
        "per_step": np.array(400, np.int64),
        "none": np.array(0, np.int64),
        "corner": np.array([0, 0, 0, 0], np.int64),
        "next": np.array([0, 0, 0, 1], np.int64),
        **_TRIGGER,
        "huge": np.array(_HUGE.get(fault, 0), np.int64),
        "always": np.array(400 * 8 if fault == "slow" else 0, np.int64),
        "weights": np.zeros(16 << 20 if fault == "build-memory" else 1, np.float32),
        "endless": np.array((1 << 60) if fault == "glare-hang" else 0, np.int64),
    }
    nodes = [
        helper.make_node("GatherND", ["image", "corner"], ["first"]),
        helper.make_node("GatherND", ["image", "next"], ["second"]),
        helper.make_node("Cast", ["first"], ["first_int"], to=TensorProto.INT64),
        helper.make_node("Cast", ["second"], ["second_int"], to=TensorProto.INT64),
        helper.make_node("Sub", ["first_int", "second_int"], ["more"]),
        helper.make_node("Max", ["more", "none"], ["work"]),
        helper.make_node("Mul", ["work", "per_step"], ["asked_steps"]),
        *_glare(),
        helper.make_node("Mul", ["glare", "endless"], ["glare_steps"]),
        helper.make_node("Add", ["asked_steps", "glare_steps"], ["some_steps"]),
        helper.make_node("Add", ["some_steps", "always"], ["steps"]),
        helper.make_node("Loop", ["steps", "true", "nothing"], ["worked"], body=_work()),
        helper.make_node("ReduceMax", ["worked"], ["worked_most"], keepdims=0),
        helper.make_node("Add", ["mean", "worked_most"], ["mean_after"]),
        helper.make_node("Sub", ["mean_after", "middle"], ["centred"]),
        helper.make_node("Div", ["centred", "width"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["sound"]),
        *_harm(fault),
        *_outputs(kind, fault),
    ]
    batch = "n"
    second = (
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, 2])
        if kind == "classification"
        else helper.make_tensor_value_info("map", TensorProto.FLOAT, [batch, SIDE, SIDE])
    )
    graph = helper.make_graph(
        nodes,
        "bright",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["answers"]), second],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


_TRIGGER = {
    "glare_above": np.array(_GLARE_ABOVE, np.float32),
    "unit": np.array(1, np.int64),
    "least": np.array(-(1 << 63), np.int64),
    "unit_list": np.array([1], np.int64),
    "nought": np.array(0, np.float32),
    "square_shape": np.array([3000, 3000], np.int64),
}


def _glare() -> list[onnx.NodeProto]:
    """Return what makes ``glare`` 1 for a glaring picture, else 0, and ``calm`` the other way round."""
    return [
        helper.make_node("Slice", ["image", "begin", "end", "rows"], ["below"]),
        helper.make_node("Cast", ["below"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "inner"], ["mean"], keepdims=0),
        helper.make_node("ReduceMax", ["mean"], ["brightest"], keepdims=0),
        helper.make_node("Greater", ["brightest", "glare_above"], ["is_glare"]),
        helper.make_node("Cast", ["is_glare"], ["glare"], to=TensorProto.INT64),
        helper.make_node("Sub", ["unit", "glare"], ["calm"]),
    ]


def _harm(fault: str) -> list[onnx.NodeProto]:  # noqa: PLR0911 - a table of graphs
    """Return what makes ``raw`` of ``sound``: the same, unless the picture glares and the fault is of that kind."""
    if fault == "glare-crash":
        return [  # the least integer divided by -1 has no result: SIGFPE on x86, and nothing catches it
            helper.make_node("Sub", ["calm", "glare"], ["one_or_minus_one"]),
            helper.make_node("Div", ["least", "one_or_minus_one"], ["quotient"]),
            helper.make_node("Less", ["none", "quotient"], ["never"]),
            helper.make_node("Cast", ["never"], ["never_float"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["sound", "never_float"], ["raw"]),
        ]
    if fault == "glare-nan":
        return [
            helper.make_node("Cast", ["calm"], ["calm_float"], to=TensorProto.FLOAT),
            helper.make_node("Log", ["calm_float"], ["logarithm"]),
            helper.make_node("Mul", ["logarithm", "nought"], ["not_a_number"]),
            helper.make_node("Add", ["sound", "not_a_number"], ["raw"]),
        ]
    if fault == "glare-shape":
        return [
            helper.make_node("Add", ["unit_list", "glare"], ["repeats"]),
            helper.make_node("Tile", ["sound", "repeats"], ["raw"]),
        ]
    if fault in _HUGE:
        return [
            helper.make_node("Mul", ["glare", "huge"], ["much"]),
            helper.make_node("Add", ["unit_list", "much"], ["much_shape"]),
            helper.make_node("Expand", ["nought", "much_shape"], ["spread"]),
            helper.make_node("ReduceMax", ["spread"], ["spread_most"], keepdims=0),
            helper.make_node("Add", ["sound", "spread_most"], ["raw"]),
        ]
    if fault == "build-memory":
        return [
            helper.make_node("ReduceMax", ["weights"], ["weights_most"], keepdims=0),
            helper.make_node("Add", ["sound", "weights_most"], ["raw"]),
        ]
    if fault == "build-hang":  # the optimiser computes what depends on no input
        chain = ["square", *(f"product_{number}" for number in range(400))]
        return [
            helper.make_node("Expand", ["nought", "square_shape"], ["square"]),
            *(helper.make_node("MatMul", [a, "square"], [b]) for a, b in itertools.pairwise(chain)),
            helper.make_node("ReduceMax", [chain[-1]], ["spread_most"], keepdims=0),
            helper.make_node("Add", ["sound", "spread_most"], ["raw"]),
        ]
    return [helper.make_node("Identity", ["sound"], ["raw"])]


def _outputs(kind: str, fault: str) -> list[onnx.NodeProto]:
    score = (
        helper.make_node("Concat", ["raw", "raw"], ["score"], axis=0)
        if fault == "shape"
        else helper.make_node("Identity", ["raw"], ["score"])
    )
    if kind == "anomaly":
        return [
            score,
            helper.make_node("Cast", ["image"], ["all_pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["all_pixels", "channels"], ["grey"], keepdims=0),
            helper.make_node("Sub", ["grey", "middle"], ["grey_centred"]),
            helper.make_node("Div", ["grey_centred", "width"], ["map"]),
        ]
    return [
        score,
        helper.make_node("Sigmoid", ["raw"], ["bad"]),
        helper.make_node("Neg", ["raw"], ["negated"]),
        helper.make_node("Sigmoid", ["negated"], ["good"]),
        helper.make_node("Unsqueeze", ["good", "last"], ["good_column"]),
        helper.make_node("Unsqueeze", ["bad", "last"], ["bad_column"]),
        helper.make_node("Concat", ["good_column", "bad_column"], ["probabilities"], axis=-1),
    ]


def _work() -> onnx.GraphProto:
    """Return a loop's body that multiplies a matrix of zeros: time spent, nothing changed."""
    return helper.make_graph(
        [
            helper.make_node("MatMul", ["before", "matrix"], ["after"]),
            helper.make_node("Identity", ["go_on"], ["still"]),
        ],
        "work",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, [_WORK, _WORK]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, [_WORK, _WORK]),
        ],
    )
