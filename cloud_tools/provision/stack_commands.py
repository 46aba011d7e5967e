"""``edge-cloud stack deploy|status|delete``: what the account has for devices and releases."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloud_tools.errors import CloudError
from cloud_tools.output import JsonFlag, confirm, emit, note
from edge_agent.errors import Code

if TYPE_CHECKING:
    from cloud_tools.aws import Aws
    from cloud_tools.provision.following import Patience
    from cloud_tools.provision.stack import Change, Plan

stack = typer.Typer(help="What an account needs before its first device: bucket, groups, policies, roles.")
Name = Annotated[str, typer.Option("--stack", envvar="EDGE_CLOUD_STACK", help="The CloudFormation stack's name.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Timeout = Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for CloudFormation.")]
_NAME = "edge-agent"
_LOCAL_INTERVAL_S = 0.1
_INTERVAL_S = 3.0


@stack.command()
def deploy(
    name: Name = _NAME,
    parameters: Annotated[
        list[str], typer.Option("--parameter", metavar="NAME=VALUE", help="Of the template; may be repeated.")
    ] = [],  # noqa: B006 - typer reads it, nobody changes it
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would change, change nothing.")] = False,
    yes: Yes = False,
    timeout_s: Timeout = 900.0,
    as_json: JsonFlag = False,
) -> None:
    """Create or change it: tells what would change, then does it."""
    from cloud_tools.aws import Aws
    from cloud_tools.provision import stack as room

    given, aws = _pairs(parameters), Aws()
    patience = _patience(aws, timeout_s)
    told = room.plan(aws, name, given, patience)
    kept = False
    try:
        _tell_plan(aws, told, as_json=as_json)
        if dry_run:
            return
        if told.change_set:
            confirm(f"change the stack {name}", yes=yes)
        kept = True
    finally:
        if not kept:
            room.discard(aws, told)
    outputs = room.carry_out(aws, told, note, patience)
    _tell_end(aws, told, outputs, as_json=as_json)


@stack.command()
def status(name: Name = _NAME, as_json: JsonFlag = False) -> None:
    """Show the stack, its outputs, and what this AWS lacks; exit 3 when there is none."""
    from cloud_tools.aws import Aws
    from cloud_tools.provision import beside
    from cloud_tools.provision import stack as room

    aws = Aws()
    found = room.get(aws, name)
    outputs = room.outputs_of(found)
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in found["Parameters"]}
    document = {
        "stack": name,
        "status": found["StackStatus"],
        "parameters": parameters,
        "outputs": outputs,
        "pending": [change._asdict() for change in beside.pending(aws, outputs["Bucket"])],
        "lacking": list(beside.lacking(aws, parameters)),
    }
    lines = [f"stack {name}: {found['StackStatus']}", *_lines(outputs)]
    lines += [f"not done yet: {each['resource']} ({each['type']}): stack deploy" for each in document["pending"]]
    emit(document, as_json=as_json, text="\n".join([*lines, *_lacking(document["lacking"])]))


@stack.command()
def delete(name: Name = _NAME, yes: Yes = False, timeout_s: Timeout = 900.0, as_json: JsonFlag = False) -> None:
    """Remove it all but the bucket, which stays with all that is in it."""
    from cloud_tools.aws import Aws
    from cloud_tools.provision import stack as room

    aws = Aws()
    room.get(aws, name)
    confirm(f"remove the stack {name}; its bucket stays", yes=yes)
    bucket = room.remove(aws, name, note, _patience(aws, timeout_s))
    text = f"stack {name} is gone; the bucket {bucket} stays with all that is in it"
    emit({"stack": name, "deleted": True, "bucket": bucket}, as_json=as_json, text=text)


def _pairs(words: Sequence[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    for word, (key, middle, _) in zip(words, pairs, strict=True):
        if not key or not middle:
            raise CloudError(Code.INVALID_ARGUMENT, f"--parameter: expected NAME=VALUE, came {word!r}")
    return {key: value for key, _, value in pairs}


def _patience(aws: "Aws", timeout_s: float) -> "Patience":
    from cloud_tools.provision.following import Patience

    return Patience(time.sleep, time.monotonic, timeout_s, _LOCAL_INTERVAL_S if aws.is_local else _INTERVAL_S)


def _tell_plan(aws: "Aws", told: "Plan", *, as_json: bool) -> None:
    from cloud_tools.provision import beside

    bucket = told.parameters["BucketName"]
    changes = (*told.changes, *beside.pending(aws, bucket))
    notes = beside.shortcomings(aws, told.parameters)
    document = {"stack": told.stack, "new": told.new, "changes": [each._asdict() for each in changes]}
    document |= {"parameters": dict(told.parameters), "notes": list(notes)}
    emit(document, as_json=as_json, text="\n".join([*_changes(told, changes), *notes]))


def _changes(told: "Plan", changes: "Sequence[Change]") -> list[str]:
    if not changes:
        return [f"stack {told.stack}: nothing to change"]
    verb = "create" if told.new else "change"
    lines = [f"stack {told.stack}: to {verb}, in bucket {told.parameters['BucketName']}"]
    for each in changes:
        how = "replace" if each.replaces else each.action.lower()
        lines.append(f"  {how:8} {each.resource} ({each.type})")
    return lines


def _tell_end(aws: "Aws", told: "Plan", outputs: dict[str, str], *, as_json: bool) -> None:
    from cloud_tools.provision import beside

    done = beside.settle(aws, outputs["Bucket"], told.parameters)
    lacking = beside.lacking(aws, told.parameters)
    changed = bool(told.changes or done)
    document: dict[str, Any] = {"stack": told.stack, "changed": changed, "outputs": outputs, "lacking": list(lacking)}
    lines = [f"stack {told.stack}: {'done' if changed else 'as it was'}", *_lines(outputs), *_lacking(lacking)]
    emit(document, as_json=as_json, text="\n".join(lines))


def _lines(outputs: dict[str, str]) -> list[str]:
    return [f"  {key}: {value}" for key, value in sorted(outputs.items())]


def _lacking(words: Sequence[str]) -> list[str]:
    return [f"this AWS has no {each}" for each in words]
