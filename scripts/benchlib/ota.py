"""``python -m scripts.benchlib.ota [--json] [--rounds N]``: an update of 100 MB, against only fetching and hashing it.

A real agent, a real job over MQTT (mosquitto, with the tests' job service), a signed repository over HTTP from a
process of its own. In each round a new release, one graph of 100 MB, is first fetched in the agent's ranges by the
agent's own client and hashed, nothing else; then a job is created, and the time runs until the generation that
commits the release is durable. Shadow and probation are at zero. The last line on stdout is one JSON object.
"""

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import psutil
from onnx import TensorProto, helper, numpy_helper

from cloud_tools.release.publish import publish, read_bundle
from edge_agent.formats import DeploymentReport
from edge_agent.transfer import open_objects
from scripts.benchlib.files import served
from tests.fakes.deployment import install
from tests.fakes.device import AgentDevice, eventually
from tests.fakes.jobs_clouds import MosquittoCloud
from tests.fakes.repository import SignedRepository
from tests.fakes.tiny_models import SIDE, write_version

Figures = dict[str, Any]
MODEL = "img-classification"
SIZE_BYTES = 100_000_000
_RANGE_BYTES = 4 << 20
_WIDE = 4096
_TIMEOUT_S = 300.0


class Round(NamedTuple):
    """What one release took."""

    get_hash_s: float
    ota_s: float
    reported_s: float
    cpu_s: float
    states: dict[str, float]


class Setting:
    """One device, one cloud, one repository."""

    def __init__(self, directory: Path, releases: int) -> None:
        self.repository = SignedRepository(directory / "cloud", now=time.time())
        self.artefacts: dict[str, str] = {}
        for number in range(1, releases + 1):
            self._publish(str(number))
        self.cloud = MosquittoCloud(directory)
        self.thing, self._mqtt = self.cloud.new_device()
        self._directory = directory

    def device(self, url: str) -> AgentDevice:
        """Return the device, not started, with its repository at ``url``."""
        rooms = {
            "device": {"thing": self.thing},
            "mqtt": self._mqtt.model_dump(mode="json"),
            "repository": {"url": url},
            "trust": {"root": self.repository.root, "allow_demo_root": True},
        }
        return AgentDevice(self._directory / "device", rooms)

    def _publish(self, version: str) -> None:
        bundle = self.repository.home / "bundles" / version
        write_version(bundle, name=MODEL, version=version)
        self.artefacts[version] = enlarge(bundle, int(version))
        publish(self.repository.open(), [read_bundle(bundle)])
        (bundle / "model.onnx").unlink()


def enlarge(bundle: Path, seed: int) -> str:
    """Give the bundle's graph weights until its file has 100 MB, without changing its answers; return its SHA-256."""
    path = bundle / "model.onnx"
    model = onnx.load(path)
    graph, numbers = model.graph, np.random.default_rng(seed)
    pixels = SIDE * SIDE * 3
    last = (SIZE_BYTES // 4 - pixels * _WIDE - _WIDE * _WIDE) // _WIDE
    shapes = {"wide_1": (pixels, _WIDE), "wide_2": (_WIDE, _WIDE), "wide_3": (_WIDE, last)}
    for name, shape in shapes.items():
        graph.initializer.append(numpy_helper.from_array(numbers.standard_normal(shape, np.float32) * 1e-3, name))
    graph.initializer.append(numpy_helper.from_array(np.array([-1, pixels], np.int64), "flat_shape"))
    graph.initializer.append(numpy_helper.from_array(np.array(1e-9, np.float32), "unheard"))
    nodes = [
        helper.make_node("Cast", ["image"], ["as_floats"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["as_floats", "flat_shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "wide_1"], ["deep_1"]),
        helper.make_node("MatMul", ["deep_1", "wide_2"], ["deep_2"]),
        helper.make_node("MatMul", ["deep_2", "wide_3"], ["deep_3"]),
        helper.make_node("ReduceMean", ["deep_3"], ["loud"], keepdims=0),
        helper.make_node("Mul", ["loud", "unheard"], ["whisper"]),
    ]
    score = next(node for node in graph.node if "score" in node.output)
    score.output[:] = ["plain" if name == "score" else name for name in score.output]
    for node in graph.node:
        node.input[:] = ["plain" if name == "score" else name for name in node.input]
    graph.node.extend([*nodes, helper.make_node("Add", ["plain", "whisper"], ["score"])])
    path.write_bytes(model.SerializeToString())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = json.loads((bundle / "manifest.json").read_text())
    for artefact in manifest["artefacts"]:
        if artefact["path"] == path.name:
            artefact |= {"size_bytes": path.stat().st_size, "sha256": digest}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    return digest


def measure_ota(rounds: int = 3) -> Figures:
    """Return the medians of ``rounds`` updates of 100 MB and of fetching and hashing the same bytes."""
    with tempfile.TemporaryDirectory(prefix="ota-") as scratch:
        setting = Setting(Path(scratch), rounds + 1)
        with served(setting.repository.directory) as url:
            device = setting.device(url)
            device.start()
            try:
                _update(setting, device, "1")  # the first one has no version before it to drain
                done = [_round(setting, device, url, str(number + 2)) for number in range(rounds)]
            finally:
                device.stop()
                setting.cloud.stop()
    return _told(done)


def _round(setting: Setting, device: AgentDevice, url: str, version: str) -> Round:
    get_hash_s = _get_and_hash(url, setting.artefacts[version])
    before = _cpu_s(device)
    created, committed, report = _update(setting, device, version)
    reported_s, cpu_s = time.time() - created, _cpu_s(device) - before
    states = {state.state: round(state.seconds or 0.0, 3) for state in report.states}
    return Round(get_hash_s, committed - created, reported_s, cpu_s, states)


def _get_and_hash(url: str, sha256: str) -> float:
    objects, digest = open_objects(url), hashlib.sha256()
    key, start, size = f"blobs/sha256/{sha256}", 0, 1
    sizes: list[int] = []
    started = time.perf_counter()
    while start < size:
        end = start + _RANGE_BYTES if not sizes else min(sizes[0], start + _RANGE_BYTES)
        objects.stream(key, start, end, etag=None, accept=lambda head: sizes.append(head.size), sink=digest.update)
        start, size = end, sizes[0]
    taken = time.perf_counter() - started
    if digest.hexdigest() != sha256:
        raise AssertionError(f"expected the bytes of {sha256}, came others")
    return taken


def _cpu_s(device: AgentDevice) -> float:
    """Return the processor time that the agent, its workers and its builders have taken."""
    if device.process is None:
        raise RuntimeError("expected a running agent, it was not started")
    agent = psutil.Process(device.process.pid)
    times = [agent.cpu_times(), *(child.cpu_times() for child in agent.children(recursive=True))]
    return float(sum(taken.user + taken.system + taken.children_user + taken.children_system for taken in times))


def _update(setting: Setting, device: AgentDevice, version: str) -> tuple[float, float, DeploymentReport]:
    """Return when the job was created, when its release was committed, and the report."""
    job_id = f"ota-{version}"
    created = time.time()
    setting.cloud.create_job(setting.thing, job_id, install((MODEL, version)))

    def ended() -> Any:
        standing = setting.cloud.standing(setting.thing, job_id)
        return standing if standing and standing.status in ("SUCCEEDED", "FAILED", "REJECTED") else None

    standing = eventually(ended, timeout_s=_TIMEOUT_S)
    if standing.status != "SUCCEEDED":
        raise AssertionError(f"expected {version} SUCCEEDED, came {standing.status} {standing.details}")
    newest = max((device.state_dir / "generations").glob("*.json"), key=lambda path: int(path.stem))
    report = device.wait_for_deployment(lambda report: report.job_id == job_id and report.state == "COMMITTED")
    return created, newest.stat().st_mtime, report


def _told(done: list[Round]) -> Figures:
    get_hash = statistics.median(one.get_hash_s for one in done)
    ota = statistics.median(one.ota_s for one in done)
    names = {name for one in done for name in one.states}
    return {
        "ota_seconds_100mb": round(ota, 3),
        "get_hash_seconds_100mb": round(get_hash, 3),
        "ota_allowed_seconds_100mb": round(3 + 1.5 * get_hash, 3),
        "ota_seconds_each": [round(one.ota_s, 3) for one in done],
        "get_hash_seconds_each": [round(one.get_hash_s, 3) for one in done],
        "ota_cpu_seconds_100mb": round(statistics.median(one.cpu_s for one in done), 3),
        "reported_seconds": round(statistics.median(one.reported_s for one in done), 3),
        "state_seconds": {
            name: round(statistics.median(one.states.get(name, 0.0) for one in done), 3) for name in sorted(names)
        },
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure and print it."""
    parser = argparse.ArgumentParser(prog="bench ota")
    parser.add_argument("--json", action="store_true", help="only the last line, which is JSON anyway")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args(arguments)
    figures = measure_ota(asked.rounds)
    if not asked.json:
        print("\n".join(f"{name:34} {value}" for name, value in figures.items()), flush=True)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
