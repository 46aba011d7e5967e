"""Curves and histograms as the ``d`` of SVG paths, in a box of 0..100 with the origin at its upper left. Pure."""

from collections.abc import Sequence

from cloud_tools.evaluation.curves import Point

SIDE = 100.0
_GAP = 0.12
_LEAST = 2.0


def line(points: Sequence[Point]) -> str:
    """Return points of 0..1 as a line; y grows upwards."""
    placed = (f"{p.x * SIDE:.2f} {(1 - p.y) * SIDE:.2f}" for p in points)
    return "".join(f"{'L' if index else 'M'}{place}" for index, place in enumerate(placed))


def bars(counts: Sequence[int], highest: int, *, down: bool) -> str:
    """Return counts as bars from the middle line, up or down; ``highest`` reaches the edge.

    What was counted once can be seen.
    """
    width = SIDE / max(1, len(counts))
    middle = SIDE / 2
    drawn = []
    for index, count in enumerate(counts):
        if count:
            height = max(count / max(1, highest) * middle, _LEAST)
            left, right = (index + _GAP) * width, (index + 1 - _GAP) * width
            end = middle + height if down else middle - height
            drawn.append(f"M{left:.2f} {middle:.0f}V{end:.2f}H{right:.2f}V{middle:.0f}z")
    return "".join(drawn)
