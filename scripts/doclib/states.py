"""The life of a deployment, drawn from its table."""

from collections.abc import Iterator
from itertools import pairwise

from doclib.markdown import code, table
from edge_agent.deployment.states import PATHS, TABLE, Event, IllegalTransitionError, Row, State, advance

# These share their ways out, so the diagram draws those once, from the frame around them.
_BEFORE = [state for state, row in TABLE.items() if (row.on_cancel, row.on_failure) == (State.CANCELLED, State.FAILED)]
_FRAME = "BeforeActivation"
_WORDS = {
    Event.CONFIRMED: "already current",
    Event.REFUSED: "refused",
    Event.BROKE: "broke",
    Event.CANCELLED: "cancelled",
}


def diagram() -> str:
    """Return the diagram as Mermaid."""
    inner = [line for line in _steps() if line[0] in _BEFORE and line[1] in _BEFORE]
    outer = [line for line in _steps() if line not in inner]
    lines = ["```mermaid", "stateDiagram-v2", f'  state "before the candidate answers" as {_FRAME} {{']
    lines += [f"    {_edge(*step)}" for step in inner]
    lines += ["  }", f"  [*] --> {State.ACCEPTED.value}"]
    lines += [f"  {_edge(*step)}" for step in [*outer, *_ways_out()]]
    return "\n".join([*lines, f"  {State.REPORTED.value} --> [*]", "```"])


def rows() -> str:
    """Return the table of all states."""
    heads = ("state", "what happens", "a restart resumes at", "answering after a restart", "cancelled", "failure")
    return table(heads, (_row(state, row) for state, row in TABLE.items()))


def _row(state: State, row: Row) -> tuple[str, ...]:
    failure = code(row.on_failure.value) if row.on_failure else ""
    if row.on_failure is State.FAILED:
        failure += f", or {code(State.REFUSED.value)} if it can never succeed here"
    cancelled = code(row.on_cancel.value) if row.on_cancel else ""
    return code(state.value), row.does, code(row.resumes_at.value), row.answering, cancelled, failure


def _steps() -> list[tuple[State, State, str]]:
    """Return each step of the paths, with the path's name where not all take it."""
    steps: dict[tuple[State, State], list[str]] = {}
    for operation, path in PATHS.items():
        for pair in pairwise(path):
            steps.setdefault(pair, []).append(operation)
    return [(*pair, "" if len(takers) == len(PATHS) else ", ".join(takers)) for pair, takers in steps.items()]


def _ways_out() -> Iterator[tuple[State | str, State, str]]:
    for event in (Event.BROKE, Event.REFUSED, Event.CANCELLED):
        yield _FRAME, _target(_BEFORE[0], event), _WORDS[event]
    drawn = {(start, end) for start, end, _ in _steps()}
    for state in TABLE:
        if state not in _BEFORE:
            yield from ((state, end, words) for end, words in _ends(state) if (state, end) not in drawn)
        elif (confirmed := _target_or_none(state, Event.CONFIRMED)) is not None:
            yield state, confirmed, _WORDS[Event.CONFIRMED]


def _ends(state: State) -> Iterator[tuple[State, str]]:
    reasons: dict[State, list[str]] = {}
    for event in (Event.BROKE, Event.CANCELLED):
        target = _target_or_none(state, event)
        if target is not None:
            reasons.setdefault(target, []).append(_WORDS[event])
    yield from ((target, " or ".join(words)) for target, words in reasons.items())
    done = _target_or_none(state, Event.DONE)
    if done is not None:
        yield done, ""


def _target(state: State, event: Event) -> State:
    return advance(state, event, next(iter(PATHS)))


def _target_or_none(state: State, event: Event) -> State | None:
    try:
        return _target(state, event)
    except IllegalTransitionError:
        return None


def _edge(start: State | str, end: State, words: str) -> str:
    begin = start.value if isinstance(start, State) else start
    return f"{begin} --> {end.value}" + (f": {words}" if words else "")
