"""How the stations' cameras do: what was told last, and which say nothing any more.

What comes here was said by a process that this one does not know: it is checked, cut
and bounded before it is kept, shown or counted.
Not done here: cameras. They are the station's.
"""

import math
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from edge_agent.errors import Code, InferenceError
from edge_agent.formats import CameraStatus
from edge_agent.formats.text import printable
from edge_agent.telemetry import metrics

SILENT = "SILENT"
SILENT_AFTER_S = 10.0
LIMIT_CAMERAS = 64
LIMIT_MESSAGE = 500
LIMIT_COUNT = (1 << 63) - 1
# Parts that one report may tell as lost: no camera takes more pictures in a second.
LIMIT_LOST = 1000
_LIMIT_ID = 64
_LIMIT_KIND = 32
_STATES = ("STARTING", "WATCHING", "IDLE", "CAMERA_AWAY", "AGENT_AWAY")
# In these the camera itself gives pictures, or would.
_UP = frozenset({"WATCHING", "IDLE", "AGENT_AWAY"})


class _Told(NamedTuple):
    camera: CameraStatus
    heard_at: float


class CameraBoard:
    """The cameras that stations tell of; safe for any number of threads.

    Args:
        publish: hears a camera whose state, message or failures changed.
        lost: hears the name of a camera, and of how many parts more it has no picture that was inspected.
        clock: seconds that only grow.
        now: epoch seconds.
    """

    def __init__(
        self,
        publish: Callable[[CameraStatus], object],
        *,
        lost: Callable[[str, int], object] = lambda _camera, _parts: None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._publish = publish
        self._lost = lost
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._told: dict[str, _Told] = {}

    def report(self, camera: CameraStatus) -> None:
        """Take what a station tells of one camera.

        Raises:
            InferenceError: INVALID_ARGUMENT: it is malformed; RESOURCE_EXHAUSTED: there are too many cameras.
        """
        _check(camera)
        camera = camera.model_copy(update={"message": printable(camera.message[:LIMIT_MESSAGE])})
        with self._lock:
            before = self._told.get(camera.id)
            if before is None:
                self._make_room()
            self._told[camera.id] = _Told(camera, self._clock())
            _show(camera, before.camera if before else None)
            # Under the lock: the last event of a camera shall be what is shown of it.
            if before is None or _news(before.camera) != _news(camera):
                self._publish(camera)
        # What a station lost before this agent heard of it was counted by the one before, or by nobody.
        lost = _grown(camera.lost, before.camera.lost) if before is not None else 0
        if lost:
            self._lost(camera.id, min(lost, LIMIT_LOST))

    def cameras(self) -> tuple[CameraStatus, ...]:
        """Return all of them by name, those that are silent as such."""
        self.look()
        with self._lock:
            return tuple(told.camera for _, told in sorted(self._told.items()))

    def look(self) -> None:
        """Note whose station went silent."""
        with self._lock:
            for told in list(self._told.values()):
                if told.camera.state != SILENT and self._clock() - told.heard_at > SILENT_AFTER_S:
                    self._silence(told)

    def _silence(self, told: _Told) -> None:
        message = f"its station told nothing for {SILENT_AFTER_S:g} s"
        news = {"state": SILENT, "message": message, "since": self._now(), "rate_hz": 0.0}
        silent = told.camera.model_copy(update=news)
        self._told[silent.id] = told._replace(camera=silent)
        _show(silent, told.camera)
        self._publish(silent)

    def _make_room(self) -> None:
        """Forget the camera that is silent for longest, if there are too many."""
        if len(self._told) < LIMIT_CAMERAS:
            return
        silent = [told for told in self._told.values() if told.camera.state == SILENT]
        if not silent:
            message = f"expected at most {LIMIT_CAMERAS} cameras, came one more"
            raise InferenceError(Code.RESOURCE_EXHAUSTED, message)
        oldest = min(silent, key=lambda told: told.heard_at).camera.id
        del self._told[oldest]
        metrics.forget_camera(oldest)


def _news(camera: CameraStatus) -> tuple[str, str, int]:
    return camera.state, camera.message, camera.failures


def _show(camera: CameraStatus, before: CameraStatus | None) -> None:
    metrics.show_camera(
        camera.id,
        up=camera.state in _UP,
        frames=_grown(camera.frames, before.frames if before else 0),
        failures=_grown(camera.failures, before.failures if before else 0),
    )


def _grown(count: int, before: int) -> int:
    # A station that was started again counts from 0.
    return count - before if count >= before else count


def _check(camera: CameraStatus) -> None:
    _check_word("id", camera.id, _LIMIT_ID, least=1)
    _check_word("kind", camera.kind, _LIMIT_KIND)
    if camera.state not in _STATES:
        raise _wrong("state", f"one of {', '.join(_STATES)}", printable(camera.state[:_LIMIT_ID]))
    for name in ("frames", "skipped", "failures", "lost"):
        if not 0 <= getattr(camera, name) <= LIMIT_COUNT:
            raise _wrong(name, f"a count up to {LIMIT_COUNT}", str(getattr(camera, name))[:_LIMIT_ID])
    for name in ("since", "rate_hz"):
        if not math.isfinite(getattr(camera, name)) or getattr(camera, name) < 0:
            raise _wrong(name, "a number from 0 on", str(getattr(camera, name)))


def _check_word(name: str, word: str, limit: int, *, least: int = 0) -> None:
    if not least <= len(word) <= limit or not word.isprintable():
        raise _wrong(name, f"{least} to {limit} printable characters", repr(word[:limit]))


def _wrong(name: str, expected: str, came: str) -> InferenceError:
    return InferenceError(Code.INVALID_ARGUMENT, f"camera.{name}: expected {expected}, came {came}")
