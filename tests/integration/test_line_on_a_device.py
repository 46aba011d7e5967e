"""What a shift leader sees and does on a real agent: shifts, resets, golden parts, trials, frames, the log."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent._proto.edge_agent.v1 import edge_agent_pb2_grpc as services
from edge_agent.errors import AgentError, Code
from edge_agent.formats import Counts, EncodedPicture, Verdict
from tests.fakes.device import ROOT, AgentDevice
from tests.fakes.repository import SignedRepository
from tests.fakes.signed import publish_versions
from tests.fakes.tiny_models import BRIGHT, GREY, grey_picture

OK_PICTURE, NG_PICTURE = grey_picture(GREY), grey_picture(BRIGHT)


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """Two golden parts, each as the model judges it."""
    directory = tmp_path / "golden"
    for verdict, picture in (("OK", OK_PICTURE), ("NG", NG_PICTURE)):
        (directory / verdict).mkdir(parents=True)
        (directory / verdict / "part.png").write_bytes(picture)
    return directory


@pytest.fixture
def device(tmp_path: Path, golden: Path) -> Iterator[AgentDevice]:
    repository = SignedRepository(tmp_path / "cloud", now=time.time())
    publish_versions(repository, ("img-classification", "1"))
    device = AgentDevice(
        tmp_path,
        {
            "repository": {"url": repository.directory.as_uri()},
            "trust": {"root": repository.root, "allow_demo_root": True},
            "inspection": {"golden_parts": golden, "golden_required": True, "ng_frames": "1/1"},
        },
    )
    (device.state_dir / "models_config.json").write_text(
        json.dumps({"mappings": {"image-classification-app": "img-classification"}, "models": []})
    )
    device.start()
    yield device
    assert device.stop() == 0


def verb(device: AgentDevice, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "edge_agent", "--runtime-dir", str(device.runtime_dir), *words]
    return subprocess.run(command, cwd=ROOT, env=device.environment, capture_output=True, text=True, check=False)


def test_a_shift_leader_sees_the_line_and_begins_its_counts_anew(device: AgentDevice, golden: Path) -> None:
    # Without a model the golden parts cannot be judged; that is said, and brought right by the model.
    failed = device.wait_for(lambda status: status.golden.state == "FAILED" and status.agent.state == "DEGRADED")
    assert "NO RESULT" in failed.golden.message
    assert failed.golden.message in failed.agent.message
    device.install(("img-classification", "1"))
    status = device.wait_for(lambda status: status.golden.state == "PASSED" and status.agent.state == "READY")
    assert status.rule == "NG if any application says NG"
    assert (status.shift, status.counts) == (status.shift, Counts())

    assert device.inspect(OK_PICTURE).verdict is Verdict.OK
    assert device.inspect(NG_PICTURE).verdict is Verdict.NG
    with device.client() as client:
        trial = client.inspect(EncodedPicture(NG_PICTURE), trial=True, timeout_s=30.0)
        assert trial.verdict is Verdict.NG
        assert [frame.verdict for frame in client.frames()] == [Verdict.NG, Verdict.OK]
        assert [frame.verdict for frame in client.frames(limit=1)] == [Verdict.NG]
    shift = device.status().shift
    assert shift is not None
    assert (shift.name, shift.counts, shift.running, shift.scores) == ("day", Counts(ok=1, ng=1), True, ())

    reset = verb(device, "reset-counts", "--reason", "new coil", "--json")
    assert json.loads(reset.stdout)["counts"] == {"ok": 0, "ng": 0, "no_result": 0}, reset.stderr
    device.inspect(OK_PICTURE)
    device.stop()
    device.start()
    running, ended = json.loads(verb(device, "shifts", "--json").stdout)
    assert (running["counts"]["ok"], running["running"], running["reset_by"].startswith("cli")) == (1, True, True)
    assert (ended["counts"], ended["running"]) == ({"ok": 1, "ng": 1, "no_result": 0}, False)
    assert [sum(histogram["bins"]) for histogram in ended["scores"]] == [2]
    assert sum(point["count"] for point in ended["latency"]) == 2
    audit = (device.state_dir / "audit.log").read_text()
    (line,) = [json.loads(line) for line in audit.splitlines() if "counts_reset" in line]
    assert (line["reason"], line["counts"]) == ("new coil", {"ok": 1, "ng": 1, "no_result": 0})
    assert "running, reset by cli" in verb(device, "shifts").stdout
    device.wait_for(lambda now: now.golden == status.golden)  # what was found survives a restart

    (golden / "OK" / "scratched.png").write_bytes(NG_PICTURE)
    checked = verb(device, "golden", "--check")
    assert checked.returncode == 1
    assert "OK/scratched.png: NG" in checked.stdout
    assert "1 of 3 golden parts were misjudged: OK/scratched.png came NG" in checked.stdout
    degraded = device.wait_for(lambda status: status.agent.state == "DEGRADED")
    assert "OK/scratched.png came NG" in degraded.agent.message
    stopped = device.inspect(OK_PICTURE)
    assert stopped.verdict is Verdict.NO_RESULT
    assert "golden parts of this shift" in stopped.message
    (golden / "OK" / "scratched.png").unlink()
    assert json.loads(verb(device, "golden", "--check", "--json").stdout)["state"] == "PASSED"
    assert device.inspect(OK_PICTURE).verdict is Verdict.OK
    assert device.status().agent.state == "READY"

    lines = json.loads(verb(device, "logs", "--json").stdout)
    assert any(line["fields"].get("action") == "golden_checked" for line in lines)
    assert {line["level"] for line in json.loads(verb(device, "logs", "--level", "error", "--json").stdout)} == {
        "ERROR"
    }
    _wrong_input_is_refused(device)


def _wrong_input_is_refused(device: AgentDevice) -> None:
    before = device.status().shift
    with device.client() as client:
        cases = [
            (lambda: client.reset_counts(" ", actor="anna"), "reason: expected 1 to 1000 characters, came 0"),
            (lambda: client.reset_counts("x" * 1001, actor="anna"), "came 1001"),
            (lambda: client.reset_counts("why", actor=""), "actor: expected 1 to 1000 characters, came 0"),
            (lambda: client.check_golden_parts(actor=""), "actor: expected 1 to 1000 characters, came 0"),
            (lambda: client.logs(level="loud"), "level: expected DEBUG, INFO, WARNING, ERROR or nothing, came 'loud'"),
        ]
        for call, told in cases:
            with pytest.raises(AgentError, match=told) as caught:
                call()
            assert caught.value.code is Code.INVALID_ARGUMENT
    assert device.status().shift == before
    with grpc.insecure_channel(f"unix:{device.runtime_dir}/agent.sock") as channel:
        stub = services.OperatorStub(channel)
        for call, request in (
            (stub.ListShifts, pb.ListShiftsRequest()),
            (stub.ResetCounts, pb.ResetCountsRequest(reason="r", actor="a")),
            (stub.CheckGoldenParts, pb.CheckGoldenPartsRequest(actor="a")),
            (stub.ListLogs, pb.ListLogsRequest()),
            (stub.ListFrames, pb.ListFramesRequest()),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                call(request, timeout=30.0)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_counts_of_a_killed_agent_are_those_of_all_but_its_last_second(device: AgentDevice) -> None:
    device.install(("img-classification", "1"))
    device.wait_for(lambda status: status.golden.state == "PASSED")
    for _ in range(20):
        device.inspect(NG_PICTURE)
    with device.client() as client, client.events(after=1) as events:
        # A Shift event follows a write.
        next(event for event in events if event.kind == "shift" and event.to_dict()["shift"]["counts"]["ng"] == 20)
    device.inspect(NG_PICTURE)
    device.kill()
    device.start()
    status = device.status()
    assert status.counts.ng in (20, 21)
    assert status.shift is not None
    assert status.shift.counts == status.counts
    device.wait_for(lambda status: status.golden.state == "PASSED")
    assert device.inspect(OK_PICTURE).verdict is Verdict.OK, "the golden parts of this shift were judged before"


def test_the_word_of_the_golden_parts_stands_only_for_the_threshold_and_the_pictures_that_it_was_given_for(
    device: AgentDevice, golden: Path
) -> None:
    device.install(("img-classification", "1"))
    first = device.wait_for(lambda status: status.golden.state == "PASSED").golden
    with device.client() as client:
        client.configure("img-classification", 0.6, reason="glare", actor="anna")
    passed = device.wait_for(lambda status: status.golden.state == "PASSED" and status.golden.at > first.at).golden
    assert device.inspect(OK_PICTURE).verdict is Verdict.OK
    device.stop()
    (golden / "OK" / "part.png").write_bytes(NG_PICTURE)
    device.start()
    failed = device.wait_for(lambda status: status.golden.state == "FAILED").golden
    assert failed.at > passed.at
    assert failed.message == "1 of 2 golden parts were misjudged: OK/part.png came NG"
    assert device.inspect(OK_PICTURE).verdict is Verdict.NO_RESULT
