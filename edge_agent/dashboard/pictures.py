"""Pictures by frame id, as plain files that a browser may keep."""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

from flask import Blueprint, Response, abort

from edge_agent.client import FrameContent
from edge_agent.dashboard.agent import Agent
from edge_agent.errors import AgentError, Code
from edge_agent.formats import AnomalyMap
from edge_agent.vision import decode, map_mask, overlay

_FRAME_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_TYPES = frozenset({"image/jpeg", "image/png"})
# An id names the same bytes for ever.
_CACHING = "private, max-age=600, immutable"
_LONGEST_NAME = 256
# No overlay is drawn larger than a page shows it, whatever the camera takes; the browser stretches it.
_LONGEST_SIDE = 960

_Key = tuple[str, str]  # frame; application of the overlay, empty for the picture


class RecentPictures:
    """Asks the agent once for what several viewers want, and outlives its absence.

    Args:
        agent: its client.
        count: pictures and overlays kept.
        size_bytes: how much they may take.
    """

    def __init__(self, agent: Agent, *, count: int = 48, size_bytes: int = 64 << 20) -> None:
        self._agent = agent
        self._count = count
        self._room = size_bytes
        self._kept: OrderedDict[_Key, FrameContent] = OrderedDict()
        # What the agent is being asked for: who wants it meanwhile waits for the same answer.
        self._asked: dict[_Key, Future[FrameContent]] = {}
        self._lock = threading.Lock()

    def get(self, frame_id: str, application: str = "") -> FrameContent:
        """Return a picture, or the overlay of one application's mask.

        Raises:
            AgentError: NOT_FOUND: the agent no longer has it; or the agent is away.
        """
        key = (frame_id, application)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            asked = self._asked.get(key)
            mine = asked is None
            answer = self._asked[key] = asked if asked is not None else Future()
        if mine:
            self._ask(key, answer)
        return answer.result()

    def _ask(self, key: _Key, answer: "Future[FrameContent]") -> None:
        try:
            content = self._content(*key)
            with self._lock:
                self._keep(key, content)
            answer.set_result(content)
        except AgentError as exc:
            answer.set_exception(exc)
        finally:
            with self._lock:
                del self._asked[key]
            # Changes nothing where there is an answer; else nobody waits for ever.
            answer.cancel()

    def _content(self, frame_id: str, application: str) -> FrameContent:
        if not application:
            return self._agent.frame(frame_id)
        # Drawn here and not in the agent: the line waits for that process, and for this one nobody does.
        return drawn(self._agent.frame_map(frame_id, application))

    def _keep(self, key: _Key, content: FrameContent) -> None:
        if key not in self._kept:
            self._room -= len(content.content)
        self._kept[key] = content
        while self._kept and (len(self._kept) > self._count or self._room < 0):
            _, oldest = self._kept.popitem(last=False)
            self._room += len(oldest.content)


def blueprint(agent: Agent) -> Blueprint:
    """Return ``/frames/ID.jpg`` and ``/frames/ID/overlay/APPLICATION.png``."""
    views = Blueprint("pictures", __name__)
    pictures = RecentPictures(agent)

    @views.get("/frames/<frame_id>.jpg")
    def picture(frame_id: str) -> Response:
        return _answer(pictures, frame_id)

    @views.get("/frames/<frame_id>/overlay/<path:application>.png")
    def one_overlay(frame_id: str, application: str) -> Response:
        return _answer(pictures, frame_id, application)

    return views


def _answer(pictures: RecentPictures, frame_id: str, application: str = "") -> Response:
    if not _FRAME_ID.fullmatch(frame_id) or len(application) > _LONGEST_NAME:
        abort(404)
    return answer_picture(lambda: pictures.get(frame_id, application))


def answer_picture(get: Callable[[], FrameContent]) -> Response:
    """Return a picture of the agent as a file, or 404, 502 or 503."""
    try:
        content = get()
    except AgentError as exc:
        abort(404 if exc.code in {Code.NOT_FOUND, Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION} else 503)
    if content.content_type not in _TYPES:
        # Whatever it is, no browser shall make more of it than a picture.
        abort(502)
    return Response(content.content, content_type=content.content_type, headers={"Cache-Control": _CACHING})


def drawn(anomalies: AnomalyMap) -> FrameContent:
    """Return the overlay of a mask, in the picture's proportions."""
    shrink = min(1.0, _LONGEST_SIDE / max(anomalies.width, anomalies.height))
    width, height = (max(1, round(side * shrink)) for side in (anomalies.width, anomalies.height))
    return FrameContent(overlay(map_mask(anomalies._replace(width=width, height=height))), "image/png")


def painted(mask_png: bytes) -> FrameContent:
    """Return a grey mask as a see-through overlay.

    Raises:
        InferenceError: it is no picture.
    """
    return FrameContent(overlay(decode(mask_png)[..., 0]), "image/png")
