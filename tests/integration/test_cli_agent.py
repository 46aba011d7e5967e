"""The device's command line against a running agent, as processes of their own."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.cli import main
from edge_agent.client import AgentClient
from edge_agent.formats import EncodedPicture, ModelVersion
from tests.fakes.agent_core import Served, drawn_part, served

WAIT_S = 60


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as everything:
        yield everything


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], running: Served) -> Any:
    def call(*arguments: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["--runtime-dir", str(running.runtime_dir), *arguments])
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return call


def test_status_json_has_the_fields_that_scripts_rely_on(run: Any) -> None:
    code, out, _ = run("status", "--json")
    content = json.loads(out)
    assert code == 0
    assert {"version", "thing", "uptime_s", "state"} <= content["agent"].keys()
    wanted = {"name", "active", "previous", "state", "runtime", "provider", "memory_bytes"}
    assert all(wanted <= model.keys() for model in content["models"])
    assert content["deployment"] is None
    assert {"pending", "failed", "bytes", "oldest_s"} <= content["captures"].keys()
    assert "clock" in content


def test_deployments_json_has_the_fields_that_scripts_rely_on(run: Any) -> None:
    code, out, _ = run("rollback", "unet", "--reason", "too many NG", "--json")
    report = json.loads(out)
    (model,) = report["models"]
    assert (code, model | {"name": "unet", "from": "2", "to": "1"}) == (0, model)
    assert report["reason"].startswith("too many NG (cli")
    _, out, _ = run("deployments", "--json")
    (listed,) = json.loads(out)
    assert listed == report
    assert {"id", "job_id", "state", "code", "message", "started", "ended", "states"} <= listed.keys()
    assert {"state", "at", "seconds", "bytes", "figures"} == listed["states"][0].keys()
    _, out, _ = run("deployments", report["id"], "--json")
    assert json.loads(out) == [report]
    assert "unet 2 -> 1" in run("deployments")[1]
    told = run("deployments", report["id"])[1]
    assert "too many NG" in told
    assert report["actor"] in told
    assert [line.split()[0] for line in told.splitlines()[-len(report["states"]) :]] == [
        state["state"] for state in report["states"]
    ]


def test_failures_end_with_codes_of_their_own_and_one_line(run: Any) -> None:
    assert run("rollback", "unet", "--reason", "r")[0] == 0
    for arguments, expected in (
        (["rollback", "unet", "--reason", "r"], 4),
        (["rollback", "nobody", "--reason", "r"], 3),
        (["rollback", "unet", "--reason", " "], 2),
        (["deployments", "nobody"], 3),
    ):
        code, out, err = run(*arguments)
        assert (code, out, len(err.splitlines())) == (expected, "", 1)


def test_people_get_tables(run: Any, running: Served) -> None:
    with AgentClient.at(running.runtime_dir) as client:
        client.inspect(EncodedPicture(drawn_part(2)), frame_name="evil \x1b[2J name", timeout_s=WAIT_S)
    _, status, _ = run("status")
    assert "line-1: READY" in status
    assert "0 OK, 1 NG, 0 NO RESULT" in status
    assert "\x1b" not in status
    assert "img-classification  2" in run("models")[1]
    assert "PENDING" in run("captures")[1]
    assert json.loads(run("captures", "--json")[1])[0]["verdict"] == "NG"
    assert [model["name"] for model in json.loads(run("models", "--json")[1])] == list(running.core.models)


def follow(running: Served, *flags: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "edge_agent", "--runtime-dir", str(running.runtime_dir), "events", "--follow"]
    return subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_events_are_followed_as_json_lines_until_interrupted(running: Served) -> None:
    running.core.events.publish(running.core.counts)
    with AgentClient.at(running.runtime_dir) as client:
        client.inspect(EncodedPicture(drawn_part(2)), timeout_s=WAIT_S)
        with follow(running, "--json", "--after", "1") as process:
            assert process.stdout is not None
            lines = [json.loads(process.stdout.readline()) for _ in range(2)]
            client.install([ModelVersion("unet", "3")])
            lines.append(json.loads(process.stdout.readline()))
            process.send_signal(signal.SIGINT)
            rest, said = process.communicate(timeout=WAIT_S)
    assert [line["kind"] for line in lines] == ["frame", "counts", "deployment"]
    assert [line["id"] for line in lines] == [2, 3, 4]
    assert lines[0]["frame"]["verdict"] == "NG"
    assert lines[2]["deployment"]["models"][0]["from"] == "2"
    assert (process.returncode, said) == (0, "")
    assert all(json.loads(line) for line in rest.splitlines())


def test_following_ends_with_the_agent_and_with_its_reader(running: Served) -> None:
    running.core.events.publish(running.core.counts)
    running.core.events.publish(running.core.counts)
    with follow(running, "--after", "1") as process:
        assert process.stdout is not None
        assert "counts" in process.stdout.readline()
        process.stdout.close()
        for _ in range(3):
            running.core.events.publish(running.core.counts)
        assert process.wait(WAIT_S) == 1
        assert process.stderr is not None
        assert process.stderr.read() == ""
    with follow(running, "--after", "1") as process:
        assert process.stdout is not None
        assert "counts" in process.stdout.readline()
        running.core.events.close()
        assert process.wait(WAIT_S) == 0
