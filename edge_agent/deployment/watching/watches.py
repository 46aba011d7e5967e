"""What was seen of a candidate under watch; kept with its deployment, so that a restart loses none of it. Pure."""

import math
from collections.abc import Iterable

from pydantic import Field

from edge_agent.formats import Document

# DDSketch (Masson, Rim, Lee, VLDB 2019): a bucket ends where the next begins, 5 % above.
_GROWTH = 1.05
_LEAST, _MOST = 1e-6, 1e9
_HIGH = 0.95


class Sketch(Document):
    """How values are spread: a few numbers however many values, quantiles right within 2.5 %."""

    zeros: int = 0
    buckets: dict[int, int] = Field(default_factory=dict)

    @property
    def count(self) -> int:
        """Return how many values there were."""
        return self.zeros + sum(self.buckets.values())

    def plus(self, values: Iterable[float]) -> "Sketch":
        """Return the sketch with more values, each 0 or more."""
        zeros, buckets = self.zeros, dict(self.buckets)
        for value in values:
            if value < _LEAST:
                zeros += 1
            else:
                bucket = math.ceil(math.log(min(value, _MOST)) / math.log(_GROWTH))
                buckets[bucket] = buckets.get(bucket, 0) + 1
        return Sketch(zeros=zeros, buckets=buckets)

    def quantile(self, share: float) -> float | None:
        """Return the least value that this share of all does not exceed; None of nothing."""
        rank = max(1, math.ceil(share * self.count))
        if self.count == 0:
            return None
        below = self.zeros
        if rank <= below:
            return 0.0
        for bucket in sorted(self.buckets):
            below += self.buckets[bucket]
            if rank <= below:
                return 2 * _GROWTH**bucket / (_GROWTH + 1)
        return None

    @property
    def median(self) -> float | None:
        """Return the value in the middle."""
        return self.quantile(0.5)


class Compared(Document):
    """What copies of live requests showed of one candidate."""

    compared: int = 0
    agreed: int = 0
    replayed: int = Field(0, description="of those compared: recent frames that were asked again, as nobody asked")
    dropped: int = Field(0, description="live requests that were not copied, since the candidate was still busy")
    failed: int = 0
    trouble: str = Field("", description="how it failed first")
    distances: Sketch = Sketch()
    overlap: int = Field(0, description="pixels that both call defective")
    union: int = Field(0, description="pixels that either calls defective")
    live_ms: Sketch = Sketch()
    candidate_ms: Sketch = Sketch()

    @property
    def agreement(self) -> float | None:
        """Return the share of copies with the live verdict and label."""
        return self.agreed / self.compared if self.compared else None

    @property
    def score_distance(self) -> float | None:
        """Return the 95th percentile of the distances of calibrated scores."""
        return self.distances.quantile(_HIGH)

    @property
    def mask_iou(self) -> float | None:
        """Return intersection over union of all masks together; None where neither drew anything."""
        return self.overlap / self.union if self.union else None

    @property
    def latency_ratio(self) -> float | None:
        """Return the candidate's median time over the live version's."""
        return ratio(self.candidate_ms.median, self.live_ms.median)


class Beside(Document):
    """SHADOW so far, by model."""

    seconds: float = 0.0
    models: dict[str, Compared] = Field(default_factory=dict)

    def of(self, model: str) -> Compared:
        """Return what was seen of one."""
        return self.models.get(model, Compared())


class Answers(Document):
    """How a version answered the line."""

    requests: int = 0
    judged: int = Field(0, description="answers that are verdicts")
    ng: int = 0
    took_ms: Sketch = Sketch()

    @property
    def ng_share(self) -> float | None:
        """Return the share of NG among its verdicts."""
        return self.ng / self.judged if self.judged else None


class Watch(Document):
    """PROBATION so far."""

    requests: int = 0
    failures: int = Field(0, description="by the candidates' own fault, their workers' deaths among them")
    excused: int = Field(0, description="failures of requests that the version before fails as well")
    replayed: int = 0
    seconds: float = 0.0
    trouble: str = Field("", description="how it failed first")
    models: dict[str, Answers] = Field(default_factory=dict)
    before: dict[str, Answers] = Field(default_factory=dict, description="of the versions that were replaced")

    def of(self, model: str) -> Answers:
        """Return how a candidate answered."""
        return self.models.get(model, Answers())


def ratio(new: float | None, old: float | None) -> float | None:
    """Return new over old; None where one lacks or the old is nothing."""
    return new / old if new is not None and old else None
