"""The door to torch's exporter: a network becomes one ONNX file.

torch is pinned, and so is the exporter that is used here: the tracing one, which needs
nothing beyond torch, writes the weights into the file and leaves the batch free. The
networks have no control flow, so a trace is the whole truth.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from cloud_tools.export.check import check_graph

if TYPE_CHECKING:
    from torch import nn

OPSET = 17
"""Old enough for every runtime that a device may have, new enough for all that is used."""

_BATCH = 2  # a batch of one would be folded into constants


def export_graph(network: "nn.Module", target: Path, *, width: int, height: int, outputs: tuple[str, ...]) -> None:
    """Write ``network`` as ONNX: "image" uint8 [batch, height, width, 3] in, ``outputs`` out.

    Args:
        network: takes that image and returns as many tensors as there are names.
        target: the file.
        width: of the input in pixels.
        height: of the input in pixels.
        outputs: names, in the order in which the network returns them.

    Raises:
        CloudError: INVALID_ARGUMENT: what came out breaks the contract of our graphs.
    """
    import torch

    example = torch.zeros((_BATCH, height, width, 3), dtype=torch.uint8)
    names = ("image", *outputs)
    with warnings.catch_warnings():
        # It warns that it is the older exporter (known, see above) and that it folds less than it could.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        torch.onnx.export(
            network.eval(),
            (example,),
            str(target),
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=list(outputs),
            dynamic_axes={name: {0: "batch"} for name in names},
        )
    check_graph(target)
