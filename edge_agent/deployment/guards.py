"""When is a candidate watched enough, and when has it failed? Pure decisions."""

from edge_agent.deployment.record import Watch
from edge_agent.errors import ActivationError, Code
from edge_agent.formats import Policy, StagePolicy

QUIET_LIMIT_S = 3600.0


def effective(device: StagePolicy, manifests: list[StagePolicy | None], job: StagePolicy | None) -> StagePolicy:
    """Return the policy that satisfies job, manifests and device; the device's is a lower bound."""
    policy = device
    for other in (*manifests, job):
        policy = policy.strictest(other)
    return policy


def watched_enough(watch: Watch, policy: StagePolicy) -> bool:
    """Tell whether a stage may end well: it saw enough requests, or its time is over.

    A policy that names requests and no time gets ``QUIET_LIMIT_S``, since a line may stand still for a night.
    """
    if 0 < policy.min_requests <= watch.requests:
        return True
    limit_s = policy.max_seconds or (QUIET_LIMIT_S if policy.min_requests else 0.0)
    return watch.seconds >= limit_s


def grown(watch: Watch, counted: tuple[int, int], seconds: float, candidates_alive: bool) -> Watch:
    """Return the watch with what was counted (requests, failures) in some more seconds."""
    requests, failures = counted
    return Watch(
        requests=watch.requests + requests,
        failures=watch.failures + failures + (not candidates_alive),
        seconds=watch.seconds + seconds,
    )


def check_probation(watch: Watch) -> None:
    """Check what the new version did while it answered.

    Raises:
        ActivationError: a request failed by the candidate's own fault.
    """
    if watch.failures:
        raise ActivationError(
            Code.PROBATION_REGRESSION,
            f"expected no failure under probation, came {watch.failures}, workers' deaths among them, "
            f"in {watch.requests} requests",
        )


def merged(job: Policy, manifests: list[Policy], *, probation: StagePolicy, shadow: StagePolicy) -> Policy:
    """Return the policy of a whole deployment."""
    return Policy(
        shadow=effective(shadow, [m.shadow for m in manifests], job.shadow),
        probation=effective(probation, [m.probation for m in manifests], job.probation),
        deadline_s=job.deadline_s,
    )
