"""``edge-cloud deploy``, ``rollback``, ``remove``, ``configure``, ``status``, ``cancel``, ``jobs``, ``rollout …``."""

import json
import time
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from cloud_tools.errors import CloudError, Exit
from cloud_tools.output import JsonFlag, emit, table
from cloud_tools.rollout.rollout_commands import rollout
from edge_agent.errors import Code
from edge_agent.formats import JobDocument

if TYPE_CHECKING:
    from cloud_tools.rollout.jobs import JobStatus

To = Annotated[list[str], typer.Option("--to", help="thing/NAME or group/NAME; may be given again.")]
Watch = Annotated[bool, typer.Option("--watch", help="Follow it to its end, a line for each change.")]
Interval = Annotated[float, typer.Option("--interval", min=0.1, help="Seconds between two questions.")]
Patience = Annotated[float, typer.Option("--timeout", min=0, help="Seconds to watch at most; 0: without end.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and print the job document, ask nobody.")]
JobId = Annotated[str, typer.Option("--job-id", help="The job's name; empty: one is made.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to ``app``."""
    for verb in (deploy, rollback, remove, configure, status, cancel, jobs):
        app.command()(verb)
    app.add_typer(rollout, name="rollout", no_args_is_help=True)


def deploy(
    models: Annotated[list[str], typer.Argument(metavar="MODEL VERSION [MODEL VERSION]...")],
    to: To,
    policy: Annotated[str, typer.Option(help='JSON, as {"probation": {"min_requests": 100}}.')] = "{}",
    job_id: JobId = "",
    watch: Watch = False,
    interval_s: Interval = 1.0,
    timeout_s: Patience = 0.0,
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Ask devices to install these versions, all or none."""
    from cloud_tools.rollout.jobs import form_document, pairs

    document = form_document("install", pairs(models), _policy(policy))
    _ask(document, to, job_id, _Watching(watch, interval_s, timeout_s), dry_run=dry_run, as_json=as_json)


def rollback(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...")],
    to: To,
    job_id: JobId = "",
    watch: Watch = False,
    interval_s: Interval = 1.0,
    timeout_s: Patience = 0.0,
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Ask devices to take models back to their own previous versions."""
    from cloud_tools.rollout.jobs import form_document

    document = form_document("rollback", [{"name": name} for name in models])
    _ask(document, to, job_id, _Watching(watch, interval_s, timeout_s), dry_run=dry_run, as_json=as_json)


def remove(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...")],
    to: To,
    job_id: JobId = "",
    watch: Watch = False,
    interval_s: Interval = 1.0,
    timeout_s: Patience = 0.0,
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Ask devices to remove models; a device refuses while an application is mapped to one."""
    from cloud_tools.rollout.jobs import form_document

    document = form_document("remove", [{"name": name} for name in models])
    _ask(document, to, job_id, _Watching(watch, interval_s, timeout_s), dry_run=dry_run, as_json=as_json)


def configure(
    model: Annotated[str, typer.Argument(metavar="MODEL")],
    to: To,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="From this score on a part is NG; within the signed range.")
    ] = None,
    as_signed: Annotated[bool, typer.Option("--as-signed", help="Back to the threshold of the release.")] = False,
    version: Annotated[str, typer.Option("--version", help="Only where this version is committed.")] = "",
    job_id: JobId = "",
    watch: Watch = False,
    interval_s: Interval = 1.0,
    timeout_s: Patience = 0.0,
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Ask devices to judge by another threshold; each refuses one outside the range that was signed."""
    from cloud_tools.rollout.jobs import form_document

    if (threshold is None) != as_signed:
        raise CloudError(Code.INVALID_ARGUMENT, "expected either --threshold X or --as-signed")
    meant = {"version": version} if version else {}
    document = form_document("configure", [{"name": model, "threshold": threshold, **meant}])
    _ask(document, to, job_id, _Watching(watch, interval_s, timeout_s), dry_run=dry_run, as_json=as_json)


def status(
    job_id: Annotated[str, typer.Argument(metavar="JOB")],
    watch: Watch = False,
    interval_s: Interval = 1.0,
    timeout_s: Patience = 0.0,
    as_json: JsonFlag = False,
) -> None:
    """Tell how far a job is; with --watch the exit code says how it ended."""
    from cloud_tools.aws import Aws
    from cloud_tools.rollout.jobs import read_status

    if watch:
        _follow(job_id, interval_s, timeout_s, as_json=as_json)
    else:
        _show(read_status(Aws(), job_id), as_json=as_json)


def cancel(
    job_id: Annotated[str, typer.Argument(metavar="JOB")],
    force: Annotated[bool, typer.Option("--force", help="Also where a device works on it already.")] = False,
    comment: Annotated[str, typer.Option(help="Why, for whoever reads the job later.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Take a job back; devices that work on it finish, unless --force."""
    from cloud_tools.aws import Aws
    from cloud_tools.rollout.jobs import cancel_job

    cancel_job(Aws(), job_id, force=force, comment=comment)
    emit({"job_id": job_id, "canceled": True}, as_json=as_json, text=f"{job_id} canceled")


def jobs(
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """List the newest jobs."""
    from cloud_tools.aws import Aws
    from cloud_tools.rollout.jobs import list_jobs

    table(list_jobs(Aws(), limit), ("job_id", "status", "created"), as_json=as_json, nothing="no jobs")


def _policy(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as exc:
        raise CloudError(Code.INVALID_ARGUMENT, f"--policy: expected JSON, {exc}") from exc
    if not isinstance(found, dict):
        raise CloudError(Code.INVALID_ARGUMENT, f"--policy: expected a JSON object, came {text}")
    return found


class _Watching(NamedTuple):
    """Whether and how a job is followed once it was created."""

    wanted: bool
    interval_s: float
    timeout_s: float


def _ask(
    document: JobDocument, to: list[str], job_id: str, watching: _Watching, *, dry_run: bool, as_json: bool
) -> None:
    from cloud_tools.aws import Aws
    from cloud_tools.rollout.jobs import create_job
    from cloud_tools.rollout.targets import check_targets

    check_targets(to)
    if dry_run:
        emit(document.model_dump(mode="json", by_alias=True, exclude_none=True), as_json=True)
        return
    job = create_job(Aws(), document, to, job_id=job_id)
    emit(job._asdict(), as_json=as_json, text=f"{job.job_id} asks {', '.join(job.targets)}")
    if watching.wanted:
        _follow(job.job_id, watching.interval_s, watching.timeout_s, as_json=as_json)


def _follow(job_id: str, interval_s: float, timeout_s: float, *, as_json: bool) -> None:
    from cloud_tools.aws import Aws
    from cloud_tools.rollout.jobs import read_status
    from cloud_tools.rollout.watch import follow, judge

    aws = Aws()

    def read(known: "JobStatus | None") -> "JobStatus":
        return read_status(aws, job_id, known=known)

    outcome = Exit.FAILED
    for now in follow(read, wait=time.sleep, clock=time.monotonic, interval_s=interval_s, timeout_s=timeout_s):
        _show(now, as_json=as_json)
        outcome = judge(now)
    if outcome is not Exit.OK:
        raise typer.Exit(outcome)


def _show(now: "JobStatus", *, as_json: bool) -> None:
    document = now.to_document()
    if as_json:
        emit(document, as_json=True)
        return
    emit(document, as_json=False, text=f"{now.job_id} {now.status}")
    table(
        document["executions"], ("thing", "status", "step", "code", "message"), as_json=False, nothing="no executions"
    )
