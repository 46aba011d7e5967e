"""A streaming camera: a thread of its own reads, and only the newest picture is kept.

A stream that fails, ends or falls silent is let go and opened again with growing
pauses. Nothing here waits for a stream's own code: a reader that is stuck in there is
left behind, lets its stream go when it comes out, and another one takes its place.
Not done here: how a kind of camera is read; each has a module of its own.
"""

import math
import random
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from edge_agent.errors import CameraError, Code
from edge_agent.formats import RawPicture
from edge_agent.station.shot import Shot
from edge_agent.station.stream import Frame, PictureLostError, Rules, Stream, StreamEnded, pause_s
from edge_agent.telemetry.threads import Watched

# A reader that cannot be ended keeps a thread and its stream's memory.
LIMIT_STUCK = 4
# The agent takes no larger message.
LIMIT_RAW_BYTES = 60 << 20
# What one call into a stream may take beyond the silence that is allowed to it.
_CALL_S = 10.0
# An exposure that is asked for, and the way of its picture.
_ANSWER_S = 1.0


class _Taken(NamedTuple):
    frame: Frame | PictureLostError
    name: str
    at: float
    ask: int
    held_up_s: float


class _Since(NamedTuple):
    """What a picture must have come after: so many others, and a moment."""

    number: int = 0
    at: float = -math.inf


class _Reader(Watched):
    """Reads until it is left behind, which is when it is to stop.

    Attributes:
        busy_since: since when it is inside a stream; None: it is not.
        failures: since the last picture.
    """

    def __init__(self, name: str, work: Callable[["_Reader"], None], failures: int) -> None:
        super().__init__(name, lambda _thread: work(self))
        self.busy_since: float | None = None
        self.failures = failures


class StreamingCamera:
    """The newest picture of a stream.

    Args:
        what: the source as a person may read it, without credentials.
        opens: opens the stream; raises CameraError.
        rules: when it is silent, and what is old.
        clock: seconds that only grow.
        chance: spreads the pauses of cameras that fail together.
    """

    def __init__(
        self,
        what: str,
        opens: Callable[[], Stream],
        rules: Rules,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.skipped = 0
        self._what = what
        self._opens = opens
        self._rules = rules
        self._clock = clock
        self._chance = chance
        self._news = threading.Condition()
        self._reader: _Reader | None = None
        self._stuck: list[_Reader] = []
        self._slot: _Taken | None = None
        self._missed: list[float] = []
        self._fault: CameraError | None = None
        self._count = 0
        self._ask = 0
        self._answered = 0
        self._closed = False

    def newest(self, timeout_s: float) -> Shot | None:
        """Return the newest picture that was not taken yet; None: there was no new one in time.

        Args:
            timeout_s: to wait for one.

        Raises:
            CameraError: the camera is away, or the one picture that came is damaged.
        """
        with self._news:
            self._look_after_reader()
            taken = self._wait(max(timeout_s, _ANSWER_S) if self._rules.asked else timeout_s)
        return self._shot(taken)

    def on_demand(self, timeout_s: float) -> Shot | None:
        """Return a picture that was taken after this call; None: none came in time.

        A camera that runs by itself may have some under way that show what stood there before: one counts that
        cannot have been taken earlier, whatever held it up. One that waits for its own signal sends nothing else,
        so its next one does.

        Args:
            timeout_s: to wait for it.

        Raises:
            CameraError: the camera is away, or the one picture that came is damaged.
        """
        with self._news:
            self._look_after_reader()
            under_way = 0 if self._rules.asked or self._rules.quiet else 1
            since = _Since(self._count + under_way, self._clock() + self._rules.latency_s)
            taken = self._wait(timeout_s, since)
        return self._shot(taken)

    def missed(self, until: float) -> list[float]:
        """Return when pictures came that nobody took, once, where each picture is a part's.

        Args:
            until: by the clock; those that came later are kept.
        """
        with self._news:
            missed = [at for at in self._missed if at <= until]
            del self._missed[: len(missed)]
        return missed

    def _shot(self, taken: _Taken | None) -> Shot | None:
        if taken is None:
            return None
        if isinstance(taken.frame, PictureLostError):
            taken.frame.at = taken.at
            raise taken.frame
        content = taken.frame()
        if isinstance(content, RawPicture) and len(content.rgb) > LIMIT_RAW_BYTES:
            size = f"{content.width} x {content.height}"
            raise self._failed(f"expected a picture of at most {LIMIT_RAW_BYTES} bytes as RGB, came {size}: set a roi")
        return Shot(content, taken.name, taken.at)

    def close(self) -> None:
        """Leave the reader; it lets the stream go as soon as it comes out of it."""
        with self._news:
            self._closed = True
            reader, self._reader = self._reader, None
            if reader is not None:
                reader.stopping.set()
            self._news.notify_all()
        if reader is not None:
            reader.join(_ANSWER_S)

    def _wait(self, timeout_s: float, since: _Since = _Since()) -> _Taken | None:  # noqa: B008 - immutable
        """Wait for a picture that is young enough."""
        if self._rules.asked:
            self._ask += 1
            self._news.notify_all()
        self._news.wait_for(lambda: self._is_ready(since) or self._fault is not None, timeout_s)
        if self._is_ready(since):
            taken, self._slot = self._slot, None
            return taken
        if self._fault is not None:
            # Another one for each: a traceback grows by each raise.
            raise CameraError(self._fault.code, self._fault.message)
        if self._rules.asked:
            raise self._failed(f"expected a picture within {timeout_s:g} s of the trigger, came none")
        return None

    def _is_ready(self, since: _Since) -> bool:
        """Tell whether there is a picture to hand out; one that is too old, or was asked for before, is dropped."""
        slot = self._slot
        if slot is not None and (slot.ask != self._ask or self._clock() - slot.at > self._rules.fresh_s):
            self._skip()
        slot = self._slot
        return slot is not None and self._count > since.number and slot.at - slot.held_up_s >= since.at

    def _skip(self) -> None:
        """Let the picture go that nobody took."""
        if self._slot is not None:
            self.skipped += 1
            if self._rules.counted:
                self._missed.append(self._slot.at)
            self._slot = None

    def _look_after_reader(self) -> None:
        """Leave the reader behind if it is stuck; have one that reads."""
        reader, self._stuck = self._reader, [stuck for stuck in self._stuck if stuck.is_alive()]
        failures = 0
        if reader is not None and self._is_stuck(reader):
            reader.stopping.set()
            self._stuck.append(reader)
            self._reader, failures = None, reader.failures + 1
            self._skip()
            self._fault = self._failed("expected an answer of the stream, it is stuck")
        if self._reader is None and not self._closed and len(self._stuck) < LIMIT_STUCK:
            self._reader = _Reader(f"camera {self._what}", self._read, failures)
            self._reader.start()

    def _is_stuck(self, reader: _Reader) -> bool:
        since = reader.busy_since
        return since is not None and self._clock() - since > self._rules.stall_s + _CALL_S

    def _read(self, me: _Reader) -> None:
        while not me.stopping.wait(self._read_until_it_fails(me)):
            pass

    def _read_until_it_fails(self, me: _Reader) -> float | None:
        """Return how long to wait before the stream is opened again; None: for ever."""
        try:
            self._read_a_stream(me)
        except StreamEnded:
            self._tell(me, None)
            return None
        except CameraError as exc:
            self._tell(me, exc)
            me.failures += 1
            return pause_s(me.failures - 1, self._chance())
        return 0.0

    def _read_a_stream(self, me: _Reader) -> None:
        me.busy_since = self._clock()
        stream = self._opens()
        try:
            if self._rules.quiet or self._rules.asked:
                # No picture will come by itself to tell that all is well.
                self._tell(me, None)
            last = self._clock()
            while not me.stopping.is_set():
                last = self._read_a_picture(me, stream, last)
        finally:
            stream.close()
            me.busy_since = None

    def _read_a_picture(self, me: _Reader, stream: Stream, last: float) -> float:
        """Read once; return when the last picture came."""
        ask = self._awaited(me)
        me.busy_since = self._clock()
        frame: Frame | PictureLostError | None
        try:
            if self._rules.asked:
                stream.trigger()
            frame = stream.read()
        except PictureLostError as exc:
            frame = exc
        if frame is not None:
            self._put(me, frame, ask, stream.held_up_s)
            return self._clock()
        if not self._rules.quiet and not self._rules.asked and self._clock() - last > self._rules.stall_s:
            raise self._failed(f"expected a picture within {self._rules.stall_s:g} s, came none")
        return last

    def _awaited(self, me: _Reader) -> int:
        """Wait until a picture is asked for, where that is the way; return the number of the question."""
        if not self._rules.asked:
            return 0
        me.busy_since = None
        with self._news:
            before = self._answered
            self._news.wait_for(lambda: self._ask != before or me.stopping.is_set())
            self._answered = self._ask
            return self._ask

    def _put(self, me: _Reader, frame: Frame | PictureLostError, ask: int, held_up_s: float) -> None:
        with self._news:
            if me.stopping.is_set():
                return
            self._skip()
            self._count += 1
            self._slot = _Taken(frame, f"{self._count:08d}", self._clock(), ask, held_up_s)
            self._fault = None
            me.failures = 0
            self._news.notify_all()

    def _tell(self, me: _Reader, fault: CameraError | None) -> None:
        with self._news:
            if me.stopping.is_set():
                return
            if fault is not None:
                # What came before a fault is old news.
                self._skip()
            self._fault = fault
            self._news.notify_all()

    def _failed(self, what: str) -> CameraError:
        return CameraError(Code.CAMERA_FAILED, f"{self._what}: {what}")
