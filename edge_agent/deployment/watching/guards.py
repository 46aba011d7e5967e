"""When is a candidate watched enough, and when has it failed? Pure decisions."""

from collections.abc import Iterable, Mapping, Sequence

from edge_agent.deployment.watching.watches import Answers, Beside, Compared, Watch, ratio
from edge_agent.errors import ActivationError, Code
from edge_agent.formats import Manifest, Policy, ProbationPolicy, ShadowPolicy

# A share or a median of a handful of requests says nothing.
LEAST_JUDGED = 20
# Other libraries and larger pictures than the publisher's make some difference.
MEMORY_SLACK = 1.5


def merged(job: Policy, manifests: Sequence[Policy], *, shadow: ShadowPolicy, probation: ProbationPolicy) -> Policy:
    """Return the policy of a whole deployment: it satisfies job, manifests and device at once."""
    for other in (*manifests, job):
        shadow = shadow.strictest(other.shadow)
        probation = probation.strictest(other.probation)
    return Policy(shadow=shadow.strictest(None), probation=probation.strictest(None), deadline_s=job.deadline_s)


def shadow_is_over(seen: Beside, models: Iterable[str], policy: ShadowPolicy) -> bool:
    """Tell whether SHADOW may be judged: every model was compared enough, or the time is over."""
    return policy.is_over(min((seen.of(model).compared for model in models), default=0), seen.seconds)


def check_answering(seen: Beside) -> None:
    """Check that no candidate failed a request that the live version answered.

    Raises:
        ActivationError: SHADOW_REGRESSION.
    """
    for model, compared in seen.models.items():
        if compared.failed:
            raise _regressed(model, compared, [f"it failed what the live version answered: {compared.trouble}"])


def check_shadow(seen: Beside, policy: ShadowPolicy) -> None:
    """Check what SHADOW showed at its end.

    Raises:
        ActivationError: SHADOW_REGRESSION; the message tells each figure and its limit.
    """
    check_answering(seen)
    for model, compared in seen.models.items():
        complaints = [
            *_below("agreement", compared.agreement, policy.min_agreement),
            *_above("score distance (p95)", compared.score_distance, policy.max_score_distance),
            *_below("mask IoU", compared.mask_iou, policy.min_mask_iou),
            *_above("latency ratio", compared.latency_ratio, policy.max_latency_ratio),
        ]
        if complaints:
            raise _regressed(model, compared, complaints)


def shadow_figures(seen: Beside) -> dict[str, float]:
    """Return what SHADOW showed, by model, as a report tells it."""
    figures = {"seconds_watched": seen.seconds}
    for model, compared in seen.models.items():
        known = _known_figures(compared)
        counted = {name: float(getattr(compared, name)) for name in ("compared", "dropped", "replayed", "failed")}
        figures |= {f"{model}_{name}": value for name, value in {**counted, **known}.items()}
    return figures


def _known_figures(compared: Compared) -> dict[str, float]:
    figures = {
        "agreement": compared.agreement,
        "score_distance_p95": compared.score_distance,
        "mask_iou": compared.mask_iou,
        "latency_ratio": compared.latency_ratio,
    }
    return {name: value for name, value in figures.items() if value is not None}


def probation_is_over(seen: Watch, models: Iterable[str], policy: ProbationPolicy) -> bool:
    """Tell whether PROBATION may end: every model answered enough, or the time is over."""
    return policy.is_over(min((seen.of(model).requests for model in models), default=0), seen.seconds)


def check_probation(seen: Watch, policy: ProbationPolicy, *, over: bool = False) -> None:
    """Check what the new versions did while they answered.

    Args:
        seen: until now.
        policy: the strictest of all.
        over: nothing more comes; before, failures are measured by the requests that are enough.

    Raises:
        ActivationError: PROBATION_REGRESSION; the message tells each figure and its limit.
    """
    complaints = [*_failing(seen, policy, over=over)]
    for model in seen.models:
        complaints += _drifted(model, seen, policy)
    if complaints:
        raise ActivationError(Code.PROBATION_REGRESSION, f"in {seen.requests} requests: {'; '.join(complaints)}")


def probation_figures(seen: Watch) -> dict[str, float]:
    """Return what PROBATION showed, as a report tells it."""
    figures = {
        "seconds_watched": seen.seconds,
        **{name: float(getattr(seen, name)) for name in ("requests", "failures", "excused", "replayed")},
    }
    for model, answers in seen.models.items():
        before = seen.before.get(model, Answers())
        known = {
            "ng_share": answers.ng_share,
            "ng_share_before": before.ng_share,
            "latency_ratio": ratio(answers.took_ms.median, before.took_ms.median),
        }
        figures |= {f"{model}_{name}": value for name, value in known.items() if value is not None}
    return figures


def memory_limit(manifest: Manifest) -> float:
    """Return the resident bytes that a worker may have; infinite where the manifest tells none."""
    return manifest.requires.memory_bytes * MEMORY_SLACK or float("inf")


def check_memory(manifest: Manifest, memory_bytes: int, code: Code) -> None:
    """Check a worker against what its manifest says it needs.

    Raises:
        ActivationError: ``code``.
    """
    if memory_bytes > memory_limit(manifest):
        message = (
            f"{manifest.model_version}: expected a worker of about {manifest.requires.memory_bytes} bytes "
            f"(at most {MEMORY_SLACK:g} times as much), as its manifest says, came {memory_bytes}"
        )
        raise ActivationError(code, message)


def _failing(seen: Watch, policy: ProbationPolicy, *, over: bool) -> Iterable[str]:
    if policy.max_error_rate is None:
        return
    least = 1 if over else min(policy.min_requests or LEAST_JUDGED, LEAST_JUDGED)
    if seen.failures > policy.max_error_rate * max(seen.requests, least):
        yield (
            f"expected an error rate of at most {policy.max_error_rate:g}, came {seen.failures} failures, "
            f"workers' deaths among them: {seen.trouble}"
        )


def _drifted(model: str, seen: Watch, policy: ProbationPolicy) -> Iterable[str]:
    """Compare with the version before, as soon as both answered often enough."""
    now, before = seen.of(model), seen.before.get(model)
    if before is None:
        return
    if min(now.took_ms.count, before.took_ms.count) >= LEAST_JUDGED:
        took = ratio(now.took_ms.median, before.took_ms.median)
        yield from _above(f"{model}'s latency ratio", took, policy.max_latency_ratio)
    if min(now.judged, before.judged) >= LEAST_JUDGED and now.ng_share is not None and before.ng_share is not None:
        change = abs(now.ng_share - before.ng_share)
        what = f"change of {model}'s share of NG (before {before.ng_share:.3g}, now {now.ng_share:.3g})"
        yield from _above(what, change, policy.max_verdict_rate_change)


def _below(what: str, value: float | None, least: float | None) -> list[str]:
    fails = value is not None and least is not None and value < least
    return [f"expected {what} of at least {least:g}, came {value:.3g}"] if fails else []


def _above(what: str, value: float | None, most: float | None) -> list[str]:
    fails = value is not None and most is not None and value > most
    return [f"expected {what} of at most {most:g}, came {value:.3g}"] if fails else []


def _regressed(model: str, compared: Compared, complaints: Sequence[str]) -> ActivationError:
    figures: Mapping[str, float] = _known_figures(compared)
    told = ", ".join(f"{name} {value:.3g}" for name, value in figures.items()) or "nothing was compared"
    message = f"{model} in {compared.compared} requests: {'; '.join(complaints)} ({told})"
    return ActivationError(Code.SHADOW_REGRESSION, message)
