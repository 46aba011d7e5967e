"""How this device is: read from the rooms, and told as the device shadow and the heartbeat have it."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edge_agent.agent.alarms import Situation
from edge_agent.agent.surroundings import Disk, Synchronisation, certificate_ends, disk, synchronisation
from edge_agent.config import Settings
from edge_agent.deployment.record import Deployment
from edge_agent.formats import AgentStatus, CameraStatus, CaptureStatus, ClockStatus, Counts, Heartbeat, Shift

_TEXT = 300


class Rooms(NamedTuple):
    """Where it is read; each is asked anew each time and may raise StorageError."""

    agent: Callable[[], AgentStatus]
    troubles: Callable[[], Mapping[str, str]]
    shift: Callable[[], Shift]
    counts: Callable[[], Counts]
    captures: Callable[[], CaptureStatus]
    clock: Callable[[], ClockStatus]
    cameras: Callable[[], tuple[CameraStatus, ...]]
    quarantined: Callable[[], Mapping[str, str]]
    generation: Callable[[], int]
    last: Callable[[], Deployment | None]
    certificate: Callable[[], Path | None]
    """The one in use."""


class Wellbeing(NamedTuple):
    """Everything at one moment; times are epoch seconds."""

    at: float
    agent: AgentStatus
    shift: Shift
    counts: Counts
    captures: CaptureStatus
    disk: Disk
    reserve_bytes: int
    window: str
    generation: int
    synchronised: Synchronisation
    situation: Situation

    def reported(self, alarms: Mapping[str, str]) -> dict[str, Any]:
        """Return it as the device shadow has it, beside models and deployment.

        Args:
            alarms: severities of those that stand, by key.
        """
        return {
            "agent": {
                "version": self.agent.version,
                "state": self.agent.state,
                "message": self.agent.message[:_TEXT],
                "started": round(self.at - self.agent.uptime_s),
            },
            "at": round(self.at),
            "alarms": {"count": len(alarms), "kinds": ",".join(sorted({key.partition("/")[0] for key in alarms}))},
            "shift": {"name": self.shift.name, "began": round(self.shift.began), **self.shift.counts.model_dump()},
            "counts": self.counts.model_dump(),
            "captures": {
                "pending": self.captures.pending,
                "failed": self.captures.failed,
                "bytes": self.captures.bytes,
                "oldest_s": round(self.captures.oldest_s),
                "dropped": self.captures.dropped,
            },
            "clock": {
                "trusted": self.situation.clock_trusted,
                "synchronised": self.synchronised.synchronised,
                "offset_ms": self.synchronised.offset_ms,
            },
            "disk": {
                "free_bytes": self.disk.free_bytes,
                "total_bytes": self.disk.total_bytes,
                "reserve_bytes": self.reserve_bytes,
            },
            "quarantined": len(self.situation.quarantined),
            "window": self.window,
            "certificate_ends": _rounded(self.situation.certificate_ends),
        }

    def gist(self) -> tuple[object, ...]:
        """Return what is news when it changes; counts and clocks are not."""
        now = self.situation
        return (
            self.agent.state,
            self.agent.message,
            self.generation,
            now.clock_trusted,
            now.clock_synchronised,
            len(now.quarantined),
            now.certificate_ends,
            now.disk_free_bytes < now.disk_low_bytes,
            self.captures.failed > 0,
        )

    def heartbeat(self, *, alarms: int, waiting: int, dropped: int) -> Heartbeat:
        """Return it as a sign of life."""
        return Heartbeat(
            thing=self.agent.thing,
            at=round(self.at, 3),
            version=self.agent.version,
            state=self.agent.state,
            uptime_s=int(self.agent.uptime_s),
            generation=self.generation,
            shift=self.shift.name,
            counts=self.shift.counts,
            captures_pending=self.captures.pending,
            disk_free_bytes=self.disk.free_bytes,
            alarms=alarms,
            waiting=waiting,
            dropped=dropped,
        )


def look(rooms: Rooms, settings: Settings, state_dir: Path, *, now: Callable[[], float] = time.time) -> Wellbeing:
    """Return how the device is.

    Raises:
        StorageError: something of it could not be read.
    """
    at, telemetry = now(), settings.telemetry
    clock, room, synchronised = rooms.clock(), disk(state_dir), synchronisation()
    situation = Situation(
        now=at,
        troubles=rooms.troubles(),
        last=rooms.last(),
        quarantined=rooms.quarantined(),
        disk_free_bytes=room.free_bytes,
        disk_low_bytes=telemetry.disk_low_bytes or 2 * settings.deployment.reserve_bytes,
        clock_trusted=clock.trusted,
        clock_synchronised=synchronised.synchronised,
        cameras=rooms.cameras(),
        certificate_ends=certificate_ends(rooms.certificate()),
        certificate_days=telemetry.certificate_days,
    )
    return Wellbeing(
        at=at,
        agent=rooms.agent(),
        shift=rooms.shift(),
        counts=rooms.counts(),
        captures=rooms.captures(),
        disk=room,
        reserve_bytes=settings.deployment.reserve_bytes,
        window=settings.deployment.window,
        generation=rooms.generation(),
        synchronised=synchronised,
        situation=situation,
    )


def _rounded(at: float | None) -> int | None:
    return None if at is None else round(at)
