"""From a graph made elsewhere to one of our contract: folded into one file, wrapped, and tried.

What is told of the graph is tried on pictures of noise: the batch must be free, and probabilities must be some.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cloud_tools.errors import CloudError
from cloud_tools.evaluation.device import DeviceModel
from cloud_tools.export.check import check_graph, parse_graph, read_graph
from cloud_tools.export.heads import Contract, append
from cloud_tools.export.told import Told
from edge_agent.errors import AgentError, Code
from edge_agent.formats.contents import external_files

_IR_VERSION = 8  # older ones list weights among the inputs
_CLOSE = 1e-3
_SUM_CLOSE = 1e-2


class Wrapped(NamedTuple):
    """A graph of our contract."""

    path: Path
    contract: Contract | None
    """What its outputs say now; None: it kept the contract as it came."""


def wrap(source: Path, told: Told, target: Path) -> Wrapped:
    """Write a graph from elsewhere to ``target`` as one that keeps our contract.

    A graph that has uint8 pictures as its input keeps it already, or is refused; it is written as it is, but
    for weights that lie beside it.

    Args:
        source: the ONNX file; files of weights beside it are folded in.
        told: what it wants and says.
        target: a file that is not there yet.

    Raises:
        CloudError: INVALID_ARGUMENT: the graph is not allowed, or what is told contradicts it.
        BundleError: FORMAT_FORBIDDEN: weights lie outside the file's own folder.
    """
    import onnx

    _fold(source, target)
    model = read_graph(target)
    if _takes_pictures(model):
        check_graph(target)
        return Wrapped(target, None)
    from cloud_tools.export.adapt import prepend

    try:
        adapted = prepend(model, told).model
        contract = append(adapted, told)
        adapted.ir_version = max(adapted.ir_version, _IR_VERSION)
        onnx.save(adapted, target)
    except (TypeError, ValueError, LookupError) as exc:
        raise CloudError(Code.INVALID_ARGUMENT, f"{source}: expected a graph that can be wrapped, {exc}") from exc
    check_graph(target)
    _try(source, target, contract)
    return Wrapped(target, contract)


def _fold(source: Path, target: Path) -> None:
    """Write the graph with all its weights inside."""
    import onnx

    model = parse_graph(source)
    outside = external_files(source.read_bytes(), source.name)
    if not outside:
        target.write_bytes(source.read_bytes())
        return
    try:
        onnx.load_external_data_for_model(model, str(source.parent))
        onnx.save(model, target)
    except (OSError, ValueError, onnx.checker.ValidationError) as exc:
        message = f"{source}: expected its weights in {', '.join(sorted(outside))} beside it, {exc}"
        raise CloudError(Code.INVALID_ARGUMENT, message) from exc


def _takes_pictures(model: Any) -> bool:
    import onnx

    return any(value.type.tensor_type.elem_type == onnx.TensorProto.UINT8 for value in model.graph.input)


def _try(source: Path, target: Path, contract: Contract) -> None:
    """Run the wrapped graph on noise, one picture at a time and two together."""
    try:
        device = DeviceModel(target)
        _, height, width, _ = device.inputs[0].shape
        images = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)
        apart = [device.run(image[np.newaxis]) for image in images]
    except AgentError as exc:
        raise CloudError(Code.INVALID_ARGUMENT, f"{source}: expected a graph that runs, {exc.message}") from exc
    for name in apart[0]:
        if not all(np.isfinite(answer[name]).all() for answer in apart):
            raise CloudError(Code.INVALID_ARGUMENT, f"{source}: expected finite numbers in {name}, came others")
    _check_shares(source, apart, contract)
    _check_batch(source, device, images, apart)


def _check_shares(source: Path, apart: list[dict[str, Any]], contract: Contract) -> None:
    if "probabilities" not in apart[0]:
        return
    shares = np.concatenate([answer["probabilities"] for answer in apart])
    inside = (shares > -_SUM_CLOSE).all() and (np.abs(shares.sum(axis=1) - 1) < _SUM_CLOSE).all()
    if not inside:
        came = ", ".join(f"{share:.3g}" for share in shares[0][:5])
        message = f"expected probabilities of {len(contract.labels)} classes that make 1 (or --output-kind logits)"
        raise CloudError(Code.INVALID_ARGUMENT, f"{source}: {message}, came {came}")


def _check_batch(source: Path, device: DeviceModel, images: Any, apart: list[dict[str, Any]]) -> None:
    try:
        together = device.run(images)
        fits = all(
            np.allclose(values, np.concatenate([one[n] for one in apart]), rtol=_CLOSE, atol=_CLOSE)
            for n, values in together.items()
        )
    except (AgentError, ValueError) as exc:
        message = f"{source}: expected a graph that takes any batch, this one is made for one picture: {exc}"
        raise CloudError(Code.INVALID_ARGUMENT, message) from exc
    if not fits:
        message = f"{source}: expected the same answers for pictures alone and together, came others"
        raise CloudError(Code.INVALID_ARGUMENT, message)
