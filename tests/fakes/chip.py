"""Chips of digital outputs: one in memory, and a kernel that gives out lines to the real door."""

import threading
from collections.abc import Mapping
from typing import Any

from gpiod import LineSettings
from gpiod.line import Direction, Value
from typing_extensions import Self

from edge_agent.errors import Code, OutputError


class FakeChip:
    """A chip in memory; it can fail when opened or switched."""

    def __init__(self) -> None:
        self.levels: dict[int, bool] = {}
        self.history: list[dict[int, bool]] = []
        self.broken = False
        self.opened = False
        self._changed = threading.Condition()

    def open(self, levels: Mapping[int, bool]) -> Self:
        self.set(levels)
        self.opened = True
        return self

    def set(self, levels: Mapping[int, bool]) -> None:
        if self.broken:
            raise OutputError(Code.OUTPUT_FAILED, "expected a chip, it is gone")
        with self._changed:
            self.levels |= levels
            self.history.append(dict(levels))
            self._changed.notify_all()

    def saw(self, levels: Mapping[int, bool]) -> None:
        """Wait until it was switched so."""
        with self._changed:
            assert self._changed.wait_for(lambda: levels in self.history, 60)

    def close(self) -> None:
        self.opened = False


class FakeKernel:
    """What ``gpiod.request_lines`` talks to: lines of one chip, with their electrical levels."""

    def __init__(self) -> None:
        self.high: dict[int, bool] = {}
        self.consumer = ""
        self.held = False
        self.broken = False
        self._active_low: dict[int, bool] = {}

    def request_lines(self, path: str, *, consumer: str, config: Mapping[int, LineSettings]) -> "FakeKernel":
        if self.broken:
            raise OSError(16, "Device or resource busy")
        self.consumer, self.held = consumer, True
        for number, settings in config.items():
            assert settings.direction is Direction.OUTPUT
            self._active_low[number] = settings.active_low
        self.set_values({number: settings.output_value for number, settings in config.items()})
        return self

    def set_values(self, values: Mapping[Any, Value]) -> None:
        if self.broken:
            raise OSError(19, "No such device")
        for number, value in values.items():
            self.high[number] = (value is Value.ACTIVE) is not self._active_low[number]

    def release(self) -> None:
        self.held = False
