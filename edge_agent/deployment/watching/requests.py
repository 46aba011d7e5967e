"""Live requests as a deployment looks at them: remembered, counted, copied, asked again.

The watchers here are called on the requests' own threads, after the answer is known; each
only counts or hands over.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.deployment.watching import comparison
from edge_agent.deployment.watching.watches import Answers
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import ModelVersion, Picture, RawPicture
from edge_agent.inference import Answered, Inspected, Priority, Session

# A malformed or late request is its caller's fault, and a full queue nobody's.
_OWN_FAULTS = frozenset({Code.INTERNAL, Code.UNAVAILABLE})
# Longer than a worker may be silent before it is replaced, as it is usually set.
TIMEOUT_S = 60.0
_REMEMBERED = 1000


class Pair(NamedTuple):
    """A candidate, and the version that answers beside it or answered before; None: there is none."""

    candidate: Session
    other: Session | None


class History:
    """The last answers of what answers, by model: what a new version is measured by."""

    def __init__(self, limit: int = _REMEMBERED) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._answered: dict[str, tuple[ModelVersion, deque[Answered]]] = {}

    def __call__(self, answered: Answered) -> None:
        """Remember one request, without what was asked."""
        slim = _slim(answered)
        with self._lock:
            version, requests = self._answered.get(answered.model.name, (None, deque[Answered](maxlen=self._limit)))
            if version != answered.model:
                requests = deque(maxlen=self._limit)
            requests.append(slim)
            self._answered[answered.model.name] = answered.model, requests

    def of(self, model: ModelVersion) -> Answers:
        """Return how a version answered lately."""
        with self._lock:
            version, requests = self._answered.get(model.name, (None, ()))
            found = [*requests] if version == model else []
        return comparison.answered_more(Answers(), found)


class Tally:
    """Keeps what some versions answered until it is taken."""

    def __init__(self, versions: Sequence[ModelVersion]) -> None:
        self._versions = frozenset(versions)
        self._lock = threading.Lock()
        self._answered: dict[str, list[Answered]] = {}

    def __call__(self, answered: Answered) -> None:
        """Count one request, if it was for one of the versions."""
        if answered.model in self._versions:
            slim = _slim(answered)
            with self._lock:
                self._answered.setdefault(answered.model.name, []).append(slim)

    def take(self) -> Mapping[str, Sequence[Answered]]:
        """Return what came since the last time, by model."""
        with self._lock:
            taken, self._answered = self._answered, {}
        return taken


class Offers:
    """Hands live requests of some versions over to be asked again, as far as there is room.

    Args:
        versions: whose requests.
        wanted: which of them.
        room: tells whether there is any; asked before anything is copied.
        offer: takes a copy, or does not.
    """

    def __init__(
        self,
        versions: Sequence[ModelVersion],
        wanted: Callable[[Answered], bool],
        room: Callable[[], bool],
        offer: Callable[[Answered], bool],
    ) -> None:
        self._versions = frozenset(versions)
        self._wanted = wanted
        self._room = room
        self._offer = offer
        self._lock = threading.Lock()
        self._dropped: list[Answered] = []

    def __call__(self, answered: Answered) -> None:
        """Hand one request over, or note that it was dropped; never waits."""
        if answered.model not in self._versions or not self._wanted(answered):
            return
        if not (self._room() and self._offer(_owned(answered))):
            slim = _slim(answered)
            with self._lock:
                self._dropped.append(slim)

    def take_dropped(self) -> list[Answered]:
        """Return what was dropped since the last time, without what was asked."""
        with self._lock:
            taken, self._dropped = self._dropped, []
        return taken


def is_own_fault(error: InferenceError | None) -> bool:
    """Tell whether a request failed by the fault of the version that was asked."""
    return error is not None and error.code in _OWN_FAULTS


def ask_again(session: Session, answered: Answered) -> Answered:
    """Ask a session what another was asked; a failure is an answer too."""
    started = time.monotonic()
    try:
        answer = _ask(session, answered)
        error = None
    except InferenceError as exc:
        answer, error = None, exc
    took = (time.monotonic() - started) * 1000
    return answered._replace(model=session.manifest.model_version, answer=answer, error=error, milliseconds=took)


def ask_picture(session: Session, picture: Picture) -> Answered:
    """Ask a session for a picture that nobody asks for just now."""
    return ask_again(session, Answered(session.manifest.model_version, None, picture, None, None, 0.0))


def _ask(session: Session, answered: Answered) -> dict[str, NDArray[Any]] | Inspected:
    if answered.tensors is not None:
        return session.infer(answered.tensors, timeout_s=TIMEOUT_S, priority=Priority.SHADOW)
    if answered.picture is None:
        raise InferenceError(Code.INVALID_ARGUMENT, "expected tensors or a picture, came neither")
    live = answered.answer
    return session.inspect(
        answered.picture,
        timeout_s=TIMEOUT_S,
        with_mask=isinstance(live, Inspected) and bool(live.mask_png),
        keep_map=live.anomalies is not None if isinstance(live, Inspected) else True,
        priority=Priority.SHADOW,
    )


def _slim(answered: Answered) -> Answered:
    """Return the request without its bytes."""
    answer = answered.answer
    slim = answer._replace(mask_png=b"", decoded=None, anomalies=None) if isinstance(answer, Inspected) else None
    return answered._replace(tensors=None, picture=None, answer=slim)


def _owned(answered: Answered) -> Answered:
    """Return the request with bytes of its own: a caller may write into its own again."""
    picture, answer = answered.picture, answered.answer
    if isinstance(picture, RawPicture):
        picture = picture._replace(rgb=bytes(picture.rgb))
    if isinstance(answer, Inspected):
        answer = answer._replace(decoded=None)
    tensors = answered.tensors and {name: np.array(tensor) for name, tensor in answered.tensors.items()}
    return answered._replace(picture=picture, tensors=tensors, answer=answer)
