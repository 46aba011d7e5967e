"""The trigger handshake as values: what the PLC's bits and the station's answers make of it. Pure.

Both halves have four steps. Trigger rises, Ack rises, Trigger falls, Ack falls; Results Valid rises, Results
Ack rises, Valid falls, Results Ack falls. What the PLC does out of turn costs it the verdict, never the truth of it.
"""

import math
from typing import NamedTuple

from edge_agent.formats import Verdict
from edge_agent.station.plc.table import VERSION, Fault, Phase, Said, Value, scaled

_ID_LIMIT = 1 << 32
_FLOAT32_LIMIT = 3.4e38


class Commands(NamedTuple):
    """What the PLC wrote last."""

    trigger_enable: bool = False
    trigger: bool = False
    results_ack: bool = False
    trigger_id: int = 0


class Outcome(NamedTuple):
    """One inspection's end.

    Attributes:
        verdict: OK, NG or NO RESULT.
        fault: why there is no result.
        message: the same for a person.
        score: of the model that decided.
        threshold: that model's.
        model: its name.
        version: its version.
        frame_id: the agent's id of the inspection.
        milliseconds: from the picture in hand to the answer.
    """

    verdict: Verdict
    fault: Fault = Fault.NONE
    message: str = ""
    score: float = 0.0
    threshold: float = 0.0
    model: str = ""
    version: str = ""
    frame_id: str = ""
    milliseconds: float = 0.0


class Counts(NamedTuple):
    """Results since the start."""

    ok: int = 0
    ng: int = 0
    no_result: int = 0

    def plus(self, verdict: Verdict) -> "Counts":
        """Return the counts with one more."""
        field = verdict.value.lower()
        return self._replace(**{field: (getattr(self, field) + 1) % _ID_LIMIT})


class Handshake(NamedTuple):
    """All that servers tell of one station.

    Attributes:
        phase: where the handshake stands.
        commands: what the PLC wrote last.
        acked: the trigger that is high now was accepted.
        inspection_id: of the last accepted trigger; 0: there was none.
        trigger_id: the PLC's number that came with it.
        outcome: of that inspection; None: it has none yet.
        fault: why Error is set.
        message: the same for a person.
        missed: triggers that came while not ready.
        counts: results since the start.
    """

    phase: Phase = Phase.DISABLED
    commands: Commands = Commands()
    acked: bool = False
    inspection_id: int = 0
    trigger_id: int = 0
    outcome: Outcome | None = None
    fault: Fault = Fault.NONE
    message: str = ""
    missed: int = 0
    counts: Counts = Counts()


def command(now: Handshake, commands: Commands) -> Handshake:
    """Return what follows from what the PLC wrote."""
    before = now.commands
    rose = commands.trigger and not before.trigger
    state = now._replace(commands=commands, acked=now.acked and commands.trigger)
    if now.phase is Phase.FREE_RUNNING:
        return state
    if not commands.trigger_enable:
        state = _disabled(state, fell=before.trigger_enable)
        return _missed(state) if rose else state
    if rose:
        return _accepted(state) if now.phase is Phase.READY and not commands.results_ack else _missed(_released(state))
    if state.phase is Phase.RESULTS and commands.results_ack and not before.results_ack:
        state = state._replace(phase=Phase.RELEASING)
    return _released(state)


def finish(now: Handshake, inspection_id: int, outcome: Outcome) -> Handshake:
    """Return what follows from an inspection's end; one that nobody waits for any more changes nothing."""
    if now.phase is not Phase.BUSY or now.inspection_id != inspection_id:
        return now
    return _ended(now, outcome)._replace(phase=Phase.RESULTS)


def mirror(now: Handshake, outcome: Outcome) -> Handshake:
    """Return the state after one more result of a station that needs no trigger."""
    return _ended(now._replace(inspection_id=_next_id(now.inspection_id)), outcome)


def told(state: Handshake) -> dict[str, Value]:
    """Return the values of the table's rows, apart from the heartbeat and what the PLC wrote."""
    return {**_bits(state), **_numbers(state), **_results(state)}


def _accepted(state: Handshake) -> Handshake:
    return state._replace(
        phase=Phase.BUSY,
        acked=True,
        inspection_id=_next_id(state.inspection_id),
        trigger_id=state.commands.trigger_id,
        outcome=None,
        fault=Fault.NONE,
        message="",
    )


def _missed(state: Handshake) -> Handshake:
    # Whose results the PLC now waits for cannot be known: nobody's are good.
    message = f"expected Trigger only while Trigger Ready, it rose while {state.phase.name}"
    doubt = Outcome(Verdict.NO_RESULT, Fault.TRIGGER_NOT_READY, message)
    missed = state._replace(missed=(state.missed + 1) % _ID_LIMIT)
    if missed.phase is Phase.BUSY:
        return _ended(missed, doubt)._replace(phase=Phase.RESULTS)
    if missed.outcome is not None:
        missed = missed._replace(outcome=doubt)
    return missed._replace(fault=doubt.fault, message=message)


def _disabled(state: Handshake, *, fell: bool) -> Handshake:
    if state.phase is Phase.BUSY:
        message = "Trigger Enable fell before the inspection ended"
        state = _ended(state, Outcome(Verdict.NO_RESULT, Fault.ENABLE_DROPPED, message))
    elif fell:
        outcome = None if state.phase is Phase.RESULTS else state.outcome
        state = state._replace(fault=Fault.NONE, message="", outcome=outcome)
    return state._replace(phase=Phase.DISABLED)


def _released(state: Handshake) -> Handshake:
    """Return READY once all that the PLC raises has fallen."""
    if state.phase not in (Phase.DISABLED, Phase.RELEASING, Phase.READY):
        return state
    free = not state.commands.trigger and not state.commands.results_ack
    return state._replace(phase=Phase.READY if free else Phase.RELEASING)


def _ended(state: Handshake, outcome: Outcome) -> Handshake:
    counts = state.counts.plus(outcome.verdict)
    return state._replace(outcome=outcome, fault=outcome.fault, message=outcome.message, counts=counts)


def _next_id(number: int) -> int:
    # 0 stays what registers hold that nobody wrote.
    return (number + 1) % _ID_LIMIT or 1


def _bits(state: Handshake) -> dict[str, Value]:
    valid = state.outcome is not None and state.phase in (Phase.RESULTS, Phase.FREE_RUNNING)
    verdict = state.outcome.verdict if valid and state.outcome else None
    return {
        "trigger_ready": state.phase is Phase.READY,
        "trigger_ack": state.acked,
        "busy": state.phase is Phase.BUSY,
        "results_valid": valid,
        "error": state.fault is not Fault.NONE,
        "ok": verdict is Verdict.OK,
        "ng": verdict is Verdict.NG,
        "no_result": verdict is Verdict.NO_RESULT,
    }


def _numbers(state: Handshake) -> dict[str, Value]:
    return {
        "table_version": VERSION,
        "phase": int(state.phase),
        "error_code": int(state.fault),
        "error_text": state.message,
        "inspection_id": state.inspection_id,
        "missed_triggers": state.missed,
        "ok_count": state.counts.ok,
        "ng_count": state.counts.ng,
        "no_result_count": state.counts.no_result,
    }


def _results(state: Handshake) -> dict[str, Value]:
    outcome = state.outcome
    if outcome is None:
        return dict.fromkeys(_RESULT_NUMBERS, 0) | {"score": 0.0, "threshold": 0.0} | dict.fromkeys(_RESULT_TEXTS, "")
    return {
        "result_id": state.inspection_id,
        "result_trigger_id": state.trigger_id,
        "verdict": int(Said[outcome.verdict.name]),
        "score": _finite(outcome.score),
        "score_scaled": scaled(_finite(outcome.score)),
        "threshold": _finite(outcome.threshold),
        "threshold_scaled": scaled(_finite(outcome.threshold)),
        "duration_ms": round(min(max(_finite(outcome.milliseconds), 0.0), float(0xFFFF))),
        "model": outcome.model,
        "model_version": outcome.version,
        "frame_id": outcome.frame_id,
    }


_RESULT_NUMBERS = (
    *("result_id", "result_trigger_id", "verdict"),
    *("score_scaled", "threshold_scaled", "duration_ms"),
)
_RESULT_TEXTS = ("model", "model_version", "frame_id")


def _finite(value: float) -> float:
    # Beyond what a float32 holds is no score either.
    return value if math.isfinite(value) and abs(value) < _FLOAT32_LIMIT else 0.0
