"""How a training tells what it does: one line at a time, to whoever asked."""

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[str], None]
