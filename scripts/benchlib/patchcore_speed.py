"""``python -m scripts.benchlib.patchcore_speed``: how long it learns, and what its bank costs beside the trunk."""

import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cloud_tools.datasets import Sample, Split
from cloud_tools.evaluation.device import DeviceModel
from cloud_tools.export.graph import export_graph
from cloud_tools.training.anomaly.patchcore import train
from cloud_tools.training.anomaly.patches import Patches
from cloud_tools.training.batches import Loaded
from cloud_tools.training.lesson import Lesson

_PICTURES, _HELD, _SIDE, _DEPTH = 200, 16, 256, 10
_ROUNDS = 5


class _TrunkAlone(nn.Module):
    """The trunk that PatchCore scores, with outputs that cost nothing."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        levels = self.trunk(image)
        return torch.stack([level.amax((1, 2, 3)) for level in levels]).amax(0), levels[0].amax(1)


def patchcore_speed() -> dict[str, Any]:
    """Return seconds of learning, and milliseconds of the exported graph beside those of its trunk alone.

    Both graphs run by turns in one process, so that load falls on both; the ratio is the
    median over rounds.
    """
    pictures = _pictures(_PICTURES + _HELD)
    lesson = Lesson(
        _loaded(pictures[:_PICTURES], Split.TRAIN), _loaded(pictures[_PICTURES:], Split.VALIDATION),
        ("good",), ("good",), _DEPTH, 0, 0, lambda _line: None,
    )  # fmt: skip
    started = time.monotonic()
    network = train(lesson)
    learnt = time.monotonic() - started
    with tempfile.TemporaryDirectory(prefix="bench-patchcore-") as work:
        alone = _TrunkAlone(Patches(_DEPTH, levels=len(network.patches.trunk.taps)).trunk.eval())
        whole_model, trunk_model = (_exported(net, Path(work) / name) for net, name in ((network, "w"), (alone, "t")))
        turns = [
            (whole_model.latency_ms(pictures)["p50"], trunk_model.latency_ms(pictures)["p50"]) for _ in range(_ROUNDS)
        ]
    return {
        "patchcore_fit_s_200": round(learnt, 1),
        "patchcore_ms": median(whole for whole, _ in turns),
        "trunk_ms": median(trunk for _, trunk in turns),
        "patchcore_over_trunk": round(median(whole / trunk for whole, trunk in turns), 3),
    }


def _exported(network: nn.Module, target: Path) -> DeviceModel:
    export_graph(network, target, width=_SIDE, height=_SIDE, outputs=("score", "map"))
    return DeviceModel(target)


def _pictures(count: int) -> NDArray[np.uint8]:
    """Return coarse noise: what a picture shows does not change how long it takes."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (count, _SIDE // 4, _SIDE // 4, 3), np.uint8)
    return np.kron(small, np.ones((1, 4, 4, 1), np.uint8))


def _loaded(images: NDArray[np.uint8], split: Split) -> Loaded:
    samples = tuple(
        Sample(f"{i}", Path(), "good", anomalous=False, part=f"{i}", split=split) for i in range(len(images))
    )
    return Loaded(samples, images, np.zeros((0, 0, 0), np.uint8), ())


if __name__ == "__main__":
    print(json.dumps(patchcore_speed()))
