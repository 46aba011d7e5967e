"""A graph executed as the device executes it: ``vision`` around the device's own runtime room."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.formats import Decision, Manifest, TensorSpec
from edge_agent.inference.engines.source import Source
from edge_agent.inference.runtimes.table import Tuning, load_engine
from edge_agent.vision import RGB, Outcome, calibrate, form_outcome, prepare

_WARM_UPS = 5


RUNTIMES = {".onnx": "onnxruntime", ".xml": "openvino", ".meta": "dlr"}
"""What executes a model, by the ending of its file."""


class DeviceModel:
    """One model, loaded by the runtime that a device uses: ONNX, or OpenVINO's IR with its weights beside it.

    Args:
        path: of the graph.
        threads: inside one inference.
        precision: as the manifest pins it.

    Raises:
        ActivationError: LOAD_FAILED: the runtime refuses the file.
    """

    def __init__(self, path: Path, *, threads: int = 1, precision: str = "fp32") -> None:
        weights = path.with_suffix(".bin") if path.suffix == ".xml" else None
        second = b"" if weights is None else weights.read_bytes()
        source = Source(path.read_bytes(), path.parent, weights=second)
        self._engine = load_engine(RUNTIMES.get(path.suffix, "onnxruntime"), source, Tuning(threads, precision))
        self.size_bytes = path.stat().st_size + len(second)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Return the graph's inputs."""
        return self._engine.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Return the graph's outputs."""
        return self._engine.outputs

    def run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Return the outputs for images uint8 [N, H, W, 3].

        Raises:
            InferenceError: INTERNAL: the runtime failed.
        """
        return self._engine.run({self.inputs[0].name: images})

    def scores(self, images: NDArray[np.uint8], decision: Decision) -> list[float]:
        """Return the calibrated scores of images [N, H, W, 3], one inference each as on the line."""
        raw = (float(self.run(image[np.newaxis])["score"][0]) for image in images)
        return [calibrate(value, decision.calibration) for value in raw]

    def outcome(self, picture: RGB, manifest: Manifest, *, with_mask: bool = True) -> Outcome:
        """Return what a device with this manifest would say of a picture."""
        image, placement = prepare(picture, manifest.preprocess)
        return form_outcome(manifest, self.run(image[np.newaxis]), placement, with_mask=with_mask)

    def latency_ms(self, images: NDArray[np.uint8], *, runs: int = 40) -> dict[str, float]:
        """Return p50 and p99 of single inferences, after some to warm up."""
        took = []
        for index in range(_WARM_UPS + runs):
            image = images[index % len(images)][np.newaxis]
            started = time.perf_counter()
            self.run(image)
            took.append((time.perf_counter() - started) * 1000)
        p50, p99 = np.percentile(took[_WARM_UPS:], [50, 99])
        return {"p50": round(float(p50), 2), "p99": round(float(p99), 2)}


def largest_difference(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the greatest distance of paired scores; 0 for none."""
    return max((abs(a - b) for a, b in zip(one, other, strict=True)), default=0.0)
