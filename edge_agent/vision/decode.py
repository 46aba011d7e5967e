"""JPEG and PNG to RGB, by content; the header is read before anything is decoded.

A picture may come from anybody who can reach the socket, so its size is bounded
before the decoder allocates for it, and a file that ends early is an error: libjpeg
would fill the rest with grey, and a grey part has no scratches.
"""

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import Code, InferenceError

RGB: TypeAlias = NDArray[np.uint8]
"""[height, width, 3], red first."""

MAX_PIXELS = 4096 * 4096

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # frame headers; DHT, JPG and DAC lie among them
_MARKER = 0xFF
_LEAST_LENGTH = 2  # a segment's length counts its own two bytes
_IHDR_SIZE_ENDS = 24
_SOS = 0xDA
_EOI = b"\xff\xd9"


def decode(content: bytes, *, max_pixels: int = MAX_PIXELS) -> RGB:
    """Return a JPEG or PNG as RGB, 8 bit, turned as its EXIF says; alpha is dropped.

    Args:
        content: the file's bytes; the format is told by them, not by a name.
        max_pixels: width times height that the header may announce.

    Raises:
        InferenceError: INVALID_ARGUMENT: neither JPEG nor PNG, too large, cut off or damaged.
    """
    width, height = size_of(content)
    if width * height > max_pixels:
        raise _invalid(f"a picture of at most {max_pixels} pixels", f"{width} x {height}")
    if not _is_complete(content):
        raise _invalid("a complete picture", f"one that is cut off after {len(content)} bytes")
    try:
        bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as exc:
        raise _invalid("a picture", "one that cannot be decoded") from exc
    if bgr is None:
        raise _invalid("a picture", "one that cannot be decoded")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def from_raw(pixels: bytes | bytearray | memoryview, width: int, height: int) -> RGB:
    """Return raw RGB bytes (row by row, 3 bytes a pixel) as a picture, without a copy.

    Raises:
        InferenceError: INVALID_ARGUMENT: the bytes are not width * height * 3.
    """
    expected = width * height * 3
    size = memoryview(pixels).nbytes
    if min(width, height) < 1 or size != expected:
        raise _invalid(f"{width} x {height} x 3 = {expected} bytes", f"{size}")
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def size_of(content: bytes) -> tuple[int, int]:
    """Return width and height as the header of a JPEG or PNG announces them (before EXIF turns it).

    Raises:
        InferenceError: INVALID_ARGUMENT: neither JPEG nor PNG, or no size in the header.
    """
    if content.startswith(_PNG) and content[12:16] == b"IHDR" and len(content) >= _IHDR_SIZE_ENDS:
        width, height = int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    elif content.startswith(_JPEG):
        height, width = _jpeg_size(content)
    else:
        raise _invalid("a JPEG or PNG", f"{len(content)} bytes that begin with {content[:8].hex() or 'nothing'}")
    if min(width, height) < 1:
        raise _invalid("a picture with pixels", f"{width} x {height}")
    return width, height


def _jpeg_size(content: bytes) -> tuple[int, int]:
    """Return height and width from the first frame header (ITU-T T.81, B.2.2)."""
    for marker, at in _segments(content):
        if marker in _SOF:
            return int.from_bytes(content[at + 5 : at + 7], "big"), int.from_bytes(content[at + 7 : at + 9], "big")
    raise _invalid("a JPEG with a frame header", "one without")


def _segments(content: bytes) -> list[tuple[int, int]]:
    """Return marker and place of each segment up to the first scan."""
    found: list[tuple[int, int]] = []
    at = 2
    while at + 4 <= len(content) and content[at] == _MARKER:
        marker = content[at + 1]
        if marker == _MARKER:  # fill bytes may precede any marker
            at += 1
            continue
        found.append((marker, at))
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == _SOS or length < _LEAST_LENGTH:
            break
        at += 2 + length
    return found


def _is_complete(content: bytes) -> bool:
    """Tell whether the end marker is there; bytes behind it are left alone."""
    if content.startswith(_PNG):
        return content.rfind(b"IEND") > 0
    marker, at = _segments(content)[-1]
    # Behind the first scan's header 0xFF is stuffed, so this is no picture data and no thumbnail's.
    return marker == _SOS and content.find(_EOI, at) > 0


def _invalid(expected: str, came: str) -> InferenceError:
    return InferenceError(Code.INVALID_ARGUMENT, f"expected {expected}, came {came}")
