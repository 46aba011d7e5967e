"""The page *Try an image*: one picture from a person, inspected but neither counted nor captured.

The agent refuses too many pixels before it decodes; here bytes are bounded and what is
neither JPEG nor PNG is turned away. A few trials are kept in memory for their author.
"""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from edge_agent.client import FrameContent
from edge_agent.dashboard.access import actor
from edge_agent.dashboard.agent import Agent
from edge_agent.dashboard.hub import Hub
from edge_agent.dashboard.orders import FormError, Notice, Orders
from edge_agent.dashboard.pictures import answer_picture, painted
from edge_agent.dashboard.security import camera_allowed
from edge_agent.dashboard.trial_view import trial_view, type_of
from edge_agent.dashboard.words import Words
from edge_agent.formats import EncodedPicture, InspectedFrame

MAX_BYTES = 16 << 20
# Fields beside the picture.
MAX_REQUEST_BYTES = MAX_BYTES + (64 << 10)
_KEPT = 4
_LONGEST_NAME = 120
_TIMEOUT_S = 20.0


class Trial(NamedTuple):
    """A picture and what was said of it."""

    picture: FrameContent
    frame: InspectedFrame


class Trials:
    """The last few trials; an id is known to its author alone."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Trial] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, trial: Trial) -> str:
        """Keep a trial; return its id."""
        name = secrets.token_urlsafe(12)
        with self._lock:
            self._kept[name] = trial
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return name

    def get(self, name: str) -> Trial | None:
        """Return a trial, or None when it is no longer kept."""
        with self._lock:
            return self._kept.get(name)


def blueprint(agent: Agent, hub: Hub, orders: Orders, words: Callable[[], Words]) -> Blueprint:
    """Return ``/try`` and the pictures of trials."""
    views = Blueprint("trial", __name__)
    trials = Trials()

    def page(notice: Notice | None, name: str = "") -> str:
        camera_allowed()
        trial = trials.get(name)
        view = trial_view(hub.snapshot, name, trial.frame if trial else None, words(), time.time())
        return render_template("try.html", page="try", view=view, notice=notice, megabytes=MAX_BYTES >> 20)

    @views.get("/try")
    def form() -> str:
        return page(None)

    @views.get("/try/<name>")
    def told(name: str) -> str:
        gone = None if trials.get(name) else ("bad", words()("try.gone"))
        return page(gone, name)

    @views.post("/try")
    def inspect() -> tuple[str, int] | AnyResponse:
        # This form alone is large; a larger one is refused before it is read.
        request.max_content_length = MAX_REQUEST_BYTES

        def act() -> AnyResponse:
            content, name = _uploaded(words())
            frame = agent.inspect(
                EncodedPicture(content),
                source=actor(),
                frame_name=name,
                with_mask=True,
                trial=True,
                timeout_s=_TIMEOUT_S,
            )
            kept = trials.keep(Trial(FrameContent(content, type_of(content)), frame))
            return redirect(url_for("trial.told", name=kept), 303)

        return orders.carry_out("operator", page, act)

    @views.get("/try/<name>/picture")
    def picture(name: str) -> Response:
        trial = trials.get(name) or abort(404)
        return answer_picture(lambda: trial.picture)

    @views.get("/try/<name>/mask/<int:index>")
    def mask(name: str, index: int) -> Response:
        trial = trials.get(name) or abort(404)
        if index >= len(trial.frame.results):
            abort(404)
        return answer_picture(lambda: painted(trial.frame.results[index].mask_png))

    return views


def _uploaded(words: Words) -> tuple[bytes, str]:
    file = request.files.get("picture")
    content = file.read() if file else b""
    if len(content) > MAX_BYTES:
        abort(413)
    if not content:
        raise FormError(words("try.nothing"))
    if not type_of(content):
        raise FormError(words("try.no_picture"))
    return content, (file.filename or "")[:_LONGEST_NAME] if file else ""
