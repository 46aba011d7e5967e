"""Digital outputs kept as the signals say, by a thread that wakes at each change.

A chip that fails is told and tried again; it ends nothing.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from edge_agent.config import Outputs
from edge_agent.errors import OutputError
from edge_agent.formats import Verdict
from edge_agent.station.plc.signals import NAMES, SAFE, Name, Rules, Signals, hear, levels, next_change

_LOG = logging.getLogger(__name__)
_RETRY_S = 1.0
_TURN_S = 0.25


class Chip(Protocol):
    """Output lines, by number."""

    def set(self, levels: Mapping[int, bool]) -> None:
        """Switch lines; an OutputError says that the chip does not take it."""

    def close(self) -> None:
        """Let the lines go."""


Opener = Callable[[Mapping[int, bool]], Chip]


def rules_of(options: Outputs) -> Rules:
    """Return the rules of a station's settings."""
    return Rules(
        options.delay_ms / 1000, options.pulse_ms / 1000, options.silence_s, reject_doubt=options.reject_on == "not_ok"
    )


def lines_of(options: Outputs) -> dict[Name, int]:
    """Return the line of each output that is wired."""
    return {name: getattr(options, name) for name in NAMES if getattr(options, name) >= 0}


class OutputLines:
    """The outputs of one station.

    Args:
        station: its name, for the log.
        options: lines and lengths.
        open_chip: opens the chip with these levels.
        clock: seconds that only grow.
    """

    def __init__(
        self, station: str, options: Outputs, open_chip: Opener, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.error = ""
        self._station = station
        self._rules = rules_of(options)
        self._lines = lines_of(options)
        self._open_chip = open_chip
        self._clock = clock
        self._chip: Chip | None = None
        self._set: dict[int, bool] = {}
        self._signals = Signals()
        self._changed = threading.Condition()
        self._woken = False
        # A crash elsewhere speaks in between.
        self._switching = threading.Lock()
        self._over = False

    def hear(self, verdict: Verdict, part_at: float | None) -> None:
        """Take one more verdict; returns at once.

        Args:
            verdict: of the part.
            part_at: when it stood before the camera; None: there was none.
        """
        with self._changed:
            late = self._signals.late
            self._signals = hear(self._signals, verdict, part_at, self._clock(), self._rules)
            self._woken = True
            self._changed.notify_all()
        if self._signals.late > late:
            extra = {"action": "reject_late", "station": self._station}
            _LOG.error("a part had passed the gate before its verdict came", extra=extra)

    def run(self, wait: Callable[[float], bool]) -> None:
        """Switch until told to stop, then say NO RESULT.

        Args:
            wait: sleeps so many seconds at most; True ends the work.
        """
        try:
            while not wait(0.0):
                self._sleep(self.turn())
        finally:
            self.make_safe()

    def make_safe(self) -> None:
        """Say NO RESULT and let the chip go, for good; may be called from any thread."""
        self._switch(SAFE)
        with self._switching:
            self._over = True
            self._let_go()

    def turn(self) -> float:
        """Switch what is due; return the seconds until something may be due again."""
        now = self._clock()
        with self._changed:
            self._woken = False
            signals = self._signals
        if not self._switch(levels(signals, now, self._rules)):
            return _RETRY_S
        change = next_change(signals, now, self._rules)
        return _TURN_S if change is None else min(_TURN_S, max(0.0, change - self._clock()))

    def _sleep(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._woken, seconds)

    def _switch(self, wanted: Mapping[Name, bool]) -> bool:
        by_line = {number: wanted[name] for name, number in self._lines.items()}
        with self._switching:
            return self._over or (self._chip is not None and by_line == self._set) or self._put(by_line)

    def _put(self, by_line: dict[int, bool]) -> bool:
        try:
            if self._chip is None:
                self._chip = self._open_chip(by_line)
            else:
                self._chip.set(by_line)
        except OutputError as exc:
            self._failed(exc)
            return False
        self._set = by_line
        self._recovered()
        return True

    def _failed(self, error: OutputError) -> None:
        self._let_go()
        if not self.error:
            extra = {"action": "outputs_failed", "station": self._station, "reason": str(error)}
            _LOG.error("the digital outputs do not switch", extra=extra)
        self.error = str(error)

    def _recovered(self) -> None:
        if self.error:
            _LOG.info("the digital outputs switch again", extra={"action": "outputs_back", "station": self._station})
        self.error = ""

    def _let_go(self) -> None:
        if self._chip is not None:
            self._chip.close()
        self._chip, self._set = None, {}
