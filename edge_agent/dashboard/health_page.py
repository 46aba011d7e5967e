"""The page *Health*: what ails, and the newest lines of the log."""

import time
from collections.abc import Callable

from flask import Blueprint, Response, jsonify, render_template, request

from edge_agent.dashboard.agent import Agent
from edge_agent.dashboard.health_view import LEVELS, health_view
from edge_agent.dashboard.hub import Hub
from edge_agent.dashboard.orders import ask
from edge_agent.dashboard.presentation import View
from edge_agent.dashboard.words import Words
from edge_agent.formats import LogLine

LINES = 200


def blueprint(agent: Agent, hub: Hub, words: Callable[[], Words]) -> Blueprint:
    """Return ``/health`` and its view as JSON."""
    views = Blueprint("health", __name__)

    def view() -> View:
        nothing: list[LogLine] = []
        status, trouble = ask(agent.status, None, words())
        lines, unread = ask(lambda: agent.logs(limit=LINES, level=_level()), nothing, words())
        return health_view(hub.snapshot, status, trouble, lines, unread, words(), time.time())

    @views.get("/health")
    def health() -> str:
        return render_template("health.html", page="health", view=view(), levels=LEVELS, level=_level())

    @views.get("/health/view")
    def as_json() -> Response:
        return jsonify(view())

    return views


def _level() -> str:
    level = request.args.get("level", "")
    return level if level in LEVELS else "INFO"
