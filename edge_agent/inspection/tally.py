"""What is counted of inspections: verdicts, scores in bins, latencies. Pure.

Tallies are added to each other, so that what is counted in memory and what is on the disk make one whole.
"""

import math
from collections import Counter
from collections.abc import Mapping

from edge_agent.formats import Counts, InspectedFrame, LatencyPoint, ModelResult, ScoreHistogram, Verdict

BINS = 20
LATENCY_SLOT_S = 300
LIMIT_SCORES = 64
"""Applications with their models of which scores are counted."""

# A latency is told within 4.5 %: sixteen buckets double it.
_PER_OCTAVE = 16
_LARGEST = 480

Scores = tuple[str, str]
"""Application and model."""


class Tally:
    """Some inspections, counted; not for several threads at a time."""

    def __init__(self) -> None:
        self.verdicts: Counter[Verdict] = Counter()
        self.scores: dict[Scores, Counter[int]] = {}
        self.thresholds: dict[Scores, float] = {}
        self.latency: dict[int, Counter[int]] = {}

    def __bool__(self) -> bool:
        return bool(self.verdicts)

    def add(self, frame: InspectedFrame) -> None:
        """Count one inspection."""
        self.verdicts[frame.verdict] += 1
        slot = int(frame.at // LATENCY_SLOT_S) * LATENCY_SLOT_S
        self.latency.setdefault(slot, Counter())[bucket(frame.milliseconds)] += 1
        for result in frame.results:
            self._add_score(result)

    def merge(self, other: "Tally") -> None:
        """Add what another one counted later."""
        self.verdicts.update(other.verdicts)
        for slot, buckets in other.latency.items():
            self.latency.setdefault(slot, Counter()).update(buckets)
        for key, bins in other.scores.items():
            if self._has_room(key):
                self.scores.setdefault(key, Counter()).update(bins)
                self.thresholds[key] = other.thresholds[key]

    def _add_score(self, result: ModelResult) -> None:
        key = (result.application, result.model)
        if result.skipped or result.verdict is Verdict.NO_RESULT or not math.isfinite(result.score):
            return
        if self._has_room(key):
            self.scores.setdefault(key, Counter())[score_bin(result.score)] += 1
            self.thresholds[key] = result.threshold

    def _has_room(self, key: Scores) -> bool:
        return key in self.scores or len(self.scores) < LIMIT_SCORES


def counts_of(verdicts: Mapping[Verdict, int]) -> Counts:
    """Return counts as they are told."""
    of = {verdict: verdicts.get(verdict, 0) for verdict in Verdict}
    return Counts(ok=of[Verdict.OK], ng=of[Verdict.NG], no_result=of[Verdict.NO_RESULT])


def histograms_of(tally: Tally) -> tuple[ScoreHistogram, ...]:
    """Return the scores as they are told."""
    return tuple(
        ScoreHistogram(
            application=application,
            model=model,
            threshold=tally.thresholds[application, model],
            bins=tuple(bins[number] for number in range(BINS)),
        )
        for (application, model), bins in sorted(tally.scores.items())
    )


def points_of(tally: Tally) -> tuple[LatencyPoint, ...]:
    """Return the latencies as they are told, in the order of time."""
    return tuple(
        LatencyPoint(
            at=slot, p50_ms=percentile(buckets, 0.5), p95_ms=percentile(buckets, 0.95), count=sum(buckets.values())
        )
        for slot, buckets in sorted(tally.latency.items())
    )


def score_bin(score: float) -> int:
    """Return the bin of a score, of ``BINS`` equal ones over 0 to 1."""
    return min(max(int(score * BINS), 0), BINS - 1)


def bucket(milliseconds: float) -> int:
    """Return the bucket of a latency: microseconds on a logarithmic scale."""
    return min(max(round(math.log2(max(milliseconds * 1000, 1.0)) * _PER_OCTAVE), 0), _LARGEST)


def percentile(buckets: Mapping[int, int], share: float) -> float:
    """Return the latency, in milliseconds, that ``share`` of all do not exceed."""
    wanted, seen = share * sum(buckets.values()), 0
    for number in sorted(buckets):
        seen += buckets[number]
        if seen >= wanted:
            return float(2.0 ** (number / _PER_OCTAVE) / 1000)
    return 0.0
