"""When is a candidate watched enough, and when has it failed? Pure decisions."""

from edge_agent.deployment.record import Watch
from edge_agent.errors import ActivationError, Code
from edge_agent.formats import Policy, StagePolicy


def effective(device: StagePolicy, manifests: list[StagePolicy | None], job: StagePolicy | None) -> StagePolicy:
    """Return the policy that satisfies job, manifests and device; the device's is a lower bound."""
    policy = device
    for other in (*manifests, job):
        policy = policy.strictest(other)
    return policy


def watched_enough(watch: Watch, policy: StagePolicy) -> bool:
    """Tell whether a stage may end well: enough requests and time, or the time alone without traffic."""
    return watch.seconds >= policy.max_seconds or 0 < policy.min_requests <= watch.requests


def check_probation(watch: Watch) -> None:
    """Check what the new version did while it answered.

    Raises:
        ActivationError: a request failed by the candidate's own fault.
    """
    if watch.failures:
        raise ActivationError(
            Code.PROBATION_REGRESSION,
            f"expected no failure under probation, came {watch.failures} in {watch.requests} requests",
        )


def merged(job: Policy, manifests: list[Policy], *, probation: StagePolicy, shadow: StagePolicy) -> Policy:
    """Return the policy of a whole deployment."""
    return Policy(
        shadow=effective(shadow, [m.shadow for m in manifests], job.shadow),
        probation=effective(probation, [m.probation for m in manifests], job.probation),
        deadline_s=job.deadline_s,
    )
