"""Cameras, shifts, golden parts, lines of the log."""

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent.formats import (
    CameraStatus,
    GoldenCheck,
    GoldenPart,
    LatencyPoint,
    LogLine,
    ScoreHistogram,
    Shift,
)
from edge_agent.wire.inspection import counts_from_proto, counts_to_proto, verdict_from_proto, verdict_to_proto


def camera_to_proto(camera: CameraStatus) -> pb.CameraStatus:
    """Return the message."""
    return pb.CameraStatus(**camera.model_dump())


def camera_from_proto(message: pb.CameraStatus) -> CameraStatus:
    """Return the document."""
    return CameraStatus(
        id=message.id,
        kind=message.kind,
        state=message.state,
        message=message.message,
        since=message.since,
        frames=message.frames,
        skipped=message.skipped,
        failures=message.failures,
        rate_hz=message.rate_hz,
        lost=message.lost,
    )


def shift_to_proto(shift: Shift) -> pb.Shift:
    """Return the message."""
    return pb.Shift(
        name=shift.name,
        began=shift.began,
        ends=shift.ends,
        counts=counts_to_proto(shift.counts),
        scores=[pb.ScoreHistogram(**histogram.model_dump()) for histogram in shift.scores],
        latency=[pb.LatencyPoint(**point.model_dump()) for point in shift.latency],
        running=shift.running,
        reset_by=shift.reset_by,
    )


def shift_from_proto(message: pb.Shift) -> Shift:
    """Return the document."""
    return Shift(
        name=message.name,
        began=message.began,
        ends=message.ends,
        counts=counts_from_proto(message.counts),
        scores=tuple(_histogram(histogram) for histogram in message.scores),
        latency=tuple(_point(point) for point in message.latency),
        running=message.running,
        reset_by=message.reset_by,
    )


def _histogram(message: pb.ScoreHistogram) -> ScoreHistogram:
    return ScoreHistogram(
        application=message.application,
        model=message.model,
        threshold=message.threshold,
        bins=tuple(message.bins),
    )


def _point(message: pb.LatencyPoint) -> LatencyPoint:
    return LatencyPoint(at=message.at, p50_ms=message.p50_ms, p95_ms=message.p95_ms, count=message.count)


def golden_to_proto(golden: GoldenCheck) -> pb.GoldenCheck:
    """Return the message."""
    parts = [
        pb.GoldenPart(
            name=part.name,
            expected=verdict_to_proto(part.expected),
            verdict=verdict_to_proto(part.verdict),
            message=part.message,
            score=part.score,
        )
        for part in golden.parts
    ]
    return pb.GoldenCheck(state=golden.state, at=golden.at, message=golden.message, parts=parts, actor=golden.actor)


def golden_from_proto(message: pb.GoldenCheck) -> GoldenCheck:
    """Return the document."""
    parts = tuple(
        GoldenPart(
            name=part.name,
            expected=verdict_from_proto(part.expected),
            verdict=verdict_from_proto(part.verdict),
            message=part.message,
            score=part.score,
        )
        for part in message.parts
    )
    return GoldenCheck(
        state=message.state or "OFF", at=message.at, message=message.message, parts=parts, actor=message.actor
    )


def log_to_proto(line: LogLine) -> pb.LogLine:
    """Return the message."""
    return pb.LogLine(**line.model_dump())


def log_from_proto(message: pb.LogLine) -> LogLine:
    """Return the document."""
    return LogLine(
        at=message.at,
        level=message.level,
        logger=message.logger,
        message=message.message,
        fields=dict(message.fields),
    )
