"""Perceptual hashes: which pictures a person would call the same."""

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.vision import RGB

_SIDE = 32
_KEPT = 8
_CHUNK = 512


def phash(picture: RGB) -> int:
    """Return a 64-bit hash: signs of the 8 x 8 lowest cosines of the 32 x 32 grey picture about their median."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    lowest = np.asarray(cv2.dct(small))[:_KEPT, :_KEPT].ravel()
    bits = lowest > np.median(lowest[1:])  # the first is the mean brightness
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def distances(left: list[int], right: list[int]) -> NDArray[np.uint8]:
    """Return the number of differing bits of every pair, [left, right]."""
    a, b = _words(left), _words(right)
    result = np.empty((len(a), len(b)), np.uint8)
    for start in range(0, len(a), _CHUNK):  # bounds the memory on large sets
        different = a[start : start + _CHUNK, None, :] ^ b[None, :, :]
        result[start : start + _CHUNK] = _BITS[different].sum(axis=-1, dtype=np.uint8)
    return result


def _words(hashes: list[int]) -> NDArray[np.uint8]:
    content = b"".join(value.to_bytes(8, "big") for value in hashes)
    return np.frombuffer(content, np.uint8).reshape(len(hashes), 8)


_BITS = np.array([value.bit_count() for value in range(256)], np.uint8)
