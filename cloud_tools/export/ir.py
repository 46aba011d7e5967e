"""The door to OpenVINO's conversion, and to NNCF, which quantises for it."""

import contextlib
import io
import logging
from pathlib import Path
from typing import Any

# First: it keeps OpenVINO, and with it NNCF, from telling their maker that they were imported.
import edge_agent.inference.runtimes.openvino  # noqa: F401

# isort: split

import numpy as np
import onnx
import openvino as ov
from numpy.typing import NDArray

from cloud_tools.errors import CloudError
from edge_agent.errors import Code

_OPSET = 18
_TOUCHY = ("MatMul", "Einsum")
"""Heads and scorers: small, and what a verdict hangs on."""


def convert(model: Path, target: Path) -> None:
    """Write an ONNX file as OpenVINO's IR: ``target`` (.xml), its weights (.bin) beside it, in fp32.

    Raises:
        CloudError: FAILED_PRECONDITION: OpenVINO cannot read or write it.
    """
    _save(_read(model), target)


def quantise(model: Path, images: NDArray[np.uint8], target: Path) -> None:
    """Write an ONNX file as OpenVINO's IR in int8, quantised by NNCF; heads and scorers stay fp32.

    Args:
        model: an ONNX file of our contract.
        images: [N, H, W, 3], pictures that it learnt from: they tell the range of every activation.
        target: the .xml that is written, its weights (.bin) beside it.

    Raises:
        CloudError: FAILED_PRECONDITION: NNCF cannot quantise it.
    """
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    graph = _read(model)
    pictures = nncf.Dataset([image[np.newaxis] for image in images])
    try:
        with _silence():
            graph = nncf.quantize(
                graph,
                pictures,
                preset=nncf.QuantizationPreset.MIXED,  # activations here are not all positive
                subset_size=len(images),
                advanced_parameters=nncf.AdvancedQuantizationParameters(activations_range_estimator_params=_ranges()),
                ignored_scope=nncf.IgnoredScope(types=list(_TOUCHY), validate=False),
            )
    except (RuntimeError, ValueError, TypeError, KeyError, nncf.errors.ValidationError) as exc:
        raise CloudError(Code.FAILED_PRECONDITION, f"NNCF cannot quantise {model.name}: {exc}") from exc
    _save(graph, target)


def _ranges() -> Any:
    """Return how activations' ranges are told: the least and greatest value, as ONNX Runtime's are.

    NNCF's own choice, means over pictures, cut off what a defect alone reaches: on the sample line's validation
    pictures the mean difference of a score was 0.1 to 0.25, and is 0.005 to 0.03 so.
    """
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    return RangeEstimatorParametersSet.MINMAX


def _read(model: Path) -> Any:
    """Return the graph; older ones are brought to opset 18 first.

    Up to 2026.4 OpenVINO overlooks the axes of ReduceLogSumExp, ReduceLogSum and ReduceL1 where they are an
    attribute, as they are before opset 18: all pictures of a batch became one score.
    """
    graph = onnx.load(model)
    try:
        if any(opset.domain in ("", "ai.onnx") and opset.version < _OPSET for opset in graph.opset_import):
            graph = onnx.version_converter.convert_version(graph, _OPSET)
        return ov.Core().read_model(graph.SerializeToString())
    except (RuntimeError, ValueError) as exc:
        raise CloudError(Code.FAILED_PRECONDITION, f"OpenVINO cannot read {model.name}: {exc}") from exc


def _save(graph: Any, target: Path) -> None:
    try:
        ov.save_model(graph, str(target), compress_to_fp16=False)
    except (RuntimeError, ValueError) as exc:
        raise CloudError(Code.FAILED_PRECONDITION, f"OpenVINO cannot write {target.name}: {exc}") from exc


def _silence() -> Any:
    """Keep its progress bars from a terminal: answers are ours to print."""
    return contextlib.redirect_stdout(io.StringIO())
