"""Verbs about the line: shifts, reset-counts, golden, logs."""

from collections.abc import Iterator
from typing import Annotated

import typer

from edge_agent.cli.output import AsJson, moment, show_json, show_lines, show_table
from edge_agent.cli.remote_verbs import actor, agent_client
from edge_agent.formats import GoldenCheck, LogLine, Shift

_LONGEST_CHECK_S = 600.0
_EXIT_MISJUDGED = 1


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    for verb in (shifts, golden, logs):
        app.command(verb.__name__)(verb)
    app.command("reset-counts")(reset_counts)


def shifts(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="How many, the newest first.")] = 10,
    as_json: AsJson = False,
) -> None:
    """List shifts with their counts, the running one first; scores and latencies with --json."""
    with agent_client(context) as client:
        found = client.shifts(limit=limit)
    if as_json:
        show_json(found)
        return
    heads = ("SHIFT", "BEGAN", "ENDS", "OK", "NG", "NO RESULT", "YIELD", "P95", "")
    show_table(heads, map(_row, found), empty="no shifts yet")


def reset_counts(
    context: typer.Context,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")],
    as_json: AsJson = False,
) -> None:
    """Begin the running shift's counts anew; those up to now are kept as a shift that ended."""
    with agent_client(context) as client:
        shift = client.reset_counts(reason, actor=actor())
    show_json(shift) if as_json else show_lines([f"counts of shift {shift.name} begin anew at {moment(shift.began)}"])


def golden(
    context: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Inspect the golden parts now.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how the golden parts were judged; ends with 1 where one was misjudged."""
    with agent_client(context) as client:
        found = (
            client.check_golden_parts(actor=actor(), timeout_s=_LONGEST_CHECK_S) if check else client.status().golden
        )
    show_json(found) if as_json else show_lines(_golden_lines(found))
    if found.state == "FAILED":
        raise typer.Exit(_EXIT_MISJUDGED)


def logs(
    context: typer.Context,
    level: Annotated[str, typer.Option("--level", help="This and above: DEBUG, INFO, WARNING or ERROR.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many of the newest.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show the newest lines of the agent's log, newest last."""
    with agent_client(context) as client:
        found = client.logs(limit=limit, level=level.upper())
    show_json(found) if as_json else show_lines(map(_log_line, found))


def _row(shift: Shift) -> tuple[str, ...]:
    counts = shift.counts
    whole = counts.ok + counts.ng + counts.no_result
    share = f"{counts.ok / whole:.1%}" if whole else "-"
    slowest = max((point.p95_ms for point in shift.latency), default=0.0)
    remark = "running" if shift.running else ""
    if shift.reset_by:
        remark = f"{remark}, reset by {shift.reset_by}".lstrip(", ")
    figures = (str(counts.ok), str(counts.ng), str(counts.no_result), share, f"{slowest:.1f} ms")
    return (shift.name, moment(shift.began), moment(shift.ends), *figures, remark)


def _golden_lines(found: GoldenCheck) -> Iterator[str]:
    by = f", asked by {found.actor}" if found.actor else ""
    yield f"golden parts: {found.state}{f', {moment(found.at)}{by}' if found.at else ''}"
    if found.message:
        yield f"  {found.message}"
    for part in found.parts:
        mark = "" if part.verdict is part.expected else f"  expected {part.expected.value}"
        because = f"  {part.message}" if part.message else ""
        yield f"  {part.name}: {part.verdict.value.replace('_', ' ')} {part.score:.3f}{mark}{because}"


def _log_line(line: LogLine) -> str:
    fields = " ".join(f"{key}={value}" for key, value in line.fields.items())
    return f"{moment(line.at)}  {line.level:<7}  {line.logger}  {line.message}  {fields}".rstrip()
