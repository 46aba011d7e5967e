"""Who is logged in: sessions on the server, and a brake on guessing passwords."""

import hashlib
import secrets
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple

from edge_agent.dashboard.users import User

_HOUR_S = 3600.0
# Who only looks may be a screen on the wall.
LIFE_S = {"viewer": 30 * 24 * _HOUR_S, "operator": 12 * _HOUR_S, "admin": 12 * _HOUR_S}
IDLE_S = {"viewer": 30 * 24 * _HOUR_S, "operator": 2 * _HOUR_S, "admin": 2 * _HOUR_S}
MOST_SESSIONS = 500
# Screens, tablets and phones under one name; who logs in more often logs out the oldest of these, and nobody else.
MOST_OF_ONE = 20
TRIES = 10
WINDOW_S = 300.0
_MOST_WATCHED = 4096


class Session(NamedTuple):
    """Somebody who is logged in.

    Attributes:
        name: of the user.
        password: the hash at login; another one in the file ends the session.
        role: at login.
        began: seconds of ``now``.
        seen: of the last page that was opened or order that was given.
    """

    name: str
    password: str
    role: str
    began: float
    seen: float


class Sessions:
    """Sessions by a random token that only the browser knows; safe between threads.

    Args:
        now: seconds of a clock that never goes back.
        find: returns a user as the file has it just now.
    """

    def __init__(self, now: Callable[[], float], find: Callable[[str], User | None]) -> None:
        self._now = now
        self._find = find
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, user: User) -> str:
        """Return a new token; one that was there before login is never taken over."""
        token = secrets.token_urlsafe(32)
        now = self._now()
        with self._lock:
            self._sessions[_key(token)] = Session(user.name, user.password, user.role, now, now)
            own = [key for key, session in self._sessions.items() if session.name == user.name]
            for key in own[:-MOST_OF_ONE]:
                del self._sessions[key]
            while len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return token

    def user(self, token: str, *, touch: bool = False) -> User | None:
        """Return whose token it is, with the role of just now; None: nobody's, or no longer.

        Args:
            token: as the browser sent it.
            touch: the person does something, so the session is not idle.
        """
        with self._lock:
            session = self._sessions.get(_key(token))
        if session is None:
            return None
        now, user = self._now(), self._find(session.name)
        late = now - session.began > LIFE_S[session.role] or now - session.seen > IDLE_S[session.role]
        # Another password or role means: log in again.
        if late or user is None or (user.password, user.role) != (session.password, session.role):
            self.end(token)
            return None
        if touch:
            with self._lock:
                if _key(token) in self._sessions:
                    self._sessions[_key(token)] = session._replace(seen=now)
        return user

    def end(self, token: str) -> None:
        """Forget a token."""
        with self._lock:
            self._sessions.pop(_key(token), None)


class Brake:
    """Counts failed logins per address and per name, and says when there were too many.

    A name that nobody has is counted as any other: whether it exists is never told.

    Args:
        now: seconds of a clock that never goes back.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def admit(self, *keys: str) -> float:
        """Count a try of each of ``keys`` before its outcome is known, unless one has to wait.

        Looking and counting are one step: of many who ask at once no more get through than of many in a row.

        Returns:
            Seconds to wait; 0: the try is counted, go on.
        """
        with self._lock:
            wait_s = max(self._wait_s(key) for key in keys)
            if not wait_s:
                for key in keys:
                    self._count(key)
            return wait_s

    def forgive(self, *keys: str) -> None:
        """Take back the newest try of each of ``keys``: it was no guess."""
        with self._lock:
            for key in keys:
                if self._failures.get(key):
                    self._failures[key].pop()

    def _count(self, key: str) -> None:
        self._failures.setdefault(key, deque(maxlen=TRIES)).append(self._now())
        self._failures.move_to_end(key)
        while len(self._failures) > _MOST_WATCHED:
            self._failures.popitem(last=False)

    def _wait_s(self, key: str) -> float:
        times = self._failures.get(key)
        return max(0.0, times[0] + WINDOW_S - self._now()) if times and len(times) == TRIES else 0.0


def _key(token: str) -> str:
    # Whoever reads this memory or a dump of it holds no session.
    return hashlib.sha256(token.encode()).hexdigest()
