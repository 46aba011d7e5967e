"""A station towards its PLC and its gate, with a clock of the test's own: who hears what of a part, and when."""

from typing import Any

import pytest

from edge_agent.config import Station
from edge_agent.errors import Code
from edge_agent.formats import Verdict
from edge_agent.station.answer import Answer
from edge_agent.station.plc.controller import Controller
from edge_agent.station.plc.exchange import Order
from edge_agent.station.plc.handshake import Outcome
from edge_agent.station.plc.table import Fault, Said
from tests.fakes.chip import FakeChip

REJECT, OK, NO_RESULT = 4, 1, 3
GOOD = Answer("left", Verdict.OK, "part", "f1", 5.0)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A controller whose gate is switched by hand."""

    def __init__(self, **options: Any) -> None:
        outputs = {"chip": "x", "ok": OK, "no_result": NO_RESULT, "reject": REJECT, "delay_ms": 3000.0}
        self.clock, self.chip = Clock(), FakeChip()
        station = Station.model_validate({"source": "genicam:x", "deadline_s": 1.0, "outputs": outputs} | options)
        self.controller = Controller("left", station, clock=self.clock, open_chip=self.chip.open)

    def levels(self, after_s: float = 0.0) -> dict[int, bool]:
        """Return what is switched then."""
        self.clock.now += after_s
        assert self.controller._outputs is not None
        self.controller._outputs.turn()
        return self.chip.levels

    def values(self) -> dict[str, Any]:
        return self.controller.exchange.values()


@pytest.fixture
def free() -> Bench:
    return Bench(trigger="Line1")


def test_a_part_whose_picture_was_skipped_is_no_result_to_the_plc_and_leaves_at_the_gate(free: Bench) -> None:
    skipped = Answer("left", Verdict.NO_RESULT, message="skipped", code=Code.DEADLINE_EXCEEDED, part_at=99.0)
    free.controller.hear(skipped)
    values = free.values()
    assert (values["no_result"], values["no_result_count"], values["error_code"]) == (True, 1, Fault.DEADLINE)
    free.controller.hear(GOOD._replace(part_at=99.5))
    assert (free.values()["result_id"], free.values()["ok"]) == (2, True)
    assert not free.levels(after_s=1.99)[REJECT]
    assert free.levels(after_s=0.01)[REJECT], "three seconds after the part that was skipped"
    assert not free.levels(after_s=0.2)[REJECT], "not for the one behind it"


def test_the_gate_hears_of_each_trigger_s_end_once_when_the_plc_does_whatever_ended_it() -> None:
    bench = Bench(mode="trigger", modbus={"listen": "127.0.0.1:0"})
    exchange = bench.controller.exchange
    heard: list[tuple[Verdict, float]] = []
    exchange._ended = lambda outcome, at: heard.append((outcome.verdict, at))

    def trigger() -> Order:
        exchange.write({"trigger_enable": True})
        exchange.write({"trigger": True})
        order = exchange.next_order(0.0)
        assert order is not None
        return order

    def release() -> None:
        exchange.write({"trigger_enable": False, "trigger": False})
        bench.clock.now += 1.0

    assert exchange.finish(trigger(), Outcome(Verdict.OK))
    assert heard == [(Verdict.OK, 100.0)]
    release()
    order = trigger()
    exchange.write({"trigger_enable": False, "trigger": False})
    assert heard[1:] == [(Verdict.NO_RESULT, 101.0)], "the PLC gave it up"
    assert not exchange.finish(order, Outcome(Verdict.OK))
    order = trigger()
    bench.clock.now += 1.4
    exchange.end_overdue(0.0)
    assert len(heard) == 2, "within its grace"
    bench.clock.now += 0.1
    exchange.end_overdue(0.0)
    assert heard[2:] == [(Verdict.NO_RESULT, 101.0)]
    assert not exchange.finish(order, Outcome(Verdict.OK))
    assert len(heard) == 3


def test_a_free_running_station_whose_source_stopped_takes_its_last_verdict_back_after_silence() -> None:
    bench = Bench(outputs={"chip": "x", "ok": OK, "no_result": NO_RESULT, "silence_s": 5.0})
    bench.controller.exchange.pulse.allow(1000.0)  # the loop lives, and has no new picture
    bench.controller.hear(GOOD)
    assert bench.levels(after_s=4.9) == {OK: True, NO_RESULT: False}
    assert (bench.values()["ok"], bench.values()["results_valid"]) == (True, True)
    assert bench.levels(after_s=0.1) == {OK: False, NO_RESULT: True}
    values = bench.values()
    assert (values["ok"], values["no_result"], values["error"]) == (False, True, True)
    assert (values["verdict"], values["error_code"]) == (Said.NO_RESULT, Fault.CAMERA)
    assert values["error_text"] == "expected a result within 5 s, none came"
    assert (values["result_id"], values["no_result_count"]) == (1, 0), "no part is made up"
    bench.controller.hear(GOOD)
    assert (bench.values()["ok"], bench.values()["result_id"]) == (True, 2)


def test_a_station_that_looks_seldom_is_not_silent_between_two_looks() -> None:
    bench = Bench(rate_hz=0.02, deadline_s=2.0)
    bench.controller.exchange.pulse.allow(1000.0)
    bench.controller.hear(GOOD)
    assert (bench.levels(after_s=51.9)[OK], bench.values()["ok"]) == (True, True)
    assert (bench.levels(after_s=0.1)[OK], bench.values()["ok"]) == (False, False)


def test_a_triggered_station_keeps_a_result_until_the_plc_has_read_it() -> None:
    bench = Bench(mode="trigger", modbus={"listen": "127.0.0.1:0"})
    exchange = bench.controller.exchange
    exchange.write({"trigger_enable": True})
    exchange.write({"trigger": True})
    order = exchange.next_order(0.0)
    assert order is not None
    exchange.finish(order, Outcome(Verdict.OK))
    bench.clock.now += 3600
    assert (bench.values()["ok"], bench.values()["results_valid"]) == (True, True)
