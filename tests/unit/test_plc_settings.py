"""What a station's settings for PLCs refuse, and what a missing extra says."""

import sys
from pathlib import Path
from typing import Any

import pytest

from edge_agent.config import Modbus, Opcua, Outputs, Station, read_settings
from edge_agent.errors import ConfigError
from edge_agent.formats import Verdict
from edge_agent.station import process
from edge_agent.station.answer import Answer
from edge_agent.station.plc.controller import Controller
from tests.fakes.chip import FakeChip

SAFE_LEVELS = {1: False, 2: False, 3: True, 4: False}
LEFT = "[station.left]\nsource = 'directory:/x'\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mode = 'trigger'", "expected modbus.listen or opcua.endpoint with mode = trigger, came neither"),
        ("mode = 'sometimes'", "'free-running' or 'trigger'"),
        ("[station.left.modbus]\nlisten = '502'", "listen"),
        ("[station.left.modbus]\nlisten = '127.0.0.1:70000'", "expected a port up to 65535"),
        ("[station.left.modbus]\nclients = ['plc']", "expected addresses or networks as 192.168.0.10"),
        ("[station.left.modbus]\nclients = ['0.0.0.0/0']", r"expected the addresses of PLCs, came everybody's \(0"),
        ("[station.left.modbus]\nclients = ['192.168.0.1/24']", "expected addresses or networks"),
        ("[station.left.modbus]\nconnections = 0", "greater than or equal to 1"),
        ("[station.left.modbus]\nlistn = 'x'", "listn is nearest to station.left.modbus.listen"),
        ("[station.left.opcua]\nendpoint = 'http://x:1'", "endpoint"),
        (
            "[station.left.modbus]\nlisten = '0.0.0.0:502'",
            r"station\.left\.modbus: .*expected clients with an address beyond loopback.* came .*0\.0\.0\.0:502",
        ),
        (
            "[station.left.opcua]\nendpoint = 'opc.tcp://plc.example:4840'",
            r"station\.left\.opcua: .*trusted with an endpoint beyond loopback.* came .*plc\.example",
        ),
        ("[station.left.outputs]\nchip = '/dev/gpiochip0'", "at least one of ok, ng, no_result and reject"),
        ("[station.left.outputs]\nrejct = 1", "rejct is nearest to station.left.outputs.reject"),
    ],
)
def test_a_wrong_setting_says_what_was_expected(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"{LEFT}{text}\n")
    with pytest.raises(ConfigError, match=message):
        read_settings(file)


@pytest.mark.parametrize(
    ("package", "options"),
    [
        ("pymodbus", {"modbus": Modbus(listen="127.0.0.1:0")}),
        ("asyncua", {"opcua": Opcua(endpoint="opc.tcp://127.0.0.1:0")}),
        ("gpiod", {"outputs": Outputs(chip="/dev/gpiochip0", ok=1)}),
    ],
)
def test_without_the_extra_its_name_is_told(
    monkeypatch: pytest.MonkeyPatch, package: str, options: dict[str, Any]
) -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    for door in ("modbus", "opcua", "chip"):
        monkeypatch.delitem(sys.modules, f"edge_agent.station.plc.{door}", raising=False)
        monkeypatch.delattr(f"edge_agent.station.plc.{door}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=r"station\.left: expected the extra plc .*edge-agent\[plc\]"):
        Controller("left", Station(source="directory:x", **options))


def test_a_station_without_a_plc_needs_no_extra_and_no_thread() -> None:
    assert Controller("left", Station(source="directory:x")).threads() == []


@pytest.mark.parametrize("verdict", [Verdict.NG, Verdict.NO_RESULT])
def test_a_part_is_rejected_by_its_picture_s_moment_also_when_no_answer_came_in_time(verdict: Verdict) -> None:
    now = [100.0]
    chip = FakeChip()
    wired = Outputs(chip="x", reject=4, delay_ms=3000, pulse_ms=100)
    options = Station(source="directory:x", outputs=wired)
    controller = Controller("left", options, clock=lambda: now[0], open_chip=chip.open)
    assert controller._outputs is not None
    controller.hear(Answer("left", verdict, "part.jpg", milliseconds=0.0, part_at=98.0))
    seen = []
    for now[0] in (100.9, 101.0, 101.09, 101.1, 103.05):
        controller._outputs.turn()
        seen.append(chip.levels[4])
    assert seen == [False, True, True, False, False]


def test_a_trigger_out_of_turn_costs_its_part_and_the_one_under_way_their_place_on_the_line() -> None:
    now = [100.0]
    chip = FakeChip()
    options = Station(
        source="directory:x",
        mode="trigger",
        modbus=Modbus(listen="127.0.0.1:0"),
        outputs=Outputs(chip="x", ok=1, no_result=3, reject=4, delay_ms=3000, pulse_ms=100),
    )
    controller = Controller("left", options, clock=lambda: now[0], open_chip=chip.open)
    assert controller._outputs is not None
    controller._outputs.hear(Verdict.OK, None)
    controller.exchange.write({"trigger_enable": True})
    controller.exchange.write({"trigger": True})
    controller._outputs.turn()
    assert chip.levels == {1: True, 3: False, 4: False}
    now[0] = 101.0
    controller.exchange.write({"trigger": False})
    controller.exchange.write({"trigger": True})
    seen = []
    for now[0] in (101.0, 103.0, 104.0, 104.2):
        controller._outputs.turn()
        seen.append(dict(chip.levels))
    assert [(levels[1], levels[3], levels[4]) for levels in seen] == [
        (False, True, False),
        (False, True, True),
        (False, True, True),
        (False, True, False),
    ]


def test_a_thread_that_ends_unasked_leaves_the_outputs_of_all_stations_at_no_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[str] = []
    monkeypatch.setattr(process, "end_process", ended.append)
    wired = Outputs(chip="x", ok=1, ng=2, no_result=3, reject=4)
    chips = {"left": FakeChip(), "right": FakeChip()}
    controllers = {
        name: Controller(name, Station(source="directory:x", outputs=wired), open_chip=chip.open)
        for name, chip in chips.items()
    }
    switching = [thread for controller in controllers.values() for thread in controller.threads()]
    for thread in switching:
        thread.start()
    try:
        for name, chip in chips.items():
            controllers[name].hear(Answer(name, Verdict.OK, "part.jpg"))
            chip.saw({1: True, 2: False, 3: False, 4: False})
        process._end(controllers, "station-left")
        assert [(chip.levels, chip.opened) for chip in chips.values()] == [(SAFE_LEVELS, False)] * 2
        assert ended == ["station-left"]
    finally:
        assert all(thread.stop() for thread in switching)


def test_a_server_or_an_output_that_ends_unasked_is_told_to_who_ends_the_process() -> None:
    ended: list[str] = []
    options = Station(source="directory:x", modbus=Modbus(listen="127.0.0.1:0"), outputs=Outputs(chip="x", ok=1))
    controller = Controller("left", options, open_chip=FakeChip().open)
    for thread in controller.threads(ended.append):
        thread._ended(thread.name)
    assert ended == ["modbus-left", "outputs-left"]
