"""What a run knows of its model, and a manifest is made of."""

from pathlib import Path
from typing import Any

from pydantic import Field

from cloud_tools.errors import CloudError
from edge_agent.errors import Code
from edge_agent.formats import Decision, Document, Kind, Preprocess, RuntimeNeed, parse

FILE = "manifest-parts.json"
MODEL = "model.onnx"
IR = "model.xml"
GOLDEN = "golden"
BANK = "bank.safetensors"


class ManifestParts(Document):
    """Everything of a manifest that does not depend on its name, its version and its files."""

    kind: Kind
    runtime: RuntimeNeed = RuntimeNeed(name="onnxruntime")
    labels: tuple[str, ...] = ()
    normal_labels: tuple[str, ...] = ()
    preprocess: Preprocess
    decision: Decision
    evaluation: dict[str, Any] = Field(default_factory=dict)
    provenance: dict[str, Any] = Field(default_factory=dict)


def model_of(run: Path) -> Path:
    """Return the run's graph: OpenVINO's IR if it holds one, else ONNX."""
    return run / IR if (run / IR).is_file() else run / MODEL


def read_parts(run: Path) -> ManifestParts:
    """Return the parts that a training left in ``run``.

    Raises:
        CloudError: NOT_FOUND: it is not a run.
        DocumentError: the file was changed by hand and is wrong now.
    """
    path = run / FILE
    if not path.is_file():
        raise CloudError(Code.NOT_FOUND, f"{run}: expected a run with {FILE}, there is none")
    return parse(ManifestParts, path.read_bytes(), what=str(path))
