"""The models that a picture passes, in the order of the mappings, and what one's answer means for the next.

A picture is decoded once: the first model's worker hands the decoded picture back, and
the next get that. Two applications that share a model share its answer. Where a chain is
configured, an application waits for another's answer and is skipped unless that says NG;
an answer that is missing skips nothing, as doubt is no reason to look less closely.
"""

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from edge_agent.errors import InferenceError
from edge_agent.formats import (
    AnomalyMap,
    Embedded,
    EncodedPicture,
    ModelResult,
    ModelVersion,
    Picture,
    RawPicture,
    Verdict,
)
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
        keep_map: bool = False,
    ) -> tuple[ModelVersion, Inspected]:
        """Return which version answered, and what it says.

        Raises:
            InferenceError: there is no answer.
        """

    def describe(self, name: str) -> str:
        """Return the kind of an active model; empty where there is none."""


class Step(NamedTuple):
    """One application and the model it is mapped to; no model: nothing is mapped."""

    application: str
    model: str | None
    after: str = ""
    """The application that must say NG for this one to be asked; empty: it always is."""


class ChainResult(NamedTuple):
    """What all models say."""

    results: tuple[ModelResult, ...]
    maps: Mapping[str, AnomalyMap]
    """What can be drawn, by application."""
    width: int
    height: int
    trouble: InferenceError | None
    """Why a model gave no answer, if one was asked and gave none; the last one's."""
    embedded: tuple[Embedded, ...] = ()
    """Where models that tell it find the picture among others, each version once."""


def steps_of(mappings: Mapping[str, str], applications: Sequence[str], chain: Mapping[str, str]) -> list[Step]:
    """Return the steps in the order of the mappings, each behind the one it waits for; unmapped ones come last.

    Args:
        mappings: applications and their models.
        applications: those that are asked for, each counted once; none: all that are mapped.
        chain: which application waits for which; it has no cycles. One that is not asked for is not waited for.
    """
    wanted = [*mappings] if not applications else [*dict.fromkeys(applications)]
    known = [application for application in mappings if application in wanted]
    ordered: list[str] = []
    for application in known:
        _place(application, known, chain, ordered)
    steps = [Step(name, mappings[name], chain[name] if chain.get(name) in known else "") for name in ordered]
    return steps + [Step(application, None) for application in wanted if application not in mappings]


def _place(application: str, known: Sequence[str], chain: Mapping[str, str], ordered: list[str]) -> None:
    if application in ordered:
        return
    before = chain.get(application, "")
    if before in known:
        _place(before, known, chain, ordered)
    ordered.append(application)


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
    asking = _Asking(models, picture, deadline, priority)
    for number, step in enumerate(steps):
        asking.take(step, is_last=number + 1 == len(steps))
    results = tuple(asking.results.values())
    return ChainResult(results, asking.maps, asking.width, asking.height, asking.trouble, tuple(asking.embedded))


class _Asking:
    """One picture on its way through the chain."""

    def __init__(self, models: Models, picture: Picture, deadline: float, priority: Priority) -> None:
        self._models = models
        self._picture = picture
        self._deadline = deadline
        self._priority = priority
        self._answers: dict[str, tuple[ModelResult, AnomalyMap | None]] = {}
        self.results: dict[str, ModelResult] = {}
        self.maps: dict[str, AnomalyMap] = {}
        self.width, self.height = (picture.width, picture.height) if isinstance(picture, RawPicture) else (0, 0)
        self.trouble: InferenceError | None = None
        self.embedded: list[Embedded] = []

    def take(self, step: Step, *, is_last: bool) -> None:
        """Ask the step's model, unless it was asked before, is none, or is not to be asked."""
        application, model = step.application, step.model
        reason = self._reason_to_skip(step)
        if model is None:
            self.results[application] = _none(application, "", f"no model is mapped to {application}")
        elif reason:
            skipped = _none(application, model, f"skipped: {reason}")
            self.results[application] = skipped.model_copy(update={"skipped": True})
        else:
            if model not in self._answers:
                keep = not is_last and isinstance(self._picture, EncodedPicture)
                self._answers[model] = self._ask(application, model, keep_decoded=keep)
            result, anomalies = self._answers[model]
            self.results[application] = result.model_copy(update={"application": application})
            if anomalies is not None:
                self.maps[application] = anomalies

    def _reason_to_skip(self, step: Step) -> str:
        before = self.results.get(step.after)
        if before is None:
            return ""
        if before.skipped:
            return f"{step.after} was skipped"
        return f"{step.after} says OK" if before.verdict is Verdict.OK else ""

    def _ask(self, application: str, model: str, *, keep_decoded: bool) -> tuple[ModelResult, AnomalyMap | None]:
        started = time.monotonic()
        try:
            version, inspected = self._models.inspect(
                model,
                self._picture,
                timeout_s=self._deadline - started,
                with_mask=False,
                priority=self._priority,
                keep_decoded=keep_decoded,
                keep_map=True,
            )
        except InferenceError as exc:
            # Anew: its traceback holds this frame, and so the caller's whole call until the collector finds them.
            self.trouble = InferenceError(exc.code, exc.message)
            return _none(application, model, str(exc), (time.monotonic() - started) * 1000), None
        self.width, self.height = inspected.width, inspected.height
        self._picture = inspected.decoded or self._picture
        if inspected.embedding:
            self.embedded.append(Embedded(version, inspected.embedding))
        kind = self._models.describe(version.name)
        result = _result(application, version, kind, inspected, (time.monotonic() - started) * 1000)
        return result, inspected.anomalies


def _result(
    application: str, version: ModelVersion, kind: str, inspected: Inspected, milliseconds: float
) -> ModelResult:
    outcome = inspected.outcome
    return ModelResult(
        application=application,
        model=version.name,
        version=version.version,
        kind=kind,
        verdict=outcome.verdict,
        score=outcome.score,
        threshold=outcome.threshold,
        label=outcome.label,
        area=outcome.area,
        milliseconds=milliseconds,
    )


def _none(application: str, model: str, message: str, milliseconds: float = 0.0) -> ModelResult:
    return ModelResult(
        application=application, model=model, verdict=Verdict.NO_RESULT, message=message, milliseconds=milliseconds
    )
