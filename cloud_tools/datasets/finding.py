"""What the hygiene gate says."""

from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

_SHOWN = 3


class Level(str, Enum):
    """What a finding means for a training."""

    WARN = "warn"
    BLOCK = "block"


class Finding(NamedTuple):
    """One thing that is wrong, with examples."""

    check: str
    level: Level
    message: str
    files: tuple[str, ...] = ()
    """The pictures that it concerns, where it concerns some."""

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {"check": self.check, "level": self.level.value, "message": self.message, "files": list(self.files)}


def some(items: Sequence[str]) -> str:
    """Return the first few for a message."""
    return ", ".join(items[:_SHOWN]) + (", …" if len(items) > _SHOWN else "")
