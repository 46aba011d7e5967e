"""MJPEG over HTTP: the parts of an endless answer, passed on as they came."""

import contextlib
import http.client
import select
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from typing import Any

from edge_agent.errors import CameraError, Code
from edge_agent.station.multipart import PartReader, boundary_of
from edge_agent.station.pace import BEHIND_S
from edge_agent.station.source import Login, shown, without_login
from edge_agent.station.stream import Frame

_CHUNK_BYTES = 256 << 10


class HttpStream:
    """One answer of a camera's web server.

    Args:
        url: http or https, with ``user:password@`` where the camera asks for a login (Basic or Digest).
        stall_s: a picture must come within that, whole.
        clock: seconds that only grow.

    Raises:
        CameraError: the camera is away, refuses, or answers something else.
    """

    def __init__(self, url: str, stall_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = shown(url)
        self._stall_s = stall_s
        self._clock = clock
        self.held_up_s = 0.0
        self._until = 0.0
        self._read_at = clock()
        self._answer = self._opened(url)
        try:
            boundary = boundary_of(self._answer.headers.get("Content-Type", ""))
        except CameraError as exc:
            self.close()
            raise self._failed(exc.message) from exc
        self._parts = PartReader(boundary, self._more)

    def read(self) -> Frame:
        """Return the next picture.

        Raises:
            CameraError: the camera went away, is silent or too slow, or sends something else.
        """
        self._until = self._clock() + self._stall_s
        try:
            content = self._parts.next()
            # What waited while the network paused comes all at once: the last of it is of now.
            while self._clock() - self._read_at > BEHIND_S and self._is_more_here():
                content = self._parts.next()
        except CameraError as exc:
            raise self._failed(exc.message) from exc
        # No stamp tells how long it was on its way: since the one before, and as long as a pause goes unnoticed.
        before, self._read_at = self._read_at, self._clock()
        self.held_up_s = self._read_at - before + BEHIND_S
        return partial(bytes, content)

    def trigger(self) -> None:
        """Nothing: such a camera has no trigger."""

    def close(self) -> None:
        """Let the connection go."""
        with contextlib.suppress(OSError):
            self._answer.close()

    def _opened(self, url: str) -> http.client.HTTPResponse:
        try:
            address, login = without_login(url)
            answer: http.client.HTTPResponse = _opener(address, login).open(address, timeout=self._stall_s)
        except urllib.error.HTTPError as exc:
            exc.close()
            raise self._failed(f"expected pictures, came HTTP status {exc.code}") from exc
        except urllib.error.URLError as exc:
            raise self._failed(f"expected an answer, {exc.reason}") from exc
        except (OSError, http.client.HTTPException, ValueError, LookupError) as exc:
            # The last two are how the library meets a challenge that is none.
            raise self._failed(f"expected an answer, {type(exc).__name__}") from exc
        return answer

    def _is_more_here(self) -> bool:
        """Tell whether another part has begun to come, without waiting for one."""
        while not self._parts.has_begun():
            if self._answer.isclosed() or not select.select([self._answer], [], [], 0)[0]:
                return False
            self._parts.feed(self._more())
        return True

    def _more(self) -> bytes:
        try:
            content = self._answer.read1(_CHUNK_BYTES)
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise CameraError(Code.CAMERA_FAILED, f"expected a picture within {self._stall_s:g} s, {exc}") from exc
        if not content:
            raise CameraError(Code.CAMERA_FAILED, "expected more pictures, the camera ended its answer")
        if self._clock() > self._until:
            message = f"expected a whole picture within {self._stall_s:g} s, it comes too slowly"
            raise CameraError(Code.CAMERA_FAILED, message)
        return content

    def _failed(self, what: str) -> CameraError:
        return CameraError(Code.CAMERA_FAILED, f"{self._what}: {what}")


class _Digest(urllib.request.HTTPDigestAuthHandler):
    """The library's own, which leaves the refusal's connection open."""

    def http_error_401(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        """Ask again with a login."""
        fp.close()
        return super().http_error_401(req, fp, code, msg, headers)


class _Basic(urllib.request.HTTPBasicAuthHandler):
    """The library's own, which leaves the refusal's connection open."""

    def http_error_401(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        """Ask again with a login."""
        fp.close()
        return super().http_error_401(req, fp, code, msg, headers)


def _opener(address: str, login: Login | None) -> urllib.request.OpenerDirector:
    """Return what opens http and https alone: no files, no proxy of the environment, no redirect to elsewhere."""
    opener = urllib.request.OpenerDirector()
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    if login is not None:
        passwords.add_password(None, address, login.user, login.password)
    for handler in (
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Digest(passwords),
        _Basic(passwords),
    ):
        opener.add_handler(handler)
    return opener
