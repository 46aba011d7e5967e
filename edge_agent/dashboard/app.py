"""The page as a Flask application; the only module that puts its parts together."""

import re
import time
from typing import Any

from flask import Flask, Response, g, render_template, request
from werkzeug.exceptions import HTTPException

from edge_agent.config import Settings
from edge_agent.dashboard import pages, pictures, stream
from edge_agent.dashboard.follow import Agent
from edge_agent.dashboard.hub import Hub
from edge_agent.dashboard.security import FormTokens, guard_hosts, loopback_address, send_headers
from edge_agent.dashboard.words import FALLBACK, Words, read_languages
from edge_agent.errors import Code, ConfigError

THEMES = ("light", "dark")
_YEAR_S = 365 * 24 * 3600
_MAX_FORM_BYTES = 64 << 10


def create_app(client: Agent, settings: Settings, *, hub: Hub | None = None, viewers: int = stream.VIEWERS) -> Flask:
    """Return the application.

    Args:
        client: the agent's client.
        settings: all rooms; the page reads its own.
        hub: what is known of the agent, kept current by a ``Follower``; none: an empty one.
        viewers: event streams at a time.

    Raises:
        ConfigError: the page shall listen beyond loopback, or users are asked for.
    """
    loopback_address(settings.dashboard.listen)
    if settings.dashboard.users is not None:
        raise ConfigError(Code.CONFIG_INVALID, "dashboard.users: expected none, since the page has no users yet")
    hub = hub or Hub(time.time)
    app = Flask(__name__)
    app.config.update(MAX_CONTENT_LENGTH=_MAX_FORM_BYTES, MAX_FORM_MEMORY_SIZE=_MAX_FORM_BYTES)
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    _guard(app, settings)
    tokens = FormTokens()
    tokens.attach(app)
    _choose(app, read_languages())
    app.register_blueprint(pages.blueprint(pages.Pages(client, hub, tokens, chosen_words), hub))
    app.register_blueprint(pictures.blueprint(client))
    app.register_blueprint(stream.blueprint(hub, chosen_words, viewers=viewers))
    return app


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
        return render_template("error.html", page="", code=code), code


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
        return {"words": words, "languages": languages, "theme": g.get("theme", ""), "slug": _slug}


def _slug(name: str) -> str:
    """Return a name as part of an element's id."""
    return re.sub(r"[^a-zA-Z0-9-]", "-", name)
