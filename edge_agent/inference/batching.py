"""Requests that meet in front of an engine run as one batch, where its batch dimension is free.

Nobody waits for a batch: what came while the engine was busy runs together when it is free.
Only with a window does the first wait for others, so long at most. No thread of its own: one
of the callers runs the batch for all.
"""

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import Code, InferenceError
from edge_agent.formats import Manifest, TensorSpec
from edge_agent.inference.tensors import Form, form_of

if TYPE_CHECKING:
    from edge_agent.config import Inference

Arrays: TypeAlias = dict[str, NDArray[Any]]
Run: TypeAlias = Callable[[Mapping[str, NDArray[Any]]], Arrays]

_FREE = -1


class Batching(NamedTuple):
    """What may run together.

    Attributes:
        size: rows in a batch, at most; a request that brings more runs alone.
        window_s: so long the first waits for others.
        runs: batches at a time.
    """

    size: int = 1
    window_s: float = 0.0
    runs: int = 1

    @property
    def callers(self) -> int:
        """Return how many requests may be on their way at a time, so that batches can be full."""
        return self.size * self.runs


ALONE = Batching()


def batching_of(manifest: Manifest, options: "Inference") -> Batching:
    """Return what the settings let run together for a version."""
    if options.batch.size == 1 or not _can_batch(manifest.inputs, manifest.outputs):
        return Batching(runs=options.lanes)
    return Batching(options.batch.size, options.batch.window_ms / 1000, options.lanes)


def _can_batch(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> bool:
    """Tell whether the first dimension of everything that goes in and out is free."""
    return all(spec.shape[:1] == (_FREE,) for spec in (*inputs, *outputs))


class _Seat:
    """One caller's request; the gate opens when it is answered, or when it is this caller's turn to run."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self.tensors = tensors
        counts = {len(tensor) for tensor in tensors.values()}
        # Inputs that disagree about their rows are for the engine to refuse, in no company.
        self.rows = counts.pop() if len(counts) == 1 else sys.maxsize
        self.kind: Form = tuple((name, dtype, shape[1:]) for name, dtype, shape in form_of(tensors))
        self.answer: Arrays | InferenceError | None = None
        self.leads = False
        self.gate = threading.Lock()
        self.gate.acquire()


class Batcher:
    """Runs an engine for many callers.

    Args:
        run: the engine; raises InferenceError.
        batching: what may run together.
    """

    def __init__(self, run: Run, batching: Batching) -> None:
        self._run = run
        self._size = batching.size
        self._window_s = batching.window_s
        self._idle = batching.runs
        self._came = threading.Condition()
        self._waiting: list[_Seat] = []

    def __call__(self, tensors: Mapping[str, NDArray[Any]]) -> Arrays:
        """Return the outputs for ``tensors``, whose arrays all have as many rows.

        Raises:
            InferenceError: what the engine says of this request, run alone.
        """
        seat = _Seat(tensors)
        with self._came:
            seat.leads = self._idle > 0
            if seat.leads:
                self._idle -= 1
            else:
                self._waiting.append(seat)
                self._came.notify_all()
        if not seat.leads:
            seat.gate.acquire()
        if seat.leads:
            self._lead(seat)
        if isinstance(seat.answer, InferenceError):
            raise seat.answer
        if seat.answer is None:
            raise InferenceError(Code.INTERNAL, "expected an answer for each request of a batch, came none")
        return seat.answer

    def _lead(self, first: _Seat) -> None:
        batch = [first]
        try:
            batch = self._gather(first)
            self._answer(batch)
        finally:
            self._pass_on()
            for seat in batch[1:]:
                seat.gate.release()

    def _gather(self, first: _Seat) -> list[_Seat]:
        """Return the first and who fits beside it, in the order in which they came."""
        deadline = time.monotonic() + self._window_s
        with self._came:
            while sum(seat.rows for seat in self._fitting(first)) < self._size:
                if not self._came.wait(deadline - time.monotonic()):
                    break
            # Looked up again: another leader may have taken those who were there before the wait.
            batch = self._fitting(first)
            self._waiting = [seat for seat in self._waiting if seat not in batch]
        return batch

    def _fitting(self, first: _Seat) -> list[_Seat]:
        batch, rows = [first], first.rows
        for seat in self._waiting:
            if seat.kind == first.kind and rows + seat.rows <= self._size:
                batch.append(seat)
                rows += seat.rows
        return batch

    def _pass_on(self) -> None:
        """Let the next who waits run, or note that nobody does."""
        with self._came:
            if self._waiting:
                following = self._waiting.pop(0)
                following.leads = True
                following.gate.release()
            else:
                self._idle += 1

    def _answer(self, batch: list[_Seat]) -> None:
        if len(batch) > 1 and self._answer_together(batch):
            return
        for seat in batch:
            seat.answer = self._alone(seat)

    def _alone(self, seat: _Seat) -> Arrays | InferenceError:
        try:
            return self._run(seat.tensors)
        except InferenceError as exc:
            return exc

    def _answer_together(self, batch: list[_Seat]) -> bool:
        """Answer all at once; False: that failed, and one alone may be the reason."""
        rows = [seat.rows for seat in batch]
        joined = {name: np.concatenate([seat.tensors[name] for seat in batch]) for name in batch[0].tensors}
        try:
            outputs = self._run(joined)
        except InferenceError:
            return False
        if not all(_is_sound(output, sum(rows)) for output in outputs.values()):
            return False
        ends = np.cumsum(rows)
        for seat, end in zip(batch, ends, strict=True):
            seat.answer = {name: output[end - seat.rows : end] for name, output in outputs.items()}
        return True


def _is_sound(output: NDArray[Any], rows: int) -> bool:
    """Tell whether an output can be divided among callers: whose NaN it is, is found out alone."""
    return output.shape[:1] == (rows,) and (output.dtype.kind != "f" or bool(np.isfinite(output).all()))
