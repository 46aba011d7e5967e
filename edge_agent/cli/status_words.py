"""``status`` in words: what a person wants to know at one glance, part by part."""

from collections.abc import Iterator

from edge_agent.cli import deployments as deployment_words
from edge_agent.cli.output import moment, size
from edge_agent.formats import BankStatus, CameraStatus, CaptureStatus, Counts, InspectedFrame, ModelStatus, Status


def status_lines(answer: Status) -> Iterator[str]:
    """Yield the lines of ``status``."""
    agent = answer.agent
    yield f"{agent.thing}: {agent.state}, version {agent.version}, up {agent.uptime_s:.0f} s, cloud {agent.cloud}"
    yield from _remark(agent.message)
    for model in answer.models:
        yield from _model(model)
    if answer.deployment:
        yield from deployment_words.lines(answer.deployment)
    yield from _line(answer)
    for camera in answer.cameras:
        yield from _camera(camera)
    yield from _captures(answer.captures)
    if not answer.clock.trusted:
        yield "clock: not trusted; installs wait for it"


def frame_line(frame: InspectedFrame) -> str:
    """Return one inspection as a line."""
    words = (
        frame.verdict.value.replace("_", " "),
        frame.source,
        frame.name,
        f"{frame.milliseconds:.1f} ms",
        frame.message,
    )
    return " ".join(word for word in words if word)


def _remark(message: str) -> Iterator[str]:
    if message:
        yield f"  {message}"


def _model(model: ModelStatus) -> Iterator[str]:
    yield f"model {model.name}: {model.active or 'none'} {model.state}, before it {model.previous or 'none'}"
    yield from _remark(model.message)
    if model.bank is not None:
        yield f"  {bank_words(model.bank)}"


def bank_words(bank: BankStatus) -> str:
    """Return how live parts lie to what a model learnt, as a person reads it."""
    if bank.state == "BROKEN":
        return f"memory bank broken: {bank.message}"
    seen = f"{bank.far_share:.1%} of {bank.seen} parts lie far from the {bank.parts} that it learnt from"
    if bank.state == "WAITING":
        return f"drift: told after {bank.needed} parts, {bank.seen} so far"
    if bank.state == "DRIFTED":
        return f"drift: parts look unlike those that it learnt from ({bank.drift:.2f}): {seen}"
    return f"no drift ({bank.drift:.2f}): {seen}"


def _line(answer: Status) -> Iterator[str]:
    yield f"inspected: {_counted(answer.counts)}"
    if answer.rule:
        yield f"rule: {answer.rule}"
    if answer.shift:
        yield f"shift {answer.shift.name} since {moment(answer.shift.began)}: {_counted(answer.shift.counts)}"
    if answer.golden.state != "OFF":
        yield ", ".join(filter(None, (f"golden parts: {answer.golden.state}", answer.golden.message)))
    if answer.last_frame:
        yield f"last: {frame_line(answer.last_frame)}"


def _counted(counts: Counts) -> str:
    return f"{counts.ok} OK, {counts.ng} NG, {counts.no_result} NO RESULT"


def _camera(camera: CameraStatus) -> Iterator[str]:
    since = f" since {moment(camera.since)}" if camera.since else ""
    lost = f", {camera.lost} parts lost" * bool(camera.lost)
    figures = f"{camera.frames} inspected, {camera.skipped} skipped, {camera.failures} failures{lost}"
    yield f"camera {camera.id} ({camera.kind}): {camera.state}{since}, {camera.rate_hz:.1f} Hz, {figures}"
    yield from _remark(camera.message)


def _captures(captures: CaptureStatus) -> Iterator[str]:
    pending = "kept here" if captures.kept_here else "pending"
    yield f"captures: {captures.pending} {pending}, {captures.failed} failed, {size(captures.bytes)}"
    yield from _remark(captures.message)
    paused = [word for word in ("capture", "upload") if getattr(captures, f"{word}_paused")]
    if paused:
        yield f"  paused: {' and '.join(paused)}"
