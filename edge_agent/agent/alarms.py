"""What a person must see, and when it began and ended. Pure: time arrives as an argument.

A condition becomes an alarm once it stood for a while, and is cleared once it was away for as long, so
that a camera which comes and goes is one alarm and not a hundred. One of another severity is another
alarm: the first is cleared and the second raised.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Final, NamedTuple

from edge_agent.deployment.record import Deployment
from edge_agent.deployment.states import State
from edge_agent.formats import Alarm, AlarmDetail, CameraStatus, Severity
from edge_agent.formats.fleet import CLEARED, RAISED
from edge_agent.telemetry.message_spool import Change

HOLD_S: Final = 15.0
# A disk that hovers at the limit is not cleared before there is so much more room.
_ROOM: Final = 1.1
_LAST_DAYS: Final = 7
_DAY_S: Final = 86_400
_TEXT: Final = 500
LIMIT: Final = 64
"""Alarms that stand at a time; more are not raised."""

KINDS: Final[dict[str, str]] = {
    "agent-degraded": "the agent answers, but something that it names is wrong",
    "camera-gone": "a camera, or the station with it, is away",
    "certificate-ends": "the device's certificate ends soon, or has ended",
    "clock-unsynchronised": "nobody sets the device's clock",
    "clock-wrong": "the clock is behind what was signed already",
    "deployment-failed": "the newest deployment failed or was refused",
    "deployment-rolled-back": "the newest deployment was taken back by the device",
    "disk-low": "little free disk space",
    "golden-parts-failed": "known parts were judged otherwise than they are",
    "provider-fallback": "a model runs on something else than wanted",
    "quarantine": "a release took the device down and is not tried again",
}
"""What each kind means."""


class Condition(NamedTuple):
    """Something that is wrong now."""

    kind: str
    subject: str
    severity: Severity
    message: str

    @property
    def key(self) -> str:
        """Return what makes it the same one."""
        return f"{self.kind}/{self.subject}"


class Situation(NamedTuple):
    """What conditions are read from.

    Attributes:
        now: epoch seconds.
        troubles: what is wrong with what, in the agent's words.
        last: the newest deployment that has ended.
        quarantined: reasons by digest.
        disk_free_bytes: where the state directory lies.
        disk_low_bytes: less is an alarm.
        clock_trusted: it is not behind what was signed.
        clock_synchronised: somebody sets it; None: not known.
        cameras: as stations tell.
        certificate_ends: epoch seconds; None: there is none, or it cannot be read.
        certificate_days: an end within so many days is an alarm; 0: none is.
    """

    now: float
    troubles: Mapping[str, str] = {}
    last: Deployment | None = None
    quarantined: Mapping[str, str] = {}
    disk_free_bytes: int = 0
    disk_low_bytes: int = 0
    clock_trusted: bool = True
    clock_synchronised: bool | None = None
    cameras: Sequence[CameraStatus] = ()
    certificate_ends: float | None = None
    certificate_days: float = 0.0


def conditions(now: Situation, standing: Mapping[str, object]) -> dict[str, Condition]:
    """Return what is wrong, by key.

    Args:
        now: what is known.
        standing: alarms that were raised, by key: they end later than they begin.
    """
    found = [
        *(_trouble(what, text) for what, text in now.troubles.items()),
        *_deployment(now.last),
        *(Condition("quarantine", digest, "critical", reason) for digest, reason in now.quarantined.items()),
        *_disk(now, "disk-low/" in standing),
        *_clock(now),
        *(
            Condition("camera-gone", camera.id, "critical", camera.message or camera.state)
            for camera in now.cameras
            if camera.state in ("CAMERA_AWAY", "SILENT")
        ),
        *_certificate(now),
    ]
    return {condition.key: condition for condition in found}


class Alarms:
    """Turns conditions into alarms; not for several threads at a time.

    Args:
        thing: this device.
        fleet: its fleet.
        standing: what was raised before a restart, by key.
        hold_s: how long a condition stands before it is raised, and is away before it is cleared.
    """

    def __init__(self, thing: str, fleet: str, standing: Mapping[str, Alarm], *, hold_s: float = HOLD_S) -> None:
        self._thing, self._fleet = thing, fleet
        self._hold_s = hold_s
        self.standing = dict(standing)
        self._since: dict[str, float] = {}

    def look(self, found: Mapping[str, Condition], now: float, clock: float) -> list[Change]:
        """Return what is to be raised and cleared; ``took`` makes it so.

        Args:
            found: what is wrong, by key.
            now: epoch seconds.
            clock: seconds that only grow.
        """
        told = {key: alarm.detail.severity for key, alarm in self.standing.items()}
        wanted = {key: condition.severity for key, condition in found.items()}
        differing = {key for key, _ in told.items() ^ wanted.items()}
        self._since = {key: self._since.get(key, clock) for key in differing}
        ripe = sorted(key for key, since in self._since.items() if clock - since >= self._hold_s)
        cleared = [Change(key, _cleared(self.standing[key], now)) for key in ripe if key in self.standing]
        room = LIMIT - len(self.standing) + len(cleared)
        raised = [Change(key, self._raised(found[key], now)) for key in ripe if key in found][: max(room, 0)]
        return [*cleared, *raised]

    def took(self, changes: Sequence[Change]) -> None:
        """Take changes as told."""
        for key, alarm in changes:
            self._since.pop(key, None)
            if alarm.detail.state == "raised":
                self.standing[key] = alarm
            else:
                self.standing.pop(key, None)

    def _raised(self, condition: Condition, now: float) -> Alarm:
        detail = AlarmDetail(
            id=f"{self._thing}/{condition.key[:_TEXT]}/{now:.3f}",
            thing=self._thing,
            fleet=self._fleet,
            kind=condition.kind,
            subject=condition.subject[:_TEXT],
            state="raised",
            severity=condition.severity,
            message=condition.message[:_TEXT],
            raised=now,
        )
        return Alarm(detail_type=RAISED, time=_iso(now), detail=detail)


def _cleared(alarm: Alarm, now: float) -> Alarm:
    detail = alarm.detail.model_copy(update={"state": "cleared", "cleared": now})
    return alarm.model_copy(update={"detail_type": CLEARED, "time": _iso(now), "detail": detail})


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _trouble(what: str, text: str) -> Condition:
    if what == "providers":
        return Condition("provider-fallback", "", "warning", text)
    if what == "golden parts":
        return Condition("golden-parts-failed", "", "critical", text)
    return Condition("agent-degraded", what, "critical", text)


def _deployment(last: Deployment | None) -> list[Condition]:
    if last is None or last.outcome not in (State.FAILED, State.REFUSED):
        return []
    undone = any(entry.state == State.ROLLING_BACK.value for entry in last.states)
    kind = "deployment-rolled-back" if undone else "deployment-failed"
    return [Condition(kind, last.id, "critical", f"{last.code}: {last.message}")]


def _disk(now: Situation, stands: bool) -> list[Condition]:
    limit = now.disk_low_bytes * (_ROOM if stands else 1)
    if now.disk_free_bytes >= limit:
        return []
    return [
        Condition("disk-low", "", "critical", f"{now.disk_free_bytes} bytes are free, expected {limit:.0f} at least")
    ]


def _clock(now: Situation) -> list[Condition]:
    if not now.clock_trusted:
        return [Condition("clock-wrong", "", "critical", "the clock is behind what was signed already")]
    if now.clock_synchronised is False:
        return [Condition("clock-unsynchronised", "", "warning", "the kernel says that nobody sets the clock")]
    return []


def _certificate(now: Situation) -> list[Condition]:
    if now.certificate_ends is None or not now.certificate_days:
        return []
    left = (now.certificate_ends - now.now) / _DAY_S
    if left > now.certificate_days:
        return []
    when = f"ends in {left:.0f} days" if left > 0 else "has ended"
    return [
        Condition("certificate-ends", "", "critical" if left < _LAST_DAYS else "warning", f"the certificate {when}")
    ]
