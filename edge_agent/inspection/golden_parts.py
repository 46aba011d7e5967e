"""Golden parts: pictures of parts that are known, inspected to see whether the line still judges as it should.

Done by itself when a shift begins, when something else judges, and whenever a person asks. The pictures go behind
those of the line in every queue, and nothing of them is counted, kept, captured or told but the check itself. What was
found survives a restart, and stands for the shift, the models and the pictures that it was found with, no others.
"""

import logging
import queue
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import NamedTuple, Protocol

from edge_agent.errors import Code, DocumentError, InferenceError, StorageError
from edge_agent.formats import (
    Document,
    EncodedPicture,
    GoldenCheck,
    GoldenPart,
    InspectedFrame,
    Picture,
    Verdict,
    parse,
)
from edge_agent.inference import Priority
from edge_agent.inspection.known_parts import KnownPart, judge, known_parts, pictures_digest, score_of
from edge_agent.inspection.shifts import ShiftSpan
from edge_agent.telemetry.threads import Watched

_log = logging.getLogger(__name__)

_PART_S = 30.0
# A line at its limit lets nobody else through for a while; that is no reason to stop it.
_TRIES = 3
_REST_S = 1.0
_LOOK_S = 1.0
# The begin of no shift.
_NEVER = -1
_DUE = "the golden parts of this shift were not judged as they should be yet"
_OTHERS = "the golden parts of this shift were judged by other models, thresholds or mappings"


class Look(Protocol):
    """Inspects a picture that nobody else learns of; ``Inspector.look`` does."""

    def __call__(self, picture: Picture, *, priority: Priority, timeout_s: float) -> InspectedFrame:
        """Return what is said of it."""


class Memory(Protocol):
    """What survives a restart; ``Ledger`` does it."""

    def golden(self) -> tuple[int, str] | None:
        """Return the begin of the shift that was checked last, and what was found, as JSON."""

    def keep_golden(self, shift_began: int, found: str) -> None:
        """Keep what was found."""


class _Order(NamedTuple):
    actor: str
    result: "Future[GoldenCheck]"


class _Last(NamedTuple):
    """The check that was made last."""

    shift_began: int = _NEVER
    judges: str = ""
    found: GoldenCheck = GoldenCheck()


class _Kept(Document):
    """The same on the disk, beside the begin of its shift."""

    judges: str
    pictures: str
    found: GoldenCheck


class GoldenParts:
    """Checks the golden parts.

    Args:
        directory: holds OK/ and NG/ with JPEG and PNG files; None: there are no golden parts.
        look: inspects.
        span: the shift that runs.
        memory: keeps what was found.
        judges: tells what judges parts now, models, thresholds and mappings, in words that differ if any of it does.
        required: no part may be called OK before the check of its shift was passed.
        is_ready: tells whether models are loaded, so that a check is worth making.
        told: told of every change; only hands over.
        now: epoch seconds.
        look_every_s: seconds between two looks whether a shift began.
    """

    def __init__(
        self,
        directory: Path | None,
        look: Look,
        span: Callable[[], ShiftSpan],
        memory: Memory,
        *,
        judges: Callable[[], str],
        required: bool = False,
        is_ready: Callable[[], bool] = lambda: True,
        told: Callable[[GoldenCheck], object] = lambda _check: None,
        now: Callable[[], float] = time.time,
        look_every_s: float = _LOOK_S,
    ) -> None:
        self._directory = directory
        self._look = look
        self._span = span
        self._memory = memory
        self._judges = judges
        self._required = required
        self._is_ready = is_ready
        self._told = told
        self._now = now
        self._every_s = look_every_s
        self._orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        # In one piece: who asks for doubts meanwhile never sees the new shift with the old one's finding.
        self._last = _Last()
        self._running = False
        self._shown: GoldenCheck | None = None
        self._thread = Watched("golden-parts", self._run)

    def start(self) -> None:
        """Check by itself from now on, if there are golden parts."""
        if self._directory is not None:
            self._thread.start()

    def stop(self, *, timeout_s: float = 10.0) -> None:
        """End; a check under way is left as it is, and made again after the next start."""
        self._thread.stop(timeout_s)

    def status(self) -> GoldenCheck:
        """Return how it stands: of an earlier shift's check nothing is left but that one is due."""
        if self._directory is None:
            return GoldenCheck()
        if self._running:
            return GoldenCheck(state="RUNNING")
        last = self._last
        return last.found if self._is_of_now(last) else GoldenCheck(state="DUE")

    def doubt(self) -> str:
        """Tell why no part may be called OK now; empty: it may."""
        if not self._required:
            return ""
        # A check that is made again by a person takes back nothing of the one before until it has ended.
        last = self._last
        if self._is_of_now(last):
            if last.found.state == "PASSED":
                return ""
            return f"{_DUE}, the check came to: {last.found.message}"
        is_of_this_shift = last.shift_began == self._span().began and last.found.state == "PASSED"
        return _OTHERS if is_of_this_shift else _DUE

    def _is_of_now(self, last: _Last) -> bool:
        return last.shift_began == self._span().began and last.judges == self._judges()

    def check(self, actor: str, *, timeout_s: float) -> GoldenCheck:
        """Check now; return what came of it.

        Args:
            actor: who asks.
            timeout_s: from now, waiting for a check that is under way included.

        Raises:
            InferenceError: FAILED_PRECONDITION: there are no golden parts. DEADLINE_EXCEEDED: the check goes on.
        """
        if self._directory is None:
            message = "expected golden parts, none are configured: inspection.golden_parts names their directory"
            raise InferenceError(Code.FAILED_PRECONDITION, message)
        order = _Order(actor, Future())
        self._orders.put(order)
        try:
            return order.result.result(timeout_s)
        except FutureTimeoutError as exc:
            message = f"the check of the golden parts goes on; it did not end in {timeout_s:g} s"
            raise InferenceError(Code.DEADLINE_EXCEEDED, message) from exc

    # below: on the thread

    def _run(self, thread: Watched) -> None:
        self._last = self._remembered()
        self._show()
        while not thread.stopping.is_set():
            orders = self._next_orders()
            self._show()
            if orders:
                self._answer(thread, orders)
            elif self.status().state == "DUE" and self._is_ready():
                self._carry_out(thread, "")
        self._refuse_the_rest()

    def _show(self) -> None:
        status = self.status()
        if status != self._shown:
            self._shown = status
            self._told(status)

    def _answer(self, thread: Watched, orders: list[_Order]) -> None:
        found = None
        while found is None and not thread.stopping.is_set():
            found = self._carry_out(thread, orders[0].actor)
        for order in orders:
            if found is None:
                # Some parts were not looked at: that is no answer.
                order.result.set_exception(_stopped())
            else:
                order.result.set_result(found)

    def _refuse_the_rest(self) -> None:
        while not self._orders.empty():
            self._orders.get().result.set_exception(_stopped())

    def _next_orders(self) -> list[_Order]:
        """Return all that wait: one check answers them, however often an impatient caller asked."""
        try:
            orders = [self._orders.get(timeout=self._every_s)]
        except queue.Empty:
            return []
        while not self._orders.empty():
            orders.append(self._orders.get())
        return orders

    def _carry_out(self, thread: Watched, actor: str) -> GoldenCheck | None:
        """Check, keep and tell what was found; None: a stop or a change of models cut it short."""
        began, judges = self._span().began, self._judges()
        self._running = True
        self._show()
        try:
            found, pictures = self._inspect_all(thread, actor, judges)
            if found is not None:
                last = _Last(began, judges, found)
                self._keep(last, pictures)
                self._last = last
        finally:
            self._running = False
        if not thread.stopping.is_set():
            self._show()
        return found

    def _inspect_all(self, thread: Watched, actor: str, judges: str) -> tuple[GoldenCheck | None, str]:
        """Return what was found, None where it was cut short, and the digest of the pictures."""
        assert self._directory is not None
        try:
            known = known_parts(self._directory)
            pictures = pictures_digest(known)
        except StorageError as exc:
            return GoldenCheck(state="FAILED", at=self._now(), message=exc.message, actor=actor), ""
        parts = []
        for part in known:
            parts.append(self._inspect(thread, part))
            if thread.stopping.is_set() or self._judges() != judges:
                return None, ""
        return judge(parts, at=self._now(), actor=actor), pictures

    def _inspect(self, thread: Watched, part: KnownPart) -> GoldenPart:
        try:
            picture = EncodedPicture(part.path.read_bytes())
        except OSError as exc:
            message = f"expected a picture that can be read, {exc.strerror}"
            return GoldenPart(name=part.name, expected=part.expected, verdict=Verdict.NO_RESULT, message=message)
        for tries in range(_TRIES):
            frame = self._look(picture, priority=Priority.SHADOW, timeout_s=_PART_S)
            if frame.verdict is not Verdict.NO_RESULT or (tries + 1 < _TRIES and thread.wait(_REST_S)):
                break
        return GoldenPart(
            name=part.name, expected=part.expected, verdict=frame.verdict, message=frame.message, score=score_of(frame)
        )

    def _keep(self, last: _Last, pictures: str) -> None:
        kept = _Kept(judges=last.judges, pictures=pictures, found=last.found)
        try:
            self._memory.keep_golden(last.shift_began, kept.to_json().decode())
        except StorageError as exc:
            # After a restart the check is made again, which costs nobody anything.
            _log.warning("golden check not kept", extra={"action": "golden_not_kept", "reason": exc.message})

    def _remembered(self) -> _Last:
        """Return what was found before the start, if it was found with the pictures that are there now."""
        assert self._directory is not None
        remembered = self._memory.golden()
        if remembered is None:
            return _Last()
        try:
            kept = parse(_Kept, remembered[1], what="golden check")
            pictures = pictures_digest(known_parts(self._directory))
        except (DocumentError, StorageError) as exc:
            _log.warning("golden check forgotten", extra={"action": "golden_forgotten", "reason": exc.message})
            return _Last()
        return _Last(remembered[0], kept.judges, kept.found) if pictures == kept.pictures else _Last()


def _stopped() -> InferenceError:
    return InferenceError(Code.UNAVAILABLE, "the agent is being stopped")
