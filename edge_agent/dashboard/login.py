"""Who may ask for what: the login, the logout, and the gate before every page."""

import logging
import time
from collections.abc import Callable

from flask import Blueprint, Flask, Response, abort, g, make_response, redirect, render_template, request, url_for
from werkzeug.http import parse_cookie
from werkzeug.wrappers import Response as AnyResponse

from edge_agent.dashboard.access import LOCAL, Person, Role, person
from edge_agent.dashboard.orders import Notice
from edge_agent.dashboard.security import FormTokens
from edge_agent.dashboard.sessions import LIFE_S, Brake, Sessions
from edge_agent.dashboard.users import Users
from edge_agent.dashboard.words import Words

_LOG = logging.getLogger(__name__)
_OPEN = frozenset({"login.form", "login.enter", "static", "pages.healthz", "pages.readyz"})


class Gate:
    """Lets people in; puts who asks into ``g.person`` for every request.

    Args:
        users: who there is.
        open_reads: whether anyone may look without a login.
        secure: cookies go over TLS only.
        now: seconds of a clock that never goes back.
    """

    def __init__(
        self, users: Users, *, open_reads: bool, secure: bool, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.users = users
        self.brake = Brake(now)
        self.sessions = Sessions(now, users.find)
        self._open_reads = open_reads
        self._secure = secure
        # With the prefix no other name of the same site can plant one.
        self._cookie = "__Host-edge-agent" if secure else "edge-agent-session"

    def attach(self, app: Flask) -> None:
        """Stand before every request of ``app``."""

        @app.before_request
        def _check() -> AnyResponse | None:
            user = self.sessions.user(self.token(), touch=_by_a_person())
            g.logged_in = user is not None
            if user is not None:
                g.person = Person(user.name, user.role)
            elif self._open_reads:
                g.person = Person("", "viewer")
            elif request.endpoint not in _OPEN:
                return _ask_to_log_in()
            return None

    def token(self) -> str:
        """Return the session's token as the browser sent it."""
        return request.cookies.get(self._cookie, "")

    def may(self, role: Role, cookies: str) -> bool:
        """Tell whether a Cookie header's session is of somebody who may do what ``role`` may."""
        user = self.sessions.user(parse_cookie(cookies).get(self._cookie, ""))
        return user is not None and Person(user.name, user.role).may(role)

    def still_in(self) -> Callable[[], bool]:
        """Return whether who asks now is still let in, for an answer that lasts."""
        token = self.token()
        return lambda: self._open_reads or self.sessions.user(token) is not None

    def hand_over(self, response: AnyResponse, token: str, role: str) -> None:
        """Give the browser its token."""
        response.set_cookie(
            self._cookie,
            token,
            max_age=int(LIFE_S[role]),
            httponly=True,
            samesite="Strict",
            secure=self._secure,
            path="/",
        )

    def take_back(self, response: AnyResponse) -> None:
        """Make the browser forget its token."""
        response.delete_cookie(self._cookie, path="/", secure=self._secure, httponly=True, samesite="Strict")


def blueprint(gate: Gate, tokens: FormTokens, words: Callable[[], Words]) -> Blueprint:
    """Return ``/login`` and ``/logout``."""
    views = Blueprint("login", __name__)

    def page(notice: Notice | None = None) -> str:
        # Nothing of the line is told to who is not in yet.
        view = {"agent": {"thing": ""}}
        return render_template("login.html", page="login", view=view, notice=notice, following=_following())

    @views.get("/login")
    def form() -> str:
        return page()

    @views.post("/login")
    def enter() -> tuple[str, int] | AnyResponse:
        if not tokens.fits():
            return page(("bad", words()("order.stale_form"))), 403
        name = request.form.get("name", "").strip()[:64]
        keys = f"address {request.remote_addr}", f"name {name}"
        wait_s = gate.brake.admit(*keys)
        if wait_s:
            return page(("bad", words()("login.wait", minutes=int(wait_s // 60) + 1))), 429
        user = gate.users.verify(name, request.form.get("password", ""))
        if user is None:
            _LOG.warning("a login failed", extra={"action": "login_failed", "address": request.remote_addr})
            return page(("bad", words()("login.wrong"))), 401
        gate.brake.forgive(*keys)
        gate.sessions.end(gate.token())
        tokens.renew()
        response = redirect(_following(), 303)
        gate.hand_over(response, gate.sessions.begin(user), user.role)
        _LOG.info("somebody logged in", extra={"action": "login", "user": user.name, "role": user.role})
        return response

    @views.post("/logout")
    def leave() -> AnyResponse:
        if not tokens.fits():
            abort(403)
        gate.sessions.end(gate.token())
        tokens.renew()
        response = redirect(url_for("pages.now"), 303)
        gate.take_back(response)
        return response

    return views


def offer(gate: Gate | None) -> dict[str, object]:
    """Return what every template knows of who asks."""
    return {"person": person() if gate else LOCAL, "users": gate is not None, "logged_in": g.get("logged_in", False)}


def _by_a_person() -> bool:
    """Tell whether somebody opened a page or gave an order; what a page asks for by itself is nobody's act."""
    # Browsers send Sec-Fetch-Mode over TLS and to this machine only; scripts and pictures ask for no text/html.
    asks_for_page = "navigate" if "text/html" in request.headers.get("Accept", "") else ""
    return request.method == "POST" or request.headers.get("Sec-Fetch-Mode", asks_for_page) == "navigate"


def _ask_to_log_in() -> AnyResponse:
    if request.method == "GET" and request.accept_mimetypes.best_match(["text/plain", "text/html"]) == "text/html":
        return redirect(url_for("login.form", next=request.full_path.rstrip("?")), 303)
    answer: Response = make_response("expected a login\n", 401)
    answer.mimetype = "text/plain"
    return answer


def _following() -> str:
    # A path of our own, never another site's address: to a browser that is whatever two or more slashes begin.
    wanted = request.values.get("next", "")
    own = wanted.startswith("/") and not wanted.startswith("//") and "\\" not in wanted
    return wanted if own and wanted.isprintable() else url_for("pages.now")
