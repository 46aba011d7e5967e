"""The whole rule of a line, as its settings say it, for any number of callers at a time."""

import threading
import time
from collections.abc import Sequence

from edge_agent.config import Inspection
from edge_agent.formats import ModelResult
from edge_agent.inspection.steadiness import History, Judgement, Steadiness
from edge_agent.inspection.verdict import Combination, combine


class LineRule:
    """Judges frames.

    Args:
        combination: how verdicts of models make that of a frame.
        steadiness: how much of a source's past counts.
    """

    def __init__(self, combination: Combination, steadiness: Steadiness | None = None) -> None:
        self._combination = combination
        self._steadiness = steadiness or Steadiness()
        self._history = History(combination, self._steadiness)
        self._lock = threading.Lock()

    def judge(self, source: str, results: Sequence[ModelResult]) -> Judgement:
        """Return the verdict of a source's next frame."""
        if not self._steadiness.is_on:
            return self.judge_alone(results)
        with self._lock:
            return self._history.judge(source, results, time.monotonic())

    def judge_alone(self, results: Sequence[ModelResult]) -> Judgement:
        """Return the verdict of a frame by itself, which nothing remembers."""
        return Judgement(combine(results, self._combination))

    def words(self) -> str:
        """Return the rule as a person reads it."""
        return "; ".join(words for words in (self._combination.words(), self._steadiness.words()) if words)


def rule_of(settings: Inspection) -> LineRule:
    """Return the rule that the settings say."""
    ng_frames, of_frames = map(int, settings.ng_frames.split("/"))
    return LineRule(
        Combination(settings.rule, settings.weights, settings.ng_share),
        Steadiness(settings.hysteresis, ng_frames, of_frames, settings.forget_s),
    )
