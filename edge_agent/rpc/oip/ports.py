"""What this protocol needs of the agent beside what every protocol does."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from edge_agent.formats import Manifest, ModelVersion
from edge_agent.formats.statistics import ModelCounts
from edge_agent.inference import Priority


class LoadedVersion(Protocol):
    """One loaded model version."""

    @property
    def manifest(self) -> Manifest:
        """Return what was released."""

    @property
    def provider(self) -> str:
        """Return what executes it."""

    @property
    def state(self) -> Literal["LOADING", "READY", "CLOSED"]:
        """Return READY, LOADING while its worker is being replaced, or CLOSED."""


class Catalog(Protocol):
    """Which versions are in memory."""

    def active(self) -> Mapping[str, LoadedVersion]:
        """Return what answers now, by model name."""

    def loaded(self) -> Sequence[LoadedVersion]:
        """Return every version in memory, active or warm."""

    def resolve(self, name: str) -> str | None:
        """Return the model that a name or an identifier ``name-version`` stands for."""


class VersionedDataPlane(Protocol):
    """Answers tensors with tensors, also of a version that is asked for."""

    def infer(
        self,
        name: str,
        tensors: Mapping[str, NDArray[Any]],
        *,
        timeout_s: float,
        priority: Priority,
        version: str | None,
    ) -> tuple[ModelVersion, Mapping[str, NDArray[Any]]]:
        """Return which version answered, and its outputs in their order."""


class StoredVersions(Protocol):
    """The versions on disk, and loading those that no deployment lets answer."""

    def installed(self) -> Sequence[ModelVersion]:
        """Return every version that is stored whole."""

    def load(self, model: str, version: str | None) -> ModelVersion:
        """Answer for ``model`` by a stored version, the newest that may run where none is named.

        Raises:
            AgentError: NOT_FOUND; FAILED_PRECONDITION, or why this version may not run here.
        """

    def unload(self, model: str) -> None:
        """Close what ``load`` opened; what a deployment committed is never touched.

        Raises:
            AgentError: NOT_FOUND; FAILED_PRECONDITION: a deployment, or somebody else, lets it answer.
        """


class Counters(Protocol):
    """What was counted of requests."""

    def of(self, model: ModelVersion) -> ModelCounts:
        """Return what was counted of a version."""
