"""``models_config.json``: which application asks which model, and what is committed."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from edge_agent.formats.document import Document
from edge_agent.formats.model_version import ModelName, Version


class CommittedModel(Document):
    """One committed version, as older clients read it."""

    name: ModelName
    version: Version
    identifier: str


class ModelsConfig(BaseModel):
    """The live file: ``mappings`` is input, ``models`` is output.

    Unknown keys are kept as they are, since other programs write their own beside ours.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    mappings: dict[str, ModelName] = Field(default_factory=dict)
    models: tuple[CommittedModel, ...] = ()

    @property
    def unknown_keys(self) -> tuple[str, ...]:
        """Return the keys that are not ours."""
        return tuple(self.__pydantic_extra__ or {})

    def with_models(self, models: tuple[CommittedModel, ...]) -> "ModelsConfig":
        """Return the same file with other committed models."""
        content: dict[str, Any] = self.model_dump(mode="json")
        return ModelsConfig.model_validate(content | {"models": [m.model_dump() for m in models]})
