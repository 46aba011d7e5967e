"""A double of TensorRT's bindings: of what they offer only what the agent calls, in the forms that they have.

``bindings.json`` holds the real forms, and a test compares. Graphs are executed by ONNX's reference, when
somebody waits for the stream that they were enqueued in.
"""

import enum
import io
import json
import os
from pathlib import Path
from typing import Any

import fake_gpu
import numpy as np
import onnx
from onnx.external_data_helper import load_external_data_for_model
from onnx.reference import ReferenceEvaluator

__version__ = os.environ.get("FAKE_TENSORRT_VERSION", "11.4.0.106")
_MAGIC = b"ptrt"


class _Word(enum.Enum):
    """As pybind's enumerations: no numbers, but numbers can be had of them."""

    def __int__(self) -> int:
        return list(type(self)).index(self)


class DataType(_Word):
    FLOAT = "FLOAT"
    HALF = "HALF"
    BF16 = "BF16"
    INT8 = "INT8"
    INT32 = "INT32"
    INT64 = "INT64"
    BOOL = "BOOL"
    UINT8 = "UINT8"


class TensorIOMode(_Word):
    NONE, INPUT, OUTPUT = "NONE", "INPUT", "OUTPUT"


class TensorLocation(_Word):
    DEVICE, HOST = "DEVICE", "HOST"


class MemoryPoolType(_Word):
    WORKSPACE = "WORKSPACE"


class BuilderFlag(_Word):
    TF32 = "TF32"


class NetworkDefinitionCreationFlag(_Word):
    STRONGLY_TYPED = "STRONGLY_TYPED"


class _Severity(_Word):
    INTERNAL_ERROR, ERROR, WARNING = "INTERNAL_ERROR", "ERROR", "WARNING"


class ILogger:
    """As the real one."""

    Severity = _Severity
    INTERNAL_ERROR, ERROR, WARNING = _Severity

    def __init__(self) -> None:
        self._made = True

    def log(self, severity: _Severity, msg: str) -> None:
        raise NotImplementedError


class Dims(tuple[int, ...]):
    """As the real one: a sequence of sizes."""

    __slots__ = ()


class IHostMemory(bytes):
    """As the real one: a buffer."""

    __slots__ = ()


_NUMPY = {
    DataType.FLOAT: np.float32,
    DataType.HALF: np.float16,
    DataType.INT8: np.int8,
    DataType.INT32: np.int32,
    DataType.INT64: np.int64,
    DataType.BOOL: np.bool_,
    DataType.UINT8: np.uint8,
}


def nptype(trt_type: DataType) -> Any:
    if trt_type not in _NUMPY:
        raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")
    return _NUMPY[trt_type]


class ITensor:
    """As the real one."""

    def __init__(self, value: onnx.ValueInfoProto) -> None:
        self._value = value

    @property
    def name(self) -> str:
        return str(self._value.name)

    @property
    def shape(self) -> Dims:
        return Dims(size.dim_value or -1 for size in self._value.type.tensor_type.shape.dim)

    @property
    def dtype(self) -> DataType:
        wanted = onnx.helper.tensor_dtype_to_np_dtype(self._value.type.tensor_type.elem_type)
        return next(kind for kind, dtype in _NUMPY.items() if np.dtype(dtype) == wanted)


class INetworkDefinition:
    """As the real one."""

    def __init__(self, flags: int) -> None:
        self._flags = flags
        self._model = onnx.ModelProto()

    @property
    def num_inputs(self) -> int:
        return len(self._model.graph.input)

    def get_input(self, index: int) -> ITensor:
        return ITensor(self._model.graph.input[index])


class ParserError:
    """As the real one."""

    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text


class OnnxParser:
    """As the real one."""

    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._logger = network, logger
        self._errors: list[ParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def parse(self, model: bytes, path: str | None = None) -> bool:
        try:
            parsed = onnx.load_from_string(model)
            if path is not None:
                load_external_data_for_model(parsed, str(Path(path).parent))
            onnx.checker.check_model(parsed)
        except (onnx.checker.ValidationError, ValueError, OSError) as exc:
            self._errors.append(ParserError(str(exc)))
            return False
        self._network._model = parsed
        return True


class IOptimizationProfile:
    """As the real one."""

    def __init__(self) -> None:
        self._shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002 - their names
        self._shapes[input] = [list(min), list(opt), list(max)]


class ITimingCache:
    """As the real one."""

    def __init__(self, told: dict[str, Any]) -> None:
        self._told = told

    def serialize(self) -> IHostMemory:
        return IHostMemory(json.dumps(self._told).encode())


class IBuilderConfig:
    """As the real one."""

    def __init__(self) -> None:
        self._flags = {BuilderFlag.TF32}
        self._profiles: list[IOptimizationProfile] = []
        self._cache: ITimingCache | None = None
        self._workspace = 0

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        assert pool is MemoryPoolType.WORKSPACE
        self._workspace = pool_size

    def clear_flag(self, flag: BuilderFlag) -> None:
        self._flags.discard(flag)

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        fresh = {"gpu": fake_gpu.NAME, "builds": 0}
        return ITimingCache(json.loads(serialized_timing_cache) if serialized_timing_cache else fresh)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if not ignore_mismatch and cache._told["gpu"] != fake_gpu.NAME:
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache:
        assert self._cache is not None
        return self._cache


class Builder:
    """As the real one."""

    def __init__(self, logger: ILogger) -> None:
        fake_gpu.called("Builder")
        # Without the base's constructor the real bindings refuse a logger.
        assert logger._made
        if fake_gpu.FAULT == "driver":
            logger.log(ILogger.ERROR, "createInferBuilder: Error Code 6: CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        fake_gpu.called("build_serialized_network")
        if not network._flags and __version__.startswith("10."):
            self._logger.log(ILogger.ERROR, "this double builds strongly typed networks only")
            return None
        free = [tensor.name for tensor in network._model.graph.input if -1 in ITensor(tensor).shape]
        if free and not config._profiles:
            self._logger.log(ILogger.ERROR, f"{free[0]}: no optimization profile has been defined")  # noqa: G004 - no logger of Python's
            return None
        if fake_gpu.FAULT == "build":
            self._logger.log(ILogger.INTERNAL_ERROR, "Could not find any implementation for node /Conv_0.")
            return None
        assert config._cache is not None
        config._cache._told["builds"] += 1
        head = {
            "version": __version__,
            "gpu": fake_gpu.NAME,
            "tf32": BuilderFlag.TF32 in config._flags,
            "workspace": config._workspace,
            "profiles": [profile._shapes for profile in config._profiles],
        }
        return IHostMemory(_MAGIC + json.dumps(head).encode() + b"\n" + network._model.SerializeToString())


class IExecutionContext:
    """As the real one."""

    def __init__(self, engine: "ICudaEngine") -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._outputs: dict[str, tuple[int, ...]] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = tuple(shape)
        return all(want in (-1, came) for want, came in zip(self._engine.get_tensor_shape(name), shape, strict=True))

    def infer_shapes(self) -> list[str]:
        missing = [value.name for value in self._engine._model.graph.input if value.name not in self._shapes]
        if fake_gpu.FAULT == "infer":
            raise RuntimeError("Shape inference failed.")
        if not missing:
            self._outputs = self._engine._shapes_of_outputs(self._shapes)
        return missing

    def get_tensor_shape(self, name: str) -> Dims:
        return Dims(self._shapes.get(name) or self._outputs[name])

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if memory not in fake_gpu.MEMORY:
            return False
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        fake_gpu.called("execute_async_v3")
        missing = {*self._shapes, *self._outputs} - set(self._addresses)
        if missing or fake_gpu.FAULT == "execute":
            self._engine._logger.log(ILogger.ERROR, f"IExecutionContext::enqueueV3: Error Code 3 {sorted(missing)}")  # noqa: G004 - no logger of Python's
            return False
        fake_gpu.STREAMS[stream_handle].add(self._execute)
        return True

    def _execute(self) -> None:
        tensors = {name: self._at(name, shape) for name, shape in self._shapes.items()}
        names = list(self._outputs)
        for name, value in zip(names, ReferenceEvaluator(self._engine._model).run(names, tensors), strict=True):
            self._at(name, self._outputs[name])[...] = value

    def _at(self, name: str, shape: tuple[int, ...]) -> Any:
        dtype = nptype(self._engine.get_tensor_dtype(name))
        return np.frombuffer(fake_gpu.MEMORY[self._addresses[name]], dtype).reshape(shape)


class ICudaEngine:
    """As the real one."""

    def __init__(self, head: dict[str, Any], model: onnx.ModelProto, logger: ILogger) -> None:
        self._head, self._model, self._logger = head, model, logger
        self._tensors = {value.name: ITensor(value) for value in (*model.graph.input, *model.graph.output)}
        self._inputs = {value.name for value in model.graph.input}

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return self._tensors[name].dtype

    def get_tensor_location(self, name: str) -> TensorLocation:
        assert name in self._tensors
        return TensorLocation.DEVICE

    def get_tensor_shape(self, name: str) -> Dims:
        return self._tensors[name].shape

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        return [Dims(sizes) for sizes in self._head["profiles"][profile_index][name]]

    def create_execution_context(self, strategy: object = None) -> IExecutionContext | None:
        fake_gpu.called("create_execution_context")
        assert strategy is None
        return None if fake_gpu.FAULT == "context" else IExecutionContext(self)

    def _shapes_of_outputs(self, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        zeros = {name: np.zeros(shape, nptype(self.get_tensor_dtype(name))) for name, shape in shapes.items()}
        names = [value.name for value in self._model.graph.output]
        values = ReferenceEvaluator(self._model).run(names, zeros)
        return {name: value.shape for name, value in zip(names, values, strict=True)}


class Runtime:
    """As the real one."""

    def __init__(self, logger: ILogger) -> None:
        fake_gpu.called("Runtime")
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        fake_gpu.called("deserialize_cuda_engine")
        file = io.BytesIO(serialized_engine)
        if file.read(4) != _MAGIC:
            self._logger.log(ILogger.ERROR, "Magic tag does not match")
            return None
        head = json.loads(file.readline())
        if (head["version"], head["gpu"]) != (__version__, fake_gpu.NAME):
            self._logger.log(ILogger.ERROR, f"Version tag does not match: {head['version']} on {head['gpu']}")  # noqa: G004 - no logger of Python's
            return None
        return ICudaEngine(head, onnx.load_from_string(file.read()), self._logger)
