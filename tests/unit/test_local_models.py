"""Models that clients bring are loaded where they fit, and push nobody out."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from edge_agent.agent.local_models import LocalModels
from edge_agent.deployment.capacity import Machine
from edge_agent.errors import AgentError, Code
from edge_agent.formats import Manifest
from edge_agent.inference import Registry
from edge_agent.rpc.status import status_of
from edge_agent.store import Store
from tests.fakes.releases import install, make_release
from tests.fakes.sessions import FakeSession, fake_session
from tests.fakes.tiny_models import write_version

MACHINE = Machine("9.0", "x86_64", frozenset({"onnxruntime"}), memory_bytes=1 << 40)


class Opened:
    """Opens sessions that are none, and keeps them."""

    def __init__(self) -> None:
        self.sessions: list[FakeSession] = []

    def open(self, directory: Path, manifest: Manifest) -> FakeSession:
        self.sessions.append(FakeSession(manifest))
        return self.sessions[-1]


class Bench(NamedTuple):
    directory: Path
    manifest: Manifest
    registry: Registry
    opened: Opened
    store: Store

    def models(self, machine: Machine = MACHINE) -> LocalModels:
        runtimes: Any = self.opened
        return LocalModels(runtimes, self.registry, self.store, machine)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    directory = tmp_path / "mine"
    manifest = write_version(directory, name="mine", changes={"requires": {"memory_bytes": 5000}})
    registry = Registry()
    registry.activate({"bright": fake_session(tmp_path)})
    return Bench(directory, manifest, registry, Opened(), Store(tmp_path / "state"))


def test_a_model_is_loaded_and_ends_when_it_is_unloaded(bench: Bench) -> None:
    models = bench.models()
    models.load(bench.directory, bench.manifest)
    (session,) = bench.opened.sessions
    assert bench.registry.active()["mine"] is session
    with pytest.raises(AgentError) as caught:
        models.load(bench.directory, bench.manifest)
    assert caught.value.code is Code.ALREADY_EXISTS
    models.unload("mine")
    models.unload("bright")
    assert session.closed
    assert set(bench.registry.active()) == {"bright"}


@pytest.mark.parametrize(
    ("machine", "code", "status"),
    [
        (MACHINE._replace(memory_bytes=5999), Code.MEMORY_EXCEEDED, "RESOURCE_EXHAUSTED"),
        (MACHINE._replace(architecture="riscv64"), Code.WRONG_HARDWARE, "FAILED_PRECONDITION"),
        (MACHINE._replace(runtimes=frozenset({"dlr"})), Code.RUNTIME_MISSING, "FAILED_PRECONDITION"),
        (MACHINE._replace(agent_version="0.0.1"), Code.AGENT_TOO_OLD, "FAILED_PRECONDITION"),
    ],
)
def test_what_does_not_fit_the_device_is_refused_before_it_is_opened(
    bench: Bench, machine: Machine, code: Code, status: str
) -> None:
    with pytest.raises(AgentError) as caught:
        bench.models(machine).load(bench.directory, bench.manifest)
    assert (caught.value.code, status_of(code).name) == (code, status)
    assert bench.opened.sessions == []


def test_what_just_fits_is_loaded(bench: Bench) -> None:
    bench.models(MACHINE._replace(memory_bytes=6000)).load(bench.directory, bench.manifest)
    assert set(bench.registry.active()) == {"bright", "mine"}


def _is_being_replaced(bench: Bench) -> None:
    bench.registry.withdraw("mine", returning=True)


def _does_not_load(bench: Bench) -> None:
    release = make_release("mine", "1")
    install(bench.store, release)
    bench.store.commit({"mine": release.committed()})


@pytest.mark.parametrize("absent", [_is_being_replaced, _does_not_load])
def test_the_place_of_a_deployed_model_that_does_not_answer_now_is_not_taken(
    bench: Bench, absent: Callable[[Bench], None]
) -> None:
    absent(bench)
    with pytest.raises(AgentError) as caught:
        bench.models().load(bench.directory, bench.manifest)
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert bench.opened.sessions == []
    assert set(bench.registry.active()) == {"bright"}


def _longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"!")


def _other(path: Path) -> None:
    path.write_bytes(b"!" + path.read_bytes()[1:])


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("spoil", [Path.unlink, _longer, _other, _pipe])
def test_a_file_that_is_not_the_manifests_is_refused(bench: Bench, spoil: Callable[[Path], None]) -> None:
    spoil(bench.directory / "model.onnx")
    with pytest.raises(AgentError) as caught:
        bench.models().load(bench.directory, bench.manifest)
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert "model.onnx" in caught.value.message
    assert bench.opened.sessions == []
