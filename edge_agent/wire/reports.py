"""What the agent tells of itself: status, deployments, captures. An empty word stands for none."""

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent.formats import (
    AgentStatus,
    CaptureReport,
    CaptureStatus,
    ClockStatus,
    DeployedModel,
    DeploymentReport,
    ModelStatus,
    StateReport,
    Status,
    Verdict,
)
from edge_agent.wire.inspection import (
    counts_from_proto,
    counts_to_proto,
    frame_from_proto,
    frame_to_proto,
    verdict_from_proto,
    verdict_to_proto,
)
from edge_agent.wire.line import (
    camera_from_proto,
    camera_to_proto,
    golden_from_proto,
    golden_to_proto,
    shift_from_proto,
    shift_to_proto,
)
from edge_agent.wire.similar import bank_from_proto


def agent_to_proto(agent: AgentStatus) -> pb.AgentStatus:
    """Return the message."""
    return pb.AgentStatus(**agent.model_dump())


def agent_from_proto(message: pb.AgentStatus) -> AgentStatus:
    """Return the document."""
    return AgentStatus(
        version=message.version,
        thing=message.thing,
        uptime_s=message.uptime_s,
        state=message.state,
        cloud=message.cloud,
        message=message.message,
    )


def model_to_proto(model: ModelStatus) -> pb.ModelStatus:
    """Return the message."""
    return pb.ModelStatus(**model.model_dump(exclude_none=True))


def model_from_proto(message: pb.ModelStatus) -> ModelStatus:
    """Return the document."""
    return ModelStatus(
        name=message.name,
        active=message.active or None,
        previous=message.previous or None,
        staged=message.staged or None,
        state=message.state,
        message=message.message,
        runtime=message.runtime,
        provider=message.provider,
        memory_bytes=message.memory_bytes,
        kind=message.kind,
        threshold=message.threshold,
        signed_threshold=message.signed_threshold,
        applications=tuple(message.applications),
        labels=tuple(message.labels),
        normal_labels=tuple(message.normal_labels),
        bank=bank_from_proto(message.bank) if message.HasField("bank") else None,
    )


def captures_to_proto(captures: CaptureStatus) -> pb.CaptureStatus:
    """Return the message."""
    return pb.CaptureStatus(**captures.model_dump())


def captures_from_proto(message: pb.CaptureStatus) -> CaptureStatus:
    """Return the document."""
    return CaptureStatus(
        pending=message.pending,
        failed=message.failed,
        bytes=message.bytes,
        oldest_s=message.oldest_s,
        uploaded=message.uploaded,
        message=message.message,
        capture_paused=message.capture_paused,
        upload_paused=message.upload_paused,
        dropped=message.dropped,
        quota_bytes=message.quota_bytes,
        kept_here=message.kept_here,
    )


def clock_to_proto(clock: ClockStatus) -> pb.ClockStatus:
    """Return the message."""
    return pb.ClockStatus(**clock.model_dump())


def clock_from_proto(message: pb.ClockStatus) -> ClockStatus:
    """Return the document."""
    return ClockStatus(trusted=message.trusted, now=message.now, floor=message.floor)


def deployed_to_proto(model: DeployedModel) -> pb.DeployedModel:
    """Return the message; its field ``from`` is a word that Python reserves."""
    return pb.DeployedModel(**model.model_dump(by_alias=True, exclude_none=True))


def deployed_from_proto(message: pb.DeployedModel) -> DeployedModel:
    """Return the document."""
    return DeployedModel(
        name=message.name,
        from_=getattr(message, "from") or None,
        to=message.to or None,
        threshold=message.threshold if message.HasField("threshold") else None,
    )


def state_to_proto(state: StateReport) -> pb.DeploymentState:
    """Return the message."""
    return pb.DeploymentState(**state.model_dump())


def state_from_proto(message: pb.DeploymentState) -> StateReport:
    """Return the document."""
    return StateReport(
        state=message.state,
        at=message.at,
        seconds=message.seconds,
        bytes=message.bytes,
        figures=dict(message.figures),
    )


def deployment_to_proto(deployment: DeploymentReport) -> pb.Deployment:
    """Return the message; a running deployment's end is 0 there."""
    return pb.Deployment(
        id=deployment.id,
        job_id=deployment.job_id,
        models=[deployed_to_proto(model) for model in deployment.models],
        operation=deployment.operation,
        state=deployment.state,
        code=deployment.code,
        message=deployment.message,
        remark=deployment.remark,
        reason=deployment.reason,
        actor=deployment.actor,
        refusal=deployment.refusal,
        started=deployment.started,
        ended=deployment.ended or 0.0,
        states=[state_to_proto(state) for state in deployment.states],
        bytes_done=deployment.bytes_done,
        bytes_total=deployment.bytes_total,
    )


def deployment_from_proto(message: pb.Deployment) -> DeploymentReport:
    """Return the document."""
    return DeploymentReport(
        id=message.id,
        job_id=message.job_id,
        operation=message.operation,
        models=tuple(deployed_from_proto(model) for model in message.models),
        state=message.state,
        code=message.code,
        message=message.message,
        remark=message.remark,
        reason=message.reason,
        actor=message.actor,
        refusal=message.refusal,
        started=message.started,
        ended=message.ended or None,
        states=tuple(state_from_proto(state) for state in message.states),
        bytes_done=message.bytes_done,
        bytes_total=message.bytes_total,
    )


def capture_to_proto(capture: CaptureReport) -> pb.Capture:
    """Return the message; a word that is no verdict becomes NO_RESULT."""
    verdict = verdict_to_proto(Verdict(capture.verdict)) if capture.verdict in Verdict.__members__ else pb.NO_RESULT
    return pb.Capture(**(capture.model_dump() | {"verdict": verdict}))


def capture_from_proto(message: pb.Capture) -> CaptureReport:
    """Return the document."""
    return CaptureReport(
        id=message.id,
        at=message.at,
        model=message.model,
        version=message.version,
        verdict=verdict_from_proto(message.verdict).value,
        state=message.state,
        bytes=message.bytes,
        score=message.score,
        threshold=message.threshold,
        label=message.label,
        labelled_by=message.labelled_by,
        source=message.source,
        name=message.name,
        reason=message.reason,
        has_picture=message.has_picture,
        has_mask=message.has_mask,
    )


def status_to_proto(status: Status) -> pb.GetStatusResponse:
    """Return the message; what is None is left unset."""
    return pb.GetStatusResponse(
        agent=agent_to_proto(status.agent),
        models=[model_to_proto(model) for model in status.models],
        deployment=deployment_to_proto(status.deployment) if status.deployment else None,
        captures=captures_to_proto(status.captures),
        clock=clock_to_proto(status.clock),
        counts=counts_to_proto(status.counts),
        last_frame=frame_to_proto(status.last_frame) if status.last_frame else None,
        cameras=[camera_to_proto(camera) for camera in status.cameras],
        rule=status.rule,
        shift=shift_to_proto(status.shift) if status.shift else None,
        golden=golden_to_proto(status.golden),
    )


def status_from_proto(message: pb.GetStatusResponse) -> Status:
    """Return the document."""
    return Status(
        agent=agent_from_proto(message.agent),
        models=tuple(model_from_proto(model) for model in message.models),
        deployment=deployment_from_proto(message.deployment) if message.HasField("deployment") else None,
        captures=captures_from_proto(message.captures),
        clock=clock_from_proto(message.clock),
        counts=counts_from_proto(message.counts),
        last_frame=frame_from_proto(message.last_frame) if message.HasField("last_frame") else None,
        cameras=tuple(camera_from_proto(camera) for camera in message.cameras),
        rule=message.rule,
        shift=shift_from_proto(message.shift) if message.HasField("shift") else None,
        golden=golden_from_proto(message.golden),
    )
