"""Stack light and reject gate: which output is on when, and what a failing chip changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_agent.config import Outputs
from edge_agent.formats import Verdict
from edge_agent.station.plc.outputs import OutputLines
from edge_agent.station.plc.signals import MAX_PULSES, NAMES, SAFE, Rules, Signals, hear, levels, next_change
from tests.fakes.chip import FakeChip

RULES = Rules(delay_s=1.0, pulse_s=0.2, silence_s=5.0)
WIRED = Outputs(chip="x", ok=1, ng=2, no_result=3, reject=4, delay_ms=1000, pulse_ms=200, silence_s=5)
OK, NG, NONE = Verdict.OK, Verdict.NG, Verdict.NO_RESULT


def on(signals: Signals, now: float) -> set[str]:
    return {name for name, level in levels(signals, now, RULES).items() if level}


def test_before_the_first_verdict_and_after_silence_the_light_says_no_result() -> None:
    assert on(Signals(), 0.0) == {"no_result"}
    heard = hear(Signals(), OK, 10.0, 10.0, RULES)
    assert on(heard, 14.9) == {"ok"}
    assert on(heard, 15.0) == {"no_result"}
    assert next_change(heard, 10.0, RULES) == 15.0


def test_the_gate_opens_for_the_part_itself_however_long_its_verdict_took() -> None:
    heard = hear(Signals(), NG, 10.0, 10.7, RULES)
    assert [on(heard, moment) for moment in (10.99, 11.0, 11.19, 11.2)] == [
        {"ng"},
        {"ng", "reject"},
        {"ng", "reject"},
        {"ng"},
    ]


def test_parts_that_follow_each_other_closely_are_rejected_each_at_its_own_moment() -> None:
    signals = hear(Signals(), NG, 10.0, 10.1, RULES)
    signals = hear(signals, OK, 10.1, 10.2, RULES)
    signals = hear(signals, NG, 10.15, 10.3, RULES)
    signals = hear(signals, NG, 10.9, 11.0, RULES)
    rejected = [round(10.9 + step / 100, 2) for step in range(130) if "reject" in on(signals, 10.9 + step / 100 + 1e-6)]
    assert (rejected[0], rejected[-1], len(rejected)) == (11.0, 12.09, 35 + 20)


def test_a_part_without_verdict_is_rejected_unless_only_ng_is() -> None:
    assert hear(Signals(), NONE, 10.0, 10.0, RULES).pulses == ((11.0, 11.2),)
    assert hear(Signals(), NONE, 10.0, 10.0, RULES._replace(reject_doubt=False)).pulses == ()
    assert hear(Signals(), NONE, None, 10.0, RULES).pulses == ()


def test_a_verdict_that_comes_behind_the_gate_is_counted_and_rejects_nobody_else() -> None:
    late = hear(Signals(), NG, 10.0, 11.5, RULES)
    assert (late.pulses, late.late, on(late, 11.5)) == ((), 1, {"ng"})


def test_without_a_delay_the_gate_opens_when_the_verdict_comes() -> None:
    assert hear(Signals(), NG, 10.0, 12.5, RULES._replace(delay_s=0.0)).pulses == ((12.5, 12.7),)


def test_pulses_that_nobody_serves_are_bounded() -> None:
    full = Signals(pulses=tuple((20.0 + part, 20.1 + part) for part in range(MAX_PULSES)))
    assert len(hear(full, NG, 10.0, 10.0, RULES).pulses) == MAX_PULSES


@given(st.lists(st.tuples(st.sampled_from(Verdict), st.floats(0, 3), st.booleans()), max_size=15), st.floats(0, 60))
def test_the_light_is_always_exactly_one_and_ok_only_after_a_fresh_ok(
    told: list[tuple[Verdict, float, bool]], later: float
) -> None:
    now, signals = 100.0, Signals()
    for verdict, pause, part in told:
        now += pause
        signals = hear(signals, verdict, now if part else None, now, RULES)
    shown = levels(signals, now + later, RULES)
    assert shown["ok"] + shown["ng"] + shown["no_result"] == 1
    assert not shown["ok"] or (told[-1][0] is OK and later < RULES.silence_s)


class Clock:
    now = 10.0

    def __call__(self) -> float:
        return self.now


SAFE_LEVELS = {1: False, 2: False, 3: True, 4: False}


def lines(chip: FakeChip, clock: Clock) -> OutputLines:
    return OutputLines("left", WIRED, chip.open, clock)


def test_outputs_begin_and_end_with_no_result() -> None:
    chip, clock = FakeChip(), Clock()
    outputs = lines(chip, clock)
    turns = iter([False, False, True])
    outputs.hear(OK, clock.now)
    outputs.run(lambda _: next(turns))
    assert chip.history[-1] == SAFE_LEVELS
    assert {1: True, 2: False, 3: False, 4: False} in chip.history
    assert chip.opened is False


def test_outputs_are_made_safe_when_the_work_ends_in_an_error() -> None:
    chip, clock = FakeChip(), Clock()
    outputs = lines(chip, clock)
    outputs.hear(OK, clock.now)
    outputs.turn()

    def crash(_: float) -> bool:
        raise RuntimeError("crashed")

    with pytest.raises(RuntimeError, match="crashed"):
        outputs.run(crash)
    assert (chip.levels, chip.opened) == (SAFE_LEVELS, False)


def test_once_made_safe_no_verdict_switches_anything_any_more() -> None:
    chip, clock = FakeChip(), Clock()
    outputs = lines(chip, clock)
    outputs.turn()
    outputs.make_safe()
    outputs.hear(OK, clock.now)
    outputs.turn()
    assert chip.levels == SAFE_LEVELS


def test_a_chip_that_fails_is_shown_and_taken_up_again_with_what_is_true_then() -> None:
    chip, clock = FakeChip(), Clock()
    outputs = lines(chip, clock)
    chip.broken = True
    assert outputs.turn() > 0
    assert "it is gone" in outputs.error
    outputs.hear(OK, clock.now)
    outputs.turn()
    chip.broken = False
    outputs.turn()
    assert (outputs.error, chip.levels) == ("", {1: True, 2: False, 3: False, 4: False})


def test_the_next_turn_comes_when_the_pulse_is_due() -> None:
    chip, clock = FakeChip(), Clock()
    outputs = lines(chip, clock)
    outputs.hear(NG, 9.1)
    assert outputs.turn() == pytest.approx(0.1)
    clock.now = 10.1
    assert outputs.turn() == pytest.approx(0.2)
    assert chip.levels[4] is True
    clock.now = 10.31
    outputs.turn()
    assert chip.levels[4] is False


def test_only_wired_lines_are_switched() -> None:
    chip, clock = FakeChip(), Clock()
    OutputLines("left", Outputs(chip="x", reject=7), chip.open, clock).turn()
    assert chip.levels == {7: False}


def test_the_safe_state_is_no_result() -> None:
    assert {name for name in NAMES if SAFE[name]} == {"no_result"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"chip": "/dev/gpiochip0"}, "at least one of ok, ng, no_result and reject"),
        ({"chip": "x", "ok": 3, "ng": 3}, r"a line of its own for each output, came \[3, 3\]"),
        ({"chip": "x", "ok": -2}, "greater than or equal to -1"),
        ({"chip": "x", "ok": 1, "pulse_ms": 0}, "greater than or equal to 1"),
        ({"chip": "x", "ok": 1, "delay_ms": -1}, "greater than or equal to 0"),
        ({"chip": "x", "ok": 1, "silence_s": 0}, "greater than 0"),
    ],
)
def test_outputs_that_make_no_sense_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Outputs(**wrong)  # type: ignore[arg-type]
