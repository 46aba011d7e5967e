"""The options of ``edge-cloud package`` that tell of a model from elsewhere."""

import re
from enum import Enum
from typing import Annotated

import typer

from cloud_tools.errors import CloudError
from cloud_tools.export.told import Channels, Head, Layout, OutputKind, Range, Told
from edge_agent.errors import Code

_SIZE = re.compile(r"([1-9][0-9]{0,4})(?:x([1-9][0-9]{0,4}))?")
_OUTPUT = re.compile(r"(?:(?P<name>.+)=)?(?P<kind>[a-z]+)")


class Resize(str, Enum):
    """How a picture of another shape gets into the input."""

    LETTERBOX = "letterbox"
    STRETCH = "stretch"


Name = Annotated[str, typer.Option(help="of the model")]
Version = Annotated[str, typer.Option(help="one to four numbers, as 1 or 1.2.3")]
Labels = Annotated[list[str] | None, typer.Option(help="of a graph: a class, in its order; repeat")]
NormalLabels = Annotated[list[str] | None, typer.Option(help="of a graph: a class that means OK; repeat")]
Threshold = Annotated[float | None, typer.Option(help="of a graph: the score at which a part is NG; 0.5")]
RangeFlag = Annotated[Range | None, typer.Option("--range", help="of a graph of floats: where 0..255 of a pixel goes")]
Mean = Annotated[str, typer.Option(help="of a graph of floats: subtracted after --range, one number or each channel's")]
Std = Annotated[str, typer.Option(help="of a graph of floats: divided by, one number or each channel's")]
LayoutFlag = Annotated[
    Layout | None, typer.Option("--layout", help="of a graph of floats, where its shape does not tell")
]
ChannelsFlag = Annotated[Channels, typer.Option("--channels", help="of a graph of floats: their order")]
Size = Annotated[str, typer.Option(help="WIDTHxHEIGHT of the input, where the graph leaves it free")]
ResizeFlag = Annotated[Resize, typer.Option("--resize", help="of a graph: how pictures get its size")]
Outputs = Annotated[
    list[str] | None,
    typer.Option(
        "--output-kind",
        metavar="[OUTPUT=]KIND",
        help="of a graph of floats: probabilities, logits, score or map; one of classes and one of a map may be told",
    ),
]
NormalChannels = Annotated[list[int] | None, typer.Option(help="of a map with a channel for each class: a good one")]
Scale = Annotated[float, typer.Option(help="of a score: it is shown as sigmoid(scale * score + offset)")]
Offset = Annotated[float, typer.Option(help="see --scale")]


def told_of(
    *,
    labels: list[str] | None,
    normal_labels: list[str] | None,
    pixel_range: Range | None,
    mean: str,
    std: str,
    layout: Layout | None,
    channels: Channels,
    size: str,
    outputs: list[str] | None,
    normal_channels: list[int] | None,
    scale: float,
    offset: float,
) -> Told:
    """Return what the options tell.

    Raises:
        CloudError: INVALID_ARGUMENT: one of them is malformed.
    """
    return Told(
        range=pixel_range,
        mean=_numbers("--mean", mean),
        std=_numbers("--std", std),
        layout=layout,
        channels=channels,
        size=_size(size),
        heads=tuple(_head(text) for text in outputs or ()) or (Head(),),
        labels=tuple(labels or ()),
        normal_labels=tuple(normal_labels or ()),
        normal_channels=tuple(normal_channels or (0,)),
        scale=scale,
        offset=offset,
    )


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError as exc:
        raise CloudError(Code.INVALID_ARGUMENT, f"{option}: expected numbers with commas, came {text!r}") from exc


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    match = _SIZE.fullmatch(text)
    if match is None:
        raise CloudError(Code.INVALID_ARGUMENT, f"--size: expected 224 or 640x480, came {text!r}")
    return int(match[1]), int(match[2] or match[1])


def _head(text: str) -> Head:
    match = _OUTPUT.fullmatch(text)
    words = [kind.value for kind in OutputKind]
    if match is None or match["kind"] not in words:
        raise CloudError(Code.INVALID_ARGUMENT, f"--output-kind: expected [OUTPUT=]{'|'.join(words)}, came {text!r}")
    return Head(match["name"] or "", OutputKind(match["kind"]))
