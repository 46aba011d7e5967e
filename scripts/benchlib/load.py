"""Callers that ask a line at a steady rate, and one that follows its events as the page does."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from edge_agent.client import AgentClient, EventStream
from edge_agent.errors import AgentError
from edge_agent.formats import EncodedPicture, Verdict
from scripts.benchlib.line import expected_score
from tests.fakes.tiny_models import GREY, grey_picture

_DEADLINE_S = 10.0
# What a float32 and a rounding on the wire may change; neighbours differ by 0.01 and more.
_SCORE_TOLERANCE = 1e-3


class Asked(NamedTuple):
    """One request: when, how long, and what was wrong with its answer (empty: nothing)."""

    at: float
    milliseconds: float
    fault: str
    failed: bool
    caller: str


class Load:
    """Callers on threads of their own.

    Args:
        connect: makes a client; each caller has its own.
        callers: how many.
        interval_s: each begins a request so often, or as soon as its last one is answered.
    """

    def __init__(self, connect: Callable[[], AgentClient], *, callers: int = 4, interval_s: float = 0.1) -> None:
        self._connect = connect
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._asked: list[Asked] = []
        self._ending = threading.Event()
        self._allowed: frozenset[str] = frozenset()
        self.events = 0
        self.callers = callers
        self._threads = [threading.Thread(target=self._ask, name=f"caller-{n}") for n in range(callers)]
        self._follower = threading.Thread(target=self._follow, name="follower")
        self._stream_failed = ""

    @contextmanager
    def running(self) -> Iterator["Load"]:
        """Ask during the block."""
        for thread in (*self._threads, self._follower):
            thread.start()
        try:
            yield self
        finally:
            self._ending.set()
            for thread in (*self._threads, self._follower):
                thread.join(_DEADLINE_S * 2)

    def allow(self, *versions: str) -> None:
        """Say which versions may answer from now on; a request under way may still have an earlier one."""
        self._allowed = frozenset(versions)

    def cut(self) -> list[Asked]:
        """Return the requests that ended since the last cut."""
        with self._lock:
            asked, self._asked = self._asked, []
        return asked

    @property
    def stream_fault(self) -> str:
        """Return why the stream of events broke; empty: it did not."""
        return self._stream_failed

    def _ask(self) -> None:
        with self._connect() as client:
            while not self._ending.is_set():
                asked = self._once(client)
                with self._lock:
                    self._asked.append(asked)
                self._ending.wait(max(0.0, self._interval_s - asked.milliseconds / 1000))

    def _once(self, client: AgentClient) -> Asked:
        allowed, at, started = self._allowed, time.monotonic(), time.perf_counter()
        who = threading.current_thread().name
        try:
            frame = client.inspect(EncodedPicture(grey_picture(GREY)), timeout_s=_DEADLINE_S)
        except AgentError as exc:
            return Asked(
                at, (time.perf_counter() - started) * 1000, f"{exc.code.value}: {exc.message}", failed=True, caller=who
            )
        milliseconds = (time.perf_counter() - started) * 1000
        if frame.verdict is Verdict.NO_RESULT or not frame.results:
            return Asked(at, milliseconds, f"no result: {frame.message}", failed=True, caller=who)
        (result,) = frame.results
        mixed = _mixed(result.version, result.score, allowed | self._allowed)
        return Asked(at, milliseconds, mixed, failed=False, caller=who)

    def _follow(self) -> None:
        with self._connect() as client, client.events() as stream:
            closer = threading.Thread(target=self._close_in_the_end, args=(stream,))
            closer.start()
            try:
                for _ in stream:
                    self.events += 1
            except AgentError as exc:
                if not self._ending.is_set():
                    self._stream_failed = exc.message
            closer.join()

    def _close_in_the_end(self, stream: EventStream) -> None:
        self._ending.wait()
        stream.close()


def noticed(asked: Sequence[Asked]) -> dict[str, object]:
    """Return what callers noticed of all these requests, as the figures of a bench."""
    faults = [one.fault for one in asked if one.fault]
    failed = sum(one.failed for one in asked)
    return {
        "requests": len(asked),
        "failed_requests": failed,
        "mixed_answers": len(faults) - failed,
        "first_fault": faults[0] if faults else "",
    }


def _mixed(version: str, score: float | None, allowed: frozenset[str]) -> str:
    if version not in allowed:
        return f"expected version {' or '.join(sorted(allowed))}, {version} answered"
    if score is None or abs(score - expected_score(version)) > _SCORE_TOLERANCE:
        return f"expected {expected_score(version):.4f} of version {version}, came {score}"
    return ""
