"""The serving side of a measurement, in a process of its own: the agent's own rooms behind gRPC.

``python -m scripts.benchlib.served DIRECTORY [PORT]``; then orders as JSON lines on stdin, an answer for each on
stdout.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from edge_agent.config import Inference, Rpc
from edge_agent.errors import ActivationError, BundleError, Code, InferenceError
from edge_agent.formats import Manifest, ModelVersion, TensorCapture, parse
from edge_agent.inference import DataPlane, Registry, open_session, raise_thresholds
from edge_agent.inference.statistics import Statistics
from edge_agent.rpc.fast.server import FastServer, fast_server
from edge_agent.rpc.fast.service import FastService
from edge_agent.rpc.oip.description import Sources
from edge_agent.rpc.oip.models import Models
from edge_agent.rpc.oip.service import InferenceService
from edge_agent.rpc.sagemaker.models import ClientModels, LoadRules
from edge_agent.rpc.sagemaker.service import SageMakerService
from edge_agent.rpc.server import RpcServer

_THREADS = 16
_DRAIN_S = 30.0


class _NoCaptures:
    """Nothing is captured while it is measured."""

    def capture_tensors(self, capture: TensorCapture) -> None:
        """Forget it."""

    def capture_state(self, capture_id: str) -> None:
        """Know nothing."""


class _NoInspections:
    """Nothing is inspected here: tensors only."""

    def inspect(self, *_: object, **__: object) -> NoReturn:
        """Refuse.

        Raises:
            InferenceError: FAILED_PRECONDITION.
        """
        raise InferenceError(Code.FAILED_PRECONDITION, "expected tensors, came a picture: nothing is inspected here")

    inspect_model = frame = frame_map = inspect


class _NoVersions:
    """No version is stored: a measurement opens its own."""

    def installed(self) -> Sequence[ModelVersion]:
        """Return none."""
        return ()

    def load(self, model: str, version: str | None) -> ModelVersion:
        """Refuse; the data plane never asks."""
        raise InferenceError(Code.FAILED_PRECONDITION, f"{model} {version}: expected an order on stdin")

    def unload(self, model: str) -> None:
        """Refuse; the data plane never asks."""
        raise InferenceError(Code.FAILED_PRECONDITION, f"{model}: expected an order on stdin")


class Served:
    """A registry behind a unix socket, and TCP where a port is given, told by lines what to load."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        raise_thresholds()
        self._directory = directory
        self._registry = Registry()
        models = ClientModels(self._registry, None, LoadRules(directory, lambda _digest: False))
        data_plane = DataPlane(self._registry)
        statistics = Statistics()
        data_plane.watch(statistics.count, contents=False)  # as the agent's does
        sources = Sources(Models(self._registry), _NoVersions(), statistics, lambda: True, 1)
        protocols = (
            SageMakerService(models, data_plane, _NoCaptures()),
            InferenceService(sources, data_plane, streams=1),
        )
        self._server = RpcServer([protocol.as_service() for protocol in protocols], threads=_THREADS)
        self._server.listen_on(directory / "agent.sock", "")
        if port:
            self._server.listen_on_tcp(Rpc(tcp=f"127.0.0.1:{port}"))
        self._server.start()
        fast = FastService(data_plane, _NoInspections())
        self._fast: FastServer = fast_server(fast, directory, calls=_THREADS)
        self._fast.start()

    def load(self, version: str, lanes: int) -> dict[str, Any]:
        """Open a version, put it in front, and retire what it replaced."""
        manifest = self._manifest(version)
        options = Inference(lanes=lanes)
        session = open_session(self._directory / version, manifest, options, engines=self._directory / "engines")
        for replaced in self._registry.activate({manifest.model: session}).values():
            self._registry.retire(replaced, timeout_s=_DRAIN_S)
        return {}

    def fail(self, version: str) -> dict[str, Any]:
        """Try a version that cannot be loaded."""
        try:
            self.load(version, 1)
        except (ActivationError, BundleError) as exc:
            return {"code": exc.code.value}
        raise AssertionError("expected a version that cannot be loaded, it was")

    def memory(self) -> dict[str, Any]:
        """Return this process's resident bytes."""
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return {"bytes": pages * os.sysconf("SC_PAGESIZE")}

    def close(self) -> None:
        """End server and workers."""
        self._fast.stop(1.0)
        self._server.stop(1.0)
        self._registry.close()

    def _manifest(self, version: str) -> Manifest:
        content = (self._directory / version / "manifest.json").read_bytes()
        return parse(Manifest, content, what="manifest")


def main() -> int:
    """Serve until stdin ends."""
    served = Served(Path(sys.argv[1]), *map(int, sys.argv[2:]))
    orders: dict[str, Callable[..., dict[str, Any]]] = {
        "load": served.load,
        "fail": served.fail,
        "memory": served.memory,
    }
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(orders[order.pop("do")](**order)), flush=True)
    served.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
