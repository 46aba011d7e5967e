"""What a person says of a version."""

from typing import Protocol

from cloud_tools.errors import CloudError
from cloud_tools.registry.version import Step, Version
from edge_agent.errors import Code


class Marks(Protocol):
    """What is needed of the registry."""

    def mark(self, version: Version, step: Step, **fields: str) -> Version:
        """Note how far a version has come."""


def approve(registry: Marks, version: Version, *, by: str, reason: str = "", override: str = "") -> Version:
    """Let a version become a draft.

    Args:
        registry: where it is noted.
        version: one that nobody has decided on, or that was rejected.
        by: who wants it.
        reason: why.
        override: why it is wanted although the training's gates stopped it.

    Raises:
        CloudError: FAILED_PRECONDITION: it has come further already, or a gate stopped its training.
    """
    if version.step not in {Step.REGISTERED, Step.REJECTED}:
        expected = "expected one that waits for a decision"
        raise CloudError(Code.FAILED_PRECONDITION, f"{version.title}: {expected}, it is {version.step.value}")
    if version.shortfall and not override:
        message = f"{version.title}: {version.shortfall}; --override REASON approves it all the same"
        raise CloudError(Code.FAILED_PRECONDITION, message)
    return registry.mark(version, Step.APPROVED, by=by, reason=override or reason)


def reject(registry: Marks, version: Version, *, by: str, reason: str) -> Version:
    """Keep a version from becoming a release; a draft of it is to be deleted by hand.

    Raises:
        CloudError: FAILED_PRECONDITION: devices were asked for it already.
    """
    if version.step is Step.DEPLOYED:
        expected = "expected one that was not rolled out; roll it back instead"
        raise CloudError(Code.FAILED_PRECONDITION, f"{version.title}: {expected}")
    return registry.mark(version, Step.REJECTED, by=by, reason=reason)
