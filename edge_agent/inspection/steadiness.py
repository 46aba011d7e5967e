"""Verdicts over consecutive frames of one source, for continuous material and video. Pure.

Hysteresis acts on each application: once it says NG, it goes on saying so until its score is below
the threshold by the margin. N of M acts on the verdict of the frame that comes of that. What the models
say themselves is never changed: the frame tells it beside the verdict.
"""

from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from edge_agent.formats import ModelResult, Verdict
from edge_agent.inspection.verdict import Combination, combine

LIMIT_SOURCES = 256

_NO_MARGINS: Mapping[str, float] = MappingProxyType({})


class Steadiness(NamedTuple):
    """How much of the past a verdict takes into account; by default none."""

    margins: Mapping[str, float] = _NO_MARGINS
    """By application: so far below the threshold its score must fall before it says OK again."""
    ng_frames: int = 1
    """A frame is NG only if so many of the last ``of_frames`` of its source are."""
    of_frames: int = 1
    forget_s: float = 10.0
    """A source that was silent for so long begins anew."""

    @property
    def is_on(self) -> bool:
        """Tell whether anything but the frame itself counts."""
        return bool(self.margins) or self.of_frames > 1

    def words(self) -> str:
        """Return it as a person reads it; empty: it is off."""
        margins = ", ".join(f"{application} by {margin:g}" for application, margin in self.margins.items())
        held = f"stays NG until the score falls below the threshold: {margins}" if margins else ""
        counted = f"only if {self.ng_frames} of the last {self.of_frames} frames of a source are" * (self.of_frames > 1)
        return "; ".join(words for words in (held, counted) if words)


class Judgement(NamedTuple):
    """A verdict, and why it is not that of the frame alone; empty: it is."""

    verdict: Verdict
    remark: str = ""


class _Source:
    """What is remembered of one source."""

    def __init__(self, of_frames: int) -> None:
        self.held: set[str] = set()
        self.frames: deque[Verdict] = deque(maxlen=of_frames)
        self.seen_at = 0.0


class History:
    """Judges frames with what came before them; not for several threads at a time.

    Sources are whatever callers name, so that only the last ``limit`` of them are remembered. A source
    that asks for other applications is another one, and who names no source is judged frame by frame.

    Args:
        combination: how verdicts of models make that of a frame.
        steadiness: how much of the past counts.
        limit: sources that are remembered.
    """

    def __init__(self, combination: Combination, steadiness: Steadiness, *, limit: int = LIMIT_SOURCES) -> None:
        self._combination = combination
        self._steadiness = steadiness
        self._limit = limit
        self._sources: OrderedDict[tuple[str, ...], _Source] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sources)

    def judge(self, source: str, results: Sequence[ModelResult], now: float) -> Judgement:
        """Return the verdict of a source's next frame.

        Args:
            source: who took the picture; empty: nobody knows.
            results: of all applications that were asked for.
            now: seconds of a clock that is never set back.
        """
        if not source:
            return Judgement(combine(results, self._combination))
        known = self._source((source, *(result.application for result in results)), now)
        held = hold(results, known.held, self._steadiness.margins)
        verdict = combine(held, self._combination)
        known.frames.append(verdict)
        counted = count(list(known.frames), self._steadiness.ng_frames, self._steadiness.of_frames)
        return Judgement(counted, _remark(combine(results, self._combination), verdict, counted, known.frames))

    def _source(self, key: tuple[str, ...], now: float) -> _Source:
        known = self._sources.pop(key, None)
        if known is None or now - known.seen_at > self._steadiness.forget_s:
            known = _Source(self._steadiness.of_frames)
        known.seen_at = now
        self._sources[key] = known
        while len(self._sources) > self._limit:
            self._sources.popitem(last=False)
        return known


def hold(results: Sequence[ModelResult], held: set[str], margins: Mapping[str, float]) -> list[ModelResult]:
    """Return the results with the verdicts that hysteresis makes of them.

    Args:
        results: as models gave them.
        held: applications that said NG last; changed to what they say now.
        margins: by application.
    """
    judged = []
    for result in results:
        margin = margins.get(result.application)
        if margin is None or result.skipped or result.verdict is Verdict.NO_RESULT:
            judged.append(result)
        elif result.verdict is Verdict.NG:
            held.add(result.application)
            judged.append(result)
        elif result.application in held and result.score >= result.threshold - margin:
            judged.append(result.model_copy(update={"verdict": Verdict.NG}))
        else:
            held.discard(result.application)
            judged.append(result)
    return judged


def count(frames: Sequence[Verdict], ng_frames: int, of_frames: int) -> Verdict:
    """Return what N of M makes of the last frames, the newest of them last.

    A frame without a result could have been NG, and so could those before the first where the source
    began with a defect: OK only if N could not be reached with them.

    Args:
        frames: 1 to ``of_frames`` verdicts.
        ng_frames: N, from 1 to ``of_frames``.
        of_frames: M.
    """
    defective, doubtful = frames.count(Verdict.NG), frames.count(Verdict.NO_RESULT)
    unseen = of_frames - len(frames) if defective else 0
    if defective >= ng_frames:
        return Verdict.NG
    if frames[-1] is Verdict.NO_RESULT or defective + doubtful + unseen >= ng_frames:
        return Verdict.NO_RESULT
    return Verdict.OK


def _remark(own: Verdict, held: Verdict, counted: Verdict, frames: Sequence[Verdict]) -> str:
    if own is counted:
        return ""
    if held is counted:
        return "NG by hysteresis: the score did not fall far enough below the threshold"
    seen = f"{frames.count(Verdict.NG)} of the last {len(frames)} frames of this source are NG"
    return f"{seen}, and too few others are known" if counted is Verdict.NO_RESULT else seen
