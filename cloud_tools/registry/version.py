"""One version of a model, and what it has been through."""

from enum import Enum
from typing import NamedTuple


class Step(str, Enum):
    """How far a version has come."""

    REGISTERED = "registered"
    """A training left it; nobody has said anything of it."""
    APPROVED = "approved"
    """A person wants it on the line."""
    DRAFTED = "drafted"
    """It lies there as an unsigned bundle, for somebody with the keys."""
    DEPLOYED = "deployed"
    """It was signed, and devices were asked to install it."""
    REJECTED = "rejected"
    """A person does not want it."""


class Version(NamedTuple):
    """A version in the registry.

    Attributes:
        model: the name under which it will be released.
        number: the registry's own, from 1.
        step: how far it has come.
        release: the version under which it will be released.
        sha256: of its graph.
        shortfall: why the training's gates stopped it; empty: they did not.
        by: who approved or rejected it.
        reason: theirs.
        draft: where its bundle lies.
        manifest_sha256: of the bundle's manifest as it was drafted.
        job_id: the job that asks devices for it.
        metrics: of its training.
        run_id: of its training, in the tracker.
    """

    model: str
    number: int
    step: Step
    release: str
    sha256: str
    shortfall: str = ""
    by: str = ""
    reason: str = ""
    draft: str = ""
    manifest_sha256: str = ""
    job_id: str = ""
    metrics: tuple[tuple[str, float], ...] = ()
    run_id: str = ""

    @property
    def title(self) -> str:
        """Return how a person calls it."""
        return f"{self.model} {self.release} (number {self.number})"
