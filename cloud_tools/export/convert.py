"""From other frameworks' files to ONNX, each by its own converter, where that is installed.

Nothing here unpickles: a pickle is a program, and who trains elsewhere may have been deceived. TorchScript is
read by ``torch.jit.load`` and Keras by its safe mode alone; both can still make a converter busy, or crash it,
so convert what a stranger sends on a machine that holds no keys.
"""

import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloud_tools.errors import CloudError
from cloud_tools.export.told import Channels, Layout, Told
from edge_agent.errors import Code

if TYPE_CHECKING:
    import torch

_OPSET = 17
_BATCH = 2  # a batch of one would be folded into constants
_LIMIT_BYTES = (2 << 30) - 1
_PATIENCE_S = 600


def converted(source: Path, told: Told, work: Path) -> Path:
    """Return an ONNX file of the same model: the source itself where it is one.

    Args:
        source: told apart by its ending.
        told: size, layout and channels, for formats that say nothing of them.
        work: folder that the file is written to.

    Raises:
        CloudError: NOT_FOUND: there is no such file; INVALID_ARGUMENT: no converter reads the format, or it
            refuses the file.
    """
    if source.suffix == ".onnx":
        return source
    if source.suffix not in _CONVERTERS:
        raise _invalid(f"a model as {', '.join(('.onnx', *_CONVERTERS))} ({_ADVICE})", f"{source}")
    if not source.is_file():
        raise CloudError(Code.NOT_FOUND, f"expected a file {source}, there is none")
    if source.stat().st_size > _LIMIT_BYTES:
        raise _invalid(f"at most {_LIMIT_BYTES} bytes", f"{source} of {source.stat().st_size}")
    target = work / "converted.onnx"
    _CONVERTERS[source.suffix](source, told, target)
    return target


def _from_torchscript(source: Path, told: Told, target: Path) -> None:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            network = torch.jit.load(str(source), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, EOFError) as exc:
        message = "a TorchScript archive (torch.jit.save); a pickled model or its weights are not read"
        raise _invalid(message, f"{source}: {_first_line(exc)}") from exc
    _export(network, source, _example(told), target)


def _from_keras(source: Path, told: Told, target: Path) -> None:
    """Keras runs on torch here, so that TensorFlow is not needed."""
    import os

    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            network: Any = keras.saving.load_model(source, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError, RuntimeError, AttributeError) as exc:
        raise _invalid("a Keras model of Keras' own layers", f"{source}: {_first_line(exc)}") from exc
    shape = tuple(network.input_shape) if not isinstance(network.input_shape, list | dict) else ()
    if len(shape) != 4:  # noqa: PLR2004 - batch, height, width, channels
        raise _invalid("a Keras model with one picture as its input", f"{network.input_shape}")
    example = _example(told._replace(layout=Layout.NHWC)) if told.size else torch.zeros((_BATCH, *shape[1:]))
    _export(network.eval(), source, example, target)


def _from_tflite(source: Path, told: Told, target: Path) -> None:
    """tf2onnx brings TensorFlow with it: it runs in a process of its own, which gives all that memory back."""
    del told
    if find_spec("tf2onnx") is None or find_spec("tensorflow") is None:
        message = f"{source.name}: tf2onnx and TensorFlow (1.6 GB) read it; they come with the extra tensorflow"
        raise CloudError(Code.RUNTIME_MISSING, f"{message}: pip install 'edge-agent[tensorflow]'")
    command = [sys.executable, "-m", "tf2onnx.convert", "--tflite", str(source), "--output", str(target)]
    command += ["--opset", str(_OPSET)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    except subprocess.TimeoutExpired as exc:
        raise _invalid(f"a model that tf2onnx converts within {_PATIENCE_S} s", f"{source}") from exc
    if done.returncode or not target.is_file():
        said = done.stderr.strip().splitlines() or ["no reason"]
        raise _invalid("a TensorFlow Lite model that tf2onnx can write as ONNX", f"{source}: {said[-1][:300]}")


def _example(told: Told) -> "torch.Tensor":
    import torch

    if told.size is None or told.layout is None:
        raise _invalid("--size WIDTHxHEIGHT and --layout: the format does not tell its input", "none")
    width, height = told.size
    count = 1 if told.channels is Channels.GREY else 3
    shape = (count, height, width) if told.layout is Layout.NCHW else (height, width, count)
    return torch.zeros((_BATCH, *shape), dtype=torch.float32)


def _export(network: Any, source: Path, example: "torch.Tensor", target: Path) -> None:
    import torch

    try:
        with torch.no_grad():
            answers = network(example)
        count = len(answers) if isinstance(answers, tuple | list) else 1
        names = ["output"] if count == 1 else [f"output{number}" for number in range(count)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns that it is the older exporter, and of each folded constant
            torch.onnx.export(
                network,
                (example,),
                str(target),
                dynamo=False,
                opset_version=_OPSET,
                input_names=["input"],
                output_names=names,
                dynamic_axes={name: {0: "batch"} for name in ("input", *names)},
            )
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError) as exc:
        raise _invalid("a model that torch's exporter can write as ONNX", f"{source}: {_first_line(exc)}") from exc


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _invalid(expected: str, came: str) -> CloudError:
    return CloudError(Code.INVALID_ARGUMENT, f"expected {expected}, came {came}")


_CONVERTERS: dict[str, Callable[[Path, Told, Path], None]] = {
    ".torchscript": _from_torchscript,
    ".ts": _from_torchscript,
    ".pt": _from_torchscript,
    ".pth": _from_torchscript,
    ".keras": _from_keras,
    ".h5": _from_keras,
    ".tflite": _from_tflite,
}
_ADVICE = "of a SavedModel make ONNX with tf2onnx where it was trained"
