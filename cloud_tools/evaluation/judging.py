"""Every picture of a data set, judged as a device with this manifest would; then the figures of those that judge."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cloud_tools.datasets import Sample, Split
from cloud_tools.errors import CloudError
from cloud_tools.evaluation.device import DeviceModel
from cloud_tools.evaluation.metrics import image_metrics
from cloud_tools.evaluation.pixels import PixelTally
from edge_agent import vision
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import AnomalyMap, Manifest, Verdict
from edge_agent.vision import RGB, logit

_WARM_UPS = 5


class Answer(NamedTuple):
    """What the device says of one picture."""

    sample: Sample
    score: float
    """Calibrated, 0..1."""
    verdict: Verdict
    latency_ms: float
    """Of the graph alone."""

    @property
    def wrong(self) -> bool:
        """Tell whether the verdict is not the truth."""
        return (self.verdict is Verdict.NG) != self.sample.anomalous


class Judgement(NamedTuple):
    """One model's answers and figures on one data set."""

    answers: tuple[Answer, ...]
    """Of all pictures that can be read."""
    split: Split
    """Whose pictures the figures are of: test, or validation where there is no test."""
    figures: dict[str, Any]
    unreadable: tuple[str, ...] = ()

    @property
    def judged(self) -> tuple[Answer, ...]:
        """Return the answers that the figures are of."""
        return tuple(answer for answer in self.answers if answer.sample.split is self.split)


Witness: TypeAlias = Callable[[Sample, RGB, AnomalyMap | None], None]
"""Is shown each picture with the model's map."""


class Judge:
    """One graph with its manifest, as a device has them.

    Args:
        model: the graph.
        manifest: with its preprocessing, calibration and thresholds.

    Raises:
        ActivationError: the runtime refuses the graph.
    """

    def __init__(self, model: Path, manifest: Manifest) -> None:
        self._device = DeviceModel(model, precision=manifest.runtime.precision)
        self._manifest = manifest
        self._limit = logit(manifest.decision.pixel_threshold)
        rule = manifest.preprocess
        for _ in range(_WARM_UPS):
            self._device.run(np.full((1, rule.height, rule.width, 3), rule.fill, np.uint8))

    def judge(self, samples: Sequence[Sample], witness: Witness) -> Judgement:
        """Return the answers on all samples, and the figures of the test pictures among them.

        Raises:
            CloudError: no picture can be read.
            InferenceError: the graph answers with something that is no answer.
        """
        split = Split.TEST if any(sample.split is Split.TEST for sample in samples) else Split.VALIDATION
        tally = PixelTally() if any(s.mask is not None for s in samples if s.split is split) else None
        answers, unreadable = [], []
        for sample in samples:
            try:
                picture = sample.picture()
                sample.truth(*picture.shape[:2])  # with a mask that cannot be read nobody knows what is right
            except InferenceError as exc:
                unreadable.append(f"{sample.file} ({exc.message})")
                continue
            answers.append(self._answer(sample, picture, tally if sample.split is split else None, witness))
        if not answers:
            raise CloudError(Code.INVALID_ARGUMENT, f"expected pictures, came {len(samples)} that cannot be read")
        judgement = Judgement(tuple(answers), split, {}, tuple(unreadable))
        return judgement._replace(figures=self._figures(judgement, tally))

    def _answer(self, sample: Sample, picture: RGB, tally: PixelTally | None, witness: Witness) -> Answer:
        image, placement = vision.prepare(picture, self._manifest.preprocess)
        started = time.perf_counter()
        outputs = self._device.run(image[np.newaxis])
        took = round((time.perf_counter() - started) * 1000, 3)
        outcome = vision.form_outcome(self._manifest, outputs, placement, with_mask=False)
        anomalies = vision.anomaly_map(self._manifest, outputs, placement)
        witness(sample, picture, anomalies)
        if tally is not None and anomalies is not None and sample.is_drawn():
            logits = vision.picture_logits(outputs["map"][0], placement, self._manifest.preprocess)
            tally.add(sample.truth(*logits.shape), logits, self._limit)
        return Answer(sample, outcome.score, outcome.verdict, took)

    def _figures(self, judgement: Judgement, tally: PixelTally | None) -> dict[str, Any]:
        judged = judgement.judged
        truth, scores = [a.sample.anomalous for a in judged], [a.score for a in judged]
        drawn = tally is not None and any(spec.name == "map" for spec in self._manifest.outputs)
        # A picture is the same work for a graph whatever its split: the more, the better the 99th percentile.
        p50, p99 = np.percentile([a.latency_ms for a in judgement.answers], [50, 99])
        return {
            **image_metrics(truth, scores, self._manifest.decision.threshold),
            **(tally.figures()._asdict() if tally is not None and drawn else {}),
            "latency_ms": round(float(p50), 2),
            "latency_p99_ms": round(float(p99), 2),
            "size_bytes": self._device.size_bytes,
        }


def shares(anomalies: AnomalyMap) -> NDArray[np.float32]:
    """Return a map [rows, columns] as 0..1, in the model's own resolution."""
    logits = np.frombuffer(anomalies.logits, np.float32).reshape(anomalies.rows, anomalies.columns)
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -60, 60))), np.float32)
