"""The trigger handshake under whatever a PLC and a station do, in whatever order."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.formats import Verdict
from edge_agent.station.plc.handshake import Commands, Handshake, Outcome, command, finish, mirror, told
from edge_agent.station.plc.table import Fault, Phase, Said, Space, registers

bits = st.booleans()
commands = st.tuples(bits, bits, bits, st.integers(0, 3)).map(Commands._make)
outcomes = st.tuples(st.sampled_from(Verdict), st.sampled_from([Fault.NONE, Fault.AGENT])).map(
    lambda both: Outcome(*both)
)
# An end may come for the running inspection, for one before, or for one that never was.
ends = st.tuples(st.integers(-2, 1), outcomes)
events = st.lists(commands | ends, max_size=25)
ON = Commands(trigger_enable=True)


def after(state: Handshake, event: Commands | tuple[int, Outcome]) -> Handshake:
    if isinstance(event, Commands):
        return command(state, event)
    return finish(state, state.inspection_id + event[0], event[1])


def history(steps: list[Commands | tuple[int, Outcome]]) -> list[Handshake]:
    states = [Handshake()]
    for step in steps:
        states.append(after(states[-1], step))
    return states


@given(events)
def test_ok_is_only_told_for_the_inspection_that_ended_ok_while_the_plc_waited(
    steps: list[Commands | tuple[int, Outcome]],
) -> None:
    ended_ok: set[int] = set()
    state = Handshake()
    for step in steps:
        if not isinstance(step, Commands) and state.phase is Phase.BUSY and step[0] == 0:
            ended_ok |= {state.inspection_id} if step[1].verdict is Verdict.OK else set()
        state = after(state, step)
        shown = told(state)
        if shown["ok"] or shown["verdict"] == Said.OK:
            assert shown["result_id"] == state.inspection_id
            assert state.inspection_id in ended_ok
        assert not shown["ok"] or shown["results_valid"]


@given(events)
def test_bits_never_contradict_each_other(steps: list[Commands | tuple[int, Outcome]]) -> None:
    for state in history(steps):
        shown = told(state)
        assert sum(bool(shown[name]) for name in ("trigger_ready", "busy", "results_valid")) <= 1
        assert sum(bool(shown[name]) for name in ("ok", "ng", "no_result")) == int(bool(shown["results_valid"]))
        assert not shown["trigger_ack"] or state.commands.trigger
        assert not shown["trigger_ready"] or state.commands == state.commands._replace(trigger=False, results_ack=False)
        assert bool(shown["error"]) is (shown["error_code"] != 0)
        assert shown["busy"] is False or shown["verdict"] == Said.NOTHING


@given(events)
def test_numbers_only_grow_and_each_inspection_is_counted_once(steps: list[Commands | tuple[int, Outcome]]) -> None:
    states = history(steps)
    for before, now in itertools.pairwise(states):
        assert now.inspection_id - before.inspection_id in (0, 1)
        assert (now.inspection_id > before.inspection_id) == (now.phase is Phase.BUSY and before.phase is Phase.READY)
        assert now.missed >= before.missed
    last = states[-1]
    assert sum(last.counts) == last.inspection_id - (last.phase is Phase.BUSY)


@given(events)
def test_whatever_happened_a_plc_that_begins_again_gets_its_inspection(
    steps: list[Commands | tuple[int, Outcome]],
) -> None:
    state = history(steps)[-1]
    for each in (Commands(), ON):
        state = command(state, each)
    assert state.phase is Phase.READY
    ran = command(state, ON._replace(trigger=True, trigger_id=42))
    assert (ran.phase, ran.acked, ran.fault) == (Phase.BUSY, True, Fault.NONE)
    done = finish(ran, ran.inspection_id, Outcome(Verdict.NG))
    assert (done.phase, told(done)["ng"], told(done)["result_trigger_id"]) == (Phase.RESULTS, True, 42)
    released = command(command(done, ON._replace(results_ack=True)), ON)
    assert released.phase is Phase.READY


@given(events)
def test_a_trigger_out_of_turn_is_counted_told_and_costs_the_verdict(
    steps: list[Commands | tuple[int, Outcome]],
) -> None:
    for state in history(steps):
        if state.phase is Phase.READY or state.commands.trigger:
            continue
        now = command(state, state.commands._replace(trigger=True))
        assert now.missed == state.missed + 1
        assert (now.fault, told(now)["trigger_ack"]) == (Fault.TRIGGER_NOT_READY, False)
        assert told(now)["verdict"] != Said.OK


@given(st.lists(outcomes, min_size=1, max_size=20), commands)
def test_a_free_running_station_tells_each_result_under_a_new_number(told_ones: list[Outcome], bits: Commands) -> None:
    state = Handshake(phase=Phase.FREE_RUNNING)
    for number, outcome in enumerate(told_ones, 1):
        state = command(mirror(state, outcome), bits)
        shown = told(state)
        assert (shown["result_id"], shown["results_valid"], shown["trigger_ready"]) == (number, True, False)
        assert shown["verdict"] == Said[outcome.verdict.name]
    assert sum(state.counts) == len(told_ones)


@given(st.floats(), st.floats(), st.floats())
def test_whatever_numbers_an_answer_has_they_fit_their_registers(score: float, threshold: float, ms: float) -> None:
    outcome = Outcome(Verdict.NG, score=score, threshold=threshold, milliseconds=ms)
    shown = told(Handshake(phase=Phase.RESULTS, inspection_id=1, outcome=outcome))
    assert all(0 <= word <= 0xFFFF for word in registers(Space.INPUT, shown))


def test_numbers_begin_again_at_one_and_never_at_zero() -> None:
    last = Handshake(phase=Phase.READY, commands=ON, inspection_id=(1 << 32) - 1)
    assert command(last, ON._replace(trigger=True)).inspection_id == 1
