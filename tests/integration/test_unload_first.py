"""A real agent with memory for one version, changed while its line goes on asking."""

import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typing_extensions import Self

from cloud_tools.release.publish import publish, read_bundle
from edge_agent.errors import AgentError
from edge_agent.formats import InspectedFrame, Verdict
from tests.fakes.device import AgentDevice, eventually
from tests.fakes.repository import SignedRepository
from tests.fakes.tiny_models import GREY, grey_picture, write_version

MODEL = "img-classification"
MIB = 1 << 20
BUDGET = 300 * MIB
# Of the first three each fits, no two do; the third answers otherwise than it was signed; the fourth is too large.
NEEDS = {"1": 250, "2": 250, "3": 250, "4": 301}


def bias(version: str) -> float:
    return (int(version) - 1) * 0.25


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> SignedRepository:
    repository = SignedRepository(tmp_path_factory.mktemp("repository"), now=time.time())
    bundles = []
    for version, needs in NEEDS.items():
        directory = repository.home / "bundles" / version
        changes: dict[str, object] = {"requires": {"memory_bytes": needs * MIB}}
        if version == "3":
            changes["golden"] = {"samples": [{"image": "OK.png", "score": 0.01, "verdict": "OK"}]}
        write_version(directory, name=MODEL, version=version, bias=bias(version), changes=changes)
        bundles.append(read_bundle(directory))
    publish(repository.open(), bundles)
    return repository


@pytest.fixture
def device(tmp_path: Path, repository: SignedRepository) -> Iterator[AgentDevice]:
    device = AgentDevice(
        tmp_path,
        {
            "repository": {"url": repository.directory.as_uri()},
            "trust": {"root": repository.root, "allow_demo_root": True},
            "inference": {"memory_budget_bytes": BUDGET},
        },
    )
    device.start()
    assert device.install((MODEL, "1")).state == "COMMITTED"
    yield device
    if device.process is not None:
        device.kill()


class Line:
    """Asks for as long as its block lasts, each request with the same patience."""

    def __init__(self, device: AgentDevice, timeout_s: float) -> None:
        self._device, self._timeout_s = device, timeout_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="line", daemon=True)
        self.frames: list[InspectedFrame] = []
        self.late = 0
        self.wrong: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(120)

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                frame = self._device.inspect(grey_picture(GREY), timeout_s=self._timeout_s)
            except AgentError as exc:
                self._note(exc.code.value in ("DEADLINE_EXCEEDED", "UNAVAILABLE"), str(exc))
                continue
            (result,) = frame.results
            if result.verdict is Verdict.NO_RESULT:
                self._note("DEADLINE_EXCEEDED" in result.message or "UNAVAILABLE" in result.message, result.message)
            else:
                right = 1 / (1 + math.exp(-((GREY - 128) / 16 + bias(result.version))))
                if not math.isclose(result.score, right, abs_tol=1e-4):
                    self.wrong.append(f"{result.version} answered {result.score}")
                self.frames.append(frame)

    def _note(self, ran_out_of_time: bool, what: str) -> None:
        if ran_out_of_time:
            self.late += 1
        else:
            self.wrong.append(what)

    def versions(self) -> list[str]:
        return list(dict.fromkeys(frame.results[0].version for frame in self.frames))


def answered(line: Line, version: str) -> None:
    eventually(lambda: (line.versions() or [""])[-1] == version or None)


def test_a_device_with_room_for_one_version_changes_it_and_no_request_is_answered_wrongly(device: AgentDevice) -> None:
    assert device.status().models[0].memory_bytes > BUDGET - 250 * MIB
    with Line(device, 60.0) as patient, Line(device, 0.2) as hurried:
        answered(patient, "1")
        changed = device.install((MODEL, "2"))
        answered(patient, "2")
        failed = device.install((MODEL, "3"))
        refused = device.install((MODEL, "4"))
        frames = len(patient.frames)
        eventually(lambda: len(patient.frames) > frames + 3 or None)
    assert (changed.state, failed.state, failed.code) == ("COMMITTED", "FAILED", "GOLDEN_MISMATCH")
    assert changed.remark.startswith(f"unload first: {MODEL} 2 needs {250 * MIB} bytes")
    assert failed.remark.startswith("unload first")
    assert (refused.state, refused.code, refused.remark) == ("REFUSED", "MEMORY_EXCEEDED", "")
    # Both times the old version really made room: who had little time ran out of it, who had time was answered.
    assert hurried.late >= 2
    assert (patient.late, patient.wrong, hurried.wrong) == (0, [], [])
    assert patient.versions() == ["1", "2"]
    assert device.generation() == {MODEL: "2"}
    assert '"action": "unload_first"' in device.log.read_text()
    device.stop()
