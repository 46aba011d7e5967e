"""What the agent keeps of the line for people: shifts, golden parts, recent frames, the log."""

import logging
from collections.abc import Callable, Sequence

from edge_agent.formats import Counts, GoldenCheck, InspectedFrame, LogLine, Payload, Shift
from edge_agent.inspection import GoldenParts, LineRule, RecentFrames, ResultCounter
from edge_agent.store import AuditLog
from edge_agent.telemetry import metrics
from edge_agent.telemetry.log_ring import LogRing

_log = logging.getLogger(__name__)


class Line:
    """The line as people see it.

    Args:
        rule: how verdicts are formed.
        counts: inspections by shift.
        frames: recent ones.
        golden: parts that are known.
        audit: who did what.
        ring: the newest lines of the log.
    """

    def __init__(
        self,
        rule: LineRule,
        counts: ResultCounter,
        frames: RecentFrames,
        golden: GoldenParts,
        audit: AuditLog,
        ring: LogRing,
    ) -> None:
        self.rule = rule.words()
        self._counts = counts
        self._frames = frames
        self._golden = golden
        self._audit = audit
        self._ring = ring

    def shift(self) -> Shift:
        """Return the shift that runs, without distributions."""
        return self._counts.current()

    def golden(self) -> GoldenCheck:
        """Return how the golden parts stand."""
        return self._golden.status()

    def frames(self, limit: int) -> Sequence[InspectedFrame]:
        """Return the recent frames, newest first."""
        return [kept.frame for kept in self._frames.newest(limit)]

    def shifts(self, limit: int) -> Sequence[Shift]:
        """Return shifts with distributions, the running one first.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        return self._counts.shifts(limit)

    def reset_counts(self, reason: str, actor: str) -> Shift:
        """Begin the running shift's counts anew; what was counted stays as a shift that ended.

        Raises:
            StorageError: NO_SPACE or STORAGE_FAILED; nothing is changed.
        """

        def note(ended: Counts) -> None:
            self._audit.append("counts_reset", reason=reason, actor=actor, counts=ended.model_dump())

        shift = self._counts.reset(actor, note)
        _log.info("counts reset", extra={"action": "counts_reset", "actor": actor, "reason": reason})
        return shift

    def check_golden_parts(self, actor: str, *, timeout_s: float) -> GoldenCheck:
        """Inspect the golden parts; return what came of it.

        Raises:
            InferenceError: FAILED_PRECONDITION: there are none. DEADLINE_EXCEEDED: the check goes on.
        """
        return self._golden.check(actor, timeout_s=timeout_s)

    def logs(self, limit: int, level: str) -> Sequence[LogLine]:
        """Return the newest lines of the log of a level and above, newest last; no level: all."""
        return self._ring.lines(limit, getattr(logging, level) if level else logging.NOTSET)


def tell_golden(check: GoldenCheck, publish: Callable[[Payload], object], note: Callable[[str, str], None]) -> None:
    """Tell everyone how the golden parts stand; a check that failed is trouble until one is passed."""
    if check.state in ("PASSED", "FAILED"):
        note("golden parts", "" if check.state == "PASSED" else check.message)
        level = logging.INFO if check.state == "PASSED" else logging.ERROR
        _log.log(level, "golden parts checked", extra={"action": "golden_checked", "reason": check.message})
    metrics.show_golden(check.state)
    publish(check)
