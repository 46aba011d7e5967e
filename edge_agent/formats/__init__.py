"""Documents shared with the cloud side. Pure: no files, no clock, no sockets."""

from edge_agent.formats.document import Document, describe, parse
from edge_agent.formats.event import KINDS, Event, ModelsChanged, Payload
from edge_agent.formats.fleet import Alarm, AlarmDetail, Heartbeat, LogNews, Severity
from edge_agent.formats.inspection import Counts, InspectedFrame, ModelResult, Verdict
from edge_agent.formats.inspection_news import InspectionNews, ResultNews, SummaryNews
from edge_agent.formats.job_document import JobDocument, JobModel, Operation
from edge_agent.formats.line import (
    CameraStatus,
    GoldenCheck,
    GoldenPart,
    LatencyPoint,
    LogLine,
    ScoreHistogram,
    Shift,
)
from edge_agent.formats.manifest import (
    BESIDE_THE_MODEL,
    Artefact,
    Calibration,
    Decision,
    Golden,
    GoldenSample,
    Kind,
    Manifest,
    Preprocess,
    Requirements,
    Role,
    RuntimeNeed,
)
from edge_agent.formats.model_version import ModelName, ModelVersion, Version, version_key
from edge_agent.formats.models_config import CommittedModel, ModelsConfig
from edge_agent.formats.package_job import Package, PackageJob
from edge_agent.formats.picture import AnomalyMap, Embedded, EncodedPicture, Picture, RawPicture
from edge_agent.formats.policy import Policy, ProbationPolicy, ShadowPolicy, WatchPolicy
from edge_agent.formats.similar import BankStatus, SimilarPart, SimilarParts
from edge_agent.formats.status import (
    AgentStatus,
    CaptureReport,
    CaptureStatus,
    ClockStatus,
    DeployedModel,
    DeploymentReport,
    ModelStatus,
    StateReport,
    Status,
)
from edge_agent.formats.tensor_capture import AuxiliaryData, CapturedTensor, TensorCapture
from edge_agent.formats.tensor_spec import DType, TensorSpec

__all__ = [
    "BESIDE_THE_MODEL",
    "KINDS",
    "AgentStatus",
    "Alarm",
    "AlarmDetail",
    "AnomalyMap",
    "Artefact",
    "AuxiliaryData",
    "BankStatus",
    "Calibration",
    "CameraStatus",
    "CaptureReport",
    "CaptureStatus",
    "CapturedTensor",
    "ClockStatus",
    "CommittedModel",
    "Counts",
    "DType",
    "Decision",
    "DeployedModel",
    "DeploymentReport",
    "Document",
    "Embedded",
    "EncodedPicture",
    "Event",
    "Golden",
    "GoldenCheck",
    "GoldenPart",
    "GoldenSample",
    "Heartbeat",
    "InspectedFrame",
    "InspectionNews",
    "JobDocument",
    "JobModel",
    "Kind",
    "LatencyPoint",
    "LogLine",
    "LogNews",
    "Manifest",
    "ModelName",
    "ModelResult",
    "ModelStatus",
    "ModelVersion",
    "ModelsChanged",
    "ModelsConfig",
    "Operation",
    "Package",
    "PackageJob",
    "Payload",
    "Picture",
    "Policy",
    "Preprocess",
    "ProbationPolicy",
    "RawPicture",
    "Requirements",
    "ResultNews",
    "Role",
    "RuntimeNeed",
    "ScoreHistogram",
    "Severity",
    "ShadowPolicy",
    "Shift",
    "SimilarPart",
    "SimilarParts",
    "StateReport",
    "Status",
    "SummaryNews",
    "TensorCapture",
    "TensorSpec",
    "Verdict",
    "Version",
    "WatchPolicy",
    "describe",
    "parse",
    "version_key",
]
