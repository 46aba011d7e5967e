"""The door of gpiod: output lines of one chip. The kernel lets them go when the process dies, whatever way."""

from collections.abc import Iterable, Mapping

import gpiod
from gpiod.line import Direction, Value

from edge_agent.errors import Code, OutputError


class GpioChip:
    """Lines of a GPIO character device.

    Args:
        path: as /dev/gpiochip0.
        levels: lines, and whether each is on from the first moment.
        active_low: on means a low level.

    Raises:
        OutputError: there is no such chip or line, it is in use, or we may not.
    """

    def __init__(self, path: str, levels: Mapping[int, bool], *, active_low: bool = False) -> None:
        settings: dict[Iterable[int | str] | int | str, gpiod.LineSettings | None] = {
            number: gpiod.LineSettings(direction=Direction.OUTPUT, active_low=active_low, output_value=_value(level))
            for number, level in levels.items()
        }
        try:
            self._request = gpiod.request_lines(path, consumer="edge-agent", config=settings)
        except (OSError, ValueError) as exc:
            raise OutputError(Code.OUTPUT_FAILED, f"{path}: expected the lines {sorted(levels)}, {exc}") from exc

    def set(self, levels: Mapping[int, bool]) -> None:
        """Switch lines on and off, all at once.

        Raises:
            OutputError: the chip does not take it.
        """
        try:
            self._request.set_values({number: _value(level) for number, level in levels.items()})
        except (OSError, ValueError, gpiod.RequestReleasedError) as exc:
            raise OutputError(Code.OUTPUT_FAILED, f"expected the chip to switch {dict(levels)}, {exc}") from exc

    def close(self) -> None:
        """Let the lines go."""
        self._request.release()


def _value(level: bool) -> Value:
    return Value.ACTIVE if level else Value.INACTIVE
