"""Requests, whatever protocol brought them: lease, ask, tell who watches.

Whoever judges a version on live requests (shadow, probation, metrics) watches here. A
watcher is called on the request's own thread after its answer is known; it only hands over.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

from numpy.typing import NDArray

from edge_agent.errors import Code, InferenceError
from edge_agent.formats import ModelVersion, Picture
from edge_agent.inference.registry import Registry
from edge_agent.inference.session import Inspected, Outputs, Priority, Session, Tensors, Times
from edge_agent.inference.workers.lent import LendingSession, LentRequest, Placed
from edge_agent.telemetry import metrics

_LOG = logging.getLogger(__name__)

T = TypeVar("T")


class Answered(NamedTuple):
    """One request and what became of it."""

    model: ModelVersion
    tensors: Tensors | None
    picture: Picture | None
    answer: dict[str, NDArray[Any]] | Inspected | Placed | None
    error: InferenceError | None
    milliseconds: float


Watcher: TypeAlias = Callable[[Answered], None]


class DataPlane:
    """Answers requests by model name from the registry's active versions."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._watchers: tuple[Watcher, ...] = ()
        self._counters: tuple[Watcher, ...] = ()

    def infer(
        self,
        name: str,
        tensors: Tensors,
        *,
        timeout_s: float,
        priority: Priority = Priority.LINE,
        version: str | None = None,
    ) -> tuple[ModelVersion, dict[str, NDArray[Any]]]:
        """Return which version answered, and its outputs.

        Raises:
            InferenceError: NOT_FOUND, UNAVAILABLE, INVALID_ARGUMENT, RESOURCE_EXHAUSTED,
                DEADLINE_EXCEEDED, INTERNAL.
        """

        def ask(session: Session, left_s: float) -> dict[str, NDArray[Any]]:
            return session.infer(tensors, timeout_s=left_s, priority=priority)

        return self._answer(name, version, timeout_s, ask, tensors=tensors, picture=None)

    def infer_lent(
        self,
        name: str,
        request: LentRequest,
        *,
        timeout_s: float,
        priority: Priority = Priority.LINE,
        version: str | None = None,
        answered: Callable[[ModelVersion, Placed], None],
    ) -> None:
        """Answer tensors that lie in a client's memory.

        Args:
            name: as ``infer``.
            request: what is asked, and the room for the outputs.
            timeout_s: as ``infer``.
            priority: as ``infer``.
            version: as ``infer``.
            answered: told which version answered, and where its outputs are, as soon as that is known: the client
                need not wait until the request is counted.

        Raises:
            InferenceError: as ``infer``; OUT_OF_RANGE: the outputs are larger than their room.
        """
        if self._watchers:
            # Who watches gets copies of what was asked and answered, which the client cannot change any more.
            tensors = request.read()
            model, outputs = self.infer(name, tensors, timeout_s=timeout_s, priority=priority, version=version)
            answered(model, Placed(request.write(outputs)))
            return

        def ask(session: Session, left_s: float) -> Placed:
            if isinstance(session, LendingSession):
                placed = session.infer_lent(request, timeout_s=left_s, priority=priority)
            else:
                placed = Placed(request.write(session.infer(request.read(), timeout_s=left_s, priority=priority)))
            answered(session.manifest.model_version, placed)
            return placed

        self._answer(name, version, timeout_s, ask, tensors=request.forms, picture=None, watched=False)

    def inspect(
        self,
        name: str,
        picture: Picture,
        *,
        timeout_s: float,
        with_mask: bool,
        threshold: float | None = None,
        priority: Priority = Priority.LINE,
        keep_decoded: bool = False,
        keep_map: bool = False,
        version: str | None = None,
    ) -> tuple[ModelVersion, Inspected]:
        """Return which version answered, and what it says of the picture.

        Without a ``threshold`` the one counts that was set for the version on this device, else the signed one.
        What is asked beside the line (``Priority.SHADOW``) is told to nobody who watches what the line asks.

        Raises:
            InferenceError: as ``infer``; OUT_OF_RANGE for a threshold outside its signed range.
        """

        def ask(session: Session, left_s: float) -> Inspected:
            set_here = self._registry.threshold(session.manifest.model_version)
            return session.inspect(
                picture,
                timeout_s=left_s,
                with_mask=with_mask,
                threshold=set_here if threshold is None else threshold,
                priority=priority,
                keep_decoded=keep_decoded,
                keep_map=keep_map,
            )

        # Golden parts are half defective: a new version shall not be measured by them.
        is_lines = priority is not Priority.SHADOW
        return self._answer(name, version, timeout_s, ask, tensors=None, picture=picture, watched=is_lines)

    def describe(self, name: str) -> str:
        """Return the kind of an active model (classification, segmentation, anomaly); empty where there is none."""
        session = self._registry.active().get(self._registry.resolve(name) or "")
        return session.manifest.kind.value if session is not None else ""

    def watch(self, watcher: Watcher, *, contents: bool = True) -> Callable[[], None]:
        """Tell ``watcher`` of every request from now on; the returned call ends that.

        Args:
            watcher: told.
            contents: it looks at what was asked and answered, so that is copied where it lies in a client's memory;
                False: names, types, shapes and times will do.
        """
        kept = "_watchers" if contents else "_counters"
        with self._lock:
            setattr(self, kept, (*getattr(self, kept), watcher))

        def end() -> None:
            with self._lock:
                setattr(self, kept, tuple(other for other in getattr(self, kept) if other is not watcher))

        return end

    def _answer(
        self,
        name: str,
        version: str | None,
        timeout_s: float,
        ask: Callable[[Session, float], T],
        *,
        tensors: Tensors | None,
        picture: Picture | None,
        watched: bool = True,
    ) -> tuple[ModelVersion, T]:
        started = time.monotonic()
        if timeout_s <= 0:
            raise InferenceError(Code.DEADLINE_EXCEEDED, f"expected time left for the request, came {timeout_s:g} s")
        with self._registry.lease(name, version=version, timeout_s=timeout_s) as session:
            model = session.manifest.model_version
            _note_alias(name, model)
            try:
                with metrics.request_in_flight(model.name):
                    answer = ask(session, timeout_s - (time.monotonic() - started))
            except InferenceError as exc:
                # Without its traceback, which holds every caller's frame, and with them the call, while it is kept.
                error = InferenceError(exc.code, exc.message)
                self._tell(Answered(model, tensors, picture, None, error, _since(started)), watched=watched)
                raise
            answered = Answered(model, tensors, picture, answer, None, _since(started))  # type: ignore[arg-type]
            self._tell(answered, watched=watched)
            return model, answer

    def _tell(self, answered: Answered, *, watched: bool) -> None:
        _measure(answered)
        for counter in self._counters:
            counter(answered)
        for watcher in self._watchers if watched else ():
            watcher(answered)


def _measure(answered: Answered) -> None:
    name, version = answered.model
    if answered.error is not None:
        metrics.count_failure(name, version, answered.error.code)
        return
    total_s = answered.milliseconds / 1000
    inspected = answered.answer
    if isinstance(inspected, Inspected):
        times = (inspected.queue_ms, inspected.decode_ms, inspected.preprocess_ms, inspected.compute_ms)
        durations = metrics.Durations(total_s, *(milliseconds / 1000 for milliseconds in times))
    else:
        spent = inspected.times if isinstance(inspected, Outputs | Placed) else Times()
        durations = metrics.Durations(
            total_s,
            queue_s=spent.queue_s,
            preprocess_s=spent.input_s,
            compute_s=spent.compute_s,
            output_s=spent.output_s,
        )
    metrics.observe_request(name, version, durations, inferences=_batch_size(answered))


def _batch_size(answered: Answered) -> int:
    first = next(iter(answered.tensors.values()), None) if answered.tensors else None
    return first.shape[0] if first is not None and first.ndim else 1


def _note_alias(name: str, model: ModelVersion) -> None:
    """An old client that names a version is answered by the active one; that is told, as it may surprise."""
    if name not in (model.name, model.identifier):
        extra = {"action": "alias_answered", "asked": name, "answered": model.identifier}
        _LOG.info("a request for another version was answered by the active one", extra=extra)


def _since(started: float) -> float:
    return (time.monotonic() - started) * 1000
