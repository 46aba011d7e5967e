"""The newest of everything, for as many viewers as there are.

A viewer waits until something differs from what it saw and then takes the whole
snapshot: a slow one skips, nobody queues, memory is bounded by one snapshot.
"""

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from edge_agent.formats import (
    AgentStatus,
    CameraStatus,
    CaptureStatus,
    Counts,
    DeploymentReport,
    GoldenCheck,
    InspectedFrame,
    ModelStatus,
    Status,
    Verdict,
)

# Newest frames of so many sources; whoever asks may call itself what it likes.
SOURCES = 16


class Snapshot(NamedTuple):
    """What is known of the agent.

    Attributes:
        agent: None until the agent answered for the first time.
        frame: the newest one, of whatever source.
        frames: the newest one of each source, the source that was heard last at the end.
        rejected: the same of those that are NG: the next part overtakes one before a slow viewer has looked.
        rule: how verdicts of models become one, as configured; empty: not told.
        away: why the agent does not answer; empty: it does.
        away_since: epoch seconds, 0 while it answers.
    """

    agent: AgentStatus | None = None
    frame: InspectedFrame | None = None
    models: tuple[ModelStatus, ...] = ()
    deployment: DeploymentReport | None = None
    history: tuple[DeploymentReport, ...] = ()
    counts: Counts = Counts()
    frames: tuple[InspectedFrame, ...] = ()
    rejected: tuple[InspectedFrame, ...] = ()
    cameras: tuple[CameraStatus, ...] = ()
    captures: CaptureStatus = CaptureStatus()
    golden: GoldenCheck = GoldenCheck()
    rule: str = ""
    away: str = "not asked yet"
    away_since: float = 0.0


class Hub:
    """Holds the snapshot; safe between threads.

    Args:
        now: epoch seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._changed = threading.Condition()
        self._snapshot = Snapshot(away_since=now())
        self._revision = 0
        self._revisions: dict[str, int] = {}
        self._closed = False

    @property
    def snapshot(self) -> Snapshot:
        """Return the newest of everything."""
        return self._snapshot

    @property
    def closed(self) -> bool:
        """Tell whether viewers shall leave."""
        return self._closed

    def mark(self) -> int:
        """Return a mark for ``put``: what comes after it is newer."""
        with self._changed:
            return self._revision

    def put(self, mark: int | None = None, **fields: Any) -> None:
        """Keep new values of the snapshot's fields and wake the viewers.

        Args:
            mark: a field that changed after this mark keeps its value, since an
                answer to an older question must not undo a newer event.
            fields: new values by name.
        """
        with self._changed:
            fresh = {name: value for name, value in fields.items() if mark is None or self._at(name) <= mark}
            frame = fresh.get("frame")
            if frame is not None:
                fresh["frames"] = _newest(self._snapshot.frames, frame)
            if frame is not None and frame.verdict is Verdict.NG:
                fresh["rejected"] = _newest(self._snapshot.rejected, frame)
            changed = {name: value for name, value in fresh.items() if getattr(self._snapshot, name) != value}
            if changed:
                self._revision += 1
                self._revisions.update(dict.fromkeys(changed, self._revision))
                self._snapshot = self._snapshot._replace(**changed)
                self._changed.notify_all()

    def put_status(self, status: Status, mark: int) -> None:
        """Keep what the agent said of itself; the agent is there."""
        self.put(away="", away_since=0.0)
        self.put(mark, agent=status.agent, models=status.models, counts=status.counts, cameras=status.cameras)
        self.put(mark, captures=status.captures, golden=status.golden, rule=status.rule)
        # The agent forgets its last frame when it starts anew; the page shows it until there is a newer one.
        if status.last_frame is not None:
            self.put(mark, frame=status.last_frame)
        if status.deployment is not None:
            self.put(mark, deployment=status.deployment)

    def put_camera(self, camera: CameraStatus) -> None:
        """Keep how one camera does."""
        with self._changed:
            cameras = {known.id: known for known in self._snapshot.cameras} | {camera.id: camera}
            self.put(cameras=tuple(cameras.values()))

    def put_away(self, why: str) -> None:
        """Keep that the agent does not answer, and since when."""
        since = self._snapshot.away_since or self._now()
        self.put(away=why, away_since=since)

    def wait(self, seen: int, timeout_s: float) -> tuple[int, Snapshot]:
        """Return the newest revision and snapshot; wait for one other than ``seen``, but only so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._revision != seen, timeout_s)
            return self._revision, self._snapshot

    def close(self) -> None:
        """Send all viewers home."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _at(self, name: str) -> int:
        return self._revisions.get(name, 0)


def _newest(frames: tuple[InspectedFrame, ...], frame: InspectedFrame) -> tuple[InspectedFrame, ...]:
    if frame in frames:
        return frames
    return (*(known for known in frames if known.source != frame.source), frame)[-SOURCES:]
