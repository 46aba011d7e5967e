"""The pages *Now* and *Models*, and the one thing that a person can do: roll back."""

import re
import time
from collections.abc import Callable

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from edge_agent.dashboard.access import actor
from edge_agent.dashboard.agent import Agent
from edge_agent.dashboard.delivery_view import models_view, tone
from edge_agent.dashboard.hub import Hub
from edge_agent.dashboard.orders import LONGEST_REASON, Notice, Orders
from edge_agent.dashboard.presentation import STALE_S, changes, now_view
from edge_agent.dashboard.words import Words
from edge_agent.formats import DeploymentReport
from edge_agent.formats.model_version import NAME_PATTERN

ROLLBACK_TIMEOUT_S = 120.0


class Pages:
    """What the views share.

    Args:
        agent: its client.
        hub: what is known of it.
        orders: carries out what a form asks for.
        words: the language of the request under way.
    """

    def __init__(self, agent: Agent, hub: Hub, orders: Orders, words: Callable[[], Words]) -> None:
        self._agent = agent
        self._hub = hub
        self._orders = orders
        self._words = words

    def now(self) -> str:
        """Return the page *Now*."""
        source = request.args.get("source", "")
        view = now_view(self._hub.snapshot, self._words(), time.time(), source)
        return render_template("now.html", page="now", view=view, stale_s=STALE_S, source=source)

    def models(self, notice: Notice | None = None) -> str:
        """Return the page *Models*, with what came of the last order."""
        view = models_view(self._hub.snapshot, self._words(), time.time())
        return render_template(
            "models.html", page="models", view=view, notice=notice or self._outcome(), longest=LONGEST_REASON
        )

    def roll_back(self, name: str) -> tuple[str, int] | AnyResponse:
        """Take a model back, for a reason; answer with the page and what came of it."""
        if not re.fullmatch(NAME_PATTERN, name):
            abort(404)

        def act() -> AnyResponse:
            reason = self._orders.reason()
            report = self._agent.roll_back(name, reason, actor=actor(), timeout_s=ROLLBACK_TIMEOUT_S)
            self._hub.put(deployment=report)
            return redirect(url_for("pages.models", done=report.id), 303)

        return self._orders.carry_out("operator", self.models, act)

    def _outcome(self) -> Notice | None:
        # Only what the agent reported is ever told; the address names no more than an id.
        wanted = request.args.get("done", "")
        snapshot = self._hub.snapshot
        reports = [snapshot.deployment, *snapshot.history]
        report = next((report for report in reports if report is not None and report.id == wanted), None)
        return self._told(report) if report is not None else None

    def _told(self, report: DeploymentReport) -> Notice:
        words = self._words()
        if tone(report) == "bad":
            return "bad", words("order.failed", message=f"{report.code} {report.message}")
        state = words.or_as_is("state", report.state)
        return "good", words("deployment.done", what=changes(report.models), state=state)


def blueprint(pages: Pages, hub: Hub) -> Blueprint:
    """Return the pages and the two probes."""
    views = Blueprint("pages", __name__)
    views.add_url_rule("/", "now", pages.now)
    views.add_url_rule("/models", "models", pages.models)
    views.add_url_rule("/models/<name>/rollback", "roll_back", pages.roll_back, methods=["POST"])

    @views.get("/healthz")
    def healthz() -> Response:
        return Response("ok\n", content_type="text/plain")

    @views.get("/readyz")
    def readyz() -> Response:
        away = hub.snapshot.away
        return Response(f"the agent is away: {away}\n" if away else "ok\n", 503 if away else 200, mimetype="text/plain")

    return views
