"""Perceptual hashes: which pictures a person would call the same."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.vision import RGB

_SIDE = 32
_KEPT = 8
_CELLS = 1 << 17
"""So many pairs are compared at a time: they stay in the processor's cache."""


class Close(NamedTuple):
    """Pairs of hashes that differ in few bits."""

    left: NDArray[np.intp]
    right: NDArray[np.intp]
    bits: NDArray[np.uint8]


def phash(picture: RGB) -> int:
    """Return a 64-bit hash: signs of the 8 x 8 lowest cosines of the 32 x 32 grey picture about their median."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    lowest = np.asarray(cv2.dct(small))[:_KEPT, :_KEPT].ravel()
    bits = lowest > np.median(lowest[1:])  # the first is the mean brightness
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def distances(left: Sequence[int], right: Sequence[int]) -> NDArray[np.uint8]:
    """Return the number of differing bits of every pair, [left, right]."""
    return _distances(np.array(left, np.uint64), np.array(right, np.uint64))


def close_pairs(left: Sequence[int], right: Sequence[int], at_most: int) -> Iterator[Close]:
    """Yield the pairs that differ in at most so many bits, in memory that does not grow with their number."""
    a, b = np.array(left, np.uint64), np.array(right, np.uint64)
    step = max(1, _CELLS // max(1, len(b)))
    for start in range(0, len(a), step):
        table = _distances(a[start : start + step], b)
        rows, columns = np.nonzero(table <= at_most)
        if len(rows):
            yield Close(rows + start, columns, table[rows, columns])


def _distances(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return the set bits of every exclusive or, added up in parallel within each word (numpy 1 cannot count them)."""
    bits = left[:, None] ^ right[None, :]
    other = (bits >> _word(1)) & _PAIRS
    bits -= other
    np.right_shift(bits, _word(2), out=other)
    other &= _FOURS
    bits &= _FOURS
    bits += other
    np.right_shift(bits, _word(4), out=other)
    bits += other
    bits &= _BYTES
    bits *= _SUM
    bits >>= _word(56)
    return bits.astype(np.uint8)


_word = np.uint64
_PAIRS, _FOURS, _BYTES = _word(0x5555555555555555), _word(0x3333333333333333), _word(0x0F0F0F0F0F0F0F0F)
_SUM = _word(0x0101010101010101)
