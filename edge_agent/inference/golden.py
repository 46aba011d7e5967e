"""The golden samples: pictures whose answers were signed with the model."""

import statistics
import time
from pathlib import Path
from typing import NamedTuple

from edge_agent.errors import ActivationError, Code, InferenceError
from edge_agent.formats import EncodedPicture, GoldenSample
from edge_agent.inference.session import Inspected, Priority, Session

_TIMEOUT_S = 30.0
_LEAST_TIMINGS = 10


class GoldenReport(NamedTuple):
    """How a candidate did."""

    max_difference: float
    """The largest distance of a calibrated score from the signed one."""
    p50_ms: float
    memory_bytes: int
    samples: int


def try_golden(session: Session, directory: Path, *, timeout_s: float = _TIMEOUT_S) -> GoldenReport:
    """Let a loaded version answer its golden samples, and time it.

    Args:
        session: the candidate.
        directory: the installed version, which holds the samples' pictures.
        timeout_s: for one answer.

    Raises:
        ActivationError: GOLDEN_MISMATCH: a score lies outside the tolerance, a verdict differs,
            or the graph answers NaN or a wrong shape. LOAD_FAILED: its worker ended or hangs.
    """
    golden = session.manifest.golden
    difference = max(_try(session, directory, sample, golden.tolerance, timeout_s) for sample in golden.samples)
    rounds = -(-_LEAST_TIMINGS // len(golden.samples))
    timings = [_time(session, directory, sample, timeout_s) for sample in golden.samples for _ in range(rounds)]
    return GoldenReport(difference, statistics.median(timings), session.memory_bytes, len(golden.samples))


def _try(session: Session, directory: Path, sample: GoldenSample, tolerance: float, timeout_s: float) -> float:
    outcome = _ask(session, directory, sample, timeout_s).outcome
    difference = abs(outcome.score - sample.score)
    if difference > tolerance or outcome.verdict.value != sample.verdict:
        expected = f"{sample.verdict} with {sample.score:.6f} (within {tolerance:g})"
        message = f"{sample.image}: expected {expected}, came {outcome.verdict.value} with {outcome.score:.6f}"
        raise ActivationError(Code.GOLDEN_MISMATCH, message)
    return difference


def _time(session: Session, directory: Path, sample: GoldenSample, timeout_s: float) -> float:
    started = time.perf_counter()
    _ask(session, directory, sample, timeout_s)
    return (time.perf_counter() - started) * 1000


def _ask(session: Session, directory: Path, sample: GoldenSample, timeout_s: float) -> Inspected:
    try:
        picture = EncodedPicture((directory / sample.image).read_bytes())
        return session.inspect(picture, timeout_s=timeout_s, with_mask=False, priority=Priority.SHADOW)
    except OSError as exc:
        raise ActivationError(Code.LOAD_FAILED, f"{sample.image}: {exc.strerror}") from exc
    except InferenceError as exc:
        died = exc.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED)
        code = Code.LOAD_FAILED if died else Code.GOLDEN_MISMATCH
        raise ActivationError(code, f"{sample.image}: {exc.message}") from exc
