"""Asks the cloud about all devices: one search in the fleet index, or where there is none each thing's shadow."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from cloud_tools.aws import Aws, if_there
from cloud_tools.errors import CloudError
from cloud_tools.fleet.device import Device, mapping, number, text
from cloud_tools.fleet.lagging import Execution
from cloud_tools.fleet.query import holds, read_query
from cloud_tools.provision.beside import INDEXING, settable
from cloud_tools.rollout.jobs import read_execution
from edge_agent.errors import Code

# AWS IoT: a page of SearchIndex has at most so many things.
_PAGE = 100
# Things, members of groups, and jobs of a thing: so many.
_MEMBERS = 250
_PARALLEL = 8
_IOT = "iot"
_ALL = "thingName:*"
_NOT_READY = ("IndexNotReadyException", "InvalidQueryException")
_NOTE = (
    "no answer of a fleet index ({why}): each of {count} things was asked for by itself, and nothing says which are "
    "connected; the index is turned on by edge-cloud fleet --enable-index"
)

A = TypeVar("A")
B = TypeVar("B")


class Fleet(NamedTuple):
    """What was found.

    Attributes:
        devices: by name.
        source: index, or things: each was asked for by itself.
        notes: what a person should know of it.
        failed: things whose shadow could not be read, with the reason.
    """

    devices: tuple[Device, ...]
    source: str
    notes: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


def read_fleet(aws: Aws, where: str = "") -> Fleet:
    """Return the devices that a query of Fleet Indexing finds.

    Args:
        aws: the account.
        where: the query; empty: all.

    Raises:
        CloudError: the query is malformed, or AWS refused.
    """
    try:
        things = list(_search(aws, where or _ALL))
    except CloudError as exc:
        if not _lacks_index(aws, exc):
            raise
        return _read_things(aws, where, exc)
    return Fleet(tuple(sorted(map(_indexed, things), key=lambda device: device.thing)), "index")


def read_executions(aws: Aws, things: Sequence[str]) -> dict[str, Execution]:
    """Return the newest job of each thing that has one, a few things at a time.

    Raises:
        CloudError: AWS refused.
    """
    found = _each(lambda thing: _newest_execution(aws, thing), things)
    return {thing: execution for thing, execution in zip(things, found, strict=True) if execution is not None}


def enable_index(aws: Aws) -> None:
    """Have the account's things, shadows and connections indexed from now on, beside what is indexed already.

    Raises:
        CloudError: AWS refused.
    """
    standing = aws.call(_IOT, "get_indexing_configuration").get("thingIndexingConfiguration", {})
    # What is left out would be switched off, and others of the account may have asked for it.
    wanted = {**settable(standing), **INDEXING}
    aws.call(_IOT, "update_indexing_configuration", thingIndexingConfiguration=wanted)


def _search(aws: Aws, query: str) -> Iterator[dict[str, Any]]:
    more: dict[str, str] = {}
    while True:
        page = aws.call(_IOT, "search_index", queryString=query, maxResults=_PAGE, **more)
        yield from page.get("things", ())
        if not page.get("nextToken"):
            return
        more = {"nextToken": page["nextToken"]}


def _lacks_index(aws: Aws, error: CloudError) -> bool:
    if error.code is Code.NOT_FOUND or _NOT_READY[0] in error.message:
        return True
    # The local AWS reads less of the language than is answered here.
    return aws.is_local and _NOT_READY[1] in error.message


def _indexed(found: dict[str, Any]) -> Device:
    connectivity = found.get("connectivity")
    seen = number(mapping(connectivity).get("timestamp"))
    return Device(
        thing=str(found["thingName"]),
        fleet=text(found.get("attributes", {}).get("fleet")),
        groups=tuple(sorted(found.get("thingGroupNames", ()))),
        connected=bool(connectivity["connected"]) if connectivity else None,
        since=seen / 1000 if seen else None,
        reason=text(mapping(connectivity).get("disconnectReason")),
        reported=_reported(found.get("shadow") or "{}"),
    )


def _reported(shadow: str | bytes) -> dict[str, Any]:
    try:
        content = json.loads(shadow)
    except ValueError:
        return {}
    state = mapping(content)
    return dict(mapping(mapping(state.get("state", state)).get("reported")))


def _read_things(aws: Aws, where: str, why: CloudError) -> Fleet:
    terms = read_query(where)
    groups = _groups(aws) if any(term.field == "thingGroupNames" for term in terms) else {}
    things = aws.pages(_IOT, "list_things", "things", PaginationConfig={"PageSize": _MEMBERS})
    registered = (_registered(thing, groups) for thing in things)
    # What the registry answers nobody's shadow is asked for.
    wanted = [one for one in registered if all(holds(term, one) for term in terms if not term.is_of_shadow)]
    asked = _each(lambda device: _ask(aws, device), wanted)
    failed = tuple(f"{device.thing}: {answer.message}" for device, answer in zip(wanted, asked, strict=True)
                   if isinstance(answer, CloudError))  # fmt: skip
    devices = [answer for answer in asked if isinstance(answer, Device)]
    chosen = [device for device in devices if all(holds(term, device) for term in terms)]
    note = _NOTE.format(why=why.message, count=len(wanted))
    return Fleet(tuple(sorted(chosen, key=lambda device: device.thing)), "things", (note,), failed)


def _groups(aws: Aws) -> dict[str, tuple[str, ...]]:
    """Return the groups of each thing that is in any, by what is in each group: there are fewer groups than things."""
    names = sorted(group["groupName"] for group in aws.pages(_IOT, "list_thing_groups", "thingGroups"))
    found: dict[str, tuple[str, ...]] = {}
    for name, members in zip(names, _each(lambda name: _members(aws, name), names), strict=True):
        for thing in members:
            found[thing] = (*found.get(thing, ()), name)
    return found


def _members(aws: Aws, group: str) -> list[str]:
    pages = {"PageSize": _MEMBERS}
    return list(aws.pages(_IOT, "list_things_in_thing_group", "things", thingGroupName=group, PaginationConfig=pages))


def _registered(thing: dict[str, Any], groups: Mapping[str, tuple[str, ...]]) -> Device:
    name = str(thing["thingName"])
    return Device(name, text(thing.get("attributes", {}).get("fleet")), groups.get(name, ()))


def _ask(aws: Aws, device: Device) -> Device | CloudError:
    try:
        return device._replace(reported=_shadow(aws, device.thing))
    except CloudError as exc:
        return exc


def _shadow(aws: Aws, thing: str) -> dict[str, Any]:
    answer = if_there(aws, "iot-data", "get_thing_shadow", thingName=thing)
    return _reported(answer["payload"].read()) if answer else {}


def _newest_execution(aws: Aws, thing: str) -> Execution | None:
    # All of them: nothing says in which order they come.
    pages = {"PageSize": _MEMBERS}
    found = list(
        aws.pages(_IOT, "list_job_executions_for_thing", "executionSummaries", thingName=thing, PaginationConfig=pages)
    )
    if not found:
        return None
    newest = max(found, key=lambda one: one["jobExecutionSummary"]["queuedAt"])["jobId"]
    told = read_execution(aws, newest, thing)
    return Execution(newest, told.status, told.step, told.code, told.message)


def _each(work: Callable[[A], B], items: Iterable[A]) -> list[B]:
    with ThreadPoolExecutor(_PARALLEL, "fleet") as pool:
        return list(pool.map(work, items))
