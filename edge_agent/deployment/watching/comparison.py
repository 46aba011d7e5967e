"""How far a candidate's answer lies from the live version's, for the same request. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.deployment.watching.watches import Answers, Compared
from edge_agent.formats import Manifest, Verdict
from edge_agent.inference import Answered, Inspected

_HALF = 128


class Comparison(NamedTuple):
    """One request, answered by both."""

    agreed: bool
    """The same verdict and label; of tensors without a score: the same names and shapes."""
    score_distance: float | None
    """Of calibrated scores, 0..1; None where a model answers none."""
    overlap: int
    union: int
    """Defective pixels of both masks, and of either."""
    live_ms: float
    candidate_ms: float


def compare_pictures(live: Inspected, candidate: Inspected) -> Comparison:
    """Compare what both say of one picture."""
    ours, theirs = live.outcome, candidate.outcome
    overlap, union = _overlap(live, candidate)
    return Comparison(
        agreed=(ours.verdict, ours.label) == (theirs.verdict, theirs.label),
        score_distance=abs(ours.score - theirs.score),
        overlap=overlap,
        union=union,
        live_ms=live.compute_ms,
        candidate_ms=candidate.compute_ms,
    )


class TensorAnswer(NamedTuple):
    """Outputs, the manifest that says what they mean, and how long they took, waiting included."""

    manifest: Manifest
    outputs: Mapping[str, NDArray[Any]]
    milliseconds: float


def compare_tensors(live: TensorAnswer, candidate: TensorAnswer) -> Comparison:
    """Compare the outputs of both for the same tensors, as far as manifests say what they mean."""
    same_form = _form(live.outputs) == _form(candidate.outputs)
    ours, theirs = _scores(live), _scores(candidate)
    distance = None
    if ours is not None and theirs is not None and len(ours) == len(theirs):
        distance = max((abs(a - b) for a, b in zip(ours, theirs, strict=True)), default=0.0)
        same = _verdicts(live.manifest, ours) == _verdicts(candidate.manifest, theirs)
        agreed = same and _labels(live) == _labels(candidate)
    else:
        agreed = same_form
    return Comparison(agreed, distance, 0, 0, live.milliseconds, candidate.milliseconds)


def grown(seen: Compared, comparisons: Iterable[Comparison], *, replayed: bool = False) -> Compared:
    """Return what was seen with some more comparisons."""
    more = list(comparisons)
    return seen.model_copy(
        update={
            "compared": seen.compared + len(more),
            "agreed": seen.agreed + sum(each.agreed for each in more),
            "replayed": seen.replayed + (len(more) if replayed else 0),
            "distances": seen.distances.plus(each.score_distance for each in more if each.score_distance is not None),
            "overlap": seen.overlap + sum(each.overlap for each in more),
            "union": seen.union + sum(each.union for each in more),
            "live_ms": seen.live_ms.plus(each.live_ms for each in more),
            "candidate_ms": seen.candidate_ms.plus(each.candidate_ms for each in more),
        }
    )


def failed(seen: Compared, trouble: str) -> Compared:
    """Return what was seen with a request that only the candidate could not answer."""
    return seen.model_copy(update={"failed": seen.failed + 1, "trouble": seen.trouble or trouble})


def answered_more(seen: Answers, more: Iterable[Answered]) -> Answers:
    """Return how a version answered, with some more requests; failed ones only count as such."""
    requests = list(more)
    answers = [each.answer for each in requests if each.error is None]
    verdicts = [answer.outcome.verdict for answer in answers if isinstance(answer, Inspected)]
    return Answers(
        requests=seen.requests + len(requests),
        judged=seen.judged + len(verdicts),
        ng=seen.ng + verdicts.count(Verdict.NG),
        took_ms=seen.took_ms.plus(took_ms(each) for each in requests if each.error is None),
    )


def took_ms(answered: Answered) -> float:
    """Return what the answer itself cost: of a picture the graph's time, of tensors all of it."""
    return answered.answer.compute_ms if isinstance(answered.answer, Inspected) else answered.milliseconds


def _overlap(live: Inspected, candidate: Inspected) -> tuple[int, int]:
    ours, theirs = _defective(live), _defective(candidate)
    if ours is None or theirs is None:
        return 0, 0
    return int(np.count_nonzero(ours & theirs)), int(np.count_nonzero(ours | theirs))


def _defective(inspected: Inspected) -> NDArray[np.bool_] | None:
    # Imported with the first mask: an agent without models does without the image library.
    from edge_agent.vision import decode, map_mask  # noqa: PLC0415

    if inspected.anomalies is not None:
        return map_mask(inspected.anomalies) >= _HALF
    if not inspected.mask_png:
        return None
    found: NDArray[np.bool_] = decode(inspected.mask_png)[..., 0] >= _HALF
    return found


def _form(outputs: Mapping[str, NDArray[Any]]) -> dict[str, tuple[int, ...]]:
    return {name: values.shape for name, values in outputs.items()}


def _scores(answer: TensorAnswer) -> list[float] | None:
    from edge_agent.vision import calibrate  # noqa: PLC0415 - as above

    raw = answer.outputs.get("score")
    if raw is None:
        return None
    return [calibrate(float(value), answer.manifest.decision.calibration) for value in raw.reshape(-1)]


def _verdicts(manifest: Manifest, scores: Iterable[float]) -> list[bool]:
    return [score >= manifest.decision.threshold for score in scores]


def _labels(answer: TensorAnswer) -> list[str]:
    probabilities, labels = answer.outputs.get("probabilities"), answer.manifest.labels
    if probabilities is None or not labels or probabilities.shape[-1] != len(labels):
        return []
    return [labels[int(best)] for best in np.argmax(probabilities.reshape(-1, len(labels)), axis=-1)]
