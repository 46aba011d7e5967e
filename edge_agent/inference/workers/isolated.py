"""A session in a process of its own: the same protocol, over a lane to the worker.

The caller's own thread writes the tensors into the lane's segment, sends a message of a few
bytes and waits for the answer; nothing stands between. A request in flight when the worker
ends is answered UNAVAILABLE, the next ones wait for the new worker.
"""

import resource
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

from edge_agent.errors import Code, InferenceError
from edge_agent.formats import AnomalyMap, EncodedPicture, Manifest, Picture, RawPicture, Verdict
from edge_agent.inference.batching import batching_of
from edge_agent.inference.engines.cache import EngineFile
from edge_agent.inference.session import Inspected, Outputs, Priority, SessionState, Tensors, Times
from edge_agent.inference.tensors import Form, check_inputs, form_of
from edge_agent.inference.workers.lanes import Lanes
from edge_agent.inference.workers.lent import LendingSession, LentRequest, Place, Placed
from edge_agent.inference.workers.process import Limits, Order, WorkerProcess
from edge_agent.inference.workers.segments import COMPUTED, Blob, Endpoint, Parcel
from edge_agent.inference.workers.supervisor import Supervisor

if TYPE_CHECKING:
    from edge_agent.config import Inference

_LOAD_TIMEOUT_S = 120.0
_CHECKED_LIMIT = 256
_PAGE_BYTES = resource.getpagesize()

T = TypeVar("T")


class IsolatedSession(LendingSession):
    """One loaded version in a worker process, which is replaced when it ends or hangs.

    Args:
        directory: the installed version.
        manifest: of that version.
        options: of inference.
        engine: its engine in the cache.
        on_restart: told why, each time the worker is replaced; from the supervisor's thread.
        spare: returns a process that was started ahead, or None.

    Raises:
        ActivationError: LOAD_FAILED.
    """

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        options: "Inference",
        *,
        engine: EngineFile,
        on_restart: Callable[[str], None] | None = None,
        spare: Callable[[], WorkerProcess | None] = lambda: None,
        load_timeout_s: float = _LOAD_TIMEOUT_S,
    ) -> None:
        # Imported with the first model: an agent without one does without the image library.
        from edge_agent.vision import Outcome  # noqa: PLC0415

        self._outcome = Outcome
        self._manifest = manifest
        self._hang_timeout_s = options.hang_timeout_s
        self._shadow_gives_way = options.shadow_nice > 0
        self._lanes = Lanes[Endpoint](options.queue)
        self._checked: set[Form] = set()
        self._closing = threading.Lock()
        self._closed = False
        document = manifest.model_dump(mode="json", by_alias=True)
        order = Order(
            directory.absolute(),
            document,
            engine,
            options.threads,
            batching_of(manifest, options),
            load_timeout_s,
            options.hang_timeout_s,
            options.providers,
            Limits(options.worker_memory_bytes, options.cpus, options.shadow_nice),
        )
        self._supervisor = Supervisor(order, self._lanes, on_restart, spare)
        self._supervisor.start()

    @property
    def manifest(self) -> Manifest:
        """Return what was released."""
        return self._manifest

    @property
    def provider(self) -> str:
        """Return what executes it, as the runtime names it."""
        return self._supervisor.provider

    @property
    def fallback(self) -> str:
        """Return what should have executed it instead; empty where all is as wanted."""
        return self._supervisor.fallback

    @property
    def restarts(self) -> int:
        """Return how often the worker was replaced."""
        return self._supervisor.restarts

    @property
    def process_id(self) -> int | None:
        """Return the worker's process id; None while there is none."""
        return self._supervisor.process_id

    @property
    def state(self) -> SessionState:
        """Return READY, LOADING while the worker is being replaced, or CLOSED."""
        if self._closed:
            return "CLOSED"
        return "READY" if self._supervisor.ready else "LOADING"

    @property
    def memory_bytes(self) -> int:
        """Return the worker's resident bytes as the kernel counts them now; 0 while there is none."""
        process_id = self._supervisor.process_id
        try:
            fields = Path(f"/proc/{process_id}/statm").read_text(encoding="ascii").split()
        except OSError:
            return 0
        return int(fields[1]) * _PAGE_BYTES if len(fields) > 1 else 0

    def infer(
        self, tensors: Tensors, *, timeout_s: float, priority: Priority = Priority.LINE
    ) -> dict[str, NDArray[Any]]:
        """Return the graph's outputs; see ``Session``."""
        form = form_of(tensors)
        if form not in self._checked:
            self._check(form, tensors)

        quiet = self._gives_way(priority)

        def send(lane: Endpoint) -> None:
            lane.send_tensors(form, tensors, quiet=quiet)

        asked = time.monotonic()
        (outputs, began, ended), queue_s = self._ask(send, _outputs, timeout_s, priority)
        outputs.times = Times(queue_s, began - asked - queue_s, ended - began, time.monotonic() - ended)
        return outputs

    def infer_lent(self, request: LentRequest, *, timeout_s: float, priority: Priority = Priority.LINE) -> Placed:
        """Answer tensors in a client's memory; see ``LendingSession``."""
        form = form_of(request.forms)
        if form not in self._checked:
            self._check(form, request.forms)
        asked = time.monotonic()
        try:
            (outputs, began, ended), queue_s = self._ask(request.send, partial(_placed, request), timeout_s, priority)
        except InferenceError as exc:
            # Its worker may still be at it.
            if exc.code in (Code.DEADLINE_EXCEEDED, Code.UNAVAILABLE):
                request.segment.spoiled = True
            raise
        times = Times(queue_s, began - asked - queue_s, ended - began, time.monotonic() - ended)
        return Placed(outputs, times)

    def inspect(
        self,
        picture: Picture,
        *,
        timeout_s: float,
        with_mask: bool,
        threshold: float | None = None,
        priority: Priority = Priority.LINE,
        keep_decoded: bool = False,
        keep_map: bool = False,
    ) -> Inspected:
        """Return what the model says of one picture; see ``Session``."""
        blob: Blob
        if isinstance(picture, EncodedPicture):
            blob, size = picture.content, None
        else:
            blob, size = picture.rgb, [picture.width, picture.height]
        message = {
            "do": "inspect",
            "size": size,
            "with_mask": with_mask,
            "threshold": threshold,
            "keep_decoded": keep_decoded,
            "keep_map": keep_map,
            "quiet": self._gives_way(priority),
        }

        def send(lane: Endpoint) -> None:
            lane.send(message, [blob])

        inspected, queue_s = self._ask(send, self._inspected, timeout_s, priority)
        return inspected._replace(queue_ms=queue_s * 1000)

    def close(self) -> None:
        """End the worker; requests in flight end UNAVAILABLE. Closing twice does nothing."""
        with self._closing:
            closed, self._closed = self._closed, True
        if closed:
            return
        free = self._lanes.close()
        self._supervisor.close()
        for lane in free:
            lane.close()

    def _gives_way(self, priority: Priority) -> bool:
        return self._shadow_gives_way and priority is Priority.SHADOW

    def _check(self, form: Form, tensors: Tensors) -> None:
        check_inputs(self._manifest.inputs, tensors)
        if len(self._checked) >= _CHECKED_LIMIT:
            self._checked.clear()
        self._checked.add(form)

    def _ask(
        self, send: Callable[[Endpoint], None], read: Callable[[Parcel], T], timeout_s: float, priority: Priority
    ) -> tuple[T, float]:
        """Return the answer and the seconds that the request waited for its lane."""
        asked = time.monotonic()
        deadline = asked + timeout_s
        while True:
            lane = self._lanes.take(deadline=deadline, priority=priority)
            sent = time.monotonic()
            try:
                parcel = self._exchange(lane, send, sent, deadline)
            except (BrokenPipeError, ConnectionResetError):
                # The worker ended and had not read the message (unix(7): a socket closed with unread data
                # resets its peer), so nothing of the request was executed: it may wait for the next worker.
                self._forget(lane)
                continue
            answer = self._read(lane, parcel, read, sent)
            self._give(lane)
            if isinstance(answer, InferenceError):
                raise answer
            return answer, sent - asked

    def _exchange(self, lane: Endpoint, send: Callable[[Endpoint], None], sent: float, deadline: float) -> Parcel:
        try:
            send(lane)
            return lane.receive(max(0.0, min(deadline - sent, self._hang_timeout_s)))
        except TimeoutError as exc:
            raise self._late(lane, sent, deadline) from exc
        except OverflowError as exc:
            self._give(lane)
            raise InferenceError(Code.INVALID_ARGUMENT, str(exc)) from exc
        except InferenceError:
            self._give(lane)  # nothing was sent
            raise
        except (BrokenPipeError, ConnectionResetError):
            raise
        except ConnectionError as exc:
            self._forget(lane)
            raise InferenceError(Code.UNAVAILABLE, "the model's worker ended during the request") from exc
        except (OSError, MemoryError) as exc:
            # How much of the request was sent is not known: a lane kept would be out of step, one forgotten lost.
            self._supervisor.take_in(lane, sent, f"it could not be asked, {exc}")
            raise InferenceError(Code.UNAVAILABLE, f"the model's worker could not be asked, {exc}") from exc

    def _read(self, lane: Endpoint, parcel: Parcel, read: Callable[[Parcel], T], sent: float) -> T | InferenceError:
        try:
            error = parcel.message.get("error")
            return read(parcel) if error is None else InferenceError(Code[error[0]], error[1])
        except MemoryError:
            return InferenceError(Code.RESOURCE_EXHAUSTED, "there is no memory for the answer")
        except (KeyError, TypeError, ValueError) as exc:
            self._supervisor.take_in(lane, sent, "its answer makes no sense")
            raise InferenceError(Code.UNAVAILABLE, "the model's worker gave an answer that makes no sense") from exc

    def _give(self, lane: Endpoint) -> None:
        if not self._lanes.give(lane):
            lane.close()

    def _forget(self, lane: Endpoint) -> None:
        self._lanes.drop(lane)
        lane.close()

    def _late(self, lane: Endpoint, sent: float, deadline: float) -> InferenceError:
        """Hand an unanswered lane to the supervisor and return what the caller is told."""
        if time.monotonic() >= deadline:
            self._supervisor.take_in(lane, sent)
            return InferenceError(Code.DEADLINE_EXCEEDED, "the answer did not come before the request's deadline")
        fault = f"it answered nothing for {self._hang_timeout_s:g} s"
        self._supervisor.take_in(lane, sent, fault)
        return InferenceError(Code.UNAVAILABLE, f"the model's worker is being replaced, {fault}")

    def _inspected(self, parcel: Parcel) -> Inspected:
        told = parcel.message
        score, threshold, area = told["numbers"]
        decode_ms, preprocess_ms, compute_ms = told["milliseconds"]
        width, height = told["size"]
        mask, decoded, logits, *embedding = parcel.blobs
        return Inspected(
            outcome=self._outcome(Verdict(told["verdict"]), score, threshold, told["label"], None, area),
            mask_png=bytes(mask),
            width=width,
            height=height,
            decode_ms=decode_ms,
            compute_ms=compute_ms,
            decoded=RawPicture(bytes(decoded), width, height) if len(decoded) else None,
            preprocess_ms=preprocess_ms,
            anomalies=None if told["map"] is None else AnomalyMap(bytes(logits), *told["map"]),
            embedding=bytes(embedding[0]) if embedding else b"",
        )


def _placed(request: LentRequest, parcel: Parcel) -> tuple[tuple[Place, ...], float, float]:
    """Return where the worker says that it put the outputs, and when computing them began and ended."""
    return request.checked(parcel), *parcel.times


def _outputs(parcel: Parcel) -> tuple[Outputs, float, float]:
    """Return the outputs, and when computing them began and ended: both processes read the same clock."""
    # Copied: the worker writes the next answer into the same place.
    outputs = Outputs({name: tensor.copy() for name, tensor in parcel.tensors.items()})
    began, ended = outputs.pop(COMPUTED).tolist()
    return outputs, began, ended
