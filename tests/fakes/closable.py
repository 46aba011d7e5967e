"""What is closed at the end of its block."""

from abc import ABC, abstractmethod
from types import TracebackType

from typing_extensions import Self


class Closable(ABC):
    """Something to be closed."""

    @abstractmethod
    def close(self) -> None:
        """Close it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
