"""The page of one model's threshold, and the order to change it."""

import math
import re
import time
from collections.abc import Callable

from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from edge_agent.dashboard.access import actor
from edge_agent.dashboard.agent import Agent
from edge_agent.dashboard.hub import Hub
from edge_agent.dashboard.orders import LONGEST_REASON, FormError, Notice, Orders, ask
from edge_agent.dashboard.threshold_view import STEP, threshold_view
from edge_agent.dashboard.words import Words
from edge_agent.formats import InspectedFrame
from edge_agent.formats.model_version import NAME_PATTERN

FRAMES = 60
TIMEOUT_S = 120.0


def blueprint(agent: Agent, hub: Hub, orders: Orders, words: Callable[[], Words]) -> Blueprint:
    """Return ``/models/NAME/threshold``."""
    views = Blueprint("threshold", __name__)

    def page(name: str, notice: Notice | None) -> str:
        model = next((model for model in hub.snapshot.models if model.name == name), None)
        if model is None:
            abort(404)
        nothing: list[InspectedFrame] = []
        frames, trouble = ask(lambda: agent.frames(limit=FRAMES), nothing, words())
        view = threshold_view(hub.snapshot, model, frames, trouble, words(), time.time())
        return render_template(
            "threshold.html", page="threshold", view=view, notice=notice, longest=LONGEST_REASON, step=STEP
        )

    @views.get("/models/<name>/threshold")
    def threshold(name: str) -> str:
        return page(name, None)

    @views.post("/models/<name>/threshold")
    def configure(name: str) -> tuple[str, int] | AnyResponse:
        if not re.fullmatch(NAME_PATTERN, name):
            abort(404)

        def act() -> AnyResponse:
            wanted = None if request.form.get("as_signed") else _threshold(words())
            report = agent.configure(name, wanted, orders.reason(), actor=actor(), timeout_s=TIMEOUT_S)
            hub.put(deployment=report)
            return redirect(url_for("pages.models", done=report.id), 303)

        return orders.carry_out("admin", lambda notice: page(name, notice), act)

    return views


def _threshold(words: Words) -> float:
    came = request.form.get("threshold", "")
    try:
        value = float(came.replace(",", "."))
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:  # a NaN is in no range
        raise FormError(words("threshold.bad", came=came[:20]))
    return value
