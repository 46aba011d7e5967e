"""The program: its flags, its verbs, and the one place where errors become exit codes."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from edge_agent import __version__
from edge_agent.cli import (
    answers_verb,
    backup_verbs,
    capture_verbs,
    enroll_verbs,
    line_verbs,
    local_verbs,
    process_verbs,
    remote_verbs,
    similar_verb,
    state_verbs,
    user_verbs,
)
from edge_agent.cli.context import Places
from edge_agent.cli.output import note
from edge_agent.config import DEFAULT_FILE, DEFAULT_RUNTIME_DIR, DEFAULT_STATE_DIR
from edge_agent.errors import AgentError, Code, ConfigError

# The same numbers as edge-cloud's. sysexits(3) for the configuration: systemd does not restart on it.
EXIT_FAILED = 1
EXIT_CONFIGURATION = 78
EXITS = {
    Code.INVALID_ARGUMENT: 2,
    Code.OUT_OF_RANGE: 2,
    Code.DOCUMENT_INVALID: 2,
    Code.NOT_FOUND: 3,
    Code.RELEASE_UNKNOWN: 3,
    Code.CONTENT_MISSING: 3,
    Code.ALREADY_EXISTS: 4,
    Code.FAILED_PRECONDITION: 4,
    Code.NO_PREVIOUS: 4,
    Code.MODEL_MAPPED: 4,
    Code.WRONG_VERSION: 4,
    Code.STORE_LOCKED: 4,
    Code.PERMISSION_DENIED: 5,
    Code.DEADLINE_EXCEEDED: 7,
    Code.CONFIG_INVALID: EXIT_CONFIGURATION,
}


def build_app() -> typer.Typer:
    """Return the program with all verbs."""
    app = typer.Typer(
        name="edge-agent",
        help="Receive vision models over the air and serve them to the factory line.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_common)
    verbs = (process_verbs, remote_verbs, answers_verb, capture_verbs, similar_verb, line_verbs, local_verbs)
    for module in (*verbs, enroll_verbs, state_verbs, backup_verbs, user_verbs):
        module.register(app)
    return app


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one verb and end the process with its exit code."""
    try:
        build_app()(args=arguments, prog_name="edge-agent")
    except AgentError as error:
        note(f"edge-agent: {error}")
        sys.exit(exit_code(error))
    sys.exit(0)


def exit_code(error: AgentError) -> int:
    """Return what the process ends with after ``error``."""
    if isinstance(error, ConfigError):
        return EXIT_CONFIGURATION
    return EXITS.get(error.code, EXIT_FAILED)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edge-agent {__version__}")
        raise typer.Exit


def _common(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", envvar="EDGE_AGENT_CONFIG", help=f"Configuration file.  [default: {DEFAULT_FILE}]"),
    ] = None,
    state_dir: Annotated[
        Path, typer.Option("--state-dir", envvar="EDGE_AGENT_STATE_DIR", help="What must survive.")
    ] = DEFAULT_STATE_DIR,
    runtime_dir: Annotated[
        Path, typer.Option("--runtime-dir", envvar="EDGE_AGENT_RUNTIME_DIR", help="Where the sockets are.")
    ] = DEFAULT_RUNTIME_DIR,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version
    context.obj = Places(config, state_dir.absolute(), runtime_dir.absolute())
