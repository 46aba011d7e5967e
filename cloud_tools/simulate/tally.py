"""What a simulated fleet did, counted: messages, bytes, and how each device ended each job."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class End(NamedTuple):
    """One terminal word about one job of one device: the service took it, or took the job away."""

    status: str
    """SUCCEEDED, FAILED or REJECTED as the device said and the service agreed; else the service's own word."""
    code: str
    at: float
    """Monotonic seconds."""


class Tally:
    """Counts; written by the fleet's thread, read by any."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._offers: dict[str, dict[str, float]] = {}
        self._ends: dict[str, dict[str, list[End]]] = {}
        self._online: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._messages: Counter[str] = Counter()

    # the fleet's thread

    def sent(self, topic: str, payload: bytes) -> None:
        """A device published."""
        self._message("sent", topic, payload)

    def received(self, topic: str, payload: bytes) -> None:
        """A device was told something."""
        self._message("received", topic, payload)

    def ignored(self, why: str) -> None:
        """A device dropped a message, or was told to come later (RequestThrottled)."""
        self.count(f"{_IGNORED}{why}")

    def count(self, what: str) -> None:
        """One more of what has no size: connections, losses, subscriptions that were asked for or refused."""
        with self._changed:
            self._counts[what] += 1
            self._changed.notify_all()

    def online(self, thing: str, *, whether: bool) -> None:
        """A device can be reached, or no longer."""
        with self._changed:
            (self._online.add if whether else self._online.discard)(thing)
            self._changed.notify_all()

    def offered(self, job_id: str, thing: str, at: float) -> None:
        """A device took up a job; after an interruption it may take it up again."""
        with self._changed:
            self._offers.setdefault(job_id, {}).setdefault(thing, at)
            self._changed.notify_all()

    def ended(self, job_id: str, thing: str, end: End) -> None:
        """A device is through with a job."""
        with self._changed:
            self._ends.setdefault(job_id, {}).setdefault(thing, []).append(end)
            self._changed.notify_all()

    # any thread

    def wait_for(self, holds: Callable[["Tally"], bool], timeout_s: float) -> bool:
        """Wait until ``holds`` does; return whether it did in time."""
        with self._changed:
            return self._changed.wait_for(lambda: holds(self), timeout_s)

    @property
    def reachable(self) -> int:
        """Return how many devices are connected and subscribed now."""
        return len(self._online)

    def ends(self, job_id: str) -> dict[str, list[End]]:
        """Return each device's terminal words on a job; one that has more than one was asked twice."""
        with self._changed:
            return {thing: list(ends) for thing, ends in self._ends.get(job_id, {}).items()}

    def standing(self) -> dict[str, int]:
        """Return how many devices are online, at work and through, over all jobs."""
        with self._changed:
            ends = Counter(each[0].status for of_job in self._ends.values() for each in of_job.values())
            working = sum(len(offers.keys() - self._ends.get(job, {}).keys()) for job, offers in self._offers.items())
            return {"online": len(self._online), "working": working, **dict(sorted(ends.items()))}

    def counts(self) -> dict[str, Any]:
        """Return all counts by name: messages by kind, and their bytes (topic and payload)."""
        with self._changed:
            total = {name: self._counts[name] for name in _COUNTED}
            ignored = {what[len(_IGNORED) :]: n for what, n in self._counts.items() if what.startswith(_IGNORED)}
            messages = dict(sorted(self._messages.items()))
            return {"online": len(self._online), **total, "messages": messages, "ignored": ignored}

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Return each job's devices by how they ended, and seconds from its first offer to so many ends."""
        with self._changed:
            return {job_id: self._job(job_id) for job_id in self._offers}

    def _job(self, job_id: str) -> dict[str, Any]:
        offers, ends = self._offers[job_id], self._ends.get(job_id, {})
        first = min(offers.values())
        moments = sorted(end.at - first for each in ends.values() for end in each[:1])
        return {
            "offered": len(offers),
            "ended": len(ends),
            "more_than_once": sum(len(each) > 1 for each in ends.values()),
            "statuses": dict(Counter(each[0].status for each in ends.values())),
            **{f"to_{share}_percent_s": _at_share(moments, len(offers), share) for share in (50, 99, 100)},
        }

    def _message(self, way: str, topic: str, payload: bytes) -> None:
        with self._changed:
            self._messages[_kind(topic)] += 1
            self._counts[f"messages_{way}"] += 1
            self._counts[f"bytes_{way}"] += len(topic) + len(payload)


_IGNORED = "ignored "
_COUNTED = (
    "connections",
    "refused",
    "lost",
    "subscriptions",
    "unsubscribed",
    "messages_sent",
    "bytes_sent",
    "messages_received",
    "bytes_received",
)


def _kind(topic: str) -> str:
    words = topic.split("/")
    if words[-1] in ("accepted", "rejected"):
        return f"{words[-2]} {words[-1]}"
    return "shadow update" if words[-2:] == ["shadow", "update"] else words[-1]


def _at_share(moments: Sequence[float], of: int, share: int) -> float | None:
    needed = -(-of * share // 100)
    return round(moments[needed - 1], 2) if 0 < needed <= len(moments) else None
