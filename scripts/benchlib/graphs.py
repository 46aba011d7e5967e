"""Graphs of the sizes that the goals speak of, with random weights: what they answer does not matter.

``lite0`` is EfficientNet-lite0 at 224 (about 8 ms a thread), ``lite0_int8`` its QDQ export (about
4 ms), ``unet`` a U-Net at 256 (about 48 ms), ``null`` takes 602 KB and does nothing with them.
"""

import hashlib
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_agent.formats import Manifest, parse
from edge_agent.vision import encode_png

_OPSET, _IR = 18, 9
# expansion, channels, repeats, stride, kernel; Tan & Le 2019, table 1, as "lite" keeps it.
_LITE0 = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_UNET = (16, 32, 64, 96, 128)


class Network:
    """A graph being put together, node after node."""

    def __init__(self, side: int, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self.side = side
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node and return its output's name."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, value: Any) -> str:
        """Add a constant and return its name."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def image(self) -> str:
        """Return the picture as normalised NCHW floats."""
        planes = self.add("Transpose", self.add("Cast", "image", to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
        centred = self.add("Sub", planes, self.constant(np.float32(127.5)))
        return self.add("Mul", centred, self.constant(np.float32(1 / 127.5)))

    def conv(self, x: str, shape: tuple[int, int], kernel: int, *, stride: int = 1, depthwise: bool = False) -> str:
        """Return a convolution of ``shape`` (in, out), same padding."""
        incoming, out = shape
        group = incoming if depthwise else 1
        size = (out, incoming // group, kernel, kernel)
        scale = np.sqrt(2.0 / (size[1] * kernel * kernel))
        weight = self.constant((self._random.normal(size=size) * scale).astype(np.float32))
        bias = self.constant(np.zeros(out, np.float32))
        pads = [kernel // 2] * 4
        return self.add("Conv", x, weight, bias, strides=[stride] * 2, pads=pads, group=group)

    def relu6(self, x: str) -> str:
        """Return x between 0 and 6."""
        return self.add("Clip", x, self.constant(np.float32(0)), self.constant(np.float32(6)))

    def model(self, outputs: dict[str, tuple[str, list[Any]]]) -> onnx.ModelProto:
        """Return the model with these outputs: name -> (value, shape)."""
        for name, (value, _) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [value], [name]))
        infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, (_, shape) in outputs.items()]
        image = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, self.side, self.side, 3])
        graph = helper.make_graph(self.nodes, "bench", [image], infos, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)


def lite0(seed: int) -> onnx.ModelProto:
    """Return EfficientNet-lite0 at 224 with two classes."""
    net = Network(224, seed)
    x, channels = net.relu6(net.conv(net.image(), (3, 32), 3, stride=2)), 32
    for expansion, out, repeats, first_stride, kernel in _LITE0:
        for number in range(repeats):
            stride, before, inner = (first_stride if number == 0 else 1), x, channels * expansion
            if expansion > 1:
                x = net.relu6(net.conv(x, (channels, inner), 1))
            x = net.relu6(net.conv(x, (inner, inner), kernel, stride=stride, depthwise=True))
            x = net.conv(x, (inner, out), 1)
            x = net.add("Add", x, before) if stride == 1 and channels == out else x
            channels = out
    x = net.add("GlobalAveragePool", net.relu6(net.conv(x, (channels, 1280), 1)))
    logit = net.conv(x, (1280, 1), 1)
    return net.model({"score": (net.add("Reshape", logit, net.constant(np.array([1]))), [1])})


def unet(seed: int) -> onnx.ModelProto:
    """Return a U-Net at 256 with a map of logits."""
    net = Network(256, seed)
    x, channels = net.image(), 3
    skips: list[tuple[str, int]] = []
    for out in _UNET:
        x = net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]) if skips else x
        x, channels = _double(net, x, channels, out), out
        skips.append((x, out))
    for skip, out in reversed(skips[:-1]):
        scales = net.constant(np.array([1, 1, 2, 2], np.float32))
        x = net.add("Concat", net.add("Resize", x, "", scales, mode="nearest"), skip, axis=1)
        x, channels = _double(net, x, channels + out, out), out
    logits = net.add("Reshape", net.conv(x, (channels, 1), 1), net.constant(np.array([1, 256, 256])))
    score = net.add("ReduceMax", logits, net.constant(np.array([1, 2])), keepdims=0)
    return net.model({"score": (score, [1]), "map": (logits, [1, 256, 256])})


def null(seed: int) -> onnx.ModelProto:
    """Return a graph that takes 448 x 448 x 3 bytes and looks at one."""
    net = Network(448, seed)
    one = net.add("GatherND", "image", net.constant(np.array([0, 0, seed, 0])))
    score = net.add("Unsqueeze", net.add("Cast", one, to=TensorProto.FLOAT), net.constant(np.array([0])))
    return net.model({"score": (score, [1])})


def lite0_int8(seed: int) -> onnx.ModelProto:
    """Return lite0 quantised as the exporter does it: QDQ, per channel."""
    from onnxruntime import quantization  # noqa: PLC0415 - slow to import

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            pictures = np.random.default_rng(1).integers(0, 256, (4, 1, 224, 224, 3), dtype=np.uint8)
            self._feeds = iter([{"image": picture} for picture in pictures])

        def get_next(self) -> Any:
            return next(self._feeds, None)

    logging.getLogger().setLevel(logging.ERROR)  # it advises a step that changes nothing here
    with tempfile.TemporaryDirectory() as scratch:
        plain, small = Path(scratch, "plain.onnx"), Path(scratch, "small.onnx")
        onnx.save(lite0(seed), plain)
        quantization.quantize_static(
            plain,
            small,
            Reader(),
            per_channel=True,
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return onnx.load(small)


GRAPHS: dict[str, Callable[[int], onnx.ModelProto]] = {
    "lite0": lite0,
    "lite0-int8": lite0_int8,
    "unet": unet,
    "null": null,
}


def write(directory: Path, name: str, version: str, *, broken: bool = False) -> Manifest:
    """Write one of ``GRAPHS`` as an installed version and return its manifest; versions differ in their weights."""
    directory.mkdir(parents=True)
    model = GRAPHS[name](int(version))
    (directory / "model.onnx").write_bytes(b"no graph" if broken else model.SerializeToString())
    (directory / "ok.png").write_bytes(encode_png(np.zeros((8, 8, 3), np.uint8)))
    side = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    document = {
        "schema": "edge-agent/manifest/1",
        "model": name,
        "version": version,
        "release_seq": 1,
        "kind": "segmentation" if name == "unet" else "classification",
        "runtime": {"name": "onnxruntime"},
        "inputs": [{"name": "image", "dtype": "uint8", "shape": [1, side, side, 3]}],
        "outputs": [_spec(output) for output in model.graph.output],
        "preprocess": {"width": side, "height": side},
        "decision": {"threshold": 0.5},
        "golden": {"samples": [{"image": "ok.png", "score": 0.0, "verdict": "OK"}]},
        "artefacts": [_artefact(directory / "model.onnx", "model"), _artefact(directory / "ok.png", "golden")],
    }
    return parse(Manifest, document, what="manifest")


def _double(net: Network, x: str, incoming: int, out: int) -> str:
    x = net.add("Relu", net.conv(x, (incoming, out), 3))
    return net.add("Relu", net.conv(x, (out, out), 3))


def _spec(output: onnx.ValueInfoProto) -> dict[str, Any]:
    shape = [dim.dim_value for dim in output.type.tensor_type.shape.dim]
    return {"name": output.name, "dtype": "float32", "shape": shape}


def _artefact(path: Path, role: str) -> dict[str, Any]:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return {"path": path.name, "role": role, "size_bytes": len(content), "sha256": digest}
