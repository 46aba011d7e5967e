"""Types and shapes of a model's inputs and outputs."""

from enum import Enum
from math import prod

from pydantic import Field

from edge_agent.formats.document import Document


class DType(str, Enum):
    """Element types, named as numpy names them."""

    UINT8 = "uint8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"

    @property
    def size_bytes(self) -> int:
        """Return the size of one element."""
        return int("".join(filter(str.isdigit, self.value))) // 8


class TensorSpec(Document):
    """One tensor; -1 stands for a free dimension."""

    name: str = Field(min_length=1, max_length=256)
    dtype: DType
    shape: tuple[int, ...] = Field(max_length=8)

    def accepts(self, dtype: str, shape: tuple[int, ...]) -> bool:
        """Tell whether a tensor of this type and shape fits."""
        return (
            dtype == self.dtype.value
            and len(shape) == len(self.shape)
            and all(want in (-1, got) for want, got in zip(self.shape, shape, strict=True))
        )

    def size_bytes(self, batch: int = 1) -> int:
        """Return the bytes of one tensor, every free dimension being ``batch``."""
        return prod(batch if size == -1 else size for size in self.shape) * self.dtype.size_bytes

    def __str__(self) -> str:
        """Return it as messages and captures show it."""
        return f"{self.name} {self.dtype.value}{list(self.shape)}"
