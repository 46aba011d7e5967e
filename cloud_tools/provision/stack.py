"""The account's stack: what CloudFormation would change, changing it, and what became of it.

A change set is made first and told; only then it is carried out. Not done here: what CloudFormation has no
resource for (``beside``), and talking to people (``stack_commands``).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cloud_tools.aws import Aws
from cloud_tools.errors import CloudError
from cloud_tools.provision import existing, following
from cloud_tools.provision.following import Patience
from edge_agent.errors import Code

DEFAULT_NAME = "edge-agent"
TEMPLATE = Path(__file__).with_name("template.yaml")
_SERVICE = "cloudformation"
_CHANGE_SET = "edge-cloud"
# What CloudFormation says when a change set would change nothing.
_NOTHING = ("didn't contain changes", "No updates are to be performed")
# A stack in one of these can be changed.
_STABLE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE")
# A change set of a new stack makes it a stack without resources.
_PLANNED = "REVIEW_IN_PROGRESS"


class Change(NamedTuple):
    """One change; ``replaces``: the resource is made anew and the old one goes."""

    action: str
    resource: str
    type: str
    replaces: bool = False


class Plan(NamedTuple):
    """What would be changed. ``change_set`` is empty where nothing would."""

    stack: str
    new: bool
    changes: tuple[Change, ...]
    change_set: str = ""
    parameters: Mapping[str, str] = {}


def find(aws: Aws, name: str) -> dict[str, Any] | None:
    """Return a stack as CloudFormation describes it, None when there is none.

    Raises:
        CloudError: as ``Aws.call``.
    """
    try:
        found: dict[str, Any] = aws.call(_SERVICE, "describe_stacks", StackName=name)["Stacks"][0]
    except CloudError as error:
        # CloudFormation has no code of its own for this.
        if "does not exist" in error.message:
            return None
        raise
    return None if found["StackStatus"] in ("DELETE_COMPLETE", _PLANNED) else found


def get(aws: Aws, name: str) -> dict[str, Any]:
    """Return a stack as CloudFormation describes it.

    Raises:
        CloudError: NOT_FOUND, or as ``Aws.call``.
    """
    found = find(aws, name)
    if found is None:
        raise CloudError(Code.NOT_FOUND, f"stack {name}: expected it in {aws.region}, there is none: stack deploy")
    return found


def outputs(aws: Aws, name: str) -> dict[str, str]:
    """Return what a stack says of itself.

    Raises:
        CloudError: NOT_FOUND, or as ``Aws.call``.
    """
    return outputs_of(get(aws, name))


def outputs_of(found: Mapping[str, Any]) -> dict[str, str]:
    """Return what a stack, as CloudFormation describes it, says of itself."""
    return {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", ())}


def plan(aws: Aws, name: str, given: Mapping[str, str], patience: Patience) -> Plan:
    """Ask CloudFormation what deploying the template would change; nothing is changed yet.

    Args:
        aws: the account.
        name: the stack's.
        given: parameters; the others stay what they were, or are the template's defaults.
        patience: for the change set.

    Raises:
        CloudError: a parameter is unknown or malformed, the stack is in a state that forbids a change,
            or the bucket would be removed or replaced.
    """
    known = find(aws, name)
    if known is not None and known["StackStatus"] not in _STABLE:
        raise CloudError(
            Code.FAILED_PRECONDITION, f"stack {name}: expected it to stand still, it is {known['StackStatus']}"
        )
    before = _before(known or {})
    body = TEMPLATE.read_text(encoding="utf-8")
    defaults = _defaults(aws, body)
    _refuse_unknown(given, defaults)
    wanted = defaults | {key: value for key, value in before.items() if key in defaults} | dict(given)
    wanted = existing.settle(aws, wanted, before)
    told = _ask(aws, name, body, wanted, new=known is None, patience=patience)
    told = told._replace(parameters=wanted)
    return told._replace(changes=_conditioned(aws, told)) if aws.is_local else told


def _before(known: Mapping[str, Any]) -> dict[str, str]:
    """Return a stack's parameters as it stands."""
    told = {each["ParameterKey"]: str(each["ParameterValue"]) for each in known.get("Parameters", ())}
    # A stack older than that parameter made the log group in any case, and it must not take it for somebody else's.
    older = {"MakeDeviceLogs": "yes"} if "Logs" in outputs_of(known) else {}
    return older | told


def _defaults(aws: Aws, body: str) -> dict[str, str]:
    declared = aws.call(_SERVICE, "get_template_summary", TemplateBody=body)["Parameters"]
    return {each["ParameterKey"]: str(each.get("DefaultValue", "")) for each in declared}


def _refuse_unknown(given: Mapping[str, str], known: Mapping[str, str]) -> None:
    settable = sorted(set(known) - set(existing.SETTLED))
    for key in given:
        if key not in settable:
            raise CloudError(Code.INVALID_ARGUMENT, f"--parameter {key}: expected one of {', '.join(settable)}")


def _ask(aws: Aws, name: str, body: str, wanted: Mapping[str, str], *, new: bool, patience: Patience) -> Plan:
    failing = {"OnStackFailure": "DELETE"} if new else {}
    made = aws.call(
        _SERVICE,
        "create_change_set",
        StackName=name,
        ChangeSetName=f"{_CHANGE_SET}-{int(patience.clock() * 1000)}",
        ChangeSetType="CREATE" if new else "UPDATE",
        TemplateBody=body,
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in sorted(wanted.items())],
        Capabilities=["CAPABILITY_IAM"],
        **failing,
    )["Id"]
    told = Plan(name, new, (), made)
    try:
        return _answered(aws, told, patience)
    except CloudError:
        discard(aws, told)
        raise


def _answered(aws: Aws, told: Plan, patience: Patience) -> Plan:
    answer = _made(aws, told, patience)
    reason = str(answer.get("StatusReason", "no reason"))
    if answer["Status"] == "FAILED" and any(words in reason for words in _NOTHING):
        discard(aws, told)
        return Plan(told.stack, told.new, ())
    if answer["Status"] == "FAILED":
        raise CloudError(Code.FAILED_PRECONDITION, f"stack {told.stack}: CloudFormation refused the change: {reason}")
    told = told._replace(changes=_changes(aws, told))
    _refuse_loss(told)
    return told


def _made(aws: Aws, told: Plan, patience: Patience) -> dict[str, Any]:
    limit = patience.clock() + patience.timeout_s
    while True:
        answer = aws.call(_SERVICE, "describe_change_set", StackName=told.stack, ChangeSetName=told.change_set)
        if answer["Status"] in ("CREATE_COMPLETE", "FAILED"):
            return answer
        if patience.clock() >= limit:
            raise CloudError(Code.DEADLINE_EXCEEDED, f"stack {told.stack}: its change set is not ready in time")
        patience.wait(patience.interval_s)


def _changes(aws: Aws, told: Plan) -> tuple[Change, ...]:
    pages = aws.pages(_SERVICE, "describe_change_set", "Changes", StackName=told.stack, ChangeSetName=told.change_set)
    found = (each["ResourceChange"] for each in pages)
    return tuple(
        Change(each["Action"], each["LogicalResourceId"], each["ResourceType"], each.get("Replacement") == "True")
        for each in found
    )


def _conditioned(aws: Aws, told: Plan) -> tuple[Change, ...]:
    """Return the changes as conditions leave them, which the local AWS does not look at when it lists them."""
    absent, present = existing.left_out(told.parameters), dict[str, str]()
    if not told.new:
        pages = aws.pages(_SERVICE, "list_stack_resources", "StackResourceSummaries", StackName=told.stack)
        present = {each["LogicalResourceId"]: each["ResourceType"] for each in pages}
    kept = (change for change in told.changes if change.resource not in absent)
    return (*kept, *(Change("Remove", name, present[name]) for name in sorted(absent & set(present))))


def _refuse_loss(told: Plan) -> None:
    for change in told.changes:
        if change.type == "AWS::S3::Bucket" and (change.replaces or change.action == "Remove"):
            raise CloudError(
                Code.FAILED_PRECONDITION,
                f"stack {told.stack}: expected the bucket to stay, this change would leave it for another one;"
                " BucketName is chosen once",
            )


def discard(aws: Aws, told: Plan) -> None:
    """Take a plan back: nothing of it is left."""
    if told.change_set:
        aws.call(_SERVICE, "delete_change_set", StackName=told.stack, ChangeSetName=told.change_set)
    if told.new and _is_planned(aws, told.stack):
        aws.call(_SERVICE, "delete_stack", StackName=told.stack)


def _is_planned(aws: Aws, name: str) -> bool:
    # Somebody else may have made it meanwhile, and that one stays.
    return bool(aws.call(_SERVICE, "describe_stacks", StackName=name)["Stacks"][0]["StackStatus"] == _PLANNED)


def carry_out(aws: Aws, told: Plan, tell: Callable[[str], None], patience: Patience) -> dict[str, str]:
    """Do what a plan says, and return the stack's outputs.

    Args:
        aws: the account.
        told: the plan.
        tell: told of each resource that is done, in words.
        patience: for the whole of it.

    Raises:
        CloudError: it failed, and CloudFormation took back what it had done; or patience ended.
    """
    if told.change_set:
        begun = following.begin(aws, told.stack)
        aws.call(_SERVICE, "execute_change_set", StackName=told.stack, ChangeSetName=told.change_set)
        following.follow(aws, begun, tell, patience, ended=_STABLE[:2])
    return outputs(aws, told.stack)


def remove(aws: Aws, name: str, tell: Callable[[str], None], patience: Patience) -> str:
    """Remove a stack, and return the name of the bucket, which stays with all that is in it.

    Raises:
        CloudError: NOT_FOUND; devices still stand on it; or CloudFormation failed.
    """
    told = outputs(aws, name)
    existing.refuse_while_used(aws, name)
    begun = following.begin(aws, name)
    aws.call(_SERVICE, "delete_stack", StackName=name)
    following.follow(aws, begun, tell, patience, ended=("DELETE_COMPLETE",))
    return told.get("Bucket", "")
