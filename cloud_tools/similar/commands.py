"""``edge-cloud similar``."""

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloud_tools import output
from cloud_tools.errors import CloudError
from cloud_tools.output import JsonFlag
from edge_agent.errors import Code

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cloud_tools.similar.table import Alike, KnownModel, PartTable

Database = Annotated[str, typer.Option(help="postgresql://…, or local[:DIR]: a server of this machine's own")]
Bundle = Annotated[Path | None, typer.Option(help="folder of the model's bundle")]
Product = Annotated[str, typer.Option(help="what the parts are; else the model's name")]
THRESHOLD = 0.9


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    similar = typer.Typer(help="Parts that look alike, over all lines: keep them, ask for them.", no_args_is_help=True)
    similar.command("ingest")(ingest)
    similar.command("query")(query)
    app.add_typer(similar, name="similar")


def ingest(
    database: Database,
    bundle: Bundle = None,
    captures: Annotated[Path | None, typer.Option(help="folder that edge-cloud captures pull made")] = None,
    product: Product = "",
    as_json: JsonFlag = False,
) -> None:
    """Put the parts that a model learnt from, and captured ones, where they can be asked for.

    Where a part lies is the model's word: captures alone are compared by the model that was ingested last.
    """
    if bundle is None and captures is None:
        raise typer.BadParameter("expected --bundle, --captures or both", param_hint="'--bundle'")
    from cloud_tools.similar.parts import Embedder
    from cloud_tools.similar.server import address_of
    from cloud_tools.similar.table import open_table

    with address_of(database) as address, open_table(address) as table:
        embedder = Embedder(bundle or _remembered(table.find_model()))
        known = table.model(embedder.known())
        meant = product or known.model
        learnt = table.add(known, embedder.learnt(meant)) if bundle is not None else 0
        parts, left_out = embedder.captured(captures, meant) if captures is not None else ([], [])
        captured = table.add(known, parts)
        for reason in left_out:
            output.note(f"left out: {reason}")
        answer = {
            "ok": True,
            "model": known.model,
            "version": known.version,
            "product": meant,
            "learnt": learnt,
            "captured": captured,
            "left_out": len(left_out),
            "parts": table.count(known),
        }
    output.emit(answer, as_json=as_json)


def query(
    part: Annotated[str, typer.Argument(metavar="IMAGE|CAPTURE", help="a picture, or a part that was ingested")],
    database: Database,
    bundle: Bundle = None,
    model: Annotated[str, typer.Option(help="whose parts; else those that were ingested last")] = "",
    version: Annotated[str, typer.Option(help="of that model")] = "",
    product: Annotated[str, typer.Option(help="only parts of this one")] = "",
    top: Annotated[int, typer.Option(min=1, max=1000, help="how many")] = 10,
    threshold: Annotated[float, typer.Option(min=-1, max=1, help="less alike than this is an anomaly")] = THRESHOLD,
    as_json: JsonFlag = False,
) -> None:
    """Show the parts that look most like one; where nothing like it was seen it is an anomaly."""
    from cloud_tools.similar.server import address_of
    from cloud_tools.similar.table import open_table

    with address_of(database) as address, open_table(address) as table:
        known, place, name = _meant(table, part, bundle, model, version)
        found = table.alike(known, place, top, product=product, but=name)
    best = found[0].similarity if found else None
    anomaly = best is None or best < threshold
    answer: dict[str, Any] = {
        "ok": True,
        "model": known.model,
        "version": known.version,
        "verdict": "anomaly" if anomaly else "known",
        "message": "nothing like it seen: anomaly" if anomaly else "parts like it were seen",
        "similarity": best,
        "threshold": threshold,
        "usual_similarity": known.usual_similarity,
        "parts": [_told(each) for each in found],
    }
    if as_json:
        output.emit(answer, as_json=True)
        return
    output.table(answer["parts"], ("similarity", "source", "label", "verdict", "product", "at", "part"), as_json=False)
    usual = "" if known.usual_similarity is None else f"; good parts reach {known.usual_similarity:.4f}"
    most = "no part" if best is None else f"{best:.4f}"
    output.emit(answer, as_json=False, text=f"{answer['message']} ({most} against {threshold:g}{usual})")


def _meant(
    table: "PartTable", part: str, bundle: Path | None, model: str, version: str
) -> "tuple[KnownModel, NDArray[np.float32], str]":
    """Return the model, where it finds the part, and the part's name where it is one that was ingested."""
    from cloud_tools.similar.parts import Embedder, read_picture

    if bundle is not None:
        embedder = Embedder(bundle)
        told = embedder.known()
        known = table.find_model(told.model, told.version)
        if known.graph_sha256 != told.graph_sha256:
            message = f"{bundle}: {known.model} {known.version} was ingested with another graph"
            raise CloudError(Code.ALREADY_EXISTS, message)
    else:
        known = table.find_model(model, version)
    place = table.embedding(known, part)
    if place is not None:
        return known, place, part
    if not Path(part).is_file():
        message = f"expected a picture, or a part of {known.model} {known.version} in the database, came {part[:200]}"
        raise CloudError(Code.NOT_FOUND, message)
    asked = Embedder(bundle or _remembered(known))
    if asked.known().graph_sha256 != known.graph_sha256:
        raise CloudError(Code.ALREADY_EXISTS, f"{asked.directory}: it holds another graph by now: name --bundle")
    return known, asked.place(read_picture(Path(part))), ""


def _remembered(known: "KnownModel") -> Path:
    """Return where a model's bundle lay when it was ingested.

    Raises:
        CloudError: NOT_FOUND: it is not there, or not on this machine.
    """
    if not Path(known.bundle).is_dir():
        message = f"{known.model} {known.version}: expected its bundle at {known.bundle}, there is none: name --bundle"
        raise CloudError(Code.NOT_FOUND, message)
    return Path(known.bundle)


def _told(alike: "Alike") -> dict[str, Any]:
    at = None if alike.at is None else datetime.fromtimestamp(alike.at, timezone.utc).isoformat(timespec="seconds")
    return alike._asdict() | {"similarity": round(alike.similarity, 6), "at": at}
