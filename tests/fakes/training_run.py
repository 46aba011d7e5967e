"""What a training leaves behind, without a training: a real graph that a test can judge by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from cloud_tools.packaging.parts import FILE, GOLDEN, MODEL, ManifestParts
from cloud_tools.training.report import REPORT
from edge_agent.formats import Decision, Kind, Preprocess
from tests.fakes.tiny_models import BRIGHT, GREY, SIDE, grey_picture


def write_run(run: Path, *, bias: float = 0.0, **report: Any) -> Path:
    """Write a run whose model scores a part by how bright it is, and return its folder.

    Args:
        run: made.
        bias: added to the raw score, so that runs can be told apart.
        report: fields of the report to replace.
    """
    (run / GOLDEN).mkdir(parents=True)
    (run / MODEL).write_bytes(_graph(bias))
    for index, value in enumerate((GREY, BRIGHT)):
        (run / GOLDEN / f"{index}.png").write_bytes(grey_picture(value))
    parts = ManifestParts(
        kind=Kind.ANOMALY, preprocess=Preprocess(width=SIDE, height=SIDE), decision=Decision(threshold=0.5)
    )
    (run / FILE).write_bytes(parts.to_json())
    content = {
        "method": "patchcore",
        "kind": "anomaly",
        "ok": True,
        "message": "",
        "options": {"depth": 10, "seed": 0, "override": ""},
        "metrics": {"image_auroc": 0.98, "image_ap": None, "confusion": [[1, 0], [0, 1]]},
        "data": {"sha256": "d" * 64, "classes": []},
        "code_version": "0.1.0+abc",
        "gate": {"findings": [], "override": None},
    }
    (run / REPORT).write_text(json.dumps(content | report))
    return run


def _graph(bias: float) -> bytes:
    """Return a graph whose map is each pixel's brightness less 128, and whose score is the map's mean and ``bias``."""
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real"], ["grey"], axes=[3], keepdims=0),
        helper.make_node("Sub", ["grey", "middle"], ["map"]),
        helper.make_node("ReduceMean", ["map"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Add", ["mean", "bias"], ["score"]),
    ]
    constants = {"middle": 128.0, "bias": bias}
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"]),
            helper.make_tensor_value_info("map", TensorProto.FLOAT, ["batch", SIDE, SIDE]),
        ],
        [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())
