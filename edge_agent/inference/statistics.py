"""Counts and times of each version's requests, whatever protocol brought them.

It watches the data plane. Not done here: Prometheus' figures (``telemetry.metrics``).
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from edge_agent.formats import ModelVersion
from edge_agent.formats.statistics import BatchCounts, ModelCounts, Spent
from edge_agent.inference.dataplane import Answered
from edge_agent.inference.session import Inspected, Outputs, Times
from edge_agent.inference.workers.lent import Placed

# A device sees hundreds of versions in its life; those that were not asked for long are forgotten.
_LIMIT_VERSIONS = 64
_LIMIT_BATCHES = 64
_NANOSECONDS = 1e9


class Statistics:
    """What was counted, by version; safe for any number of threads.

    Args:
        now: epoch seconds.
    """

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._counts: OrderedDict[ModelVersion, ModelCounts] = OrderedDict()

    def count(self, answered: Answered) -> None:
        """Count one request, answered or failed."""
        with self._lock:
            before = self._counts.pop(answered.model, ModelCounts())
            self._counts[answered.model] = _counted(before, answered, int(self._now() * 1000))
            if len(self._counts) > _LIMIT_VERSIONS:
                self._counts.popitem(last=False)

    def of(self, model: ModelVersion) -> ModelCounts:
        """Return what was counted of a version."""
        with self._lock:
            return self._counts.get(model, ModelCounts())


def _counted(before: ModelCounts, answered: Answered, now_ms: int) -> ModelCounts:
    total_s = answered.milliseconds / 1000
    if answered.answer is None:
        return before._replace(last_ms=now_ms, failure=_more(before.failure, total_s))
    times, size = _times(answered.answer), _batch_size(answered)
    batches = before.batches
    if size in batches or len(batches) < _LIMIT_BATCHES:
        batches = {**batches, size: _executed(batches.get(size, BatchCounts()), times)}
    return ModelCounts(
        last_ms=now_ms,
        inferences=before.inferences + size,
        executions=before.executions + 1,
        success=_more(before.success, total_s),
        failure=before.failure,
        queue=_more(before.queue, times.queue_s),
        total=_executed(before.total, times),
        batches=batches,
    )


def _executed(before: BatchCounts, times: Times) -> BatchCounts:
    return BatchCounts(
        _more(before.input, times.input_s), _more(before.compute, times.compute_s), _more(before.output, times.output_s)
    )


def _times(answer: object) -> Times:
    if isinstance(answer, Outputs | Placed):
        return answer.times
    if isinstance(answer, Inspected):
        before_ms = answer.decode_ms + answer.preprocess_ms
        return Times(answer.queue_ms / 1000, before_ms / 1000, answer.compute_ms / 1000)
    return Times()


def _batch_size(answered: Answered) -> int:
    first = next(iter(answered.tensors.values()), None) if answered.tensors else None
    return first.shape[0] if first is not None and first.ndim else 1


def _more(spent: Spent, seconds: float) -> Spent:
    return Spent(spent.number + 1, spent.nanoseconds + max(0, round(seconds * _NANOSECONDS)))
