"""Which output is on at which moment: a stack light and a reject gate, from verdicts and the clock. Pure.

Light: exactly one of OK, NG and NO RESULT. Without a verdict, or after silence, NO RESULT. Gate: each part
has its own moment, wherever the next one stands; pulses that overlap are one longer pulse.
"""

from typing import Literal, NamedTuple

from edge_agent.formats import Verdict

Name = Literal["ok", "ng", "no_result", "reject"]
NAMES: tuple[Name, ...] = ("ok", "ng", "no_result", "reject")
SAFE: dict[Name, bool] = {"ok": False, "ng": False, "no_result": True, "reject": False}
# What a line can hold between camera and gate; more would be a gate that is not served any more.
MAX_PULSES = 10_000


class Rules(NamedTuple):
    """How a line wants its outputs.

    Attributes:
        delay_s: from the part's moment to its pulse; 0: when its verdict comes.
        pulse_s: length of a pulse.
        silence_s: a verdict stands for so long.
        reject_doubt: parts without a verdict leave the line as well.
    """

    delay_s: float
    pulse_s: float
    silence_s: float
    reject_doubt: bool = True


class Signals(NamedTuple):
    """What was told so far.

    Attributes:
        verdict: the last one.
        at: when it came, on the monotonic clock.
        pulses: begin and end of each pulse that is not over, by their begin.
        late: parts that had passed the gate when their verdict came.
    """

    verdict: Verdict = Verdict.NO_RESULT
    at: float = float("-inf")
    pulses: tuple[tuple[float, float], ...] = ()
    late: int = 0


def hear(signals: Signals, verdict: Verdict, part_at: float | None, now: float, rules: Rules) -> Signals:
    """Return the signals after one more verdict.

    Args:
        signals: those before.
        verdict: of the part.
        part_at: when the part stood before the camera; None: there was none, so none is rejected.
        now: the moment.
        rules: delay and lengths.
    """
    heard = signals._replace(verdict=verdict, at=now, pulses=tuple(each for each in signals.pulses if each[1] > now))
    unwanted = verdict is Verdict.NG or (verdict is Verdict.NO_RESULT and rules.reject_doubt)
    if part_at is None or not unwanted:
        return heard
    # Without a delay the part waits for its verdict.
    begin = part_at + rules.delay_s if rules.delay_s else now
    if begin + rules.pulse_s <= now or len(heard.pulses) >= MAX_PULSES:
        return heard._replace(late=heard.late + 1)
    return heard._replace(pulses=tuple(sorted((*heard.pulses, (begin, begin + rules.pulse_s)))))


def levels(signals: Signals, now: float, rules: Rules) -> dict[Name, bool]:
    """Return which output is on."""
    verdict = signals.verdict if now - signals.at < rules.silence_s else Verdict.NO_RESULT
    return {
        "ok": verdict is Verdict.OK,
        "ng": verdict is Verdict.NG,
        "no_result": verdict is Verdict.NO_RESULT,
        "reject": any(begin <= now < end for begin, end in signals.pulses),
    }


def next_change(signals: Signals, now: float, rules: Rules) -> float | None:
    """Return the next moment at which an output may change by itself; None: there is none."""
    moments = [signals.at + rules.silence_s, *(moment for pulse in signals.pulses for moment in pulse)]
    return min((moment for moment in moments if moment > now), default=None)
