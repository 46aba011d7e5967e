"""The other servers as processes: what each is told to serve, and how it is started."""

import json
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from scripts.benchlib.peers.environments import SERVERS, Environment

INSIDE = Path(__file__).with_name("inside")
_END_S = 20.0
# Triton's backend links to Python's library: this one, not the one that the system may have beside it.
_LIBRARY = str(sysconfig.get_config_var("LIBDIR"))
_TRITON = """
backend: "python"
max_batch_size: 0
input [ {{ name: "image" data_type: TYPE_UINT8 dims: [ {dims} ] }} ]
output [ {{ name: "score" data_type: TYPE_FP32 dims: [ 1 ] }} ]
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
parameters: {{ key: "path" value: {{ string_value: "{path}" }} }}
"""


class Order(NamedTuple):
    """What a server is to do."""

    environment: Environment
    graph: Path
    scratch: Path
    port: int


class Command(NamedTuple):
    """How a server is started."""

    arguments: list[str]
    variables: Mapping[str, str]


def _triton(order: Order) -> Command:
    version = order.scratch / "repository" / "lite0" / "1"
    version.mkdir(parents=True)
    shutil.copy(INSIDE / "one_thread.py", version)
    dims = ", ".join(map(str, (1, 224, 224, 3)))
    (version.parent / "config.pbtxt").write_text(_TRITON.format(dims=dims, path=order.graph), encoding="utf-8")
    packages = next(Path(order.environment.python).parents[1].glob("lib/python3.*/site-packages"))
    # The backend embeds Python and looks at no PYTHONPATH; its own numpy goes first, as with a newer one outputs
    # come out empty.
    model = (INSIDE / "triton_model.py").read_text(encoding="utf-8")
    found = f"import sys\n\nsys.path.insert(0, {str(packages)!r})\n"
    (version / "model.py").write_text(found + model, encoding="utf-8")
    bundled = packages / "pytriton" / "tritonserver"
    backend = order.scratch / "backends" / "python"
    shutil.copytree(bundled / "backends" / "python", backend)
    stub = bundled / "python_backend_stubs" / packages.parent.name.removeprefix("python") / "triton_python_backend_stub"
    shutil.copy(stub, backend)
    addresses = [f"--{what}-address=127.0.0.1" for what in ("http", "grpc", "metrics")]
    arguments = [
        str(bundled / "bin" / "tritonserver"),
        f"--model-repository={version.parents[1]}",
        f"--backend-directory={backend.parent}",
        "--http-port=9380",
        f"--grpc-port={order.port}",
        "--metrics-port=9382",
        *addresses,
    ]
    libraries = f"{_LIBRARY}:{packages / 'nvidia_pytriton.libs'}"
    return Command(arguments, {"LD_LIBRARY_PATH": libraries, "PYTHONHOME": str(sysconfig.get_config_var("prefix"))})


def _mlserver(order: Order) -> Command:
    folder = order.scratch / "models"
    folder.mkdir()
    settings = {"host": "127.0.0.1", "http_port": 9480, "grpc_port": order.port, "metrics_port": 9482, "debug": False}
    model = {
        "name": "lite0",
        "implementation": "mlserver_model.Lite0",
        "parameters": {"uri": str(order.graph)},
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 224, 224, 3]}],
    }
    (folder / "settings.json").write_text(json.dumps(settings | {"parallel_workers": 1}), encoding="utf-8")
    (folder / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")
    program = str(Path(order.environment.python).with_name("mlserver"))
    return Command([program, "start", str(folder)], {"PYTHONPATH": str(INSIDE)})


def _script(name: str) -> Callable[[Order], Command]:
    def command(order: Order) -> Command:
        script = [order.environment.python, str(INSIDE / name), str(order.graph), str(order.port)]
        return Command(script, {"PYTHONPATH": str(INSIDE)})

    return command


COMMANDS: dict[str, Callable[[Order], Command]] = {
    "triton": _triton,
    "pytriton": _script("pytriton_server.py"),
    "kserve": _script("kserve_server.py"),
    "mlserver": _mlserver,
}


@contextmanager
def serving(graph: Path, scratch: Path, first_port: int) -> Iterator[dict[str, str]]:
    """Start every server that is installed; yield name -> address. They need time until they answer."""
    addresses: dict[str, str] = {}
    with ExitStack() as started:
        for environment in SERVERS:
            for name in environment.serves if environment.is_made else ():
                port = first_port + len(addresses)
                place = scratch / name
                place.mkdir()
                started.enter_context(_process(COMMANDS[name](Order(environment, graph, place, port)), place))
                addresses[name] = f"127.0.0.1:{port}"
        yield addresses


@contextmanager
def _process(command: Command, place: Path) -> Iterator[None]:
    variables = {**os.environ, "LD_LIBRARY_PATH": _LIBRARY, "OMP_NUM_THREADS": "1", **command.variables}
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            command.arguments, cwd=place, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
