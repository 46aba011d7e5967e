"""From the verdicts of models to the verdict of a part. Pure."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

from edge_agent.formats import ModelResult, Verdict

Rule = Literal["any_ng", "all_ng", "weighted"]

_NO_WEIGHTS: Mapping[str, float] = MappingProxyType({})
# Sums of weights that a person takes for equal may differ in the last bits.
_EXACT = 1e-9
_WORDS = {"any_ng": "NG if any application says NG", "all_ng": "NG if all applications say NG"}


class Combination(NamedTuple):
    """How verdicts of models make that of a part."""

    rule: Rule = "any_ng"
    weights: Mapping[str, float] = _NO_WEIGHTS
    """For weighted, by application; one that is not named weighs 1."""
    ng_share: float = 0.5
    """For weighted: NG when applications with this share of all weights say so, over 0 to 1."""

    def words(self) -> str:
        """Return it as a person reads it."""
        if self.rule != "weighted":
            return _WORDS[self.rule]
        weights = ", ".join(f"{application} {weight:g}" for application, weight in self.weights.items())
        others = f" ({weights}, others 1)" if weights else ""
        return f"NG if applications with {self.ng_share:.0%} of the weight say NG{others}"


def form_verdict(verdicts: Sequence[Verdict], rule: Literal["any_ng", "all_ng"]) -> Verdict:
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


def form_weighted(verdicts: Sequence[tuple[Verdict, float]], ng_share: float) -> Verdict:
    """Return NG when models with ``ng_share`` of all weights say so; doubt is as for ``form_verdict``.

    Args:
        verdicts: of the models, each with its weight, over 0.
        ng_share: over 0, up to 1.
    """
    whole = sum(weight for _, weight in verdicts)
    defective = sum(weight for verdict, weight in verdicts if verdict is Verdict.NG)
    if verdicts and defective >= ng_share * whole - _EXACT * whole:
        return Verdict.NG
    if not verdicts or any(verdict is Verdict.NO_RESULT for verdict, _ in verdicts):
        return Verdict.NO_RESULT
    return Verdict.OK


def combine(results: Sequence[ModelResult], combination: Combination) -> Verdict:
    """Return the verdict of a part from what models say; what was skipped in a chain does not count."""
    asked = [result for result in results if not result.skipped]
    if combination.rule == "weighted":
        weighed = [(result.verdict, combination.weights.get(result.application, 1.0)) for result in asked]
        return form_weighted(weighed, combination.ng_share)
    return form_verdict([result.verdict for result in asked], combination.rule)
