"""How carefully a candidate is watched, and what it must keep to meanwhile.

Job, manifest and device each bring a policy; the strictest of each field holds, so nobody
can ask for less than the device does. A field that is absent asks for nothing.
"""

from pydantic import Field

from edge_agent.formats.document import Document

# A line may stand still for a night: who names a number of requests and no time gets this one.
QUIET_LIMIT_S = 3600.0


class WatchPolicy(Document):
    """How long a candidate is watched before the next step; nothing at all unless somebody asks for it."""

    min_requests: int = Field(
        0, ge=0, le=1_000_000, description="requests of each model that are enough; 0: the whole time is watched"
    )
    max_seconds: float = Field(
        0.0, ge=0, le=604_800, description="after this the stage is judged anyway; 0: an hour where requests are named"
    )

    @property
    def limit_s(self) -> float:
        """Return the seconds after which the stage ends in any case."""
        return self.max_seconds or (QUIET_LIMIT_S if self.min_requests else 0.0)

    def is_over(self, requests: int, seconds: float) -> bool:
        """Tell whether so many requests in so many seconds are enough."""
        return seconds >= self.limit_s or 0 < self.min_requests <= requests

    def _longest(self, other: "WatchPolicy") -> dict[str, float]:
        """Return the fields of a stage that is not over before both are."""
        # Zero requests and some time: no number is enough, and so it stays.
        whole_time = any(each.limit_s and not each.min_requests for each in (self, other))
        return {
            "min_requests": 0 if whole_time else max(self.min_requests, other.min_requests),
            "max_seconds": max(self.limit_s, other.limit_s),
        }


class ShadowPolicy(WatchPolicy):
    """SHADOW: the candidate answers copies of live requests unseen, and is compared with the live version."""

    min_agreement: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False, description="least share of copies with the live verdict and label"
    )
    max_score_distance: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False, description="95th percentile of the distance of calibrated scores"
    )
    min_mask_iou: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False, description="intersection over union of all masks' defective pixels"
    )
    max_latency_ratio: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="median time to compute, over the live version's on the same"
    )

    def strictest(self, other: "ShadowPolicy | None") -> "ShadowPolicy":
        """Return the policy that satisfies both."""
        other = other or ShadowPolicy()
        return ShadowPolicy(
            **self._longest(other),
            min_agreement=_largest(self.min_agreement, other.min_agreement),
            max_score_distance=_smallest(self.max_score_distance, other.max_score_distance),
            min_mask_iou=_largest(self.min_mask_iou, other.min_mask_iou),
            max_latency_ratio=_smallest(self.max_latency_ratio, other.max_latency_ratio),
        )


class ProbationPolicy(WatchPolicy):
    """PROBATION: the candidate answers; what it replaced stays warm, and is what it is measured by."""

    max_error_rate: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False, description="share of requests that it fails by its own fault"
    )
    max_latency_ratio: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="median time to compute, over that of the version before"
    )
    max_verdict_rate_change: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False, description="distance of the share of NG from that of the version before"
    )

    def strictest(self, other: "ProbationPolicy | None") -> "ProbationPolicy":
        """Return the policy that satisfies both."""
        other = other or ProbationPolicy()
        return ProbationPolicy(
            **self._longest(other),
            max_error_rate=_smallest(self.max_error_rate, other.max_error_rate),
            max_latency_ratio=_smallest(self.max_latency_ratio, other.max_latency_ratio),
            max_verdict_rate_change=_smallest(self.max_verdict_rate_change, other.max_verdict_rate_change),
        )


class Policy(Document):
    """What a job or manifest may ask for; a device's own setting is always the strictest."""

    shadow: ShadowPolicy | None = None
    probation: ProbationPolicy | None = None
    deadline_s: float | None = Field(None, gt=0, le=2_592_000)


def _largest(*limits: float | None) -> float | None:
    return max((limit for limit in limits if limit is not None), default=None)


def _smallest(*limits: float | None) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)
