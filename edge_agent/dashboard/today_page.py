"""The page *Today*, and what a person does there: begin the counts anew, check the golden parts."""

import time
from collections.abc import Callable

from flask import Blueprint, Response, jsonify, redirect, render_template, url_for
from werkzeug.wrappers import Response as AnyResponse

from edge_agent.dashboard.access import actor
from edge_agent.dashboard.agent import Agent
from edge_agent.dashboard.hub import Hub
from edge_agent.dashboard.orders import LONGEST_REASON, Notice, Orders, ask
from edge_agent.dashboard.presentation import View
from edge_agent.dashboard.today_view import today_view
from edge_agent.dashboard.words import Words
from edge_agent.formats import Shift

SHIFTS = 22  # a week of three shifts, and the running one


def blueprint(agent: Agent, hub: Hub, orders: Orders, words: Callable[[], Words]) -> Blueprint:
    """Return ``/today``, its view as JSON, and its two orders."""
    views = Blueprint("today", __name__)

    def view() -> View:
        nothing: list[Shift] = []
        shifts, trouble = ask(lambda: agent.shifts(limit=SHIFTS), nothing, words())
        return today_view(hub.snapshot, shifts, trouble, words(), time.time())

    def page(notice: Notice | None) -> str:
        told = notice or orders.outcome()
        return render_template("today.html", page="today", view=view(), notice=told, longest=LONGEST_REASON)

    @views.get("/today")
    def today() -> str:
        return page(None)

    @views.get("/today/view")
    def as_json() -> Response:
        return jsonify(view())

    @views.post("/today/reset")
    def reset() -> tuple[str, int] | AnyResponse:
        def act() -> AnyResponse:
            agent.reset_counts(orders.reason(), actor=actor())
            return redirect(url_for("today.today", done="reset"), 303)

        return orders.carry_out("operator", page, act)

    @views.post("/today/golden")
    def golden() -> tuple[str, int] | AnyResponse:
        def act() -> AnyResponse:
            check = agent.check_golden_parts(actor=actor())
            hub.put(golden=check)
            done = "golden.passed" if check.state == "PASSED" else "golden.failed"
            return redirect(url_for("today.today", done=done), 303)

        return orders.carry_out("operator", page, act)

    return views
