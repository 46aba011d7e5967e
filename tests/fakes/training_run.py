"""What a training leaves behind, without a training: a real graph that a test can judge by hand."""

import json
import shutil
from pathlib import Path
from typing import Any

from cloud_tools.packaging.parts import FILE, GOLDEN, MODEL, ManifestParts
from cloud_tools.training.report import REPORT
from edge_agent.formats import Decision, Kind, Preprocess
from tests.fakes.tiny_models import BRIGHT, GREY, SIDE, grey_picture, write_version


def write_run(run: Path, *, bias: float = 0.0, **report: Any) -> Path:
    """Write a run whose model scores a part by how bright it is, and return its folder.

    Args:
        run: made.
        bias: added to the raw score, so that runs can be told apart.
        report: fields of the report to replace.
    """
    write_version(run / "version", kind="anomaly", bias=bias)
    (run / "version" / "model.onnx").rename(run / MODEL)
    shutil.rmtree(run / "version")
    (run / GOLDEN).mkdir()
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
