"""``edge-cloud package import``: the old systems' packages become bundles of ours.

A package holds a graph (ONNX or TorchScript) or what SageMaker Neo compiled of one, at its top or in a folder;
Lookout for Vision's has a manifest.json that tells everything, and a folder for its stage. The bundle keeps the
package's digest. Nothing of the package is executed, but for compiled models with the operator's leave.
"""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from cloud_tools.errors import CloudError
from cloud_tools.export.told import Layout, Told
from cloud_tools.packaging import lookout, neo
from cloud_tools.packaging.bundle import Packaged
from cloud_tools.packaging.foreign import Rule, package_graph
from cloud_tools.packaging.unpack import unpack
from edge_agent.errors import Code

_GRAPHS = (".onnx", ".torchscript", ".ts", ".pt", ".pth", ".keras", ".h5", ".tflite")


class Order(NamedTuple):
    """What is told of a package."""

    told: Told
    threshold: float | None
    """None: the package's own, else 0.5."""
    letterbox: bool
    golden: Path | None
    allow_native_code: bool
    name: str
    version: str


class Brought(NamedTuple):
    """What came of it."""

    packaged: Packaged
    recognised: str
    sha256: str
    """Of the package."""
    form: str
    """Whose package it was: lookout, neo or graph."""


def import_package(source: Path, order: Order, out: Path) -> Brought:
    """Write a bundle of a package.

    Args:
        source: a tar, tar.gz, zip or folder.
        order: what is told of it.
        out: new or empty; it is there completely or not at all.

    Raises:
        CloudError: it is no package, holds what may not be in it or nothing that can be brought, or contradicts
            what is told.
        BundleError: a tar is damaged or holds what may not be in it.
        DocumentError: its manifest, the name or the version is malformed.
    """
    with tempfile.TemporaryDirectory() as directory:
        inside, work = Path(directory) / "package", Path(directory) / "work"
        work.mkdir()
        sha256 = unpack(source, inside)
        provenance = {"package": source.name, "package_sha256": sha256}
        manifest = _manifest(inside)
        if manifest is not None and lookout.is_lookout(manifest):
            packaged, said = _lookout(inside, lookout.read(manifest), order, provenance, out, work)
            return Brought(packaged, said, sha256, "lookout")
        if found := neo.find(inside):
            return Brought(neo.package_compiled(found, order, provenance, out), "", sha256, "neo")
        rule = Rule(
            0.5 if order.threshold is None else order.threshold, letterbox=order.letterbox, provenance=provenance
        )
        graph = _only_graph(inside)
        packaged, said = package_graph(graph, order.told, rule, order.golden, order.name, order.version, out, work)
        return Brought(packaged, said, sha256, "graph")


def _manifest(inside: Path) -> dict[str, Any] | None:
    path = inside / lookout.MANIFEST
    return lookout.read_json(path) if path.is_file() else None


def _lookout(
    inside: Path, package: lookout.Package, order: Order, provenance: dict[str, Any], out: Path, work: Path
) -> tuple[Packaged, str]:
    from cloud_tools.export.check import read_graph
    from cloud_tools.export.convert import converted

    stage = inside / package.stage.type
    if neo.find(stage):
        raise CloudError(Code.INVALID_ARGUMENT, f"{package.stage.type}/: {_COMPILED}")
    size = (package.stage.image_width, package.stage.image_height)
    first = Told(layout=Layout.NCHW, size=size)
    graph = converted(_only_graph(stage), first, work)
    outputs = {value.name: len(value.type.tensor_type.shape.dim) for value in read_graph(graph).graph.output}
    told = lookout.told_of(package, outputs)
    threshold = package.threshold if order.threshold is None else order.threshold
    rule = Rule(threshold, letterbox=False, provenance=provenance | {"lookout": package.provenance()})
    return package_graph(graph, told, rule, order.golden, order.name, order.version, out, work)


def _only_graph(folder: Path) -> Path:
    found = sorted(path for path in folder.rglob("*") if path.suffix in _GRAPHS) if folder.is_dir() else []
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:5]) or "none"
        message = f"expected a package with one model as {', '.join(_GRAPHS)}, or compiled by Neo, came {names}"
        raise CloudError(Code.INVALID_ARGUMENT, message)
    return found[0]


_COMPILED = (
    "expected the graph itself (ONNX or TorchScript), came what Neo compiled of it: pictures as floats, which only "
    "SageMaker Edge's Predict serves. Export the model again, or train anew on the captured pictures"
)
