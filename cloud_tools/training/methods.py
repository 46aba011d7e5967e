"""The table of methods: one row and one module each.

A method's module has one function, ``train(lesson: Lesson) -> torch.nn.Module``. The
network that it returns takes uint8 [N, H, W, 3] and returns the tensors that
``outputs`` names; reading, gates, export, thresholds, proof and report are the same
for all (``run``). A further method is a module and a row here.
"""

from typing import NamedTuple

from cloud_tools.errors import CloudError
from edge_agent.errors import Code
from edge_agent.formats import Kind

_ROOM = "cloud_tools.training"


class Method(NamedTuple):
    """What must be known of a method before torch is loaded."""

    kind: Kind
    module: str
    least: tuple[str, float]
    """The quality gate: a figure, and what it must reach on pictures the model never saw."""
    epochs: int = 0
    """Of learning where nobody says how many; 0: it has none."""
    embeds: bool = False
    """It also tells where a picture lies among others, so that a run carries a memory bank (``bank``)."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of what the network returns, in its order."""
        second = "probabilities" if self.kind is Kind.CLASSIFICATION else "map"
        return ("score", second, "embedding") if self.embeds else ("score", second)


METHODS = {
    "classification": Method(Kind.CLASSIFICATION, f"{_ROOM}.classification", ("f1", 0.8), 10),
    "segmentation": Method(Kind.SEGMENTATION, f"{_ROOM}.segmentation", ("iou", 0.3), 18),
    "patchcore": Method(Kind.ANOMALY, f"{_ROOM}.anomaly.patchcore", ("image_auroc", 0.8), embeds=True),
    "padim": Method(Kind.ANOMALY, f"{_ROOM}.anomaly.padim", ("image_auroc", 0.8), embeds=True),
    "dfm": Method(Kind.ANOMALY, f"{_ROOM}.anomaly.dfm", ("image_auroc", 0.8), embeds=True),
    "gmm": Method(Kind.ANOMALY, f"{_ROOM}.anomaly.gmm", ("image_auroc", 0.8), embeds=True),
}


def method_of(name: str) -> Method:
    """Return the method of this name.

    Raises:
        CloudError: INVALID_ARGUMENT: there is none.
    """
    if name not in METHODS:
        raise CloudError(Code.INVALID_ARGUMENT, f"expected a kind of {', '.join(METHODS)}, came {name}")
    return METHODS[name]
