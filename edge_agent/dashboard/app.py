"""The page as a Flask application; the only module that puts its parts together."""

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from flask import Flask, Response, g, render_template, request
from werkzeug.exceptions import HTTPException

from edge_agent.config import Settings
from edge_agent.dashboard import (
    captures_page,
    health_page,
    login,
    pages,
    pictures,
    similar_page,
    stream,
    threshold_page,
    today_page,
    trial_page,
)
from edge_agent.dashboard.agent import Agent
from edge_agent.dashboard.hub import Hub
from edge_agent.dashboard.intake import Uploads
from edge_agent.dashboard.login import Gate
from edge_agent.dashboard.orders import Orders
from edge_agent.dashboard.security import (
    SAME_SITE,
    FormTokens,
    checked_address,
    guard_hosts,
    host_name,
    send_headers,
)
from edge_agent.dashboard.users import Users
from edge_agent.dashboard.words import FALLBACK, Words, read_languages

THEMES = ("light", "dark")
_YEAR_S = 365 * 24 * 3600
_MAX_FORM_BYTES = 64 << 10
# Where the server finds what may be larger than a form.
UPLOADS = "edge_agent.uploads"


def create_app(client: Agent, settings: Settings, *, hub: Hub | None = None, viewers: int = stream.VIEWERS) -> Flask:
    """Return the application.

    Args:
        client: the agent's client.
        settings: all rooms; the page reads its own.
        hub: what is known of the agent, kept current by a ``Follower``; none: an empty one.
        viewers: event streams at a time.

    Raises:
        ConfigError: it would not be safe to listen as configured, or the file of users is wrong.
    """
    room = settings.dashboard
    checked_address(room)
    secure = room.transport == "proxy"
    gate = Gate(Users(room.users), open_reads=room.transport == "local", secure=secure) if room.users else None
    hub = hub or Hub(time.time)
    app = Flask(__name__)
    app.config.update(MAX_CONTENT_LENGTH=_MAX_FORM_BYTES, MAX_FORM_MEMORY_SIZE=_MAX_FORM_BYTES)
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    _guard(app, settings)
    tokens = FormTokens(secure=secure)
    tokens.attach(app)
    _choose(app, read_languages())
    _admit(app, gate, tokens)
    app.extensions[UPLOADS] = _uploads(gate, settings.dashboard.hosts)
    orders = Orders(tokens, chosen_words)
    still_in = gate.still_in if gate else lambda: lambda: True
    for views in (
        pages.blueprint(pages.Pages(client, hub, orders, chosen_words), hub),
        today_page.blueprint(client, hub, orders, chosen_words),
        threshold_page.blueprint(client, hub, orders, chosen_words),
        captures_page.blueprint(client, hub, orders, chosen_words),
        trial_page.blueprint(client, hub, orders, chosen_words),
        health_page.blueprint(client, hub, chosen_words),
        pictures.blueprint(client),
        similar_page.blueprint(client, chosen_words),
        stream.blueprint(hub, chosen_words, viewers=viewers, still_in=still_in),
    ):
        app.register_blueprint(views)
    return app


def _admit(app: Flask, gate: Gate | None, tokens: FormTokens) -> None:
    if gate is not None:
        gate.attach(app)
        app.register_blueprint(login.blueprint(gate, tokens, chosen_words))

    @app.context_processor
    def _offer() -> dict[str, Any]:
        return login.offer(gate)


def _uploads(gate: Gate | None, hosts: tuple[str, ...]) -> Uploads:
    def may(headers: Mapping[str, str]) -> bool:
        # The same as for every request and for this form, as far as a head tells it.
        ours = host_name(headers.get("HOST", "")) in map(host_name, hosts)
        same_site = headers.get("SEC_FETCH_SITE", "same-origin") in SAME_SITE
        return ours and same_site and (gate is None or gate.may("operator", headers.get("COOKIE", "")))

    # Twice what the form takes: where a picture is too large, a browser that still sends it gets the page's own answer.
    return Uploads("/try", 2 * trial_page.MAX_REQUEST_BYTES, may)


def chosen_words() -> Words:
    """Return the language of the request under way."""
    words: Words = g.words
    return words


def _guard(app: Flask, settings: Settings) -> None:
    send_headers(app)
    guard_hosts(app, settings.dashboard.hosts)

    @app.errorhandler(HTTPException)
    def _say(error: HTTPException) -> Response | tuple[str, int]:
        code = error.code or 500
        if "words" not in g or request.accept_mimetypes.best_match(["text/plain", "text/html"]) == "text/plain":
            return Response(f"{code} {error.name}\n", code, content_type="text/plain")
        megabytes = trial_page.MAX_BYTES >> 20
        return render_template("error.html", page="", code=code, megabytes=megabytes), code


def _choose(app: Flask, languages: dict[str, Words]) -> None:
    @app.before_request
    def _pick() -> None:
        asked = request.args.get("lang", ""), request.cookies.get("lang", "")
        accepted = request.accept_languages.best_match(list(languages), FALLBACK)
        g.words = languages[next((code for code in (*asked, accepted) if code in languages), FALLBACK)]
        chosen = request.args.get("theme", ""), request.cookies.get("theme", "")
        g.theme = next((theme for theme in chosen if theme in THEMES), "")

    @app.after_request
    def _remember(response: Response) -> Response:
        for name, known in (("lang", tuple(languages)), ("theme", THEMES)):
            value = request.args.get(name, "")
            # Streams and snapshots repeat the page's own language; only a page sets it.
            if value in known and response.mimetype == "text/html":
                response.set_cookie(name, value, max_age=_YEAR_S, samesite="Strict")
        return response

    @app.context_processor
    def _offer() -> dict[str, Any]:
        words = g.get("words", languages[FALLBACK])
        return {"words": words, "languages": languages, "theme": g.get("theme", ""), "keep_query": _keep_query}


def _keep_query(**changed: str) -> str:
    """Return the address's query with some values changed; what was just done is not told again."""
    kept = {name: value for name, value in request.args.items() if name != "done"}
    return urlencode(kept | changed)
