"""Drawings as the ``d`` of an SVG path, in a box of 100 x 100 with the origin at its upper left. Pure."""

from collections.abc import Sequence

WIDTH = HEIGHT = 100.0


def bars(counts: Sequence[int], first: int, last: int) -> str:
    """Return the bins from ``first`` up to before ``last`` as bars, the highest of all bins as high as the box."""
    top, width = max(counts, default=0), WIDTH / max(len(counts), 1)
    drawn = []
    for index in range(first, min(last, len(counts))):
        if counts[index]:
            # What was seen once must be seen.
            height = max(counts[index] / top * HEIGHT, 1.5)
            left, right = index * width + width * 0.06, (index + 1) * width - width * 0.06
            drawn.append(f"M{left:.2f} {HEIGHT:.0f}V{HEIGHT - height:.2f}H{right:.2f}V{HEIGHT:.0f}z")
    return "".join(drawn)


def line(points: Sequence[tuple[float, float]]) -> str:
    """Return points of 0..1 as a line; y grows upwards."""
    if len(points) == 1:
        points = [(0.0, points[0][1]), (1.0, points[0][1])]
    return "".join(
        f"{'L' if index else 'M'}{x * WIDTH:.2f} {(1 - y) * HEIGHT:.2f}" for index, (x, y) in enumerate(points)
    )


def band(upper: Sequence[tuple[float, float]], lower: Sequence[tuple[float, float]]) -> str:
    """Return the area between two lines over the same x."""
    if not upper:
        return ""
    return f"{line(upper)}{line([*reversed(lower)]).replace('M', 'L', 1)}z" if len(upper) > 1 else ""


def nice_top(value: float) -> float:
    """Return the next of 1, 2, 5, 10, 20, 50 … that is not below ``value``."""
    step = 1.0
    while step < value:
        step *= 2.5 if str(step)[0] == "2" else 2.0
    return step
