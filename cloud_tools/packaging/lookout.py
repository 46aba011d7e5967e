"""Lookout for Vision's model packages: what their manifest.json says, in the words of our own manifest.

Preprocessing and verdict follow Lookout's edge agent: stretched to image_width x image_height, divided by 255 if
``image_range_scale``, ImageNet's mean and deviation if ``normalize``, NCHW; the score is the sum of the class
head's channels that do not mean normal, and a part is normal while round(score, 4) < round(threshold, 4).
"""

import json
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cloud_tools.errors import CloudError
from cloud_tools.export.told import Head, Layout, OutputKind, Range, Told
from edge_agent.errors import Code
from edge_agent.formats import parse

MANIFEST: Final = "manifest.json"
_SINGLE: Final = "single_stage_model_graph"
_LIMIT_BYTES: Final = 1 << 20
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HALF_A_STEP: Final = 5e-5
"""Both sides are rounded to four digits: normal ends half a step below the rounded threshold."""
PALETTE: Final = ("#FFFFFF", "#23A436", "#14A3B3", "#F76902", "#9380FF", "#BD10E0")
_Side = Annotated[int, Field(ge=8, le=8192)]


class _Read(BaseModel):
    """A part of it: what else stands there is none of our business."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class Classes(_Read):
    """Names in the order of the channels, and which of them mean normal."""

    names: tuple[str, ...] = ()
    normal_ids: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> "Classes":
        if any(not 0 <= number < len(self.names) for number in self.normal_ids):
            raise ValueError(f"expected normal_ids of 0..{len(self.names) - 1}, came {list(self.normal_ids)}")
        return self


class Stage(_Read):
    """One network."""

    type: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    threshold: float = Field(0.5, ge=0, le=1, allow_inf_nan=False)
    normalize: bool = False
    image_range_scale: bool = False
    image_width: _Side
    image_height: _Side
    class_normal_ids: tuple[int, ...] = ()
    seg_normal_ids: tuple[int, ...] = ()
    classification_head_enabled: bool = True
    segmentation_head_enabled: bool = False


class Graph(_Read):
    """The stages and what their channels are called."""

    model_graph_type: str
    stages: tuple[Stage, ...] = Field(min_length=1, max_length=8)
    image_level_classes: Classes = Classes()
    pixel_level_classes: Classes = Classes()


class Package(_Read):
    """manifest.json."""

    model_graph: Graph

    @property
    def stage(self) -> Stage:
        """Return the one network."""
        return self.model_graph.stages[0]

    @property
    def threshold(self) -> float:
        """Return ours: at or above it a part is NG, as it is anomalous to Lookout."""
        return max(0.0, round(self.stage.threshold, 4) - _HALF_A_STEP)

    def provenance(self) -> dict[str, Any]:
        """Return what our manifest has no field for."""
        pixels = self.model_graph.pixel_level_classes
        colours = dict(zip(pixels.names, PALETTE, strict=False))
        return {"threshold": self.stage.threshold, "stage": self.stage.type, "colours": colours}


def is_lookout(content: dict[str, Any]) -> bool:
    """Tell whether a manifest.json is Lookout's."""
    return isinstance(content.get("model_graph"), dict)


def read(content: dict[str, Any]) -> Package:
    """Return what the manifest says.

    Raises:
        DocumentError: a field is missing or bad.
        CloudError: INVALID_ARGUMENT: it is a kind of package that is not supported.
    """
    package = parse(Package, content, what=MANIFEST)
    graph = package.model_graph
    if graph.model_graph_type != _SINGLE or len(graph.stages) != 1:
        came = f"{graph.model_graph_type} with {len(graph.stages)} stages"
        raise CloudError(Code.INVALID_ARGUMENT, f"{MANIFEST}: expected a {_SINGLE} with one stage, came {came}")
    if not package.stage.classification_head_enabled:
        raise CloudError(Code.INVALID_ARGUMENT, f"{MANIFEST}: expected a stage with its classification head, came none")
    return package


def told_of(package: Package, outputs: dict[str, int]) -> Told:
    """Return what is told of its graph.

    Args:
        package: what the manifest says.
        outputs: of the graph, with their ranks: the class head has 2 dimensions, the map 4.

    Raises:
        CloudError: INVALID_ARGUMENT: the graph lacks a head that the manifest has.
    """
    stage, names = package.stage, package.model_graph.image_level_classes
    normal = stage.class_normal_ids or names.normal_ids
    heads = [Head(_named(outputs, 2, "class"), OutputKind.PROBABILITIES)]
    if stage.segmentation_head_enabled:
        heads.append(Head(_named(outputs, 4, "segmentation"), OutputKind.MAP))
    if any(not 0 <= number < len(names.names) for number in normal):
        came = f"{list(normal)} of {list(names.names)}"
        raise CloudError(
            Code.INVALID_ARGUMENT, f"{MANIFEST}: expected class_normal_ids of image_level_classes, came {came}"
        )
    return Told(
        range=Range.UNIT if stage.image_range_scale else Range.BYTE,
        mean=_MEAN if stage.normalize else (0.0,),
        std=_STD if stage.normalize else (1.0,),
        layout=Layout.NCHW,
        size=(stage.image_width, stage.image_height),
        heads=tuple(heads),
        labels=names.names,
        normal_labels=tuple(names.names[number] for number in normal),
        normal_channels=stage.seg_normal_ids or package.model_graph.pixel_level_classes.normal_ids or (0,),
    )


def _named(outputs: dict[str, int], rank: int, what: str) -> str:
    fits = [name for name, dimensions in outputs.items() if dimensions == rank]
    if len(fits) != 1:
        message = f"expected one output of {rank} dimensions for the {what} head, came {outputs}"
        raise CloudError(Code.INVALID_ARGUMENT, f"{MANIFEST}: {message}")
    return fits[0]


def read_json(path: Path) -> dict[str, Any]:
    """Return the manifest's object, unread by any schema.

    Raises:
        CloudError: INVALID_ARGUMENT: it is none, or too large.
    """
    if path.stat().st_size > _LIMIT_BYTES:
        raise CloudError(Code.INVALID_ARGUMENT, f"{path.name}: expected at most {_LIMIT_BYTES} bytes, came more")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as exc:
        raise CloudError(Code.INVALID_ARGUMENT, f"{path.name}: expected JSON, {exc}") from exc
    if not isinstance(content, dict):
        raise CloudError(Code.INVALID_ARGUMENT, f"{path.name}: expected a JSON object, came {type(content).__name__}")
    return content
