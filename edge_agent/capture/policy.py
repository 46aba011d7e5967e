"""Which inspections are captured. Pure."""

from typing import Literal

from edge_agent.formats import InspectedFrame, Verdict

Policy = Literal["none", "ng", "all"]


def wanted(policy: Policy, frame: InspectedFrame) -> bool:
    """Tell whether a frame is captured.

    A frame of which no model said anything is not: there is nothing to file it under,
    and a model that is away for a night would fill the spool.
    """
    if policy == "none" or not any(result.model and result.version for result in frame.results):
        return False
    return policy == "all" or frame.verdict is Verdict.NG


def urgent(verdict: Verdict) -> bool:
    """Tell whether a capture goes before others: defects are what people wait for."""
    return verdict is Verdict.NG
