"""The verb ``captures``: list them, label one, pause and resume."""

from enum import Enum
from typing import Annotated

import typer

from edge_agent.cli.output import AsJson, moment, show_json, show_lines, show_table, size
from edge_agent.cli.remote_verbs import Limit, actor, agent_client
from edge_agent.formats import CaptureReport, CaptureStatus

OnlyCapture = Annotated[bool, typer.Option("--capture", help="Only that pictures are captured.")]
OnlyUpload = Annotated[bool, typer.Option("--upload", help="Only that captures are sent.")]


class VerdictWord(str, Enum):
    """What a line says of a part."""

    OK = "OK"
    NG = "NG"
    NO_RESULT = "NO_RESULT"


class StateWord(str, Enum):
    """How far a capture is."""

    PENDING = "PENDING"
    UPLOADED = "UPLOADED"
    FAILED = "FAILED"


def register(app: typer.Typer) -> None:
    """Add the verb; without a word after it, it lists."""
    group = typer.Typer(help="List captured inspections, label one, pause and resume.", rich_markup_mode=None)
    group.callback(invoke_without_command=True)(captures)
    for verb in (label, pause, resume):
        group.command(verb.__name__)(verb)
    app.add_typer(group, name="captures")


def captures(
    context: typer.Context,
    limit: Limit = 20,
    before: Annotated[float, typer.Option("--before", min=0, help="Only older ones, epoch seconds.")] = 0.0,
    verdict: Annotated[VerdictWord | None, typer.Option("--verdict", help="Only these.", case_sensitive=False)] = None,
    state: Annotated[StateWord | None, typer.Option("--state", help="Only these.", case_sensitive=False)] = None,
    as_json: AsJson = False,
) -> None:
    """List captured inspections, newest first; or label one, pause and resume."""
    if context.invoked_subcommand is not None:
        return
    with agent_client(context) as client:
        found = client.captures(
            limit=limit,
            before=before,
            verdict=verdict.value if verdict else "",
            state=state.value if state else "",
        )
        kept_here = not as_json and client.status().captures.kept_here
    if as_json:
        show_json(found)
        return
    rows = (_row(capture, kept_here=kept_here) for capture in found)
    show_table(_HEADS, rows, empty="no captures yet" if not (before or verdict or state) else "none such")


def label(
    context: typer.Context,
    capture_id: Annotated[str, typer.Argument(metavar="ID", help="The capture's.")],
    said: Annotated[str, typer.Argument(metavar="LABEL", help="OK, NG or a class of the model.")] = "",
    take_back: Annotated[bool, typer.Option("--take-back", help="Nobody said anything.")] = False,
    other: Annotated[bool, typer.Option("--other", help="Also a class that the model does not know yet.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a captured part is; goes to the cloud, for the next training."""
    if bool(said.strip()) == take_back:
        raise typer.BadParameter("expected either a LABEL or --take-back", param_hint="'LABEL'")
    with agent_client(context) as client:
        told = client.label_capture(capture_id, said, actor=actor(), other=other)
    show_json(told) if as_json else show_table(_HEADS, [_row(told)], empty="")


def pause(
    context: typer.Context, capture: OnlyCapture = False, upload: OnlyUpload = False, as_json: AsJson = False
) -> None:
    """Capture and send nothing until resumed, also after a restart; what waits goes on waiting."""
    _set(context, capture, upload, as_json, paused=True)


def resume(
    context: typer.Context, capture: OnlyCapture = False, upload: OnlyUpload = False, as_json: AsJson = False
) -> None:
    """Let capture and upload go on."""
    _set(context, capture, upload, as_json, paused=False)


def _set(context: typer.Context, capture: bool, upload: bool, as_json: bool, *, paused: bool) -> None:
    both = not capture and not upload
    with agent_client(context) as client:
        told = client.pause_captures(
            capture=paused if capture or both else None, upload=paused if upload or both else None, actor=actor()
        )
    show_json(told) if as_json else show_lines([pauses(told)])


def pauses(told: CaptureStatus) -> str:
    """Return both pauses as a person reads them."""
    words = {True: "paused", False: "on"}
    return f"capture {words[told.capture_paused]}, upload {words[told.upload_paused]}"


_HEADS = ("ID", "AT", "MODEL", "VERDICT", "SCORE", "LABEL", "WHY", "STATE", "SIZE")


def _row(capture: CaptureReport, *, kept_here: bool = False) -> tuple[str, ...]:
    return (
        capture.id,
        moment(capture.at),
        f"{capture.model} {capture.version}",
        capture.verdict,
        f"{capture.score:.3g}",
        capture.label or "-",
        capture.reason or "-",
        "kept here" if kept_here and capture.state == "PENDING" else capture.state,
        size(capture.bytes),
    )
