"""One method for each call of ``edge_agent.v1``."""

import time
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent.client.calls import FrameContent
from edge_agent.client.capture_calls import CaptureCalls
from edge_agent.client.event_stream import EventStream
from edge_agent.client.fast_connection import NotAskedError
from edge_agent.client.fast_path import FastPath
from edge_agent.client.line_calls import LineCalls
from edge_agent.client.similar_calls import SimilarCalls
from edge_agent.formats import AnomalyMap, DeploymentReport, InspectedFrame, ModelVersion, Picture, Status
from edge_agent.wire import reports
from edge_agent.wire.inspection import InspectOrder, SharedPicture, answer_from_proto, order_to_proto
from edge_agent.wire.maps import map_from_proto

_LAYERS = {"picture": pb.GetFrameRequest.PICTURE, "overlay": pb.GetFrameRequest.OVERLAY}


class FrameLayer(str, Enum):
    """What of a recent frame is asked for."""

    PICTURE = "picture"
    OVERLAY = "overlay"


class AgentClient(LineCalls, CaptureCalls, SimilarCalls):
    """A connection to the agent, safe to share between threads.

    Args:
        data: gRPC target of the data plane, as ``unix:/run/edge-agent/agent.sock``.
        control: gRPC target of the operator's service; empty: those verbs are refused.
        fast: ``fast.sock`` of the same agent; pictures take it where it answers, and gRPC elsewhere.
    """

    def __init__(self, data: str, control: str = "", *, fast: Path | None = None) -> None:
        super().__init__(data, control)
        self._fast = FastPath(fast) if fast is not None else None

    @classmethod
    def at(cls, runtime_dir: Path) -> "AgentClient":
        """Return a client of the agent whose sockets are in ``runtime_dir``."""
        sockets = (f"unix:{runtime_dir}/{name}.sock" for name in ("agent", "control"))
        return cls(*sockets, fast=runtime_dir / "fast.sock")

    def inspect(
        self,
        picture: Picture | SharedPicture,
        *,
        applications: Sequence[str] = (),
        source: str = "",
        frame_name: str = "",
        with_mask: bool = False,
        with_heat_map: bool = False,
        frame_priority: bool = False,
        trial: bool = False,
        timeout_s: float = 10.0,
    ) -> InspectedFrame:
        """Inspect one picture.

        Args:
            picture: a file's content, packed RGB, or a shared segment that holds it.
            applications: as in the mappings; none: all that are mapped.
            source: who asks, for people.
            frame_name: what the picture is called, for people.
            with_mask: ask for masks as PNG in ``results[…].mask_png``.
            with_heat_map: ask for heat maps as PNG in ``results[…].heat_map_png``.
            frame_priority: let callers of the line go first when there is a queue.
            trial: only looked at: neither counted nor captured, nor shown to others.
            timeout_s: the deadline of the whole call.

        Returns:
            The frame with a verdict: OK, NG, or NO_RESULT with the reason in ``message``.

        Raises:
            InferenceError: the request is wrong, or the agent did not answer in time.
        """
        order = InspectOrder(
            picture, tuple(applications), source, frame_name, with_mask, frame_priority, with_heat_map, trial
        )
        deadline = time.monotonic() + timeout_s
        # The fast path is the line's own: it knows no trials.
        if self._fast is not None and not trial and not isinstance(picture, SharedPicture):
            with suppress(NotAskedError):
                return self._fast.inspect(picture, order, timeout_s=timeout_s)
        left_s = deadline - time.monotonic()
        answer = self._call("data", self._inspection.Inspect, order_to_proto(order), left_s)
        return answer_from_proto(answer, order, time.time())

    def status(self, *, timeout_s: float = 5.0) -> Status:
        """Return everything at one glance.

        Raises:
            AgentError: the agent did not answer.
        """
        return reports.status_from_proto(
            self._call("control", self._operator.GetStatus, pb.GetStatusRequest(), timeout_s)
        )

    def events(self, after: int | None = None) -> EventStream:
        """Return the stream of events from now on, or from after an id while the agent has it.

        Errors come out of the iteration. Close it, or use it as a context.
        """
        request = pb.WatchEventsRequest(after=after or 0)
        return EventStream(self._operator.WatchEvents(request), self._targets["control"])

    def deployments(self, deployment_id: str = "", *, limit: int = 0, timeout_s: float = 5.0) -> list[DeploymentReport]:
        """Return deployments, newest first; with an id only that one.

        Raises:
            InferenceError: NOT_FOUND when no deployment has that id.
        """
        request = pb.ListDeploymentsRequest(id=deployment_id, limit=limit)
        answer = self._call("control", self._operator.ListDeployments, request, timeout_s)
        return [reports.deployment_from_proto(message) for message in answer.deployments]

    def roll_back(self, model: str, reason: str, *, actor: str, timeout_s: float = 60.0) -> DeploymentReport:
        """Take ``model`` back to its previous version; return when that is durable.

        Args:
            model: the model's name.
            reason: why, for the record; not empty.
            actor: who wants it, for the record; not empty.
            timeout_s: the deadline; the agent goes on with what it began.

        Raises:
            RefusedError: NO_PREVIOUS.
            AgentError: anything else that stands in the way.
        """
        request = pb.RollBackRequest(model=model, reason=reason, actor=actor)
        answer = self._call("control", self._operator.RollBack, request, timeout_s)
        return reports.deployment_from_proto(answer.deployment)

    def remove(self, model: str, reason: str, *, actor: str, timeout_s: float = 60.0) -> DeploymentReport:
        """Take ``model`` off the device; return when that is durable.

        Args:
            model: the model's name; no application may be mapped to it.
            reason: why, for the record; not empty.
            actor: who wants it, for the record; not empty.
            timeout_s: the deadline; the agent goes on with what it began.

        Raises:
            RefusedError: NOT_FOUND, MODEL_MAPPED.
            AgentError: anything else that stands in the way.
        """
        request = pb.RemoveRequest(model=model, reason=reason, actor=actor)
        answer = self._call("control", self._operator.Remove, request, timeout_s)
        return reports.deployment_from_proto(answer.deployment)

    def configure(
        self, model: str, threshold: float | None, reason: str, *, actor: str, timeout_s: float = 60.0
    ) -> DeploymentReport:
        """Set the threshold of ``model``; return when that is durable.

        Args:
            model: the model's name.
            threshold: from this score on a part is NG, within the signed range; None: as it was signed.
            reason: why, for the record; not empty.
            actor: who wants it, for the record; not empty.
            timeout_s: the deadline; the agent goes on with what it began.

        Raises:
            RefusedError: NOT_FOUND, OUT_OF_RANGE.
            AgentError: anything else that stands in the way.
        """
        request = pb.ConfigureRequest(model=model, reason=reason, actor=actor)
        if threshold is None:
            request.as_signed = True
        else:
            request.threshold = threshold
        answer = self._call("control", self._operator.Configure, request, timeout_s)
        return reports.deployment_from_proto(answer.deployment)

    def install(self, models: Sequence[ModelVersion], *, timeout_s: float = 10.0) -> str:
        """Order versions from the repository, as a job would; return the deployment's id."""
        wanted = [pb.DeployedModel(name=model.name, to=model.version) for model in models]
        answer = self._call("control", self._operator.Install, pb.InstallRequest(models=wanted), timeout_s)
        return str(answer.deployment_id)

    def frame(
        self, frame_id: str, layer: FrameLayer | str = "picture", application: str = "", *, timeout_s: float = 5.0
    ) -> FrameContent:
        """Return a recent frame's picture, or the overlay of one application's mask.

        Raises:
            InferenceError: NOT_FOUND when the agent no longer has it.
        """
        wanted = _LAYERS[FrameLayer(layer).value]
        request = pb.GetFrameRequest(id=frame_id, layer=wanted, application=application)
        answer = self._call("control", self._operator.GetFrame, request, timeout_s)
        return FrameContent(answer.content, answer.content_type)

    def frame_map(self, frame_id: str, application: str, *, timeout_s: float = 5.0) -> AnomalyMap:
        """Return what a recent frame's overlay is drawn from: whoever draws it spares the agent the work.

        Raises:
            InferenceError: NOT_FOUND when the agent no longer has it, or there is no mask.
        """
        request = pb.GetFrameRequest(id=frame_id, layer=pb.GetFrameRequest.MAP, application=application)
        return map_from_proto(self._call("control", self._operator.GetFrame, request, timeout_s).map)

    def close(self) -> None:
        """Close the connections; calls and streams under way end."""
        if self._fast is not None:
            self._fast.close()
        super().close()
