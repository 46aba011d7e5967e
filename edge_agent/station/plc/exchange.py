"""The one state that the station's loop and the servers share, behind a lock. Decides nothing of its own."""

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from edge_agent.formats import Verdict
from edge_agent.station.plc.handshake import Commands, Handshake, Outcome, command, finish, mirror, told
from edge_agent.station.plc.table import Fault, Phase, Value

# What the loop answers at its deadline gets through before the exchange answers in its place.
_GRACE_S = 0.5
_HEARTBEATS = 1 << 16
_HANGS = Outcome(Verdict.NO_RESULT, Fault.DEADLINE, "the station's loop gives no sign of life")


class Order(NamedTuple):
    """An accepted trigger.

    Attributes:
        inspection_id: its number.
        at: when it was accepted, on the monotonic clock.
    """

    inspection_id: int
    at: float


class Pulse:
    """Tells whether the station's loop lives: it says beforehand how long it may be silent.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = self._until = clock()

    def allow(self, seconds: float) -> None:
        """Beat; the next beat comes within so many seconds."""
        self._until = self._clock() + seconds

    def is_overdue(self) -> bool:
        """Tell whether the next beat should have come."""
        return self._clock() > self._until

    def heartbeat(self) -> int:
        """Return a count that grows each second, and stands still while the loop is overdue."""
        return (1 + int(min(self._clock(), self._until) - self._began)) % _HEARTBEATS


class Exchange:
    """One station towards its PLC; every method may be called from any thread and returns at once.

    Args:
        deadline_s: from the trigger to the result, at most.
        pulse: the loop's signs of life.
        clock: seconds that only grow.
        free_running: results come without triggers.
        silence_s: so long such a result stands when no further one comes.
        missed: hears when a trigger came that was not accepted; returns at once.
        ended: hears the end of each accepted trigger, whichever it is, and when it was accepted; returns at once.
    """

    def __init__(
        self,
        deadline_s: float,
        pulse: Pulse,
        clock: Callable[[], float],
        *,
        free_running: bool = False,
        silence_s: float = math.inf,
        missed: Callable[[float], None] = lambda _at: None,
        ended: Callable[[Outcome, float], None] = lambda _outcome, _at: None,
    ) -> None:
        self.pulse = pulse
        self._deadline_s = deadline_s
        self._clock = clock
        self._state = Handshake(phase=Phase.FREE_RUNNING if free_running else Phase.DISABLED)
        self._missed = missed
        self._ended = ended
        self._accepted_at = self._mirrored_at = 0.0
        self._silence_s = silence_s
        self._taken = 0
        self._changed = threading.Condition()

    def values(self) -> dict[str, Value]:
        """Return the values of all rows at one moment."""
        with self._changing():
            state = self._state
            stale = self._why_stale()
        if stale is not None:
            state = state._replace(outcome=stale, fault=stale.fault, message=stale.message)
        return {**told(state), **state.commands._asdict(), "heartbeat": self.pulse.heartbeat()}

    def write(self, written: Mapping[str, Any]) -> None:
        """Take what the PLC wrote in one go.

        Args:
            written: values of the rows that it may write, by name; the others stay as they were.
        """
        with self._changing():
            before = self._state
            self._state = command(before, before.commands._replace(**written))
            if self._state.inspection_id != before.inspection_id:
                self._accepted_at = self._clock()
            is_missed = self._state.missed != before.missed
        if is_missed:
            self._missed(self._clock())

    def end_overdue(self, timeout_s: float) -> None:
        """Wait for the moment in which an accepted trigger is overdue, and end it then; no longer than this."""
        with self._changed:
            order, is_busy = self._state.inspection_id, self._state.phase is Phase.BUSY
            due_s = max(0.0, self._due() - self._clock()) if is_busy else timeout_s
            # Another trigger has another deadline.
            self._changed.wait_for(lambda: self._state.inspection_id != order, min(timeout_s, due_s))
        with self._changing():
            pass

    def next_order(self, timeout_s: float) -> Order | None:
        """Return the next accepted trigger, once; None: none came in time."""
        with self._changed:
            self._changed.wait_for(self._is_waiting, timeout_s)
            if not self._is_waiting():
                return None
            self._taken = self._state.inspection_id
            return Order(self._taken, self._accepted_at)

    def finish(self, order: Order, outcome: Outcome) -> bool:
        """Give an inspection's end; return whether the PLC still waits for it."""
        with self._changing():
            before = self._state
            self._state = finish(before, order.inspection_id, outcome)
            return self._state is not before

    def mirror(self, outcome: Outcome) -> None:
        """Tell one more result of a station that needs no trigger."""
        with self._changed:
            self._state = mirror(self._state, outcome)
            self._mirrored_at = self._clock()

    def commands(self) -> Commands:
        """Return what the PLC wrote last."""
        with self._changed:
            return self._state.commands

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the lock with nothing overdue; tell afterwards what ended, whether by the block or by the time."""
        with self._changed:
            before, accepted_at = self._state, self._accepted_at
            self._end_overdue()
            overdue = self._state
            yield
            after = self._state
            if after is not before:
                self._changed.notify_all()
        # What ended by the time may be forgotten by the block at once.
        ended = overdue if overdue.phase is not Phase.BUSY else after
        if before.phase is Phase.BUSY and ended.phase is not Phase.BUSY and ended.outcome is not None:
            self._ended(ended.outcome, accepted_at)

    def _why_stale(self) -> Outcome | None:
        """Return what a free-running station tells in place of its last verdict, once that is nobody's any more."""
        if self._state.phase is not Phase.FREE_RUNNING:
            return None
        if self.pulse.is_overdue():
            # Parts pass that nobody looks at: the last verdict is not theirs.
            return _HANGS
        if self._state.outcome is None or self._clock() - self._mirrored_at < self._silence_s:
            return None
        message = f"expected a result within {self._silence_s:g} s, none came"
        return Outcome(Verdict.NO_RESULT, Fault.CAMERA, message)

    def _is_waiting(self) -> bool:
        return self._state.phase is Phase.BUSY and self._state.inspection_id != self._taken

    def _due(self) -> float:
        return self._accepted_at + self._deadline_s + _GRACE_S

    def _end_overdue(self) -> None:
        # The loop answers in time by itself; this speaks for one that hangs.
        if self._state.phase is not Phase.BUSY or self._clock() < self._due():
            return
        message = f"expected a result within {self._deadline_s:g} s of the trigger, none came"
        late = Outcome(Verdict.NO_RESULT, Fault.DEADLINE, message)
        self._state = finish(self._state, self._state.inspection_id, late)
