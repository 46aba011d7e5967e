"""A station that looks when its PLC says so."""

from collections.abc import Callable

from edge_agent.formats import Verdict
from edge_agent.station.answer import Answer
from edge_agent.station.loop import Loop
from edge_agent.station.plc.exchange import Exchange
from edge_agent.station.plc.outcome import outcome_of

# How long the loop waits for a trigger before it looks whether it is to stop.
_TURN_S = 0.25
# A loop that is silent for longer beyond its deadline hangs.
SLACK_S = 2.0

_UNWANTED = "the PLC did not wait for the result any more"


def run_triggered(
    loop: Loop,
    exchange: Exchange,
    deadline_s: float,
    wait: Callable[[float], bool],
    tell: Callable[[Answer, float], None],
) -> None:
    """Answer triggers until told to stop.

    Args:
        loop: camera and agent.
        exchange: where triggers come from and results go.
        deadline_s: from the trigger to the result.
        wait: sleeps so many seconds at most; True ends the work.
        tell: hears each answer and when its trigger was accepted; NO RESULT where the PLC gave it up.
    """
    exchange.pulse.allow(_TURN_S + SLACK_S)
    while not wait(0.0):
        exchange.pulse.allow(_TURN_S + SLACK_S)
        order = exchange.next_order(_TURN_S)
        if order is None:
            continue
        exchange.pulse.allow(deadline_s + SLACK_S)
        answer = loop.look_now(order.at)
        wanted = exchange.finish(order, outcome_of(answer))
        tell(answer if wanted else answer._replace(verdict=Verdict.NO_RESULT, message=_UNWANTED), order.at)
    loop.close()
