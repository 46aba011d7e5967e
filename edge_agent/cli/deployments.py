"""A deployment as a person reads it: how it went, who asked, why it ended, and every state with its figures."""

from collections.abc import Iterator

from edge_agent.cli.output import moment, size, table
from edge_agent.formats import DeploymentReport, StateReport

HEADS = ("ID", "OPERATION", "MODELS", "STATE", "CODE", "ASKED BY", "STARTED", "TOOK")
_STATE_HEADS = ("STATE", "AT", "TOOK", "BYTES", "FIGURES")
_MINUTE_S, _HOUR_S = 60, 3600


def row(report: DeploymentReport) -> tuple[str, ...]:
    """Return one line of the list."""
    took = length(report.ended - report.started) if report.ended else "running"
    asked_by = report.actor or report.job_id
    started = moment(report.started)
    return report.id, report.operation, changes(report), report.state, report.code, asked_by, started, took


def head(report: DeploymentReport) -> str:
    """Return it in one line."""
    progress = f", {size(report.bytes_done)} of {size(report.bytes_total)}" if report.bytes_total else ""
    code = f" {report.code}" if report.code else ""
    return f"deployment {report.id}: {report.operation} {changes(report)}: {report.state}{code}{progress}"


def lines(report: DeploymentReport) -> Iterator[str]:
    """Tell it in full."""
    yield head(report)
    for word, text in _facts(report):
        if text:
            yield f"  {word:<9} {text}"
    rows = [_state_row(state, last=state is report.states[-1]) for state in report.states]
    yield from (f"  {line}" for line in table(_STATE_HEADS, rows))


def changes(report: DeploymentReport) -> str:
    """Return what it does to which model."""
    if report.operation == "configure":
        return ", ".join(f"{m.name} threshold {_or_signed(m.threshold)}" for m in report.models)
    return ", ".join(f"{model.name} {model.from_ or 'none'} -> {model.to or 'none'}" for model in report.models)


def length(seconds: float) -> str:
    """Return a length of time as a person reads it."""
    if seconds < _MINUTE_S:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), _MINUTE_S)
    if seconds < _HOUR_S:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def _facts(report: DeploymentReport) -> Iterator[tuple[str, str]]:
    yield "why", report.message
    yield "note", report.remark
    yield "asked by", f"{report.actor or 'a call'} on this device" if not report.job_id else f"job {report.job_id}"
    yield "reason", report.reason
    yield "started", moment(report.started)
    yield "ended", f"{moment(report.ended)}, after {length(report.ended - report.started)}" if report.ended else "-"
    yield "cloud", _cloud(report)


def _cloud(report: DeploymentReport) -> str:
    if not report.job_id:
        return ""
    if report.refusal:
        return f"did not take the last report: {report.refusal}"
    if report.states and report.states[-1].state == "REPORTED":
        return "took the last report"
    return "has not taken the last report yet" if report.ended else "is told as it goes on"


def _state_row(state: StateReport, *, last: bool) -> tuple[str, ...]:
    figures = ", ".join(_figure(name, value) for name, value in sorted(state.figures.items()))
    took = "" if last and not state.seconds else length(state.seconds)
    return state.state, moment(state.at), took, size(state.bytes) if state.bytes else "", figures


def _figure(name: str, value: float) -> str:
    if name.endswith("_bytes"):
        return f"{name.removesuffix('_bytes')} {size(value)}"
    if name.endswith("_ms"):
        return f"{name.removesuffix('_ms')} {value:.1f} ms"
    if name.endswith("_seconds"):
        return f"{name.removesuffix('_seconds')} {length(value)}"
    return f"{name} {value:.4g}"


def _or_signed(threshold: float | None) -> str:
    return "as signed" if threshold is None else f"{threshold:g}"
