"""Our scorers against those of anomalib (the extra oracle) on the same features: pictures come in the same order."""

import warnings
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra train is not installed")


def _bring_torchvision() -> Any:
    """Import torchvision, which anomalib imports; return what must live as long as it does.

    Its wheel is built for CUDA. Beside a CPU build of torch its operators cannot be loaded; none
    is used here, but the import asks for two by name.
    """
    try:
        pytest.importorskip("torchvision", reason="the extra oracle is not installed (docs/evaluation.md)")
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        pytest.importorskip("torchvision")
        return library
    return None


_DECLARED = _bring_torchvision()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it imports all of its models, and some import what others will take away
    pytest.importorskip("anomalib.models", reason="the extra oracle is not installed (docs/evaluation.md)")

from anomalib.models.components import KCenterGreedy, MultiVariateGaussian  # noqa: E402 - after the skip
from anomalib.models.image.dfm.torch_model import DFMModel  # noqa: E402
from anomalib.models.image.padim.anomaly_map import AnomalyMapGenerator  # noqa: E402
from anomalib.models.image.patchcore.torch_model import PatchcoreModel  # noqa: E402
from scipy.stats import spearmanr  # noqa: E402

from cloud_tools.datasets import Split  # noqa: E402
from cloud_tools.datasets.texture import draw, photographs  # noqa: E402
from cloud_tools.training.anomaly.dfm import Dfm  # noqa: E402
from cloud_tools.training.anomaly.network import strangest  # noqa: E402
from cloud_tools.training.anomaly.padim import Padim  # noqa: E402
from cloud_tools.training.anomaly.patchcore import PatchCore  # noqa: E402
from cloud_tools.training.anomaly.patches import Patches  # noqa: E402

AGREEMENT = 0.99
_GOOD, _JUDGED, _SIDE, _DEPTH = 240, 40, 96, 4
_BANK, _BANKED = 200, 24
"""Patches of a memory bank, and the good pictures that they come from."""


@pytest.fixture(scope="module")
def features() -> tuple[Any, Any]:
    """Return features [N, h, w, D] of good pictures, and of good and defective ones to judge."""
    photos = photographs()
    good = [draw(photos, Split.TRAIN, 0, index, defective=False).picture for index in range(_GOOD)]
    judged = [draw(photos, Split.TEST, 0, index, defective=index % 2 == 0).picture for index in range(_JUDGED)]
    patches = Patches(_DEPTH).eval()
    return patches.learn(_small(good)), patches.of(_small(judged))


def _small(pictures: list[np.ndarray]) -> np.ndarray:
    start = (pictures[0].shape[0] - _SIDE) // 2
    return np.stack([picture[start : start + _SIDE, start : start + _SIDE] for picture in pictures])


class _Given(torch.nn.Module):  # type: ignore[misc]  # torch was imported by pytest
    """Stands where anomalib's backbone is: what comes in are features already."""

    def forward(self, features: Any) -> dict[str, Any]:
        return {"given": features}


def _kept(bank: Any) -> Any:
    """Return the patches [P, D] of a bank, which may hold them as factors of a product: -2 * patches, above squares."""
    return bank.weights[:-1].T / -2 if hasattr(bank, "weights") else bank.patches


def agreement(ours: Any, theirs: Any) -> float:
    return float(spearmanr(np.asarray(ours).ravel(), np.asarray(theirs).ravel()).statistic)


def test_patchcores_banks_rank_pictures_and_patches_as_anomalibs(
    features: tuple[Any, Any], record_property: Any
) -> None:
    good, judged = features[0][:_BANKED], features[1]
    ours = PatchCore((good.shape[-1],), _BANK)
    ours.learn(good, good[:4], 0)
    score, grid = ours(judged)
    theirs = PatchcoreModel(layers=["given"], backbone="resnet18", pre_trained=False).eval()
    theirs.feature_extractor, theirs.feature_pooler = _Given(), torch.nn.Identity()
    theirs.memory_bank = _kept(ours.banks[0])
    distances, _ = theirs.nearest_neighbors(judged.flatten(0, 2), n_neighbors=1)
    _compare(ours, score, grid, distances.reshape(grid.shape), record_property)
    # Told, not held to: anomalib takes the one greatest distance, re-weighted, and ours the greatest hundredth.
    own = theirs(judged.permute(0, 3, 1, 2).contiguous()).pred_score
    record_property("pictures, by anomalib's own score", agreement(score, own))


def test_a_coreset_covers_good_patches_as_closely_as_anomalibs(
    features: tuple[Any, Any], record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both start at a patch drawn by chance and keep other patches: what they are kept for is to be near to all."""
    good = features[0][:_BANKED]
    ours = PatchCore((good.shape[-1],), _BANK)
    ours.learn(good, good[:4], 0)
    rows = good.flatten(0, 2)
    torch.manual_seed(0)
    theirs = KCenterGreedy(rows, sampling_ratio=_BANK / len(rows)).sample_coreset()
    capsys.readouterr()  # its progress bar
    far = [float(torch.cdist(rows, bank).amin(1).mean()) for bank in (_kept(ours.banks[0]), theirs)]
    record_property("mean distance to the nearest, ours and theirs", far)
    assert far[0] <= 1.03 * far[1]


def test_padim_ranks_pictures_and_patches_as_anomalibs(features: tuple[Any, Any], record_property: Any) -> None:
    good, judged = features
    ours = Padim(channels=16)
    ours.learn(good, good, 0)
    score, grid = ours(judged)
    chosen = [each[..., ours.kept].permute(0, 3, 1, 2).contiguous() for each in (good, judged)]
    distances = AnomalyMapGenerator.compute_distance(chosen[1], MultiVariateGaussian().fit(chosen[0]))[:, 0]
    _compare(ours, score, grid, distances, record_property)


def _compare(ours: Any, score: Any, grid: Any, distances: Any, record_property: Any) -> None:
    """Hold scores [N] and grid [N, h, w] to distances [N, h, w], pooled to pictures as ours are."""
    for name, found in {
        "pictures": agreement(score, strangest(distances, ours.counted)),
        "patches": agreement(grid, distances),
    }.items():
        record_property(name, found)
        assert found >= AGREEMENT, name


def test_dfm_ranks_pictures_and_patches_as_anomalibs(features: tuple[Any, Any], record_property: Any) -> None:
    good, judged = features
    ours = Dfm()
    ours.learn(good, good[:8], 0)
    levels = {
        "pictures": (good.mean((1, 2)), judged.mean((1, 2)), ours.image),
        "patches": (good.flatten(0, 2), judged.flatten(0, 2), ours.patch),
    }
    for name, (learnt, asked, subspace) in levels.items():
        # Told the number: of 99 % of the variance anomalib keeps one component fewer than reach it.
        count = subspace.components.shape[1]
        theirs = DFMModel("resnet18", "layer1", pre_trained=False, n_comps=count)
        theirs.memory_bank = [learnt.clone()]
        theirs.fit()
        score, _ = theirs.score(asked, (*asked.shape, 1, 1))
        found = agreement(subspace(asked), score)
        record_property(name, found)
        assert found >= AGREEMENT, name
