"""One stream of server-sent events for each viewer, and the same as one answer.

A stream holds a thread of the server, so there is a cap; beyond it the page asks for
``/snapshot`` instead. Pictures never travel here: an event names them, the browser
asks for them as plain files.
"""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from flask import Blueprint, Response, jsonify, request

from edge_agent.dashboard.delivery_view import models_view
from edge_agent.dashboard.hub import Hub, Snapshot
from edge_agent.dashboard.presentation import now_view
from edge_agent.dashboard.words import Words

VIEWERS = 12
# A page that hears nothing for a few of these knows that it is alone.
BEAT_S = 1.0
# Some ten pictures a second: a fast line must keep neither every phone busy nor the agent that draws for them.
SHORTEST_GAP_S = 0.09

# The same names as the snapshot's fields; what changed elsewhere is not told again.
_NOW = {"agent", "frame", "models", "deployment", "counts", "away", "cameras", "golden", "rule"}

_Views = dict[str, tuple[Callable[[Snapshot, Words, float], dict[str, Any]], frozenset[str]]]
_VIEWS: _Views = {
    "now": (now_view, frozenset(_NOW)),
    "models": (models_view, frozenset({"agent", "models", "deployment", "history", "away"})),
}


def blueprint(
    hub: Hub,
    chosen_words: Callable[[], Words],
    *,
    viewers: int = VIEWERS,
    still_in: Callable[[], Callable[[], bool]] = lambda: lambda: True,
) -> Blueprint:
    """Return ``/events`` and ``/snapshot``.

    Args:
        hub: what is known of the agent.
        chosen_words: the language of the request under way.
        viewers: streams at a time; the next one hears 503.
        still_in: returns, for the request under way, whether who asked is still let in; else the stream ends.
    """
    views = Blueprint("stream", __name__)
    seats = threading.BoundedSemaphore(viewers)

    @views.get("/events")
    def events() -> Response:
        if not seats.acquire(blocking=False):
            return Response("too many viewers\n", 503, {"Retry-After": "10"}, content_type="text/plain")
        known = still_in()
        messages = tell(hub, chosen_words(), time.time, time.sleep, _of_source(_source()))
        messages = itertools.takewhile(lambda _: known(), messages)
        response = Response(messages, content_type="text/event-stream")
        # Not in the generator: one that was never begun is never ended.
        response.call_on_close(seats.release)
        return response

    @views.get("/snapshot")
    def snapshot() -> Response:
        words, now, chosen = chosen_words(), time.time(), _of_source(_source())
        return jsonify({name: view(hub.snapshot, words, now) for name, (view, _) in chosen.items()})

    return views


def _source() -> str:
    return request.args.get("source", "")


def _of_source(source: str) -> _Views:
    def of_source(snapshot: Snapshot, words: Words, now: float) -> dict[str, Any]:
        return now_view(snapshot, words, now, source)

    return _VIEWS | {"now": (of_source, _VIEWS["now"][1])}


def tell(
    hub: Hub,
    words: Words,
    now: Callable[[], float],
    sleep: Callable[[float], None],
    views: _Views = _VIEWS,
) -> Iterator[str]:
    """Yield events ``now`` and ``models`` as views of the hub, and ``beat`` when nothing changes.

    Args:
        hub: what is known of the agent.
        words: the viewer's language.
        now: epoch seconds.
        sleep: waits so many seconds.
        views: by event's name, what makes it and of which fields.
    """
    revision, told = hub.wait(-1, 0.0)
    yield from (_message(name, view(told, words, now())) for name, (view, _) in views.items())
    while not hub.closed:
        revision, snapshot = hub.wait(revision, BEAT_S)
        changed = {field for field in Snapshot._fields if getattr(snapshot, field) is not getattr(told, field)}
        news = [(name, view) for name, (view, fields) in views.items() if fields & changed]
        yield from (_message(name, view(snapshot, words, now())) for name, view in news)
        if not news:
            yield _message("beat", {})
        told = snapshot
        sleep(SHORTEST_GAP_S)


def _message(event: str, view: dict[str, Any]) -> str:
    return f"event: {event}\ndata: {json.dumps(view, separators=(',', ':'))}\n\n"
