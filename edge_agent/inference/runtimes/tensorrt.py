"""The door to TensorRT 10 and 11, the native runtime of NVIDIA's GPUs: untested on hardware.

Networks are strongly typed, the only kind that TensorRT 11 knows: the graph's own types say how
exactly it computes, and ``fp32`` in a manifest means that no TF32 takes its place. Every call was
compared, one by one, with the Python API reference of TensorRT (10.3, the one of JetPack 6, to 11.4)
and with its bindings; no GPU was at hand to run them.

An engine is native code. It is loaded only from the device's own cache, whose seal was checked, and
never out of a release; ``Runtime.engine_host_code_allowed`` stays False. What the builder measured
(the timing cache) is kept beside the engines under a seal of the same kind.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import tensorrt as trt
from numpy.typing import NDArray

from edge_agent.errors import ActivationError, Code, InferenceError
from edge_agent.formats import DType, TensorSpec
from edge_agent.inference.engines.cache import EngineFile
from edge_agent.inference.engines.source import Source
from edge_agent.inference.runtimes.cuda import CudaError, CudaMemoryError, Gpu
from edge_agent.inference.runtimes.table import Tuning
from edge_agent.inference.runtimes.tensorrt_lane import Lane
from edge_agent.storage.device_key import device_key

BATCH_LIMIT: Final = 8
TIMING_CACHE: Final = "tensorrt.timing"
_LEAST_MAJOR: Final = 10
_WORKSPACE_BYTES: Final = 1 << 30
_KEPT_MESSAGES: Final = 4
# What the bindings make of a library that answers nothing, and of what it throws.
_BINDING_ERRORS: Final = (TypeError, ValueError, RuntimeError)
_DTYPES: Final = {
    trt.DataType.FLOAT: DType.FLOAT32,
    trt.DataType.HALF: DType.FLOAT16,
    trt.DataType.INT32: DType.INT32,
    trt.DataType.INT64: DType.INT64,
    trt.DataType.UINT8: DType.UINT8,
}


class Log(trt.ILogger):  # type: ignore[misc] # the bindings tell no types
    """What TensorRT says of its failures: its calls answer only None or False."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self._errors: deque[str] = deque(maxlen=_KEPT_MESSAGES)

    def log(self, severity: Any, msg: str) -> None:
        """Keep an error; TensorRT calls this from any thread."""
        if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
            self._errors.append(msg.strip())

    def told(self) -> str:
        """Return the last errors and forget them."""
        told = "; ".join(self._errors) or "no reason was given"
        self._errors.clear()
        return told


class TensorRtEngine:
    """One engine on the GPU, and the lanes that execute it.

    Args:
        source: the engine that this device built, or the ONNX file to build it from.
        tuning: how it is to be executed.

    Raises:
        ActivationError: LOAD_FAILED; BUILD_FAILED where it had to be built first.
    """

    fallback = ""

    def __init__(self, source: Source, tuning: Tuning) -> None:
        self._log = Log()
        with _faults(Code.LOAD_FAILED, self._log):
            self._gpu = Gpu()
            with self._gpu.current():
                plan = source.content if source.optimised else _compile(source, tuning, self._log, None)
                # Kept: an engine may not outlive the runtime that it came from.
                self._runtime = trt.Runtime(self._log)
                self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise ActivationError(Code.LOAD_FAILED, f"TensorRT: the engine is refused: {self._log.told()}")
        self.provider = f"TensorRT {trt.__version__}, {self._gpu.name}"
        self.inputs = self._specs(trt.TensorIOMode.INPUT)
        self.outputs = self._specs(trt.TensorIOMode.OUTPUT)
        self._lock = threading.Lock()
        self._idle: list[Lane] = []

    def run(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Execute the graph; several threads may, each gets a lane for the time.

        Raises:
            InferenceError: INVALID_ARGUMENT, more pictures at a time than the engine was built for;
                RESOURCE_EXHAUSTED, the GPU's memory is full; INTERNAL, TensorRT failed; UNAVAILABLE,
                CUDA failed, which takes the GPU from this process until it ends.
        """
        with self._lock:
            lane = self._idle.pop() if self._idle else None
        try:
            with self._gpu.current():
                lane = lane or Lane(self._engine)
                return lane.run(tensors)
        except CudaMemoryError as exc:
            raise InferenceError(Code.RESOURCE_EXHAUSTED, f"CUDA: {exc}") from exc
        except CudaError as exc:
            raise InferenceError(Code.UNAVAILABLE, f"CUDA: {exc}") from exc
        except _BINDING_ERRORS as exc:
            raise InferenceError(Code.INTERNAL, f"TensorRT: {exc}: {self._log.told()}") from exc
        except InferenceError as exc:
            if exc.code is Code.INTERNAL:
                raise InferenceError(exc.code, f"{exc.message}: {self._log.told()}") from exc
            raise
        finally:
            if lane is not None:
                with self._lock:
                    self._idle.append(lane)

    def __del__(self) -> None:
        """Give the lanes' memory back; a worker ends instead."""
        with contextlib.suppress(AttributeError, CudaError), self._gpu.current():
            for lane in self._idle:
                lane.free()

    def _specs(self, mode: Any) -> tuple[TensorSpec, ...]:
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        return tuple(self._spec(name) for name in names if self._engine.get_tensor_mode(name) == mode)

    def _spec(self, name: str) -> TensorSpec:
        kind = self._engine.get_tensor_dtype(name)
        if kind not in _DTYPES or self._engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
            raise ActivationError(Code.LOAD_FAILED, f"{name}: expected a tensor of numbers on the GPU, came {kind}")
        return TensorSpec(name=name, dtype=_DTYPES[kind], shape=tuple(self._engine.get_tensor_shape(name)))


def load(source: Source, tuning: Tuning) -> TensorRtEngine:
    """Return the graph in memory; see ``TensorRtEngine``."""
    _check_version(Code.LOAD_FAILED)
    return TensorRtEngine(source, tuning)


def build(source: Source, target: Path, tuning: Tuning) -> None:
    """Write the engine for this GPU to ``target``; what was measured for it is kept beside it, for the next one.

    Raises:
        ActivationError: BUILD_FAILED.
    """
    _check_version(Code.BUILD_FAILED)
    timings = EngineFile(target.parent / TIMING_CACHE, device_key(target.parent.parent))
    log = Log()
    with _faults(Code.BUILD_FAILED, log), Gpu().current():
        target.write_bytes(_compile(source, tuning, log, timings))


def providers() -> tuple[str, ...]:
    """Return the GPU."""
    return (Gpu().name,)


def _check_version(code: Code) -> None:
    if int(trt.__version__.partition(".")[0]) < _LEAST_MAJOR:
        raise ActivationError(code, f"expected TensorRT {_LEAST_MAJOR} or newer, came {trt.__version__}")


@contextlib.contextmanager
def _faults(code: Code, log: Log) -> Iterator[None]:
    try:
        yield
    except CudaError as exc:
        raise ActivationError(code, f"CUDA: {exc}") from exc
    except _BINDING_ERRORS as exc:
        raise ActivationError(code, f"TensorRT: {exc}: {log.told()}") from exc


def _compile(source: Source, tuning: Tuning, log: Log, timings: EngineFile | None) -> bytes:
    builder = trt.Builder(log)
    network = builder.create_network(_network_flags())
    _parse(source, network, log)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    if tuning.precision == "fp32":
        config.clear_flag(trt.BuilderFlag.TF32)
    _give_profile(builder, network, config)
    _give_timings(config, timings)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ActivationError(Code.BUILD_FAILED, f"TensorRT: {log.told()}")
    _keep_timings(config, timings)
    return bytes(memoryview(plan))


def _network_flags() -> int:
    # TensorRT 10 must be asked for it, 11 ignores the flag; batches are explicit in both.
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _parse(source: Source, network: Any, log: Log) -> None:
    parser = trt.OnnxParser(network, log)
    # The path tells only where the files of external data lie; they were compared just before.
    if not parser.parse(source.content, str(source.folder / "model.onnx")):
        errors = [parser.get_error(index).desc() for index in range(parser.num_errors)][:_KEPT_MESSAGES]
        raise ActivationError(Code.BUILD_FAILED, f"TensorRT: {'; '.join(errors) or log.told()}")


def _give_profile(builder: Any, network: Any, config: Any) -> None:
    """Tell which sizes a free batch takes: one picture is what it is made fast for."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    free = [tensor for tensor in inputs if -1 in tuple(tensor.shape)]
    if not free:
        return
    profile = builder.create_optimization_profile()
    for tensor in free:
        sizes = tuple(tensor.shape)
        if -1 in sizes[1:]:
            message = f"{tensor.name}: expected a shape of which only the first size is free, came {list(sizes)}"
            raise ActivationError(Code.BUILD_FAILED, f"TensorRT: {message}")
        least, most = (1, *sizes[1:]), (BATCH_LIMIT, *sizes[1:])
        profile.set_shape(tensor.name, least, least, most)
    if config.add_optimization_profile(profile) < 0:
        raise ActivationError(Code.BUILD_FAILED, "TensorRT: the profile of the free batch is refused")


def _give_timings(config: Any, timings: EngineFile | None) -> None:
    kept = timings.read() if timings is not None else None
    cache = config.create_timing_cache(kept or b"")
    # Another GPU's measurements are refused; then it begins with none.
    if not config.set_timing_cache(cache, False):  # noqa: FBT003 - "ignore_mismatch", named differently before
        config.set_timing_cache(config.create_timing_cache(b""), False)  # noqa: FBT003


def _keep_timings(config: Any, timings: EngineFile | None) -> None:
    if timings is None:
        return
    # Without it the next build only takes longer.
    with contextlib.suppress(OSError):
        staged = timings.path.with_name(f"{timings.path.name}.staged")
        staged.write_bytes(bytes(memoryview(config.get_timing_cache().serialize())))
        timings.seal(staged)
