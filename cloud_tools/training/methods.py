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
_SIGHT = 300_000_000
"""3,000 pictures of 320 px or 8,000 of 192 px: some five minutes of one core with the trunk's default depth."""
_FEWEST, _MOST = 4, 40
"""Epochs: fewer do not end what the schedule begins, more repeat what was learnt."""


class Method(NamedTuple):
    """What must be known of a method before torch is loaded."""

    name: str
    """As the command, the report and ``run.yaml`` call it."""
    kind: Kind
    module: str
    least: tuple[str, float]
    """The quality gate: a figure, and what it must reach on pictures the model never saw."""
    epochs: int = 0
    """Of learning where nobody says how many; 0: it has none."""
    epochs_wide: int = 0
    """The same at full width, where that differs."""
    sight: int = 0
    """How many pixels of input are learnt from where nobody says for how many epochs; what bounds the time."""
    takes: tuple[str, ...] = ()
    """Options that are this method's own."""
    on_gpu: bool = False
    """Whether its learning can be done by a GPU."""
    embeds: bool = False
    """It also tells where a picture lies among others, so that a run carries a memory bank (``bank``)."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of what the network returns, in its order."""
        second = "probabilities" if self.kind is Kind.CLASSIFICATION else "map"
        return ("score", second, "embedding") if self.embeds else ("score", second)

    def epochs_for(self, pictures: int, pixels: int) -> int:
        """Return how many epochs of so many pictures of so many pixels each make ``sight``, within reason."""
        return min(max(round(self.sight / max(1, pictures * pixels)), _FEWEST), _MOST)

    def epochs_of(self, *, wide: bool) -> int:
        """Return how many epochs are learnt where nobody says."""
        return self.epochs_wide if wide and self.epochs_wide else self.epochs


def _anomaly(
    name: str, epochs: int = 0, epochs_wide: int = 0, takes: tuple[str, ...] = (), *, embeds: bool = False
) -> Method:
    module = f"{_ROOM}.anomaly.{name}"
    least = ("image_auroc", 0.8)
    return Method(
        name, Kind.ANOMALY, module, least, epochs, epochs_wide, takes=takes, on_gpu=bool(epochs), embeds=embeds
    )


def _labelled(kind: Kind, least: tuple[str, float]) -> Method:
    return Method(kind.value, kind, f"{_ROOM}.{kind.value}", least, sight=_SIGHT)


_ROWS = (
    _labelled(Kind.CLASSIFICATION, ("f1", 0.8)),
    _labelled(Kind.SEGMENTATION, ("iou", 0.3)),
    _anomaly("patchcore", embeds=True),
    _anomaly("padim", embeds=True),
    _anomaly("dfm", epochs=20, takes=("scope", "tune"), embeds=True),
    _anomaly("gmm", embeds=True),
    _anomaly("efficientad", epochs=60, epochs_wide=400, takes=("width",)),
)
METHODS = {row.name: row for row in _ROWS}


def method_of(name: str) -> Method:
    """Return the method of this name.

    Raises:
        CloudError: INVALID_ARGUMENT: there is none.
    """
    if name not in METHODS:
        raise CloudError(Code.INVALID_ARGUMENT, f"expected a kind of {', '.join(METHODS)}, came {name}")
    return METHODS[name]
