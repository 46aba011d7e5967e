"""What was counted of one loaded version, as Triton's clients read it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Spent(NamedTuple):
    """How often, and how long all together."""

    number: int = 0
    nanoseconds: int = 0


class BatchCounts(NamedTuple):
    """Executions of one batch size."""

    input: Spent = Spent()
    compute: Spent = Spent()
    output: Spent = Spent()


class ModelCounts(NamedTuple):
    """Requests to one version since the agent's start."""

    last_ms: int = 0
    """Epoch milliseconds of the last request; 0: there was none."""
    inferences: int = 0
    """Elements of batches that were answered."""
    executions: int = 0
    success: Spent = Spent()
    failure: Spent = Spent()
    queue: Spent = Spent()
    total: BatchCounts = BatchCounts()
    batches: Mapping[int, BatchCounts] = MappingProxyType({})
    """By batch size; of very many sizes only the first ones."""
