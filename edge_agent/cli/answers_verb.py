"""Whether the line gets answers: each mapped model is asked about its golden samples, as a station would ask."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from edge_agent.cli.context import places
from edge_agent.cli.output import AsJson, show_json, show_table
from edge_agent.cli.remote_verbs import agent_client
from edge_agent.client import AgentClient
from edge_agent.errors import AgentError, Code, InferenceError
from edge_agent.formats import EncodedPicture, GoldenSample, Manifest, ModelStatus, ModelVersion, Verdict

if TYPE_CHECKING:
    from edge_agent.store.versions import Versions

_TIMEOUT_S = 30.0


class Answer(NamedTuple):
    """What one mapped model made of its golden samples; ``ok``: each score is the signed one, within the tolerance."""

    application: str
    model: str
    version: str
    ok: bool
    message: str


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("answers")(answers)


def answers(
    context: typer.Context,
    unless: Annotated[
        Path | None,
        typer.Option("--unless", metavar="FILE", help="What --json told before: who did not answer then need not now."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask each mapped model about its golden samples; exit 1 if one does not answer as it was signed."""
    excused = _silent(unless) if unless is not None else frozenset()
    state_dir = places(context).state_dir
    with agent_client(context) as client:
        found = list(ask_all(client, state_dir))
    if as_json:
        show_json([answer._asdict() for answer in found])
    else:
        rows = ((a.application, a.model, a.version, "ok" if a.ok else "no", a.message) for a in found)
        show_table(("APPLICATION", "MODEL", "VERSION", "ANSWERS", "MESSAGE"), rows, empty="no model is mapped and here")
    if any(not answer.ok and answer.application not in excused for answer in found):
        raise typer.Exit(1)


def ask_all(client: AgentClient, state_dir: Path) -> Iterator[Answer]:
    """Ask every application whose model is on this device.

    Raises:
        AgentError: the agent did not answer at all.
    """
    from edge_agent.store.blobs import Blobs  # noqa: PLC0415 - only this verb pays for it
    from edge_agent.store.versions import Versions  # noqa: PLC0415 - as above

    versions = Versions(state_dir / "versions", Blobs(state_dir))
    for model in client.status().models:
        for application in model.applications:
            if model.active is not None:
                yield _ask(client, versions, model, application)


def _ask(client: AgentClient, versions: "Versions", model: ModelStatus, application: str) -> Answer:
    version = ModelVersion(model.name, model.active or "")
    try:
        manifest = versions.manifest(version)
        worst = max(
            _distance(client, sample, versions.directory(version) / sample.image, application, manifest)
            for sample in manifest.golden.samples
        )
    except AgentError as exc:
        return Answer(application, model.name, version.version, ok=False, message=exc.message)
    told = f"{len(manifest.golden.samples)} golden sample(s), {worst:g} from the signed score at most"
    return Answer(application, model.name, version.version, ok=True, message=told)


def _distance(client: AgentClient, sample: GoldenSample, path: Path, application: str, manifest: Manifest) -> float:
    try:
        picture = EncodedPicture(path.read_bytes())
    except OSError as exc:
        raise InferenceError(Code.UNAVAILABLE, f"{path}: {exc.strerror}") from exc
    frame = client.inspect(
        picture, applications=[application], source="edge-agent answers", trial=True, timeout_s=_TIMEOUT_S
    )
    (result,) = frame.results
    if result.verdict is Verdict.NO_RESULT:
        raise InferenceError(Code.UNAVAILABLE, f"{sample.image}: expected an answer, came none: {result.message}")
    distance = abs(result.score - sample.score)
    # The score, and not the verdict: a person may have set another threshold.
    if result.version != manifest.version or distance > manifest.golden.tolerance:
        expected = f"{sample.score:.6f} of {manifest.version} (within {manifest.golden.tolerance:g})"
        message = f"{sample.image}: expected {expected}, came {result.score:.6f} of {result.version}"
        raise InferenceError(Code.INTERNAL, message)
    return distance


def _silent(file: Path) -> frozenset[str]:
    """Return the applications that did not answer before."""
    try:
        told = json.loads(file.read_bytes())
        return frozenset(str(answer["application"]) for answer in told if not answer["ok"])
    except (OSError, ValueError, KeyError, TypeError) as exc:
        message = f"--unless: {file}: expected what edge-agent answers --json told, {exc!r}"
        raise InferenceError(Code.INVALID_ARGUMENT, message) from exc
