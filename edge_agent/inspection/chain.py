"""The models that a picture passes, in the order of the mappings.

A picture is decoded once: the first model's worker hands the decoded picture back, and
the next get that. Two applications that share a model share its answer.
"""

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from edge_agent.errors import InferenceError
from edge_agent.formats import EncodedPicture, ModelResult, ModelVersion, Picture, RawPicture, Verdict
from edge_agent.inference import Inspected, Priority


class Models(Protocol):
    """What answers by model name; ``inference.DataPlane`` does."""

    def inspect(
        self,
        name: str,
        picture: Picture,
        *,
        timeout_s: float,
        with_mask: bool,
        priority: Priority = Priority.LINE,
        keep_decoded: bool = False,
    ) -> tuple[ModelVersion, Inspected]:
        """Return which version answered, and what it says.

        Raises:
            InferenceError: there is no answer.
        """

    def describe(self, name: str) -> str:
        """Return the kind of an active model; empty where there is none."""


class Overheard:
    """The models, and what went wrong when they were asked last."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self.trouble: InferenceError | None = None

    def inspect(
        self,
        name: str,
        picture: Picture,
        *,
        timeout_s: float,
        with_mask: bool,
        priority: Priority = Priority.LINE,
        keep_decoded: bool = False,
    ) -> tuple[ModelVersion, Inspected]:
        """Return what they return, or note why they do not."""
        try:
            return self._models.inspect(
                name, picture, timeout_s=timeout_s, with_mask=with_mask, priority=priority, keep_decoded=keep_decoded
            )
        except InferenceError as exc:
            self.trouble = exc
            raise

    def describe(self, name: str) -> str:
        """Return what they return."""
        return self._models.describe(name)


class Step(NamedTuple):
    """One application and the model it is mapped to; no model: nothing is mapped."""

    application: str
    model: str | None


class ChainResult(NamedTuple):
    """What all models say."""

    results: tuple[ModelResult, ...]
    width: int
    height: int


def steps_of(mappings: Mapping[str, str], applications: Sequence[str]) -> list[Step]:
    """Return the steps in the order of the mappings; those nobody mapped come last, each once."""
    if not applications:
        return [Step(application, model) for application, model in mappings.items()]
    wanted = dict.fromkeys(applications)
    known = [Step(application, model) for application, model in mappings.items() if application in wanted]
    return known + [Step(application, None) for application in wanted if application not in mappings]


def run_chain(
    models: Models, steps: Sequence[Step], picture: Picture, *, deadline: float, priority: Priority
) -> ChainResult:
    """Ask every model of the chain; one without an answer does not keep the others from theirs.

    Args:
        models: what answers.
        steps: applications with their models.
        picture: as it came.
        deadline: of the whole chain, ``time.monotonic``.
        priority: who goes first when there is a queue.
    """
    results: list[ModelResult] = []
    answers: dict[str, ModelResult] = {}
    width, height = (picture.width, picture.height) if isinstance(picture, RawPicture) else (0, 0)
    for number, (application, model) in enumerate(steps):
        if model is None:
            results.append(_none(application, "", f"no model is mapped to {application}"))
            continue
        if model not in answers:
            keep = number + 1 < len(steps) and isinstance(picture, EncodedPicture)
            result, inspected = _ask(models, Step(application, model), picture, deadline, priority, keep_decoded=keep)
            answers[model] = result
            if inspected is not None:
                width, height = inspected.width, inspected.height
                picture = inspected.decoded or picture
        results.append(answers[model].model_copy(update={"application": application}))
    return ChainResult(tuple(results), width, height)


def _ask(
    models: Models, step: Step, picture: Picture, deadline: float, priority: Priority, *, keep_decoded: bool
) -> tuple[ModelResult, Inspected | None]:
    name = step.model or ""
    started = time.monotonic()
    try:
        version, inspected = models.inspect(
            name, picture, timeout_s=deadline - started, with_mask=True, priority=priority, keep_decoded=keep_decoded
        )
    except InferenceError as exc:
        return _none(step.application, name, str(exc), (time.monotonic() - started) * 1000), None
    outcome = inspected.outcome
    result = ModelResult(
        application=step.application,
        model=version.name,
        version=version.version,
        kind=models.describe(version.name),
        verdict=outcome.verdict,
        score=outcome.score,
        threshold=outcome.threshold,
        label=outcome.label,
        mask_png=inspected.mask_png,
        area=outcome.area,
        milliseconds=(time.monotonic() - started) * 1000,
    )
    return result, inspected


def _none(application: str, model: str, message: str, milliseconds: float = 0.0) -> ModelResult:
    return ModelResult(
        application=application, model=model, verdict=Verdict.NO_RESULT, message=message, milliseconds=milliseconds
    )
