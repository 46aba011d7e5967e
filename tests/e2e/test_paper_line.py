"""Real defects from training to the line: train, sign, deploy over the air, inspect, and compare every answer."""

from collections.abc import Iterator

import pytest

from cloud_tools.evaluation.bench import BenchModel
from cloud_tools.evaluation.metrics import PixelCounts
from cloud_tools.local import Endpoints
from edge_agent import vision
from edge_agent.formats import EncodedPicture, ModelResult, Verdict
from tests.fakes.cloud_operator import CloudOperator
from tests.fakes.device import AgentDevice

pytestmark = pytest.mark.timeout(900)

CLASSIFIER, SEGMENTER = "image-classification-app", "image-segmentation-app"


@pytest.fixture(scope="module")
def device(
    paper_models: tuple[BenchModel, BenchModel],
    local_cloud: Endpoints,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[AgentDevice]:
    """A device that got both models as a job, over MQTT and S3."""
    directory = tmp_path_factory.mktemp("device")
    operator = CloudOperator(local_cloud, tmp_path_factory.mktemp("operator"), "paper")
    config = operator.provision("paper-press", directory / "provisioned")
    device = AgentDevice(directory, {}, provisioned=config)
    device.start()
    operator.publish(*(model.bundle for model in paper_models))
    execution = operator.deploy("paper-press", ("img-classification", "1"), ("unet", "1"))
    assert execution["status"] == "SUCCEEDED"
    assert device.generation() == {"img-classification": "1", "unet": "1"}
    yield device
    assert device.stop() == 0


def answers(device: AgentDevice, model: BenchModel, application: str, *, with_mask: bool = False) -> list[ModelResult]:
    """Ask the agent through gRPC for every test picture."""
    with device.client() as client:
        return [
            client.inspect(
                EncodedPicture((model.data / prediction.file).read_bytes()),
                applications=[application],
                with_mask=with_mask,
                timeout_s=60,
            ).results[0]
            for prediction in model.test
        ]


@pytest.mark.parametrize(("number", "application"), [(0, CLASSIFIER), (1, SEGMENTER)])
def test_the_agent_says_what_the_training_said_of_every_test_picture(
    device: AgentDevice, paper_models: tuple[BenchModel, BenchModel], number: int, application: str
) -> None:
    model = paper_models[number]
    told = answers(device, model, application)
    assert len(told) == len(model.test) >= 32
    assert max(abs(a.score - p.score) for a, p in zip(told, model.test, strict=True)) <= 1e-4
    assert [a.verdict.value for a in told] == [p.verdict for p in model.test]


def test_defects_are_found_on_sheets_that_training_never_saw(
    device: AgentDevice, paper_models: tuple[BenchModel, BenchModel], capsys: pytest.CaptureFixture[str]
) -> None:
    classifier, unet = paper_models
    f1 = f1_of(answers(device, classifier, CLASSIFIER), classifier)
    iou = iou_of(answers(device, unet, SEGMENTER, with_mask=True), unet)
    with capsys.disabled():
        print(f"\npaper through the agent: F1 {f1:.3f}, IoU {iou:.3f}")  # noqa: T201 - figures for whoever reads the run
    assert f1 >= 0.90
    assert iou >= 0.40


def f1_of(told: list[ModelResult], model: BenchModel) -> float:
    """Computed here from verdicts and folder names, apart from the training's own figures."""
    judged = [(a.verdict is Verdict.NG, "anomalous/" in p.file) for a, p in zip(told, model.test, strict=True)]
    true_positives = sum(said and is_bad for said, is_bad in judged)
    wrong = sum(said != is_bad for said, is_bad in judged)
    return 2 * true_positives / (2 * true_positives + wrong)


def iou_of(told: list[ModelResult], model: BenchModel) -> float:
    """Pooled over all test pixels, from the masks that came over gRPC and the mask files."""
    counts = PixelCounts()
    for answer, prediction in zip(told, model.test, strict=True):
        drawn = vision.decode(answer.mask_png)[..., 0]
        truth = vision.decode((model.data / prediction.file.replace("images/", "masks/")).read_bytes())[..., 0]
        counts = counts.plus(truth > 127, drawn > 127)
    return counts.iou
