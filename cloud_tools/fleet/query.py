"""The part of Fleet Indexing's query language that is answered here where no index does it. Pure.

``field:value`` joined by AND, values with ``*`` and ``?``, compared without regard to case.
"""

import re
from typing import NamedTuple

from cloud_tools.errors import CloudError
from cloud_tools.fleet.device import Device
from edge_agent.errors import Code

_TERM = re.compile(r'\s*([\w.-]+)\s*:\s*("[^"]*"|[^\s"():\[\]<>]+)(?:\s+|$)')
_AND = re.compile(r"AND\s+(?=\S)")
_REGISTERED = ("thingName", "thingGroupNames", "attributes.fleet")
_REPORTED = "shadow.reported."


class Term(NamedTuple):
    """One condition."""

    field: str
    value: str

    @property
    def is_of_shadow(self) -> bool:
        """Tell whether only the device's shadow can answer it."""
        return self.field.startswith(_REPORTED)


def read_query(query: str) -> list[Term]:
    """Return the conditions that must hold together.

    Raises:
        CloudError: INVALID_ARGUMENT: more than this part of the language.
    """
    terms: list[Term] = []
    at = 0
    while at < len(query.rstrip()):
        found = _TERM.match(query, at)
        if found is None or found[1] in ("AND", "OR", "NOT"):
            raise _beyond(query)
        terms.append(Term(found[1], found[2].strip('"')))
        at = found.end()
        joined = _AND.match(query, at)
        at = joined.end() if joined else at
    for term in terms:
        if term.field not in _REGISTERED and not term.is_of_shadow:
            raise _beyond(query)
    return terms


def holds(term: Term, device: Device) -> bool:
    """Tell whether a condition holds for a device."""
    return any(_like(value, term.value) for value in _values(term.field, device))


def _values(field: str, device: Device) -> tuple[str, ...]:
    if field == "thingName":
        return (device.thing,)
    if field == "thingGroupNames":
        return device.groups
    found = device.fleet if field == "attributes.fleet" else device.value(field.removeprefix(_REPORTED))
    return (found,) if found else ()


def _like(value: str, wanted: str) -> bool:
    pattern = "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in wanted)
    return re.fullmatch(pattern, value, re.IGNORECASE | re.DOTALL) is not None


def _beyond(query: str) -> CloudError:
    expected = (
        "expected FIELD:VALUE [AND FIELD:VALUE…] with thingName, thingGroupNames, attributes.fleet or shadow.reported.…"
    )
    return CloudError(Code.INVALID_ARGUMENT, f"--where: without a fleet index {expected}, came {query!r}")
