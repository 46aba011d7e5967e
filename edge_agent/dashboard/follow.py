"""Follows the agent: its events as they come, and its status as a pulse.

Events make the page quick; the pulse makes it honest: a stream over a unix socket
stays silent for ever when the agent is frozen, a status call does not.
"""

from collections.abc import Callable
from typing import Any

from edge_agent.client import EventStream
from edge_agent.dashboard.agent import Agent
from edge_agent.dashboard.hub import Hub
from edge_agent.errors import AgentError
from edge_agent.formats import CameraStatus, Event
from edge_agent.formats.event import KINDS
from edge_agent.telemetry.threads import Watched

PULSE_S = 2.0
HISTORY = 50
_PUBLISHED = frozenset({"frame", "deployment", "models", "counts", "agent", "captures", "golden"})


class Follower:
    """Keeps a hub current from one agent; ``follow`` and ``pulse`` each want a thread.

    Args:
        agent: its client.
        hub: where the news go.
    """

    def __init__(self, agent: Agent, hub: Hub) -> None:
        self._agent = agent
        self._hub = hub
        self._stream: EventStream | None = None

    @property
    def threads(self) -> dict[str, Callable[[Watched], None]]:
        """Return what wants a thread, by the thread's name."""
        return {"agent-events": self.follow, "agent-pulse": self.pulse}

    def follow(self, thread: Watched) -> None:
        """Follow the events until stopped; come back whenever the agent does."""
        while not thread.stopping.is_set():
            try:
                self._follow_once(thread)
            except AgentError:
                # A stream may end for reasons of its own; the pulse tells whether the agent is away.
                self.beat()
            thread.wait(PULSE_S / 4)

    def pulse(self, thread: Watched) -> None:
        """Ask for the status again and again until stopped."""
        while not thread.wait(PULSE_S):
            self.beat()

    def beat(self) -> None:
        """Ask for the status once."""
        mark = self._hub.mark()
        try:
            self._hub.put_status(self._agent.status(timeout_s=PULSE_S), mark)
        except AgentError as exc:
            self._hub.put_away(str(exc))

    def stop(self) -> None:
        """End the stream, so that its thread can end; for a thread that was told to stop."""
        if self._stream is not None:
            self._stream.close()

    def _follow_once(self, thread: Watched) -> None:
        with self._agent.events() as stream:
            self._stream = stream
            # Else whoever stopped it just now has closed another one, and this one would be listened to for ever.
            if thread.stopping.is_set():
                return
            # After the stream began: nothing falls between the two.
            self.beat()
            self._tell_history()
            for event in stream:
                self._take(event)
                if thread.stopping.is_set():
                    return

    def _take(self, event: Event) -> None:
        kind = KINDS[type(event.payload)]
        if isinstance(event.payload, CameraStatus):
            self._hub.put_camera(event.payload)
        if kind not in _PUBLISHED:
            return
        payload: Any = event.payload
        self._hub.put(**{kind: payload.models if kind == "models" else payload})
        if kind == "deployment" and payload.ended is not None:
            self._tell_history()

    def _tell_history(self) -> None:
        history = tuple(self._agent.deployments(limit=HISTORY))
        ended = {report.id: report for report in history if report.ended is not None}
        shown = self._hub.snapshot.deployment
        if shown is not None and shown.id in ended:
            # Its end may have been told while nobody listened.
            self._hub.put(deployment=ended[shown.id])
        self._hub.put(history=history)
