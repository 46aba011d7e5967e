"""A station that looks when its PLC says so."""

from collections.abc import Callable

from edge_agent.station.loop import Loop
from edge_agent.station.plc.exchange import Exchange
from edge_agent.station.plc.outcome import outcome_of

# How long the loop waits for a trigger before it looks whether it is to stop.
_TURN_S = 0.25
# A loop that is silent for longer beyond its deadline hangs.
SLACK_S = 2.0


def run_triggered(
    loop: Loop,
    exchange: Exchange,
    deadline_s: float,
    wait: Callable[[float], bool],
) -> None:
    """Answer triggers until told to stop.

    Args:
        loop: camera and agent.
        exchange: where triggers come from and results go.
        deadline_s: from the trigger to the result.
        wait: sleeps so many seconds at most; True ends the work.
    """
    exchange.pulse.allow(_TURN_S + SLACK_S)
    while not wait(0.0):
        exchange.pulse.allow(_TURN_S + SLACK_S)
        order = exchange.next_order(_TURN_S)
        if order is None:
            continue
        exchange.pulse.allow(deadline_s + SLACK_S)
        # Where nobody waits for it any more, the exchange has ended the order before.
        exchange.finish(order, outcome_of(loop.look_now(order.at)))
    loop.close()
