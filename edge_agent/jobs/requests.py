"""Requests that wait for their answer: which answer is whose, and when to ask again.

Each attempt carries its own client token, so an answer is matched to the request
and to the attempt. Accepted answers count from any attempt; rejected ones only from
the newest, since an older attempt was judged against an older version.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from edge_agent.jobs.messages import Report
from edge_agent.jobs.topics import Verb

ANSWER_TIMEOUT_S: Final = 10.0
BACK_OFF_S: Final = 1.0
LONGEST_BACK_OFF_S: Final = 120.0


class Key(NamedTuple):
    """What is asked; at most one request of each key is open."""

    verb: Verb
    job_id: str = ""


@dataclass
class Request:
    """One open request."""

    key: Key
    number: int
    report: Report | None = None
    expected_version: int | None = None
    bare: bool = False
    """Whether the details were left out, since the service did not take them."""
    again: bool = False
    """Whether something happened meanwhile, so that the answer may already be old."""
    attempts: int = 0
    retry_at: float = 0.0


class Requests:
    """The open requests of one connection.

    Args:
        token: stands at the front of every client token; another one for every process.
        rng: gives numbers from 0 up to 1.
    """

    def __init__(self, token: str, rng: Callable[[], float]) -> None:
        self._token = token
        self._rng = rng
        self._opened = 0
        self._open: dict[Key, Request] = {}

    def open(self, key: Key, report: Report | None = None) -> Request:
        """Return a new request in the place of any other of its key."""
        self._opened += 1
        self._open[key] = Request(key, self._opened, report)
        return self._open[key]

    def get(self, key: Key) -> Request | None:
        """Return the open request of a key."""
        return self._open.get(key)

    def close(self, key: Key) -> None:
        """Forget a request: its answer is no longer waited for."""
        self._open.pop(key, None)

    def clear(self) -> None:
        """Forget all of them, since the connection they were sent on is gone."""
        self._open.clear()

    def attempt(self, request: Request, now: float) -> str:
        """Count one more attempt and return its client token."""
        request.attempts += 1
        request.retry_at = now + ANSWER_TIMEOUT_S + self._jitter(request.attempts)
        return self._token_of(request)

    def postpone(self, request: Request, now: float) -> None:
        """Let the service rest before the next attempt."""
        request.retry_at = now + self._jitter(request.attempts)

    def match(self, key: Key, token: str) -> Request | None:
        """Return the open request that an answer with ``token`` belongs to."""
        request = self._open.get(key)
        if request is None or not token.startswith(f"{self._token}.{request.number}."):
            return None
        return request

    def newest(self, request: Request, token: str) -> bool:
        """Return whether ``token`` is that of the request's newest attempt."""
        return token == self._token_of(request)

    def overdue(self, now: float) -> list[Request]:
        """Return the requests whose time to be sent again has come."""
        return [request for request in self._open.values() if request.retry_at <= now]

    def next_due(self) -> float | None:
        """Return when the next request becomes overdue."""
        return min((request.retry_at for request in self._open.values()), default=None)

    def _token_of(self, request: Request) -> str:
        return f"{self._token}.{request.number}.{request.attempts}"

    def _jitter(self, attempts: int) -> float:
        # Full jitter: devices that were turned away together do not come back together.
        return self._rng() * min(LONGEST_BACK_OFF_S, BACK_OFF_S * 2.0 ** min(attempts, 16))
