"""Puts together what tells the cloud how the device is, from the agent's other parts."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.agent import wellbeing
from edge_agent.agent.fleet_news import FleetNews
from edge_agent.deployment.record import Deployment
from edge_agent.formats import ClockStatus
from edge_agent.storage.database import rebuilt
from edge_agent.telemetry.message_spool import MessageSpool

if TYPE_CHECKING:
    from edge_agent.agent.parts import Parts

# The newest may still run, and of those behind it one has ended.
_RECENT = 5


def fleet_news(parts: "Parts", state_dir: Path) -> FleetNews:
    """Return what tells the cloud; nothing is started.

    Raises:
        StorageError: the spool cannot be opened or made.
    """
    settings = parts.settings
    assert parts.jobs is not None
    rooms = wellbeing.Rooms(
        agent=parts.health.status,
        troubles=parts.health.troubles,
        shift=parts.counts.current,
        counts=parts.counts.counts,
        captures=parts.captures.status,
        clock=parts.trust.clock if parts.trust else ClockStatus,
        cameras=parts.cameras.cameras,
        quarantined=parts.store.quarantined,
        generation=lambda: parts.store.generations.current().number,
        last=partial(_last_ended, parts),
        certificate=partial(_certificate, parts),
    )
    make = partial(MessageSpool, quota_bytes=settings.telemetry.spool_bytes)
    return FleetNews(
        settings.device.thing,
        settings.device.fleet,
        settings.telemetry,
        parts.jobs,
        rebuilt(make, state_dir / "telling.db"),
        partial(wellbeing.look, rooms, settings, state_dir),
        parts.device_shadow.publish,
    )


def told_facts(fleet: FleetNews | None) -> dict[str, Any]:
    """Return how the device was at the last look; nothing before the first one."""
    if fleet is None or fleet.newest is None:
        return {}
    return fleet.newest.reported(fleet.standing())


def _last_ended(parts: "Parts") -> Deployment | None:
    return next((record for record in parts.journal.history(limit=_RECENT) if record.ended is not None), None)


def _certificate(parts: "Parts") -> Path | None:
    return parts.renewing.files.certificate if parts.renewing is not None else parts.settings.mqtt.certificate
