"""From the station's answer to what a PLC is told. Pure."""

from edge_agent.errors import Code
from edge_agent.formats import InspectedFrame, ModelResult, Verdict
from edge_agent.station.answer import Answer
from edge_agent.station.plc.handshake import Outcome
from edge_agent.station.plc.table import Fault


def outcome_of(answer: Answer) -> Outcome:
    """Return what the PLC is told; scores are those of the model that decided, none where nobody did."""
    fault = _fault(answer) if answer.verdict is Verdict.NO_RESULT else Fault.NONE
    plain = Outcome(answer.verdict, fault, answer.message, frame_id=answer.frame_id, milliseconds=answer.milliseconds)
    result = _decisive(answer.inspected, answer.verdict) if answer.inspected else None
    if result is None:
        return plain
    return plain._replace(score=result.score, threshold=result.threshold, model=result.model, version=result.version)


def _fault(answer: Answer) -> Fault:
    if answer.code is None:
        return Fault.NO_VERDICT
    if answer.code is Code.DEADLINE_EXCEEDED:
        return Fault.DEADLINE
    return Fault.AGENT if answer.frame_name else Fault.CAMERA


def _decisive(inspected: InspectedFrame, verdict: Verdict) -> ModelResult | None:
    agreeing = [result for result in inspected.results if result.verdict is verdict and not result.skipped]
    return max(agreeing, key=lambda result: result.score, default=None)
