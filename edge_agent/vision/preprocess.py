"""Letterbox and resize: a picture becomes the model's input."""

from typing import NamedTuple

import cv2
import numpy as np

from edge_agent.errors import Code, InferenceError
from edge_agent.formats import Preprocess
from edge_agent.vision.decode import RGB


class Placement(NamedTuple):
    """Where the picture lies in the model's input, in the input's pixels, and its own size."""

    left: int
    top: int
    width: int
    height: int
    source_width: int
    source_height: int


def place(source_width: int, source_height: int, rule: Preprocess) -> Placement:
    """Return where a picture of this size goes: centred, or stretched over all of the input."""
    if not rule.letterbox:
        return Placement(0, 0, rule.width, rule.height, source_width, source_height)
    scale = min(rule.width / source_width, rule.height / source_height)
    width = min(rule.width, max(1, round(source_width * scale)))
    height = min(rule.height, max(1, round(source_height * scale)))
    left, top = (rule.width - width) // 2, (rule.height - height) // 2
    return Placement(left, top, width, height, source_width, source_height)


def prepare(image: RGB, rule: Preprocess) -> tuple[RGB, Placement]:
    """Return the model's input, uint8 [rule.height, rule.width, 3], and where the picture lies in it.

    Raises:
        InferenceError: INVALID_ARGUMENT: the image is not uint8 [height, width, 3].
    """
    if image.dtype != np.uint8 or image.shape[2:] != (3,) or 0 in image.shape:
        came = f"{image.dtype}{list(image.shape)}"
        raise InferenceError(Code.INVALID_ARGUMENT, f"expected uint8[height, width, 3], came {came}")
    placement = place(image.shape[1], image.shape[0], rule)
    resized = _resize(image, placement.width, placement.height, rule)
    if resized.shape[:2] == (rule.height, rule.width):
        return resized, placement
    padded = np.full((rule.height, rule.width, 3), rule.fill, np.uint8)
    rows = slice(placement.top, placement.top + placement.height)
    columns = slice(placement.left, placement.left + placement.width)
    padded[rows, columns] = resized
    return padded, placement


def _resize(image: RGB, width: int, height: int, rule: Preprocess) -> RGB:
    if image.shape[:2] == (height, width):
        return np.ascontiguousarray(image)
    shrinks = width <= image.shape[1] and height <= image.shape[0]
    # INTER_AREA averages when it shrinks; to enlarge with it gives blocks.
    method = cv2.INTER_AREA if rule.interpolation == "area" and shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)
