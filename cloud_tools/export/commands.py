"""``edge-cloud export``."""

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from cloud_tools import output
from cloud_tools.errors import CloudError
from cloud_tools.output import JsonFlag
from edge_agent.errors import Code


class Quantiser(str, Enum):
    """Who makes int8 of a graph."""

    ONNXRUNTIME = "onnxruntime"
    NNCF = "nncf"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("export")(export)


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a training's run")],
    data: Annotated[Path, typer.Option(help="the data set that it learnt from: calibrates, and decides by validation")],
    out: Annotated[Path, typer.Option("-o", "--out", help="folder of the run in its new form; new or empty")],
    int8: Annotated[
        Quantiser | None, typer.Option("--int8", help="onnxruntime: an ONNX file; nncf: for OpenVINO (extra nncf)")
    ] = None,
    openvino: Annotated[bool, typer.Option("--openvino", help="OpenVINO's IR in fp32")] = False,
    margin: Annotated[float, typer.Option(help="what a metric on validation may lose in int8, at most")] = 0.01,
    as_json: JsonFlag = False,
) -> None:
    """Give a run's graph another form, if its figures on validation allow it; package takes what comes out.

    Refused, it says what it would have cost, and leaves nothing.
    """
    if (int8 is None) == (not openvino):
        raise CloudError(Code.INVALID_ARGUMENT, "expected one of --int8 and --openvino, came none or both")
    from cloud_tools.export.reform import Form, reform

    form = Form.OPENVINO if int8 is None else Form(int8.value)
    reformed = reform(run, form, data, out, margin=margin, progress=output.note)
    if not reformed.ok:
        output.note(f"edge-cloud: {reformed.message}")
    answer: dict[str, Any] = {"ok": reformed.ok, **reformed.figures}
    answer |= {"directory": str(out)} if reformed.ok else {"message": reformed.message}
    output.emit(answer, as_json=as_json, text="" if as_json else _told(reformed.figures))
    if not reformed.ok:
        raise typer.Exit(1)


def _told(figures: dict[str, Any]) -> str:
    """Return what it cost and gained, for a person."""
    sizes, times = figures["size_bytes"], figures["latency_ms"]
    before, after = figures["before"], figures["after"]
    metrics = [
        f"{name}: {before[name]:.4f} -> {after[name]:.4f}"
        for name in ("f1", "accuracy", "image_auroc", "iou", "pixel_auroc")
        if before.get(name) is not None and after.get(name) is not None
    ]
    return "\n".join(
        [
            *metrics,
            f"largest difference of a score: {figures['max_score_difference']:.4g}",
            f"changed verdicts: {len(figures['changed_verdicts'])} of {figures['pictures']}",
            f"size: {sizes['before']} -> {sizes['after']} bytes ({sizes['ratio']} of it)",
            f"latency: {times['before']} -> {times['after']} ms ({times['ratio']} of it)",
        ]
    )
