"""Which pixels of a mask mean a defect; publishers paint them in their own ways."""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_agent.vision import RGB

GREY = 127
"""Above this a mask's pixel is defective, where nothing else is said."""

Colour: TypeAlias = tuple[int, int, int]
"""Red, green, blue, 0..255."""


class Marks(NamedTuple):
    """How a mask is read."""

    above: int = GREY
    """A pixel is defective where its brightest channel is above this."""
    colours: tuple[Colour, ...] = ()
    """Where any are given, a pixel is defective if it has exactly one of these, and ``above`` says nothing."""

    def of(self, mask: RGB) -> NDArray[np.bool_]:
        """Return the defective pixels [height, width]."""
        if not self.colours:
            return np.asarray(mask.max(axis=-1) > self.above, np.bool_)
        found = np.zeros(mask.shape[:2], np.bool_)
        for colour in self.colours:
            found |= (mask == np.array(colour, np.uint8)).all(axis=-1)
        return found

    def unsure(self, mask: RGB) -> bool:
        """Tell whether a mask that should be black and white holds values between."""
        return not self.colours and self.above == GREY and bool(((mask > 0) & (mask < 255)).any())  # noqa: PLR2004 - white
