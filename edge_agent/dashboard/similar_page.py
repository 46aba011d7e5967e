"""What looks like a part: a view for whoever looks at a frame or a capture, and small pictures of learnt parts."""

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable

from flask import Blueprint, Response, abort, jsonify

from edge_agent.client import FrameContent
from edge_agent.dashboard.agent import Agent
from edge_agent.dashboard.orders import ask
from edge_agent.dashboard.pictures import answer_picture
from edge_agent.dashboard.similar_view import similar_view
from edge_agent.dashboard.words import Words
from edge_agent.errors import AgentError, Code
from edge_agent.formats import SimilarParts

SHOWN = 10
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_LIMIT_KEPT = 600
_LIMIT_BYTES = 64 << 10


class SmallPictures:
    """Small pictures of learnt parts that were shown lately, by their content."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, content: bytes) -> str:
        """Keep one and return its address; empty where it is too large to be a small one."""
        if len(content) > _LIMIT_BYTES:
            return ""
        name = hashlib.sha256(content).hexdigest()[:32]
        with self._lock:
            self._kept[name] = content
            self._kept.move_to_end(name)
            while len(self._kept) > _LIMIT_KEPT:
                self._kept.popitem(last=False)
        return f"/similar/pictures/{name}.jpg"

    def get(self, name: str) -> bytes | None:
        """Return one; None: it is not kept any more."""
        return self._kept.get(name)


def blueprint(agent: Agent, words: Callable[[], Words]) -> Blueprint:
    """Return ``/similar/ID`` and ``/similar/pictures/NAME.jpg``."""
    views = Blueprint("similar", __name__)
    pictures = SmallPictures()

    @views.get("/similar/<identity>")
    def similar(identity: str) -> Response:
        if not _ID.fullmatch(identity):
            abort(404)
        nothing: SimilarParts | None = None
        told, trouble = ask(lambda: _asked(agent, identity), nothing, words())
        if told is None and not trouble:
            trouble = words()("similar.gone")
        return jsonify(similar_view(told, trouble, pictures.keep, words()))

    @views.get("/similar/pictures/<name>.jpg")
    def picture(name: str) -> Response:
        content = pictures.get(name)
        if content is None:
            abort(404)
        return answer_picture(lambda: FrameContent(content, "image/jpeg"))

    return views


def _asked(agent: Agent, identity: str) -> SimilarParts | None:
    """Return what the agent says; None: it does not have the part any more."""
    try:
        return agent.similar(identity, limit=SHOWN)
    except AgentError as exc:
        if exc.code is Code.NOT_FOUND:
            return None
        raise
