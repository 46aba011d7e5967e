"""The job document: what the cloud asks of a device, and may ask."""

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from edge_agent.formats.document import Document
from edge_agent.formats.model_version import ModelName, Version
from edge_agent.formats.policy import Policy

SCHEMA = "edge-agent/job/1"
# AWS Jobs: a job document has at most 32,768 characters.
LIMIT_CHARACTERS = 32_768

Operation = Literal["install", "rollback", "remove", "configure"]


class JobModel(Document):
    """One model of a job; a rollback goes to the device's own previous version."""

    name: ModelName
    version: Version | None = Field(
        None, description="what to install; for the other operations the version that is meant, if it matters"
    )
    threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        strict=True,
        description="configure: from this score on a part is NG, within the signed threshold_range; "
        "null: as it was signed",
    )

    @property
    def names_threshold(self) -> bool:
        """Tell whether a threshold stands there; null is one: that of the manifest."""
        return "threshold" in self.model_fields_set

    @model_serializer(mode="wrap")
    def _with_null(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A null says something here, so it is written even where other nulls are left out.
        return {**plain(self), **({"threshold": self.threshold} if self.names_threshold else {})}


class JobDocument(Document):
    """Install these versions, take these models back, remove or configure them: all or none."""

    schema_: Literal["edge-agent/job/1"] = Field(alias="schema")
    operation: Operation
    models: tuple[JobModel, ...] = Field(min_length=1, max_length=16)
    policy: Policy = Policy()

    @model_validator(mode="after")
    def _complete(self) -> "JobDocument":
        names = [model.name for model in self.models]
        if len(set(names)) != len(names):
            raise ValueError("each model may be named once")
        if self.operation == "install" and any(model.version is None for model in self.models):
            raise ValueError("an install names the version of each model")
        if any(model.names_threshold != (self.operation == "configure") for model in self.models):
            raise ValueError("configure names a threshold for each model (null: the signed one), nothing else does")
        return self
