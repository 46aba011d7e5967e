"""The pages *Now* and *Models*, and the one thing that a person can do: roll back."""

import re
import time
from collections.abc import Callable

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from edge_agent.dashboard.delivery_view import models_view, tone
from edge_agent.dashboard.follow import Agent
from edge_agent.dashboard.hub import Hub
from edge_agent.dashboard.presentation import STALE_S, changes, now_view
from edge_agent.dashboard.security import FormTokens
from edge_agent.dashboard.words import Words
from edge_agent.errors import AgentError, Code
from edge_agent.formats import DeploymentReport
from edge_agent.formats.model_version import NAME_PATTERN

LONGEST_REASON = 500
ROLLBACK_TIMEOUT_S = 120.0
_UNANSWERED = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED})

Notice = tuple[str, str]  # tone, text


class Pages:
    """What the views share.

    Args:
        agent: its client.
        hub: what is known of it.
        tokens: tells our own forms from others.
        words: the language of the request under way.
    """

    def __init__(self, agent: Agent, hub: Hub, tokens: FormTokens, words: Callable[[], Words]) -> None:
        self._agent = agent
        self._hub = hub
        self._tokens = tokens
        self._words = words

    def now(self) -> str:
        """Return the page *Now*."""
        view = now_view(self._hub.snapshot, self._words(), time.time())
        return render_template("now.html", page="now", view=view, stale_s=STALE_S)

    def models(self, notice: Notice | None = None) -> str:
        """Return the page *Models*, with what came of the last order."""
        view = models_view(self._hub.snapshot, self._words(), time.time())
        return render_template(
            "models.html", page="models", view=view, notice=notice or self._outcome(), longest=LONGEST_REASON
        )

    def roll_back(self, name: str) -> tuple[str, int] | AnyResponse:
        """Take a model back, for a reason; answer with the page and what came of it."""
        words = self._words()
        if not re.fullmatch(NAME_PATTERN, name):
            abort(404)
        if not self._tokens.fits():
            return self.models(("bad", words("rollback.stale_form"))), 403
        reason = " ".join(request.form.get("reason", "").split())
        if not 0 < len(reason) <= LONGEST_REASON:
            return self.models(("bad", words("rollback.no_reason", limit=LONGEST_REASON))), 400
        try:
            report = self._agent.roll_back(
                name, reason, actor=f"dashboard {request.remote_addr}", timeout_s=ROLLBACK_TIMEOUT_S
            )
        except AgentError as exc:
            return self._not_rolled_back(exc, words)
        self._hub.put(deployment=report)
        return redirect(url_for("pages.models", done=report.id), 303)

    def _not_rolled_back(self, error: AgentError, words: Words) -> tuple[str, int]:
        if error.code in _UNANSWERED:
            return self.models(("bad", words("rollback.unknown"))), 503
        status = 404 if error.code is Code.NOT_FOUND else 409
        return self.models(("bad", words("rollback.failed", message=str(error)))), status

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
            return "bad", words("rollback.failed", message=f"{report.code} {report.message}")
        state = words.or_as_is("state", report.state)
        return "good", words("rollback.done", what=changes(report.models), state=state)


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
