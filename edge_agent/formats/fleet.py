"""What a device tells those who look after many: signs of life, alarms, lines of its log.

Each is one JSON message on a topic of its own: ``edge-agent/THING/heartbeat``, ``…/alarm``, ``…/log``.
"""

from typing import Literal

from pydantic import Field

from edge_agent.formats.document import Document
from edge_agent.formats.inspection import Counts

Severity = Literal["critical", "warning"]

RAISED = "Edge Agent Alarm Raised"
CLEARED = "Edge Agent Alarm Cleared"


class Heartbeat(Document):
    """The device lives; what changes without anybody doing anything."""

    schema_: Literal["edge-agent/heartbeat/1"] = Field("edge-agent/heartbeat/1", alias="schema")
    thing: str
    at: float = Field(description="epoch seconds, by the device's clock")
    version: str = Field(description="of the agent")
    state: str = Field(description="STARTING, READY, DEGRADED or STOPPING")
    uptime_s: int
    generation: int = Field(description="of what is committed")
    shift: str = Field("", description="the running one, as configured")
    counts: Counts = Field(Counts(), description="of the running shift, since its last reset")
    captures_pending: int = 0
    disk_free_bytes: int = 0
    alarms: int = Field(0, description="that stand")
    waiting: int = Field(0, description="messages that wait on the device: alarms and lines of the log")
    dropped: int = Field(0, description="messages that never will come: too many, or too long without a connection")


class AlarmDetail(Document):
    """What stands, or stood."""

    id: str = Field(description="of the pair: the alarm that is cleared has the id with which it was raised")
    thing: str
    fleet: str
    kind: str = Field(description="what kind of trouble, as docs/fleet.md lists them")
    subject: str = Field("", description="with what: a model, a camera, a deployment; empty: the device itself")
    state: Literal["raised", "cleared"]
    severity: Severity
    message: str
    raised: float = Field(description="epoch seconds")
    cleared: float | None = Field(None, description="epoch seconds; none: it stands")


class Alarm(Document):
    """A change that a person must see, as EventBridge has events: source, detail-type, time and detail."""

    schema_: Literal["edge-agent/alarm/1"] = Field("edge-agent/alarm/1", alias="schema")
    source: Literal["edge-agent"] = "edge-agent"
    detail_type: Literal["Edge Agent Alarm Raised", "Edge Agent Alarm Cleared"] = Field(alias="detail-type")
    time: str = Field(description="of the change, ISO 8601 in UTC")
    detail: AlarmDetail


class LogNews(Document):
    """One line of the device's log."""

    schema_: Literal["edge-agent/log/1"] = Field("edge-agent/log/1", alias="schema")
    thing: str
    at: float = Field(description="epoch seconds")
    level: str
    logger: str
    action: str = Field("", description="what happened, in one word")
    message: str
    fields: dict[str, str] = Field(default_factory=dict)
    dropped: int = Field(0, description="lines before this one that were not told, since the last that says so")
