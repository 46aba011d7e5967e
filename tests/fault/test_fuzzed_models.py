"""Truncated and fuzzed models end only their own processes: the agent and the other model go on answering."""

import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from typing_extensions import Self

from edge_agent._proto.sagemaker_edge import agent_pb2 as pb
from edge_agent._proto.sagemaker_edge import agent_pb2_grpc as services
from edge_agent.client import AgentClient
from edge_agent.errors import AgentError
from edge_agent.formats import EncodedPicture
from tests.fakes.device import AgentDevice
from tests.fakes.repository import SignedRepository
from tests.fakes.signed import publish_versions
from tests.fakes.tiny_models import GREY, grey_picture, replace_model, write_version

LIVE = "img-classification"
SWEEP = os.environ.get("EDGE_TEST_SWEEP") == "1"
MODELS = 1000 if SWEEP else 40
SEED = int(os.environ.get("EDGE_TEST_SEED", "8"))
LOAD_S = 120.0
# What a model that cannot be loaded is answered with; anything else would be a fault of the agent.
SAID = {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.ABORTED, grpc.StatusCode.UNAVAILABLE}


class Traffic:
    """Live requests for the other model, one after the other, until it is stopped."""

    def __init__(self, device: AgentDevice) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self._device = device
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="traffic")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(LOAD_S)

    def _ask(self) -> None:
        picture = EncodedPicture(grey_picture(GREY))
        with AgentClient.at(self._device.runtime_dir) as client:
            while not self._over.wait(0.02):
                said = self._said(client, picture)
                self.answered += said == "1 OK"
                self.failures += [said] if said != "1 OK" else []

    def _said(self, client: AgentClient, picture: EncodedPicture) -> str:
        try:
            frame = client.inspect(picture, applications=(), timeout_s=60.0)
        except AgentError as exc:
            return str(exc)
        return f"{frame.results[0].version} {frame.verdict.value} {frame.results[0].message}".strip()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[AgentDevice]:
    repository = SignedRepository(tmp_path / "cloud", now=time.time())
    publish_versions(repository, (LIVE, "1"))
    (tmp_path / "local").mkdir()
    device = AgentDevice(
        tmp_path,
        {
            "repository": {"url": repository.directory.as_uri()},
            "trust": {
                "root": repository.root,
                "allow_demo_root": True,
                "local_model_roots": [str(tmp_path / "local")],
            },
        },
    )
    device.start()
    assert device.install((LIVE, "1")).state == "COMMITTED"
    yield device
    assert device.stop() == 0


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Return a real graph, cut off or changed in some places."""
    changed = bytearray(content)
    # The last kind leaves the file's form whole: names and numbers that only the runtime can judge.
    kind = rng.choice([0, 1, 2, 3, 4, 5, 5, 5])
    if kind == 0:
        return bytes(changed[: rng.randrange(len(changed))])
    if kind == 5:
        letters = [place for place, byte in enumerate(content) if chr(byte).isalpha() and byte < 0x80]
        for place in rng.choices(letters, k=8):
            changed[place] = rng.choice(b"aeiouxyzAEIOUXYZ")
        return bytes(changed)
    places = [rng.randrange(len(changed)) for _ in range(rng.choice([1, 1, 2, 8, 64]))]
    # Most of the file is numbers; what stands between them are the graph's fields.
    fields = [place for place in range(len(content)) if content[place]]
    for place in places if kind == 1 else rng.choices(fields, k=len(places)):
        if kind == 2:
            changed[place] = rng.choice([0x00, 0x7F, 0x80, 0xFF])
        elif kind == 3:
            del changed[place : place + rng.randint(1, 8)]
            changed += bytes(8)
        else:
            changed[place] ^= 1 << rng.randrange(8)
    return bytes(changed)


def load(agent: services.AgentStub, directory: Path) -> str:
    """Load a model, let it answer once, let it go; return what came of it."""
    try:
        agent.LoadModel(pb.LoadModelRequest(url=str(directory), name=directory.name), timeout=LOAD_S)
    except grpc.RpcError as exc:
        code, why = exc.code(), str(exc.details())  # type: ignore[attr-defined]
    else:
        agent.UnLoadModel(pb.UnLoadModelRequest(name=directory.name), timeout=LOAD_S)
        return "loaded"
    if code not in SAID:
        return f"unexpected: {code} {why}"
    known = {"ONNX Runtime": "refused by the runtime", "ended by signal": "took its process along"}
    return next((end for words, end in known.items() if words in why), "refused by its form")


def test_truncated_and_fuzzed_models_end_only_their_worker(
    device: AgentDevice, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    rng = random.Random(SEED)
    assert device.process is not None
    agent_process = device.process.pid
    ends: Counter[str] = Counter()
    with grpc.insecure_channel(f"unix:{device.runtime_dir / 'agent.sock'}") as channel, Traffic(device) as traffic:
        agent = services.AgentStub(channel)
        for number in range(MODELS):
            directory = tmp_path / "local" / f"m{number}"
            manifest = write_version(directory, name=f"m{number}")
            whole = (directory / "model.onnx").read_bytes()
            content = whole if number == 0 else mutated(whole, rng)
            assert number == 0 or content != whole
            replace_model(directory, manifest, content)
            before = traffic.answered
            ends[load(agent, directory)] += 1
            assert device.process.poll() is None, f"model {number} ended the agent"
            assert traffic.answered >= before
    assert traffic.failures == []
    assert traffic.answered > MODELS
    assert (device.process.pid, device.status().agent.state) == (agent_process, "READY")
    # The faults really fired: many were refused, and not only by the look at the file's form.
    assert ends["loaded"] >= 1, "the sound one"
    refused = {end: count for end, count in ends.items() if end != "loaded"}
    assert sum(refused.values()) >= MODELS // 4, (SEED, ends)
    assert ends["refused by the runtime"] >= MODELS // 10, (SEED, ends)
    assert not [end for end in ends if end.startswith("unexpected")], (SEED, ends)
    log = [json.loads(line) for line in device.log.read_text().splitlines() if line.startswith("{")]
    assert all(line["level"] != "CRITICAL" for line in log)
    record_property("figures", {"seed": SEED, **ends, "answered meanwhile": traffic.answered})
