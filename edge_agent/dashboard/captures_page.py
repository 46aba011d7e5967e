"""The page *Captures*, its pictures, and what a person does there: pause, say what a part is, take that back."""

import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, get_args
from urllib.parse import quote

from flask import Blueprint, Response, abort, jsonify, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from edge_agent.client import FrameContent
from edge_agent.client.capture_calls import CapturePart
from edge_agent.dashboard.access import actor, person
from edge_agent.dashboard.agent import Agent
from edge_agent.dashboard.captures_view import Filter, capture_view, captures_view, queue_view
from edge_agent.dashboard.hub import Hub
from edge_agent.dashboard.last_labels import LastLabel, LastLabels
from edge_agent.dashboard.orders import FormError, Notice, Orders, ask
from edge_agent.dashboard.pictures import answer_picture, painted
from edge_agent.dashboard.presentation import NOTHING
from edge_agent.dashboard.words import Words
from edge_agent.errors import AgentError, Code
from edge_agent.formats import CaptureReport, ModelStatus

PAGE = 24
# A label that is rare is looked for in so many captures at once; then the reader turns the page.
_TRIES = 8
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_LONGEST_LABEL = 64


def blueprint(agent: Agent, hub: Hub, orders: Orders, words: Callable[[], Words]) -> Blueprint:  # noqa: C901  # one view each
    """Return ``/captures``, its pictures and its orders."""
    views = Blueprint("captures", __name__)
    last_labels = LastLabels()

    def page(notice: Notice | None) -> str:
        chosen = _chosen()
        nothing: tuple[list[CaptureReport], float] = [], 0.0
        found, trouble = ask(lambda: find(agent, chosen, hub.snapshot.models), nothing, words())
        captures, older = found
        view = captures_view(hub.snapshot, captures, chosen, trouble, words(), time.time())
        told = notice or orders.outcome()
        following = f"/captures{chosen._replace(before=older).query()}" if older else ""
        newest = f"/captures{chosen._replace(before=0.0).query()}" if chosen.before else ""
        return render_template(
            "captures.html",
            page="captures",
            view=view,
            notice=told,
            chosen=chosen,
            following=following,
            newest=newest,
            last=last_labels.of(orders.browser()),
        )

    def labelled(capture_id: str, label: str, *, other: bool, done: str, instead_of: str | None = None) -> AnyResponse:
        who = person()
        report = agent.label_capture(
            capture_id,
            label,
            actor=actor(),
            other=other,
            role=who.role,
            user=who.name,
            instead_of=instead_of,
        )
        if not _by_script():
            return _back(done, f"#c-{quote(capture_id, safe='')}")
        told = words()(f"captures.{done}", label=words().or_as_is("verdict", label) or NOTHING)
        return jsonify(card=capture_view(report, hub.snapshot, words()), notice=told)

    @views.get("/captures")
    def captures() -> str:
        return page(None)

    @views.get("/captures/queue")
    def queue() -> Response:
        return jsonify(queue_view(hub.snapshot.captures, words()))

    @views.get("/captures/<capture_id>/<part>")
    def content(capture_id: str, part: str) -> Response:
        known: dict[str, CapturePart] = {name: name for name in get_args(CapturePart)}
        if part not in known or not _ID.fullmatch(capture_id):
            abort(404)

        def get() -> FrameContent:
            found = agent.capture_content(capture_id, known[part])
            return painted(found.content) if part == "mask" else found

        return answer_picture(get)

    @views.post("/captures/<capture_id>/label")
    def label(capture_id: str) -> Any:
        if not _ID.fullmatch(capture_id):
            abort(404)

        def act() -> AnyResponse:
            wanted, former = _label("label", words()), _label("was", words())
            answer = labelled(capture_id, wanted, other=request.form.get("other") == "yes", done="label")
            last_labels.keep(orders.browser(), LastLabel(capture_id, wanted, former))
            return answer

        return orders.carry_out("operator", _told if _by_script() else page, act)

    @views.post("/captures/undo")
    def undo() -> Any:
        def act() -> AnyResponse:
            last = last_labels.of(orders.browser())
            if last is None:
                raise FormError(words()("captures.nothing_to_undo"))
            browser = orders.browser()
            take_back = partial(
                labelled, last.capture_id, last.former, other=True, done="undone", instead_of=last.label
            )
            answer = _unless_judged_since(take_back, lambda: last_labels.forget(browser), words())
            last_labels.forget(browser)
            return answer

        return orders.carry_out("operator", _told if _by_script() else page, act)

    @views.post("/captures/pause")
    def pause() -> tuple[str, int] | AnyResponse:
        def act() -> AnyResponse:
            what, value = request.form.get("what", ""), request.form.get("pause", "")
            if what not in {"capture", "upload"} or value not in {"yes", "no"}:
                raise FormError(words()("order.bad_form"))
            paused = value == "yes"
            status = agent.pause_captures(**{what: paused}, actor=actor())
            hub.put(captures=status)
            return _back(f"{what}.{'paused' if paused else 'goes_on'}")

        return orders.carry_out("operator", page, act)

    return views


def find(
    agent: Agent, chosen: Filter, models: Sequence[ModelStatus], limit: int = PAGE
) -> tuple[list[CaptureReport], float]:
    """Return captures that fit, newest first, and before when the next page begins; 0: there is none."""
    found: list[CaptureReport] = []
    before = chosen.before
    for _ in range(_TRIES):
        batch = agent.captures(limit=limit + 1, before=before, verdict=chosen.verdict)
        for capture in batch[:limit]:
            before = capture.at
            if chosen.takes(capture, models):
                found.append(capture)
            if len(found) == limit:
                return found, before if capture is not batch[-1] else 0.0
        if len(batch) <= limit:
            return found, 0.0
    return found, before


def _chosen() -> Filter:
    return Filter.read(*(request.values.get(name, "") for name in ("verdict", "labels", "before")))


def _label(field: str, words: Words) -> str:
    label = " ".join(request.form.get(field, "").split())
    if len(label) > _LONGEST_LABEL:
        raise FormError(words("captures.label_too_long", limit=_LONGEST_LABEL))
    return label


def _by_script() -> bool:
    """Tell whether our own script asks, which changes the card in its place."""
    return request.accept_mimetypes.best == "application/json"


def _unless_judged_since(take_back: Callable[[], AnyResponse], forget: Callable[[], None], words: Words) -> AnyResponse:
    """Take a label back, or say who else was there first: then there is nothing to take back any more."""
    try:
        return take_back()
    except AgentError as exc:
        if exc.code is not Code.FAILED_PRECONDITION:
            raise
        forget()
        raise FormError(words("captures.undone_too_late")) from exc


def _told(notice: Notice) -> Response:
    return jsonify(notice=notice[1])


def _back(done: str, card: str = "") -> AnyResponse:
    query = _chosen().query()
    return redirect(f"/captures{query}{'&' if query else '?'}done={done}{card}", 303)
