"""What keeps the page to the people it is meant for.

A browser that shows this page also visits other sites: the Host allow-list keeps them
from reading through DNS rebinding, the CSRF token from acting, the headers from framing
and injecting. Who may do what is told in ``login`` and ``access``.
"""

import hmac
import secrets
from typing import NamedTuple

from flask import Flask, Response, abort, g, request

from edge_agent.config import Dashboard, is_loopback
from edge_agent.errors import Code, ConfigError

CSRF_COOKIE = "edge-agent-form"
# What browsers say of where a request comes from when that is this page, or nowhere.
SAME_SITE = frozenset({"same-origin", "none"})
MAX_PORT = 65535
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: it would also hide the Origin of our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Address(NamedTuple):
    """Where the page listens."""

    host: str
    port: int


def checked_address(room: Dashboard) -> Address:
    """Return where the page listens, if that is safe as configured.

    Raises:
        ConfigError: ``listen`` is not ``host:port``; or it is beyond loopback without users, or
            without the word that passwords may travel in the clear; or a proxy is meant without users.
    """
    listen = room.listen
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not port.isdecimal() or int(port) > MAX_PORT:
        raise ConfigError(Code.CONFIG_INVALID, f"dashboard.listen: expected HOST:PORT, came {listen!r}")
    if not is_loopback(host) and room.transport != "plain":
        raise _unsafe(
            f"loopback, as 127.0.0.1:8080, for a TLS proxy in front (dashboard.transport = proxy), or "
            f"dashboard.transport = plain, since this page encrypts nothing; came dashboard.listen = {listen!r}"
        )
    if room.users is None and (room.transport == "proxy" or not is_loopback(host)):
        raise _unsafe(f"a file of users, since others than this machine can ask; came dashboard.listen = {listen!r}")
    if room.transport == "proxy" and not is_loopback(host):
        raise _unsafe(f"loopback behind the proxy; came dashboard.listen = {listen!r}")
    return Address(host, int(port))


def _unsafe(expected: str) -> ConfigError:
    return ConfigError(Code.CONFIG_INVALID, f"dashboard: expected {expected}")


def host_name(header: str) -> str:
    """Return the name in a Host header without its port, in lower case."""
    name, colon, port = header.strip().lower().rpartition(":")
    if colon and (port.isdecimal() or not port) and (":" not in name or name.endswith("]")):
        header = name
    return header.strip().lower().removeprefix("[").removesuffix("]").rstrip(".")


def guard_hosts(app: Flask, hosts: tuple[str, ...]) -> None:
    """Refuse requests for another host name: 421, or 400 when they name none."""
    allowed = {host_name(host) for host in hosts}

    @app.before_request
    def _check() -> None:
        came = host_name(request.headers.get("Host", ""))
        if not came:
            abort(400, "expected a Host header")
        if came not in allowed:
            abort(421, "this page is not served under that host name")


def send_headers(app: Flask) -> None:
    """Put the security headers on every answer."""

    @app.after_request
    def _add(response: Response) -> Response:
        if g.get("camera"):
            response.headers["Permissions-Policy"] = HEADERS["Permissions-Policy"].replace("camera=()", "camera=(self)")
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Cache-Control", "no-store")
        return response


def camera_allowed() -> None:
    """Let the answer of the request under way use the browser's camera."""
    g.camera = True


class FormTokens:
    """CSRF tokens: a random cookie, and its MAC in the form.

    The key lives as long as the process: after a restart a form that is still
    open is refused, and the page says to open it again.

    Args:
        secure: the cookie goes over TLS only.
    """

    def __init__(self, *, secure: bool = False) -> None:
        self._key = secrets.token_bytes(32)
        self._secure = secure

    def attach(self, app: Flask) -> None:
        """Give pages ``form_token()`` and answers the cookie that belongs to it."""
        app.jinja_env.globals["form_token"] = self.token

        @app.after_request
        def _set(response: Response) -> Response:
            fresh = g.get("form_cookie")
            if fresh:
                response.set_cookie(CSRF_COOKIE, fresh, httponly=True, samesite="Strict", secure=self._secure)
            return response

    def token(self) -> str:
        """Return the token for this request's form."""
        cookie = request.cookies.get(CSRF_COOKIE, "") or g.get("form_cookie", "")
        if not cookie:
            cookie = g.form_cookie = secrets.token_urlsafe(18)
        return self._mac(cookie)

    def renew(self) -> None:
        """Give the browser another cookie: what was planted before a login is worth nothing after it."""
        g.form_cookie = secrets.token_urlsafe(18)

    def fits(self) -> bool:
        """Tell whether this request comes from a form of ours."""
        cookie = request.cookies.get(CSRF_COOKIE, "")
        given = request.form.get("token", "")
        same_site = request.headers.get("Sec-Fetch-Site", "same-origin") in SAME_SITE
        return bool(cookie) and same_site and hmac.compare_digest(self._mac(cookie).encode(), given.encode())

    @staticmethod
    def browser() -> str:
        """Return what tells the browser of this request from others, once its form fits."""
        return request.cookies.get(CSRF_COOKIE, "")

    def _mac(self, cookie: str) -> str:
        return hmac.new(self._key, cookie.encode(), "sha256").hexdigest()
