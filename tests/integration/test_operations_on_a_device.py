"""Removing a model and setting its threshold by hand, on a real agent: what is told is what decides."""

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent.errors import AgentError, Code, InferenceError, RefusedError
from tests.fakes.device import AgentDevice, eventually
from tests.fakes.repository import SignedRepository
from tests.fakes.signed import publish_versions
from tests.fakes.tiny_models import GREY, grey_picture

MODEL, OTHER = "img-classification", "unmapped"
OUT_OF_RANGE, NOT_FOUND, CONFLICT = 2, 3, 4


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentDevice]:
    home = tmp_path_factory.mktemp("home")
    repository = SignedRepository(home / "repository", now=time.time())
    publish_versions(repository, (MODEL, "1"), (MODEL, "2"), (OTHER, "1"))
    (home / "captures").mkdir()
    device = AgentDevice(
        home / "device",
        {
            "repository": {"url": repository.directory.as_uri()},
            "trust": {"root": repository.root, "allow_demo_root": True},
            "capture": {"policy": "all", "url": (home / "captures").as_uri()},
        },
    )
    device.start()
    assert device.install((MODEL, "1"), (OTHER, "1")).state == "COMMITTED"
    yield device
    device.stop()


def run(device: AgentDevice, *words: str) -> "subprocess.CompletedProcess[str]":
    places = ("--state-dir", str(device.state_dir), "--runtime-dir", str(device.runtime_dir))
    return subprocess.run(
        [sys.executable, "-m", "edge_agent", *places, *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **device.environment},
        cwd=Path(__file__).resolve().parents[2],
    )


def threshold(device: AgentDevice) -> tuple[float, float]:
    """Return the threshold in force and the signed one."""
    model = next(model for model in device.status().models if model.name == MODEL)
    return model.threshold, model.signed_threshold


def judged(device: AgentDevice) -> tuple[str, float]:
    result = device.inspect(grey_picture(GREY)).results[0]
    return result.verdict.value, result.threshold


def test_a_threshold_set_by_hand_decides_from_the_next_request_on_without_a_new_worker(device: AgentDevice) -> None:
    workers = device.log.read_text().count("worker")
    assert judged(device) == ("OK", 0.5)
    done = run(device, "configure", MODEL, "--threshold", "0.125", "--reason", "scratches that pass", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["state"], report["operation"]) == (0, "COMMITTED", "configure")
    assert report["models"] == [{"name": MODEL, "from": "1", "to": "1", "threshold": 0.125}]
    assert judged(device) == ("NG", 0.125)
    assert threshold(device) == (0.125, 0.5)
    assert "0.125 (signed 0.5)" in run(device, "models").stdout
    assert "threshold 0.125" in run(device, "deployments").stdout
    assert device.log.read_text().count("worker") == workers
    assert run(device, "audit", "verify").returncode == 0
    noted = json.loads((device.state_dir / "audit.log").read_text().splitlines()[-1])
    assert noted["thresholds"] == {MODEL: 0.125}
    assert noted["reason"] == "scratches that pass"


def test_captures_tell_the_threshold_that_decided(device: AgentDevice) -> None:
    run(device, "configure", MODEL, "--threshold", "0.25", "--reason", "r")
    frame = device.inspect(grey_picture(GREY))
    captures = device.state_dir.parent.parent / "captures"

    def told() -> str | None:
        return next((text for text in _texts(captures) if frame.id in text), None)

    assert '"threshold":0.25' in eventually(told, lambda: device.log.read_text()[-2000:]).replace(" ", "").replace(
        "\\", ""
    )


def _texts(directory: Path) -> Iterator[str]:
    for path in directory.rglob("*.jsonl"):
        for line in path.read_text().splitlines():
            content = json.dumps(json.loads(line))
            yield content + "".join(_decoded(json.loads(line)))


def _decoded(value: object) -> Iterator[str]:
    """Yield what is inside base64 data, where it is text."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "data" and isinstance(inner, str):
                yield base64.b64decode(inner).decode(errors="replace")
            else:
                yield from _decoded(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _decoded(inner)


def test_as_signed_returns_to_the_signed_threshold(device: AgentDevice) -> None:
    run(device, "configure", MODEL, "--threshold", "0.125", "--reason", "r")
    assert run(device, "configure", MODEL, "--as-signed", "--reason", "r").returncode == 0
    assert threshold(device) == (0.5, 0.5)
    assert judged(device) == ("OK", 0.5)


def test_a_new_version_starts_as_signed_and_a_rollback_brings_the_old_threshold_back(device: AgentDevice) -> None:
    run(device, "configure", MODEL, "--threshold", "0.125", "--reason", "r")
    assert device.install((MODEL, "2")).state == "COMMITTED"
    assert threshold(device) == (0.5, 0.5)
    with device.client() as client:
        assert client.roll_back(MODEL, "r", actor="a test").state == "COMMITTED"
    assert threshold(device) == (0.125, 0.5)
    assert judged(device) == ("NG", 0.125)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("configure", MODEL, "--threshold", "0.95", "--reason", "r"), OUT_OF_RANGE, "0.1 to 0.9"),
        (("configure", MODEL, "--threshold", "nan", "--reason", "r"), OUT_OF_RANGE, "threshold"),
        (("configure", MODEL, "--reason", "r"), 2, "--threshold"),
        (("configure", MODEL, "--threshold", "0.5", "--as-signed", "--reason", "r"), 2, "--threshold"),
        (("configure", "nobody", "--threshold", "0.5", "--reason", "r"), NOT_FOUND, "nobody is not installed"),
        (("configure", MODEL, "--threshold", "0.5", "--reason", " "), 2, "reason"),
        (("remove", "nobody", "--reason", "r"), NOT_FOUND, "nobody is not installed"),
        (("remove", MODEL, "--reason", "r"), CONFLICT, "image-classification-app"),
    ],
)
def test_what_may_not_be_is_told_with_an_exit_code_and_changes_nothing(
    device: AgentDevice, words: tuple[str, ...], code: int, told: str
) -> None:
    before = threshold(device), device.generation()
    done = run(device, *words)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert (threshold(device), device.generation()) == before


def test_the_operators_calls_name_what_is_wrong(device: AgentDevice) -> None:
    with device.client() as client:
        with pytest.raises(RefusedError) as refused:
            client.remove(MODEL, "r", actor="a test")
        assert refused.value.code is Code.MODEL_MAPPED
        with pytest.raises(InferenceError, match="expected threshold or as_signed"):
            client._call("control", client._operator.Configure, _without_setting(), 30)
        with pytest.raises(AgentError, match="threshold"):
            client.configure(MODEL, float("nan"), "r", actor="a test")


def _without_setting() -> pb.ConfigureRequest:
    return pb.ConfigureRequest(model=MODEL, reason="r", actor="a test")


def test_a_removed_model_is_gone_from_memory_and_disk_and_stays_gone(device: AgentDevice) -> None:
    done = run(device, "remove", OTHER, "--reason", "nobody asks for it")
    assert done.returncode == 0, done.stderr
    assert OTHER not in {model.name for model in device.status().models}
    assert OTHER not in device.generation()
    assert not (device.state_dir / "versions" / OTHER / "1").exists()
    assert judged(device)[0] in ("OK", "NG")
    device.kill()
    device.start()
    assert OTHER not in {model.name for model in device.status().models}
    assert device.install((OTHER, "1")).state == "COMMITTED"
