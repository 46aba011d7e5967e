"""When a device connects, so that a fleet that lost its broker or its power does not come back all at once.

Pure: time and randomness arrive as arguments. ``scripts/bench delivery`` simulates a fleet with these figures.
"""

from typing import Final, NamedTuple

# A machine that was up for longer did not come back together with its site.
FRESH_S: Final = 600.0


class Policy(NamedTuple):
    """Bounds of the waits between tries to connect, in seconds.

    The MQTT library draws the wait after the n-th failure in a row (0, 1, …) evenly from 0 to
    ``least_s`` times 2 to the n, and cuts what is longer than ``most_s``.
    """

    least_s: float
    most_s: float


def policy(longest_s: float) -> Policy:
    """Return the policy whose longest wait is ``longest_s``.

    Already the first wait is drawn from half of that: with the usual second, a broker that only
    restarted would have its whole fleet back at once.
    """
    return Policy(longest_s / 2, longest_s)


def first_wait_s(longest_s: float, uptime_s: float, draw: float) -> float:
    """Return how long the very first try waits.

    Args:
        longest_s: as in the settings.
        uptime_s: how long ago this machine was started.
        draw: a random number from 0 up to 1.
    """
    return policy(longest_s).least_s * draw if uptime_s < FRESH_S else 0.0
