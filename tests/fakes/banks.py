"""Memory banks for tests."""

import numpy as np
from numpy.typing import NDArray

from edge_agent.formats.bank import Bank, BankPart


def rows_of(count: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    """Return [count, width], each row of length 1, around a direction that all share."""
    rows = np.random.default_rng(seed).normal(1.0, 0.3, (count, width))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def bank_of(count: int, *, width: int = 4, thumbnails: tuple[bytes, ...] = ()) -> Bank:
    """Return a bank of good parts."""
    parts = tuple(BankPart(file=f"train/good/{index}.png", label="good") for index in range(count))
    distances = np.linspace(0.01, 0.1, 20, dtype=np.float32)
    return Bank(rows_of(count, width), parts, thumbnails or (b"",) * count, distances)
