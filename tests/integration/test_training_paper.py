"""Real defect images: two paper types, a classifier and a U-Net, as a cloud operator would train them."""

import pytest

from cloud_tools.evaluation.bench import BenchModel
from cloud_tools.evaluation.device import DeviceModel, largest_difference
from cloud_tools.evaluation.metrics import PixelCounts
from edge_agent import vision
from edge_agent.formats import Verdict

pytest.importorskip("torch", reason="the extra train is not installed")

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def models(paper_models: tuple[BenchModel, BenchModel]) -> tuple[BenchModel, BenchModel]:
    return paper_models


def test_both_models_are_good_on_sheets_they_never_saw(models: tuple[BenchModel, BenchModel]) -> None:
    classifier, unet = models
    assert classifier.metrics["f1"] >= 0.90
    assert unet.metrics["iou"] >= 0.40


def test_both_trainings_take_minutes_not_hours(models: tuple[BenchModel, BenchModel]) -> None:
    assert 0 < sum(model.cpu_seconds for model in models) <= 600


def test_the_device_says_what_the_training_said_of_every_test_picture(models: tuple[BenchModel, BenchModel]) -> None:
    for model in models:
        device = DeviceModel(model.bundle / model.manifest.model_artefact.path)
        pictures = [vision.decode((model.data / p.file).read_bytes()) for p in model.test]
        outcomes = [device.outcome(picture, model.manifest, with_mask=False) for picture in pictures]
        assert len(model.test) >= 32
        assert largest_difference([p.score for p in model.test], [o.score for o in outcomes]) <= 1e-4
        assert [p.verdict for p in model.test] == [o.verdict for o in outcomes]


def test_the_masks_that_a_device_draws_have_the_overlap_that_the_report_tells(
    models: tuple[BenchModel, BenchModel],
) -> None:
    """The overlap is computed here from drawn masks and mask files, apart from the training's own code."""
    _, unet = models
    device = DeviceModel(unet.bundle / unet.manifest.model_artefact.path)
    counts = PixelCounts()
    for prediction in unet.test:
        picture = vision.decode((unet.data / prediction.file).read_bytes())
        drawn = device.outcome(picture, unet.manifest).mask
        assert drawn is not None
        truth = vision.decode((unet.data / prediction.file.replace("images/", "masks/")).read_bytes())[..., 0]
        counts = counts.plus(truth > 127, drawn > 127)
    assert counts.iou == pytest.approx(unet.metrics["iou"], abs=1e-3)
    assert counts.iou >= 0.40


def test_both_verdicts_are_among_the_golden_samples(models: tuple[BenchModel, BenchModel]) -> None:
    for model in models:
        verdicts = {sample.verdict for sample in model.manifest.golden.samples}
        assert verdicts == {Verdict.OK.value, Verdict.NG.value}
