"""A station towards its PLC and its gate, with a clock of the test's own: who hears what of a part, and when."""

import queue
from functools import partial
from typing import Any

import pytest

from edge_agent.config import Station
from edge_agent.errors import Code
from edge_agent.formats import InspectedFrame, Verdict
from edge_agent.station.answer import Answer
from edge_agent.station.camera import rules_of
from edge_agent.station.loop import Loop
from edge_agent.station.plc.controller import Controller
from edge_agent.station.plc.exchange import Order
from edge_agent.station.plc.handshake import Outcome
from edge_agent.station.plc.table import Fault, Phase, Said
from edge_agent.station.process import Teller, _missed
from edge_agent.station.shot import Content
from edge_agent.station.stream import Frame
from edge_agent.station.streaming import StreamingCamera
from tests.fakes.chip import FakeChip
from tests.fakes.plc import inspected

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


class Stream:
    """A camera whose input takes pictures: what is put here came."""

    held_up_s = 0.0

    def __init__(self) -> None:
        self.came: queue.Queue[bytes] = queue.Queue()

    def read(self) -> Frame | None:
        content = self.came.get()
        return (lambda: content) if content else None

    def trigger(self) -> None:
        raise AssertionError("its input triggers it")

    def close(self) -> None:
        pass


def test_from_camera_to_gate_each_part_of_a_busy_line_has_its_verdict_in_its_turn(free: Bench) -> None:
    options, stream = Station(source="genicam:x", trigger="Line1", deadline_s=60.0), Stream()
    camera = StreamingCamera("cam", lambda: stream, rules_of(options), clock=free.clock)
    free.controller.exchange.pulse.allow(60.0)
    told: list[Answer] = []

    def comes(*contents: bytes) -> None:
        for content in contents:
            free.clock.now += 0.25
            count = camera._count + 1
            stream.came.put(content)
            with camera._news:
                assert camera._news.wait_for(lambda count=count: camera._count == count, 60)  # type: ignore[misc]

    def inspect(content: Content, *, source: str, frame_name: str, timeout_s: float) -> InspectedFrame:
        if content == b"1":
            comes(b"2", b"3", b"4")  # while it is inspected
        return inspected(Verdict.OK)

    def tell(answer: Answer) -> None:
        told.append(answer)
        free.controller.hear(answer)

    loop = Loop("left", camera, inspect, options, tell=tell, clock=free.clock, missed=partial(_missed, camera))
    loop.turn()
    comes(b"1")
    loop.turn()
    loop.turn()
    stream.came.put(b"")
    loop.close()
    assert [(answer.verdict.value, answer.part_at) for answer in told] == [
        ("OK", 100.25),
        ("NO_RESULT", 100.5),
        ("NO_RESULT", 100.75),
        ("OK", 101.0),
    ]
    values = free.values()
    assert (values["ok_count"], values["no_result_count"], values["result_id"], values["ok"]) == (2, 2, 4, True)
    assert free.controller._outputs is not None
    assert [begin for begin, _ in free.controller._outputs._signals.pulses] == [103.5, 103.75]


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


def test_a_part_whose_inspection_hangs_leaves_at_the_gate_though_its_plc_gives_up_in_that_very_moment() -> None:
    bench = Bench(mode="trigger", modbus={"listen": "127.0.0.1:0"})
    exchange = bench.controller.exchange
    exchange.write({"trigger_enable": True})
    exchange.write({"trigger": True})
    bench.clock.now += 1.6  # overdue, and nobody looked since
    exchange.write({"trigger_enable": False, "trigger": False})
    assert (bench.values()["no_result_count"], bench.values()["phase"]) == (1, Phase.DISABLED)
    assert not bench.levels(after_s=1.39)[REJECT]
    assert bench.levels(after_s=0.01)[REJECT], "three seconds after the trigger"


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


def test_a_line_that_is_a_little_too_fast_for_its_station_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    clock = Clock()
    teller = Teller(clock)
    skipped = Answer("left", Verdict.NO_RESULT, message="skipped", code=Code.DEADLINE_EXCEEDED, part_at=99.0)
    for _ in range(100):
        teller(skipped)
        teller(GOOD)
    assert [record.getMessage() for record in caplog.records] == [
        "no result: parts pass faster than they are looked at"
    ]
    clock.now += 60.0
    teller(skipped)
    teller(Answer("left", Verdict.NO_RESULT, message="gone", code=Code.CAMERA_FAILED))
    teller(GOOD)
    assert [record.levelname for record in caplog.records[1:]] == ["WARNING", "WARNING", "INFO"]
