"""W3C trace context as it comes in metadata, and in the lines that are logged under it."""

import contextvars
import io
import json
import logging

import pytest

from edge_agent.telemetry import logs, tracing
from edge_agent.telemetry.tracing import TraceContext

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def read(parent: str | bytes, *states: str) -> TraceContext | None:
    return tracing.read([("user-agent", "x"), ("traceparent", parent), *(("tracestate", state) for state in states)])


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("03", True), ("fe", False)])
def test_a_trace_is_taken_with_its_flags(flags: str, sampled: bool) -> None:
    assert read(f"00-{TRACE}-{SPAN}-{flags}") == TraceContext(TRACE, SPAN, sampled)


def test_a_later_version_may_say_more() -> None:
    assert read(f"01-{TRACE}-{SPAN}-01") == TraceContext(TRACE, SPAN, sampled=True)
    assert read(f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like") == TraceContext(TRACE, SPAN, sampled=True)


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"01-{TRACE}-{SPAN}-01.more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-1",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"\u0660\u0660-{TRACE}-{SPAN}-01",  # digits, of another script
        f"00-{TRACE}-{SPAN}-01".encode(),
    ],
)
def test_a_malformed_parent_is_ignored(parent: str | bytes) -> None:
    assert read(parent) is None


def test_two_parents_are_none() -> None:
    parent = ("traceparent", f"00-{TRACE}-{SPAN}-01")
    assert tracing.read([parent, parent]) is None
    assert tracing.read([]) is None


@pytest.mark.parametrize(
    ("states", "told"),
    [
        (["rojo=00f067aa0ba902b7"], "rojo=00f067aa0ba902b7"),
        (["rojo=1", "congo=t61rcWkgMzE"], "rojo=1,congo=t61rcWkgMzE"),
        ([" rojo=1 ,\t, congo=2 "], "rojo=1,congo=2"),
        (["fw529a3039@dt=FfAAAAAA", "0tenant@sys=1"], "fw529a3039@dt=FfAAAAAA,0tenant@sys=1"),
        ([""], ""),
        (["rojo"], ""),
        (["Rojo=1"], ""),
        (["rojo=1,rojo=2"], ""),
        (["rojo=a=b"], ""),
        (["rojo=ä"], ""),
        ([",".join(f"k{number}=1" for number in range(33))], ""),
        (["rojo=" + "x" * 600], ""),
    ],
)
def test_a_state_is_told_on_or_dropped_and_the_trace_stays(states: list[str], told: str) -> None:
    assert read(f"00-{TRACE}-{SPAN}-01", *states) == TraceContext(TRACE, SPAN, sampled=True, state=told)


def test_a_line_that_is_logged_in_a_trace_names_it_and_others_do_not() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    logger = logging.getLogger("edge_agent.traced")
    logger.addHandler(handler)

    def request() -> None:
        tracing.follow([("traceparent", f"00-{TRACE}-{SPAN}-01"), ("tracestate", "rojo=1")])
        logger.warning("within")

    contextvars.Context().run(request)
    logger.warning("without")
    logger.removeHandler(handler)
    within, without = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (within["trace_id"], within["parent_id"], within["trace_state"]) == (TRACE, SPAN, "rojo=1")
    assert not {"trace_id", "parent_id", "trace_state"} & without.keys()
