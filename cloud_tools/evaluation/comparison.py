"""Two models on the same pictures: what a change of form cost and gained."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cloud_tools.evaluation.device import DeviceModel

_WARM_UPS, _RUNS = 5, 40
HIGHER_IS_BETTER = ("f1", "accuracy", "image_auroc", "iou", "pixel_auroc")


class Comparison(NamedTuple):
    """What a person wants to know of a model in another form."""

    before: dict[str, Any]
    """Metrics on validation."""
    after: dict[str, Any]
    largest_drop: float
    """Of any metric where higher is better."""
    dropped: str
    """Which one; empty: none fell."""
    max_difference: float
    """Of calibrated scores."""
    changed: tuple[str, ...]
    """Files whose verdict changed."""
    pictures: int
    size_bytes: tuple[int, int]
    latency_ms: tuple[float, float]
    """Medians, measured in turns."""

    def to_json(self) -> dict[str, Any]:
        """Return it for reports."""
        sizes, latencies = self.size_bytes, self.latency_ms
        return {
            "pictures": self.pictures,
            "before": self.before,
            "after": self.after,
            "largest_drop": self.largest_drop,
            "dropped": self.dropped,
            "max_score_difference": self.max_difference,
            "changed_verdicts": list(self.changed),
            "size_bytes": {"before": sizes[0], "after": sizes[1], "ratio": round(sizes[1] / sizes[0], 3)},
            "latency_ms": {
                "before": latencies[0],
                "after": latencies[1],
                "ratio": round(latencies[1] / latencies[0], 3),
            },
        }


def largest_drop(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, float]:
    """Return which metric fell the most, and by how much; nothing and 0 where none fell."""
    drops = {
        name: float(before[name]) - float(after[name])
        for name in HIGHER_IS_BETTER
        if before.get(name) is not None and after.get(name) is not None
    }
    worst = max(drops, key=lambda name: drops[name], default="")
    return (worst, drops[worst]) if worst and drops[worst] > 0 else ("", 0.0)


def changed_verdicts(files: Sequence[str], one: Sequence[float], other: Sequence[float], threshold: float) -> list[str]:
    """Return the files that one set of scores calls NG and the other does not."""
    pairs = zip(files, one, other, strict=True)
    return [file for file, a, b in pairs if (a >= threshold) != (b >= threshold)]


def latencies_in_turns(one: DeviceModel, other: DeviceModel, images: NDArray[np.uint8]) -> tuple[float, float]:
    """Return both medians in ms of single inferences, taken in turns: a busy machine is busy for both."""
    took: tuple[list[float], list[float]] = ([], [])
    for index in range(_WARM_UPS + _RUNS):
        image = images[index % len(images)][np.newaxis]
        for device, into in zip((one, other), took, strict=True):
            started = time.perf_counter()
            device.run(image)
            into.append((time.perf_counter() - started) * 1000)
    first, second = (round(float(np.median(times[_WARM_UPS:])), 3) for times in took)
    return first, second
