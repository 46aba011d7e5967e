"""``edge-cloud package``."""

from pathlib import Path
from typing import Annotated

import typer

from cloud_tools import output
from cloud_tools.output import JsonFlag


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("package")(package)


def package(
    source: Annotated[Path, typer.Argument(metavar="RUN|FILE.onnx", help="a training's run, or a graph")],
    name: Annotated[str, typer.Option(help="of the model")],
    version: Annotated[str, typer.Option(help="one to four numbers, as 1 or 1.2.3")],
    out: Annotated[Path, typer.Option("-o", "--out", help="folder of the bundle; new or empty")],
    label: Annotated[list[str] | None, typer.Option(help="of a graph: a class, in its order; repeat")] = None,
    normal_label: Annotated[list[str] | None, typer.Option(help="of a graph: a class that means OK; repeat")] = None,
    threshold: Annotated[float, typer.Option(help="of a graph: the score at which a part is NG")] = 0.5,
    golden: Annotated[Path | None, typer.Option(help="of a graph: folder of golden pictures; else noise")] = None,
    no_bank: Annotated[
        bool, typer.Option("--no-bank", help="of a run: leave out what it remembers of the parts that it learnt from")
    ] = False,
    no_thumbnails: Annotated[
        bool, typer.Option("--no-thumbnails", help="of a run: leave out the small pictures of those parts")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write a bundle: manifest, graph and golden samples, ready to be published.

    The manifest's release_seq is 1 until it is published; publish gives the real one.
    """
    from cloud_tools.packaging import bundle, foreign

    if source.suffix == ".onnx":
        parts = foreign.describe_graph(
            source, labels=label or (), normal_labels=normal_label or (), threshold=threshold
        )
        pictures = foreign.golden_pictures(golden, parts.preprocess)
        packaged = bundle.package(source, parts, pictures, name, version, out)
    else:
        packaged = bundle.package_run(source, name, version, out, bank=not no_bank, thumbnails=not no_thumbnails)
    manifest = packaged.manifest
    answer = {
        "ok": True,
        "directory": str(packaged.directory),
        "model": manifest.model,
        "version": manifest.version,
        "size_bytes": manifest.size_bytes,
        "manifest_sha256": packaged.sha256,
    }
    output.emit(answer, as_json=as_json)
