"""Inspections told to the cloud: single ones as they come, and the shift's counts each minute.

The line only puts a frame into a bounded queue; everything else is done on a thread of its own, one message
at a time, each until the broker has it. While there is no connection the newest wait in memory and the oldest
go, counted; what waits is lost when the agent ends. Summaries make up for that: they count everything.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Literal, Protocol

from edge_agent.errors import JobsError, StorageError
from edge_agent.formats import InspectedFrame, InspectionNews, ResultNews, Shift, SummaryNews, Verdict
from edge_agent.telemetry import metrics
from edge_agent.telemetry.threads import Watched

_log = logging.getLogger(__name__)

Wanted = Literal["off", "ng", "all", "summary"]

LIMIT_WAITING = 1000
# AWS IoT: a connection may publish a hundred messages a second; jobs and the shadow come first.
PER_SECOND = 10
SUMMARY_S = 60.0

_TEXT = 200
_ANSWER_S = 15.0
_LOOK_S = 0.5
_RECENT = 5


class Cloud(Protocol):
    """Where messages go; ``JobsClient`` does it."""

    def deliver(self, topic: str, payload: bytes) -> "Future[Any]":
        """Send a message; the result comes when the broker has it.

        Raises:
            JobsError: NOT_CONNECTED.
        """


_Message = InspectedFrame | SummaryNews
"""A frame becomes a document where it is sent: who inspected it waits for nothing."""


class NewsOfInspections:
    """Tells the cloud.

    Args:
        thing: this device.
        wanted: ng: NG and NO RESULT; all: everything; summary: counts only, which the others bring too.
        cloud: where to; None: nobody listens.
        running: returns the running shift.
        shifts: returns the shifts begun last, the running one first.
        per_second: messages, at most.
        summary_s: seconds between two summaries.
        limit: messages that wait.
        now: epoch seconds.
    """

    def __init__(
        self,
        thing: str,
        wanted: Wanted,
        cloud: Cloud | None,
        running: Callable[[], Shift],
        shifts: Callable[[int], Sequence[Shift]],
        *,
        per_second: float = PER_SECOND,
        summary_s: float = SUMMARY_S,
        limit: int = LIMIT_WAITING,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._thing, self._topic = thing, f"edge-agent/{thing}/inspections"
        self._wanted: Wanted = "off" if cloud is None else wanted
        self._cloud = cloud
        self._running, self._shifts = running, shifts
        self._pause_s = 1 / per_second
        self._summary_s = summary_s
        self._now = now
        self._lock = threading.Lock()
        self._waiting: deque[_Message] = deque(maxlen=limit)
        self._dropped = 0
        self._thread = Watched("inspection-news", self._run)

    def start(self) -> None:
        """Begin, if anything is wanted."""
        if self._wanted != "off":
            self._thread.start()

    def stop(self) -> None:
        """End; what waits is not told."""
        self._thread.stop()

    def offer(self, frame: InspectedFrame) -> None:
        """Take an inspection, to be told later."""
        if self._wanted == "all" or (self._wanted == "ng" and frame.verdict is not Verdict.OK):
            self._put(frame)

    def _put(self, message: _Message) -> None:
        with self._lock:
            is_full = len(self._waiting) == self._waiting.maxlen
            if is_full:
                self._drop(self._waiting[0])
            self._waiting.append(message)

    def _drop(self, message: _Message) -> None:
        # Of summaries the next one tells all that this one would have.
        if isinstance(message, InspectedFrame):
            self._dropped += 1
            metrics.count_dropped_news()

    # below: on the thread

    def _run(self, thread: Watched) -> None:
        before, told_at = self._running(), time.monotonic()
        while not thread.stopping.is_set():
            running = self._running()
            if running.began != before.began:
                self._put_summary(self._as_it_ended(before), ended=True)
            if time.monotonic() - told_at >= self._summary_s:
                told_at = time.monotonic()
                self._put_summary(running, ended=False)
            before = running
            thread.wait(self._pause_s if self._send_next(thread) else _LOOK_S)

    def _as_it_ended(self, before: Shift) -> Shift:
        try:
            recent = self._shifts(_RECENT)
        except StorageError as exc:
            _log.warning("shift told as last seen", extra={"action": "shift_not_read", "reason": exc.message})
            recent = ()
        return next((shift for shift in recent if shift.began == before.began and not shift.running), before)

    def _put_summary(self, shift: Shift, *, ended: bool) -> None:
        document = SummaryNews(
            thing=self._thing,
            at=self._now(),
            shift=shift.name,
            began=shift.began,
            ends=shift.ends,
            counts=shift.counts,
            ended=ended,
            dropped=self._dropped,
        )
        self._put(document)

    def _send_next(self, thread: Watched) -> bool:
        """Send the oldest message; tell whether the broker has it."""
        with self._lock:
            message = self._waiting.popleft() if self._waiting else None
        if message is None:
            return False
        if self._send(thread, message):
            return True
        with self._lock:
            if len(self._waiting) < (self._waiting.maxlen or 0):
                self._waiting.appendleft(message)
            else:
                self._drop(message)
        return False

    def _send(self, thread: Watched, message: _Message) -> bool:
        assert self._cloud is not None
        answered = threading.Event()
        try:
            document = news_of(self._thing, message) if isinstance(message, InspectedFrame) else message
            future = self._cloud.deliver(self._topic, document.to_json())
        except JobsError:
            return False
        future.add_done_callback(lambda _done: answered.set())
        limit = time.monotonic() + _ANSWER_S
        while not answered.wait(_LOOK_S):
            if thread.stopping.is_set() or time.monotonic() > limit:
                return False
        return future.exception() is None


def news_of(thing: str, frame: InspectedFrame) -> InspectionNews:
    """Return a frame as the cloud is told, its texts cut to what a message has room for."""
    results = tuple(
        ResultNews(
            application=result.application[:_TEXT],
            model=result.model[:_TEXT],
            version=result.version[:_TEXT],
            verdict=result.verdict,
            score=result.score,
            threshold=result.threshold,
            label=result.label[:_TEXT],
            skipped=result.skipped,
        )
        for result in frame.results
    )
    return InspectionNews(
        thing=thing,
        id=frame.id,
        at=frame.at,
        source=frame.source[:_TEXT],
        name=frame.name[:_TEXT],
        verdict=frame.verdict,
        message=frame.message[:_TEXT],
        milliseconds=frame.milliseconds,
        results=results,
    )
