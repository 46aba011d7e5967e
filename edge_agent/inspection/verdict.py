"""From the verdicts of models to the verdict of a part. Pure."""

from collections.abc import Sequence
from typing import Literal

from edge_agent.formats import Verdict

Rule = Literal["any_ng", "all_ng"]


def form_verdict(verdicts: Sequence[Verdict], rule: Rule) -> Verdict:
    """Return what the line does with the part.

    On any doubt that could hide a defect the answer is NO_RESULT, never OK: no model asked,
    or one of them without a result. A defect that is certain stays one whatever the others say.

    Args:
        verdicts: of the models, in any order.
        rule: any_ng: a part is NG if any model says so; all_ng: only if all do.
    """
    if rule == "any_ng" and Verdict.NG in verdicts:
        return Verdict.NG
    if not verdicts or Verdict.NO_RESULT in verdicts:
        return Verdict.NO_RESULT
    return Verdict.NG if all(verdict is Verdict.NG for verdict in verdicts) else Verdict.OK
