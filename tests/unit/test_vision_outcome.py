"""Letterbox, scores, verdicts and masks."""

import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent import vision
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import Calibration, Kind, Manifest, Preprocess, Verdict
from edge_agent.vision import Placement

_SQUARE = Placement(0, 0, 32, 32, 32, 32)


def _manifest(kind: Kind, *, pixel_threshold: float = 0.5, size: tuple[int, int] = (32, 32)) -> Manifest:
    classes = kind is Kind.CLASSIFICATION
    outputs = [{"name": "score", "dtype": "float32", "shape": [-1]}]
    other = ("probabilities", [-1, 3]) if classes else ("map", [-1, *size])
    outputs.append({"name": other[0], "dtype": "float32", "shape": other[1]})
    digest = "0" * 64
    return Manifest.model_validate(
        {
            "schema": "edge-agent/manifest/1",
            "model": "m",
            "version": "1",
            "release_seq": 1,
            "kind": kind,
            "labels": ["good", "hole", "stain"] if classes else [],
            "normal_labels": ["good"] if classes else [],
            "runtime": {"name": "onnxruntime"},
            "inputs": [{"name": "image", "dtype": "uint8", "shape": [-1, *size, 3]}],
            "outputs": outputs,
            "preprocess": {"width": size[1], "height": size[0]},
            "decision": {"threshold": 0.4, "threshold_range": [0.2, 0.8], "pixel_threshold": pixel_threshold},
            "golden": {"samples": [{"image": "golden/0.png", "score": 0.5, "verdict": "NG"}]},
            "artefacts": [
                {"path": "model.onnx", "role": "model", "size_bytes": 1, "sha256": digest},
                {"path": "golden/0.png", "role": "golden", "size_bytes": 1, "sha256": digest},
            ],
        }
    )


def _score(share: float) -> NDArray[np.float32]:
    return np.array([vision.logit(share)], np.float32)


def _classes(score: float, probabilities: list[float]) -> dict[str, NDArray[Any]]:
    return {"score": _score(score), "probabilities": np.array([probabilities], np.float32)}


def _mask_outputs(inside: slice) -> dict[str, NDArray[Any]]:
    logits = np.full((1, 32, 32), -6, np.float32)
    logits[0, inside, inside] = 6
    return {"score": _score(0.9), "map": logits}


def test_a_wide_picture_lies_in_the_middle_and_is_padded_above_and_below() -> None:
    picture = np.full((10, 40, 3), 200, np.uint8)
    prepared, placement = vision.prepare(picture, Preprocess(width=32, height=32, fill=7))
    assert placement == Placement(0, 12, 32, 8, 40, 10)
    assert (prepared[:12] == 7).all()
    assert (prepared[12:20] == 200).all()
    assert (prepared[20:] == 7).all()


def test_without_letterbox_the_picture_is_stretched() -> None:
    picture = np.full((10, 40, 3), 200, np.uint8)
    prepared, placement = vision.prepare(picture, Preprocess(width=32, height=16, letterbox=False))
    assert prepared.shape == (16, 32, 3)
    assert (prepared == 200).all()
    assert placement == Placement(0, 0, 32, 16, 40, 10)


def test_shrinking_averages() -> None:
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    prepared, _ = vision.prepare(np.stack([board] * 3, axis=-1), Preprocess(width=32, height=32))
    assert np.abs(prepared.astype(int) - 127).max() <= 1


def test_a_picture_of_the_right_size_is_left_alone() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert (vision.prepare(picture, Preprocess(width=32, height=32))[0] == picture).all()


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (1, 1)])
def test_any_aspect_ratio_fits(size: tuple[int, int]) -> None:
    prepared, placement = vision.prepare(np.zeros((*size, 3), np.uint8), Preprocess(width=32, height=24))
    assert prepared.shape == (24, 32, 3)
    assert min(placement.width, placement.height) >= 1


@pytest.mark.parametrize("picture", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_other_arrays_are_refused(picture: NDArray[Any]) -> None:
    with pytest.raises(InferenceError, match="expected uint8"):
        vision.prepare(picture, Preprocess(width=32, height=32))


def test_a_score_is_calibrated_and_never_overflows() -> None:
    assert vision.calibrate(2.0, Calibration(scale=0.5, offset=-1)) == 0.5
    assert vision.calibrate(-1e30, Calibration()) < 1e-300
    assert vision.calibrate(1e30, Calibration()) == 1.0


@pytest.mark.parametrize("raw", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_our_fault(raw: float) -> None:
    with pytest.raises(InferenceError) as caught:
        vision.calibrate(raw, Calibration())
    assert caught.value.code is Code.INTERNAL


@pytest.mark.parametrize(("score", "verdict"), [(0.41, Verdict.NG), (0.39, Verdict.OK)])
def test_the_threshold_decides(score: float, verdict: Verdict) -> None:
    outcome = vision.form_outcome(_manifest(Kind.CLASSIFICATION), _classes(score, [0.5, 0.2, 0.3]), _SQUARE)
    assert outcome.verdict is verdict
    assert outcome.score == pytest.approx(score, abs=1e-6)
    assert outcome.mask is None


def test_a_score_at_the_threshold_is_ng() -> None:
    outputs = _classes(0.5, [1, 0, 0])
    assert vision.form_outcome(_manifest(Kind.CLASSIFICATION), outputs, _SQUARE, threshold=0.5).verdict is Verdict.NG


def test_the_label_agrees_with_the_verdict() -> None:
    manifest = _manifest(Kind.CLASSIFICATION)
    bad = vision.form_outcome(manifest, _classes(0.5, [0.5, 0.2, 0.3]), _SQUARE)
    good = vision.form_outcome(manifest, _classes(0.1, [0.1, 0.2, 0.7]), _SQUARE)
    assert (bad.label, good.label) == ("stain", "good")


@pytest.mark.parametrize("threshold", [0.1, 0.9, math.nan])
def test_a_threshold_outside_the_signed_range_is_refused(threshold: float) -> None:
    with pytest.raises(InferenceError, match=r"0\.2\.\.0\.8") as caught:
        vision.form_outcome(_manifest(Kind.CLASSIFICATION), _classes(0.5, [1, 0, 0]), _SQUARE, threshold=threshold)
    assert caught.value.code is Code.OUT_OF_RANGE


def test_a_mask_has_the_pictures_size_and_no_padding() -> None:
    placement = Placement(0, 12, 32, 8, 128, 32)
    outcome = vision.form_outcome(_manifest(Kind.SEGMENTATION), _mask_outputs(slice(12, 16)), placement)
    assert outcome.mask is not None
    assert outcome.mask.shape == (32, 128)
    assert set(np.unique(outcome.mask)) == {0, 255}
    assert outcome.area == pytest.approx(4 * 4 / (32 * 8))
    assert outcome.mask.mean() / 255 == pytest.approx(outcome.area, rel=0.2)
    assert outcome.mask[:14, 50:62].min() == 255
    assert outcome.label == "defect"


def test_a_mask_that_nobody_asked_for_is_not_drawn_but_measured() -> None:
    manifest, outputs = _manifest(Kind.SEGMENTATION), _mask_outputs(slice(0, 16))
    outcome = vision.form_outcome(manifest, outputs, _SQUARE, with_mask=False)
    assert outcome.mask is None
    assert outcome.area == 0.25


def test_a_map_smaller_than_the_input_is_enlarged() -> None:
    outputs = {"score": _score(0.9), "map": np.full((1, 8, 8), 6, np.float32)}
    outcome = vision.form_outcome(_manifest(Kind.ANOMALY), outputs, Placement(0, 8, 32, 16, 64, 32))
    assert outcome.mask is not None
    assert outcome.mask.shape == (32, 64)
    assert outcome.area == 1.0


@pytest.mark.parametrize(("pixel_threshold", "area"), [(0.0, 1.0), (1.0, 0.0), (0.9, 0.25)])
def test_the_pixel_threshold_is_of_the_map_after_the_sigmoid(pixel_threshold: float, area: float) -> None:
    manifest = _manifest(Kind.SEGMENTATION, pixel_threshold=pixel_threshold)
    assert vision.form_outcome(manifest, _mask_outputs(slice(0, 16)), _SQUARE).area == area


_BAD: list[Mapping[str, NDArray[Any]]] = [
    {},
    {"score": np.zeros(2, np.float32), "map": np.zeros((1, 32, 32), np.float32)},
    {"score": np.zeros((1, 1), np.float32), "map": np.zeros((1, 32, 32), np.float32)},
    {"score": np.array([np.nan], np.float32), "map": np.zeros((1, 32, 32), np.float32)},
    {"score": np.zeros(1, np.float32)},
    {"score": np.zeros(1, np.float32), "map": np.zeros((2, 32, 32), np.float32)},
    {"score": np.zeros(1, np.float32), "map": np.zeros((1, 0, 32), np.float32)},
    {"score": np.zeros(1, np.float32), "map": np.full((1, 32, 32), np.nan, np.float32)},
]


@pytest.mark.parametrize("outputs", _BAD)
def test_outputs_that_are_missing_misshapen_or_no_numbers_never_answer(outputs: Mapping[str, NDArray[Any]]) -> None:
    with pytest.raises(InferenceError, match="expected") as caught:
        vision.form_outcome(_manifest(Kind.SEGMENTATION), outputs, _SQUARE)
    assert caught.value.code is Code.INTERNAL


def test_probabilities_of_another_number_of_classes_never_answer() -> None:
    with pytest.raises(InferenceError, match=r"probabilities\[1, 3\], came \[1, 2\]"):
        vision.form_outcome(_manifest(Kind.CLASSIFICATION), _classes(0.5, [0.5, 0.5]), _SQUARE)


def test_softmax_sums_to_one_for_large_numbers() -> None:
    shares = vision.softmax(np.array([[1000, 1000, 0]], np.float32))
    assert shares.tolist() == [[0.5, 0.5, 0.0]]


def test_an_overlay_is_see_through_where_the_mask_is_empty() -> None:
    mask = np.zeros((16, 16), np.uint8)
    mask[4:12, 4:12] = 255
    drawn = cv2.imdecode(np.frombuffer(vision.overlay(mask, (10, 20, 30)), np.uint8), cv2.IMREAD_UNCHANGED)
    assert drawn is not None
    assert drawn[0, 0, 3] == 0
    assert drawn[8, 8].tolist()[:3] == [30, 20, 10]
    assert 0 < drawn[8, 8, 3] < drawn[4, 4, 3] == 255


def test_heat_runs_from_cold_to_hot() -> None:
    colours = vision.heat_colours(np.array([[0.0, 0.75]], np.float32))
    assert colours[0, 0, 2] > colours[0, 0, 0]
    assert colours[0, 1, 0] > colours[0, 1, 2]


@pytest.mark.parametrize("image", [np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4), np.float32)])
def test_what_is_no_picture_is_not_encoded(image: NDArray[Any]) -> None:
    with pytest.raises(InferenceError, match="expected uint8"):
        vision.encode_png(image)
