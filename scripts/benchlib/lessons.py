"""What ``bench models`` trains, and the goal of each row: data only."""

from typing import NamedTuple

PAPER_SHEETS = r"^(.*)_\d+\."
"""A sheet of paper: its patches stay on one side of a split."""
PCB_DESIGNS = r"^(\d{5})"
PCB_OVERRIDE = "boards of one design stand on both sides of the split that this data set gives"
PAPER_TYPES = (
    "bft01_tl",
    "brg01_rl",
    "brg02_rl",
    "btn01_rl",
    "flr01_tl",
    "flr02_tl",
    "fvn01_tl",
    "fvn02_rl",
    "gla01_tl",
    "zpb01_rl",
)
"""Those of the twelve that have good test pictures."""


class Row(NamedTuple):
    """One method on one product; the mean over ``sets`` of what each reaches."""

    product: str
    method: str
    sets: tuple[str, ...]
    """Data sets, below the folder of all data."""
    goals: tuple[tuple[str, float], ...]
    """Figures, and what their mean over sets and seeds should reach; 0: shown without a goal."""
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return ``PRODUCT METHOD``."""
        return f"{self.product} {self.method}"


class Part(NamedTuple):
    """Rows that are measured together."""

    rows: tuple[Row, ...]
    at_once: int = 1
    """How many trainings run at the same time."""


_PAPER = tuple(f"paper/anomaly/pa_{name}" for name in PAPER_TYPES)
_COOKIES = ("cookies/anomaly/cookie",)
_ONE_CORE = ("--threads", "1")
_SHEETS = ("--part-regex", PAPER_SHEETS, *_ONE_CORE)
_DESIGNS = ("--part-regex", PCB_DESIGNS, "--override-gate", PCB_OVERRIDE, *_ONE_CORE)


def _area(goal: float) -> tuple[tuple[str, float], ...]:
    return (("image_auroc", goal), ("random_control_auroc", 0.0))


ANOMALY = (
    Row("cookies", "patchcore", _COOKIES, _area(0.97)),
    Row("cookies", "padim", _COOKIES, _area(0.97)),
    Row("cookies", "dfm", _COOKIES, _area(0.93)),
    Row("cookies", "gmm", _COOKIES, _area(0.93)),
    Row("paper", "patchcore", _PAPER, _area(0.995)),
    Row("paper", "padim", _PAPER, _area(0.995)),
    Row("pcb", "patchcore", ("pcb/anomaly/pcb",), _area(0.0), ("--override-gate", PCB_OVERRIDE)),
)
SUPERVISED = (
    Row("paper", "classification", ("paper/classification",), (("f1", 0.98),), _SHEETS),
    Row("pcb", "classification", ("pcb/classification",), (("f1", 0.90),), _DESIGNS),
    Row("pcb", "segmentation", ("pcb/segmentation",), (("iou", 0.55), ("image_ap", 0.0)), _DESIGNS),
    Row("paper", "segmentation", ("paper/segmentation",), (("iou", 0.60), ("image_ap", 0.98)), _SHEETS),
)
QUICK = (Row("cookies", "patchcore", _COOKIES, _area(0.0), ("--depth", "7", "--size", "96")),)
PARTS = {
    "all": (Part(ANOMALY), Part(SUPERVISED, at_once=2)),
    "anomaly": (Part(ANOMALY),),
    "supervised": (Part(SUPERVISED, at_once=2),),
}
