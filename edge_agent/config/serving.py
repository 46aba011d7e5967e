"""How models are executed and asked."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from edge_agent.config.fields import OptionalAddress, OptionalPath, Room

MAX_LANES = 64
RuntimeName = Literal["onnxruntime", "openvino", "tensorrt", "dlr"]
# As the libraries call them: ONNX Runtime's first, then OpenVINO's devices.
ProviderName = Literal["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider", "GPU", "CPU"]


class Batch(Room):
    """Requests that meet in front of a graph whose batch dimension is free run together."""

    size: int = Field(1, ge=1, le=32)
    """Rows in a batch, at most; 1: none. Answers differ from those of single requests by rounding only."""
    window_ms: float = Field(0.0, ge=0, le=100)
    """So long a request waits for others; 0: not at all, only what waits anyway runs together."""


class Inference(Room):
    """How models are executed."""

    isolation: Literal["process", "inline"] = "process"
    """A worker process for each version, or none for very small devices."""
    memory_budget_bytes: int = Field(0, ge=0)
    """Memory that all loaded versions may take together; 0: what the machine, or the agent's control group, has."""
    runtimes: tuple[RuntimeName, ...] = Field(("onnxruntime",), min_length=1)
    """Runtimes to use, the preferred first."""
    allow_native_code: bool = False
    """Let signed releases bring native code to execute: DLR's models and the library for them."""
    providers: tuple[ProviderName, ...] = ()
    """What is to execute models, the preferred first; a runtime takes those it knows. Empty: CUDA where built in."""
    fallback: Literal["refuse", "allow"] = "refuse"
    """Whether a candidate is refused that runs on something else than wanted, say the CPU in place of the GPU."""
    threads: int = Field(1, ge=1, le=256)
    """Threads inside one inference."""
    lanes: int = Field(1, ge=1, le=64)
    """Inferences of one model at a time."""
    queue: int = Field(64, ge=1, le=4096)
    """Requests of one model that may wait."""
    hang_timeout_s: float = Field(20.0, gt=0)
    """A worker that answers nothing for so long is replaced."""
    batch: Batch = Batch()
    """Batches of requests that wait, for graphs whose batch dimension is free."""
    worker_memory_bytes: int = Field(0, ge=0)
    """Private memory that one worker may take (libraries are mapped and do not count); 0: no limit."""
    cpus: tuple[Annotated[int, Field(ge=0, lt=4096)], ...] = ()
    """Processors that workers may use, as the system numbers them; empty: all."""
    shadow_nice: int = Field(0, ge=0, le=19)
    """Niceness of copies for a candidate; above 0 they give way to the line, and its latency is judged with that."""
    spare_worker: bool = False
    """Once a model is loaded, keep a process (45 MB) ready to be the next worker: it answers four times as soon."""

    @model_validator(mode="after")
    def _batches_fit_the_lanes(self) -> Self:
        if self.lanes * self.batch.size > MAX_LANES:
            came = f"{self.lanes} x {self.batch.size}"
            raise ValueError(f"expected lanes x batch.size up to {MAX_LANES}, came {came}")
        return self


class RpcTls(Room):
    """Mutual TLS for TCP beyond loopback."""

    certificate: OptionalPath = None
    """Server certificate, PEM."""
    private_key: OptionalPath = None
    """Server key, PEM."""
    client_ca: OptionalPath = None
    """Authority of the clients' certificates, PEM."""
    clients: tuple[str, ...] = ()
    """Common names that may connect."""


class Rpc(Room):
    """The gRPC servers."""

    tcp: OptionalAddress = "127.0.0.1:8001"
    """Address of the data plane over TCP; empty: unix socket only."""
    sockets: tuple[Path, ...] = ()
    """Further unix sockets of the data plane, for old clients."""
    threads: int = Field(16, ge=2, le=256)
    """Calls of the data plane answered at a time."""
    connections: int = Field(256, ge=1, le=65_535)
    """Open connections of the data plane, of each of its addresses; a further one is closed at once."""
    receive_timeout_s: float = Field(10.0, gt=0, le=3600)
    """A call whose request takes longer to arrive is cancelled, since it holds a thread meanwhile."""
    tls: RpcTls = RpcTls()
    """Certificates; needed when tcp is not loopback."""
