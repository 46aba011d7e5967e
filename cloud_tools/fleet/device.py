"""One device as the cloud knows it. Pure; what it says of itself is taken for text and numbers, never for more."""

import math
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

_GIB = 1 << 30


class Device(NamedTuple):
    """A thing with its shadow.

    Attributes:
        thing: its name.
        fleet: as provisioned.
        groups: thing groups.
        connected: None: not known.
        since: epoch seconds of the last connect or disconnect; None: not known, or never.
        reason: of the last disconnect, in AWS's word.
        reported: what its shadow reports; empty: it never told anything.
    """

    thing: str
    fleet: str = ""
    groups: tuple[str, ...] = ()
    connected: bool | None = None
    since: float | None = None
    reason: str = ""
    reported: Mapping[str, Any] = {}

    @property
    def versions(self) -> dict[str, str]:
        """Return the committed version of each model."""
        models = mapping(self.reported.get("models"))
        return {name: text(mapping(entry).get("version")) for name, entry in sorted(models.items()) if mapping(entry)}

    @property
    def agent(self) -> str:
        """Return the agent's version."""
        return text(mapping(self.reported.get("agent")).get("version"))

    @property
    def state(self) -> str:
        """Return the agent's state; empty: an agent that does not tell it."""
        return text(mapping(self.reported.get("agent")).get("state"))

    @property
    def deployment(self) -> dict[str, str]:
        """Return the last deployment's words."""
        told = mapping(self.reported.get("deployment"))
        return {key: text(told.get(key)) for key in ("id", "job_id", "state", "code", "message")}

    @property
    def alarms(self) -> int:
        """Return how many alarms stand."""
        return int(number(mapping(self.reported.get("alarms")).get("count")) or 0)

    @property
    def alarm_kinds(self) -> str:
        """Return their kinds."""
        return text(mapping(self.reported.get("alarms")).get("kinds"))

    @property
    def told_at(self) -> float | None:
        """Return when it told all that, epoch seconds."""
        return number(self.reported.get("at"))

    def value(self, path: str) -> str:
        """Return what stands at a dotted path of what it reports; empty: nothing."""
        node: Any = self.reported
        for word in path.split("."):
            node = mapping(node).get(word)
        return text(node)

    def row(self) -> dict[str, Any]:
        """Return it as lists and CSV files have it."""
        last, shift = self.deployment, mapping(self.reported.get("shift"))
        free = number(mapping(self.reported.get("disk")).get("free_bytes"))
        return {
            "thing": self.thing,
            "fleet": self.fleet,
            "connected": {True: "yes", False: "no", None: "?"}[self.connected],
            "since": when(self.since),
            "state": self.state or "?",
            "agent": self.agent,
            "models": ", ".join(f"{name} {version}" for name, version in self.versions.items()),
            "deployment": " ".join(filter(None, (last["state"], last["code"]))),
            "alarms": self.alarm_kinds or str(self.alarms or ""),
            "ok": _count(shift.get("ok")),
            "ng": _count(shift.get("ng")),
            "no_result": _count(shift.get("no_result")),
            "disk_free_gib": "" if free is None else f"{free / _GIB:.1f}",
            "told": when(self.told_at),
        }

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it: all that is known."""
        return {**self._asdict(), "groups": list(self.groups), "reported": dict(self.reported)}


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping as it is, and anything else as an empty one."""
    return value if isinstance(value, Mapping) else {}


def text(value: Any) -> str:
    """Return a text, number or truth as text, and anything else as none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else ""


def number(value: Any) -> float | None:
    """Return a number, and None for anything else, as one that no float can be."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def when(at: float | None, *, seconds: bool = False) -> str:
    """Return epoch seconds as people read them, in UTC; empty: not known."""
    form = "%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M"
    try:
        return "" if at is None else datetime.fromtimestamp(at, timezone.utc).strftime(form)
    except (OverflowError, OSError, ValueError):
        return ""


def _count(value: Any) -> str:
    found = number(value)
    return "" if found is None else f"{found:.0f}"
