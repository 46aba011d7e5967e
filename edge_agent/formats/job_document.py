"""The job document: what the cloud asks of a device, and may ask."""

from typing import Literal

from pydantic import Field, model_validator

from edge_agent.formats.document import Document
from edge_agent.formats.model_version import ModelName, Version

SCHEMA = "edge-agent/job/1"
# AWS Jobs: a job document has at most 32,768 characters.
LIMIT_CHARACTERS = 32_768


class StagePolicy(Document):
    """How long a candidate is watched before the next step."""

    min_requests: int = Field(0, ge=0, le=1_000_000, description="answers to see, at least")
    max_seconds: float = Field(0.0, ge=0, le=604_800, description="after this the stage ends anyway")

    def strictest(self, other: "StagePolicy | None") -> "StagePolicy":
        """Return the policy that satisfies both."""
        if other is None:
            return self
        return StagePolicy(
            min_requests=max(self.min_requests, other.min_requests),
            max_seconds=max(self.max_seconds, other.max_seconds),
        )


class Policy(Document):
    """What a job or manifest may ask for; a device's own setting is always the strictest."""

    shadow: StagePolicy | None = None
    probation: StagePolicy | None = None
    deadline_s: float | None = Field(None, gt=0, le=2_592_000)


class JobModel(Document):
    """One model of a job; a rollback goes to the device's own previous version."""

    name: ModelName
    version: Version | None = None


class JobDocument(Document):
    """Install these versions, or take these models back: all or none."""

    schema_: Literal["edge-agent/job/1"] = Field(alias="schema")
    operation: Literal["install", "rollback"]
    models: tuple[JobModel, ...] = Field(min_length=1, max_length=16)
    policy: Policy = Policy()

    @model_validator(mode="after")
    def _complete(self) -> "JobDocument":
        names = [model.name for model in self.models]
        if len(set(names)) != len(names):
            raise ValueError("each model may be named once")
        if self.operation == "install" and any(model.version is None for model in self.models):
            raise ValueError("an install names the version of each model")
        return self
