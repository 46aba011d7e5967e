"""Pictures and masks to bytes that a browser shows."""

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import Code, InferenceError
from edge_agent.vision.decode import RGB

_RED = (230, 30, 30)
_OPACITY = 150
_NDIMS = (2, 3)  # a mask, a picture


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Return a mask [h, w] or a picture [h, w, 3] as PNG.

    Raises:
        InferenceError: INTERNAL: it has another shape or type.
    """
    return _encode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 3])


def encode_jpeg(image: RGB, quality: int = 90) -> bytes:
    """Return a picture [h, w, 3] or [h, w] as JPEG; quality 1..100.

    Raises:
        InferenceError: INTERNAL: it has another shape or type.
    """
    return _encode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])


def small_jpeg(image: RGB, side: int, quality: int = 80) -> bytes:
    """Return a picture [h, w, 3] as a JPEG whose longer side has at most ``side`` pixels; quality 1..100.

    Raises:
        InferenceError: INTERNAL: it has another shape or type.
    """
    _check(image, _NDIMS)
    height, width = image.shape[:2]
    share = side / max(height, width)
    if share < 1:
        size = (max(1, round(width * share)), max(1, round(height * share)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return encode_jpeg(image, quality)


def overlay(mask: NDArray[np.uint8], colour: tuple[int, int, int] = _RED) -> bytes:
    """Return a see-through PNG: ``colour`` where the mask is set, outlined, nothing elsewhere.

    Args:
        mask: [h, w], anything but 0 is defective.
        colour: red, green, blue.

    Raises:
        InferenceError: INTERNAL: the mask has another shape or type.
    """
    _check(mask, (2,))
    set_ = (mask > 0).astype(np.uint8)
    outline = set_ - cv2.erode(set_, np.ones((3, 3), np.uint8), borderValue=0)
    canvas = np.zeros((*mask.shape, 4), np.uint8)
    canvas[..., :3] = colour[::-1]  # cv2 writes blue first
    canvas[..., 3] = np.maximum(set_ * np.uint8(_OPACITY), outline * np.uint8(255))
    return cv2.imencode(".png", canvas, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1].tobytes()


def heat_colours(shares: NDArray[np.float32]) -> RGB:
    """Return 0..1 per pixel [h, w] as colours [h, w, 3] from dark blue to red."""
    grey = np.asarray(np.clip(shares, 0, 1) * 255, np.uint8)
    bgr = cv2.applyColorMap(grey, cv2.COLORMAP_TURBO)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _encode(suffix: str, image: NDArray[np.uint8], options: list[int]) -> bytes:
    _check(image, _NDIMS)
    ordered = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim > min(_NDIMS) else image
    done, encoded = cv2.imencode(suffix, ordered, options)
    if not done:
        raise InferenceError(Code.INTERNAL, f"expected a picture that {suffix} can hold, came {list(image.shape)}")
    return encoded.tobytes()


def _check(image: NDArray[np.uint8], ndims: tuple[int, ...]) -> None:
    fits = image.ndim in ndims and image.shape[2:] in ((), (3,))
    if image.dtype != np.uint8 or not fits or image.size == 0:
        came = f"{image.dtype}{list(image.shape)}"
        raise InferenceError(Code.INTERNAL, f"expected uint8[height, width] or [height, width, 3], came {came}")
