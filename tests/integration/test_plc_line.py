"""A PLC's sample program against a real agent and a real station process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymodbus.client import ModbusTcpClient

from edge_agent.station.plc.table import BY_NAME, Fault, Said, Space, decode, size_of
from tests.fakes.device import PATIENCE_S, ROOT, AgentDevice, eventually
from tests.fakes.repository import SignedRepository
from tests.fakes.signed import publish_versions
from tests.fakes.tiny_models import BRIGHT, GREY, grey_picture

NAME = "img-classification"
ENABLE, TRIGGER = BY_NAME["trigger_enable"].address, BY_NAME["trigger"].address


class Line:
    """Agent, station and the port of its Modbus server."""

    def __init__(self, device: AgentDevice, port: int) -> None:
        self.device = device
        self.port = port

    def run_sample(self, part: int) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            str(ROOT / "samples" / "plc" / "modbus_client.py"),
            f"127.0.0.1:{self.port}",
            str(part),
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    home = tmp_path_factory.mktemp("plc")
    frames = home / "frames"
    frames.mkdir()
    for name, value in (("1-good.png", GREY), ("2-bad.png", BRIGHT)):
        (frames / name).write_bytes(grey_picture(value))
    repository = SignedRepository(home / "cloud", now=time.time())
    publish_versions(repository, (NAME, "1"))
    station = {"source": f"directory:{frames}", "mode": "trigger", "deadline_s": 20.0}
    device = AgentDevice(
        home,
        {
            "repository": {"url": repository.directory.as_uri()},
            "trust": {"root": repository.root, "allow_demo_root": True},
            "station": {"left": {**station, "modbus": {"listen": "127.0.0.1:0"}}},
        },
    )
    device.start()
    assert device.install((NAME, "1")).state == "COMMITTED"
    log = home / "station.log"
    places = ("--config", device.config, "--state-dir", device.state_dir, "--runtime-dir", device.runtime_dir)
    command = [sys.executable, "-m", "edge_agent", *map(str, places), "station"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=device.environment, stdout=file, stderr=file)
    try:
        yield Line(device, eventually(lambda: port_in(log), log.read_text))
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
        device.stop()


def port_in(log: Path) -> int | None:
    records = [json.loads(record) for record in log.read_text().splitlines() if record.startswith("{")]
    return next((int(record["port"]) for record in records if record.get("action") == "plc_listens"), None)


def test_the_sample_program_gets_each_parts_own_verdict(line: Line) -> None:
    good, bad = line.run_sample(101), line.run_sample(102)
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("part 101: OK, score 0.")
    assert bad.returncode == 1
    assert bad.stdout.startswith("part 102: NG, score 0.")


def test_an_agent_that_is_killed_in_the_middle_is_no_result_and_an_error_and_then_all_is_well(line: Line) -> None:
    agent = line.device.process
    assert agent is not None
    with ModbusTcpClient("127.0.0.1", port=line.port) as plc:
        plc.write_coils(ENABLE, [True, False, False])
        eventually(lambda: seen(plc, "trigger_ready") or None)
        # Stopped, it takes the call and answers nothing: the inspection is under way for certain.
        os.kill(agent.pid, signal.SIGSTOP)
        plc.write_coils(TRIGGER, [True])
        assert seen(plc, "busy")
        line.device.kill()
        eventually(lambda: seen(plc, "results_valid") or None)
        assert (seen(plc, "verdict"), seen(plc, "error"), seen(plc, "error_code")) == (
            Said.NO_RESULT,
            True,
            Fault.AGENT,
        )
        assert not seen(plc, "ok")
        plc.write_coils(ENABLE, [False, False, False])
    line.device.start()
    assert line.run_sample(103).returncode in (0, 1)


def seen(plc: ModbusTcpClient, name: str) -> int:
    row = BY_NAME[name]
    if row.space is Space.DISCRETE:
        return int(plc.read_discrete_inputs(row.address, count=1).bits[0])
    words = plc.read_input_registers(0, count=size_of(Space.INPUT)).registers
    return int(decode(row, words[row.address : row.address + row.width]))
