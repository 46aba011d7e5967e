"""The door to ONNX Runtime's quantisation: static, with QuantizeLinear and DequantizeLinear around each node.

Convolutions and what stands between them run in int8; heads and scorers, which are small and touchy, stay fp32.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from cloud_tools.errors import CloudError
from edge_agent.errors import Code

_INT8 = ("Conv", "ConvTranspose", "Relu", "Clip", "Add", "Concat", "MaxPool", "Resize")


class _Pictures(CalibrationDataReader):  # type: ignore[misc]  # it publishes no types
    """Pictures of the training, one at a time."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._left: Iterator[NDArray[np.uint8]] = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next picture as the graph takes it; None after the last."""
        image = next(self._left, None)
        return None if image is None else {"image": image[np.newaxis]}


def quantise(model: Path, images: NDArray[np.uint8], target: Path) -> None:
    """Write ``model`` with its convolutions in int8.

    Weights are signed, per channel and of 8 bits. On x86-64 processors without VNNI their 16-bit sums may overflow;
    7 bits would be safe there and cost several times the accuracy everywhere else, so such a device finds
    out by the golden samples, and keeps the version before.

    Args:
        model: an ONNX file of our contract.
        images: [N, H, W, 3], pictures that it learnt from: they tell the range of every activation.
        target: the file that is written.

    Raises:
        CloudError: FAILED_PRECONDITION: the library cannot quantise this graph.
    """
    logging.getLogger().addFilter(_is_no_advice)
    try:
        quantize_static(
            model,
            target,
            _Pictures(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_INT8),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
    except (ValueError, RuntimeError, TypeError, KeyError, IndexError, AttributeError) as exc:
        raise CloudError(Code.FAILED_PRECONDITION, f"ONNX Runtime cannot quantise {model.name}: {exc}") from exc
    finally:
        logging.getLogger().removeFilter(_is_no_advice)
    _drop_unused_domains(target)


def _is_no_advice(record: logging.LogRecord) -> bool:
    return "pre-processing" not in record.getMessage()


def _drop_unused_domains(path: Path) -> None:
    """Leave ONNX's own operators in the list alone: the library announces a domain that it does not use."""
    graph = onnx.load(path)
    used = {node.domain for node in graph.graph.node}
    kept = [opset for opset in graph.opset_import if opset.domain in used | {""}]
    del graph.opset_import[:]
    graph.opset_import.extend(kept)
    onnx.save(graph, path)
