"""The sample line's models, executed as a device would."""

import csv
from pathlib import Path

import pytest

from cloud_tools.evaluation.device import DeviceModel
from cloud_tools.evaluation.metrics import confusion
from edge_agent.formats import Manifest, parse
from edge_agent.vision import Outcome, decode

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

_SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def _bundle(model: str, version: str) -> tuple[DeviceModel, Manifest, Path]:
    directory = _SAMPLES / "bundles" / model / version
    manifest = parse(Manifest, (directory / "manifest.json").read_bytes(), what="manifest")
    return DeviceModel(directory / manifest.model_artefact.path), manifest, directory


def _on_frames(model: str, version: str) -> list[Outcome]:
    device, manifest, _ = _bundle(model, version)
    frames = sorted((_SAMPLES / "frames").glob("*.jpg"))
    return [device.outcome(decode(frame.read_bytes()), manifest) for frame in frames]


def _truth() -> list[bool]:
    with (_SAMPLES / "frames" / "truth.csv").open() as file:
        return [row["label"] == "anomalous" for row in csv.DictReader(file)]


@pytest.mark.parametrize("model", ["img-classification", "unet"])
@pytest.mark.parametrize("version", ["1", "2"])
def test_the_models_find_the_defects_of_the_frames(model: str, version: str) -> None:
    outcomes = _on_frames(model, version)
    manifest = _bundle(model, version)[1]
    counts = confusion(_truth(), [o.score for o in outcomes], manifest.decision.threshold)
    assert counts.f1 >= 0.85
    drawn = [outcome.mask is not None for outcome in outcomes]
    assert set(drawn) == {model == "unet"}


@pytest.mark.parametrize("model", ["img-classification", "unet"])
def test_two_versions_can_be_told_apart_by_their_scores(model: str) -> None:
    first, second = ([o.score for o in _on_frames(model, version)] for version in ("1", "2"))
    assert sum(abs(a - b) > 1e-3 for a, b in zip(first, second, strict=True)) >= 20


@pytest.mark.parametrize("model", ["img-classification", "unet"])
@pytest.mark.parametrize("version", ["1", "2"])
def test_golden_samples_are_answered_as_the_manifest_says(model: str, version: str) -> None:
    device, manifest, directory = _bundle(model, version)
    for sample in manifest.golden.samples:
        outcome = device.outcome(decode((directory / sample.image).read_bytes()), manifest)
        assert outcome.score == pytest.approx(sample.score, abs=manifest.golden.tolerance)
        assert outcome.verdict.value == sample.verdict
