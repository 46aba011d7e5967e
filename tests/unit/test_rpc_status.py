"""Errors on their way through gRPC."""

from typing import Any

import grpc
import pytest

from edge_agent.client import faults
from edge_agent.errors import Code, ConfigError, InferenceError, RefusedError
from edge_agent.rpc.deadlines import answer_within_s, timeout_s
from edge_agent.rpc.status import STATUS, abort, status_of


class Context:
    """What a servicer sees of a call, and what a client sees of its end."""

    def __init__(self, remaining: float | None = None) -> None:
        self.metadata: tuple[tuple[str, str], ...] = ()
        self.ended: tuple[grpc.StatusCode, str] | None = None
        self.remaining = remaining

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self.metadata = metadata

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.ended = (code, details)

    def time_remaining(self) -> float | None:
        return self.remaining

    def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        return self.metadata

    def code(self) -> grpc.StatusCode:
        assert self.ended is not None
        return self.ended[0]

    def details(self) -> str:
        assert self.ended is not None
        return self.ended[1]


@pytest.mark.parametrize("code", list(Code), ids=str)
def test_every_code_has_a_status_of_its_own_choice(code: Code) -> None:
    assert code in STATUS
    assert status_of(code) not in (grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN)


def test_codes_that_are_grpcs_words_keep_them() -> None:
    assert all(status_of(code).name == code.value for code in Code if code.value in grpc.StatusCode.__members__)


@pytest.mark.parametrize("kind", [InferenceError, RefusedError, ConfigError])
@pytest.mark.parametrize("code", [Code.NOT_FOUND, Code.NO_PREVIOUS, Code.DIGEST_MISMATCH])
def test_an_error_arrives_as_it_left(kind: Any, code: Code) -> None:
    call: Any = Context()
    abort(call, kind(code, "expected this, came that"))
    came = faults.from_call(call, "unix:/x")
    assert type(came) is kind
    assert (came.code, came.message) == (code, "expected this, came that")


def test_a_status_that_is_not_the_agents_becomes_an_inference_error_with_its_word() -> None:
    call: Any = Context()
    call.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
    came = faults.from_call(call, "unix:/x")
    assert isinstance(came, InferenceError)
    assert came.code is Code.DEADLINE_EXCEEDED
    assert "unix:/x" in came.message


def test_a_foreign_class_in_the_metadata_is_not_believed() -> None:
    call: Any = Context()
    call.abort(grpc.StatusCode.ABORTED, "no")
    call.metadata = ((faults.CLASS_KEY, "SystemExit"), (faults.CODE_KEY, "NOT_FOUND"))
    assert faults.from_call(call, "x").code is Code.INTERNAL


def test_long_messages_are_cut_so_that_they_fit_into_headers() -> None:
    call: Any = Context()
    abort(call, InferenceError(Code.INTERNAL, "x" * 100_000))
    assert len(call.details()) < 4096


@pytest.mark.parametrize(
    ("remaining", "expected"), [(None, 10.0), (9.2e18, 10.0), (0.0, 0.0), (3.5, 3.5), (30.0, 30.0)]
)
def test_a_call_waits_as_long_as_its_caller_and_else_a_sane_time(remaining: float | None, expected: float) -> None:
    context: Any = Context(remaining)
    assert timeout_s(context, 10.0) == expected


@pytest.mark.parametrize(("remaining", "expected"), [(None, 9.75), (0.5, 0.45), (2.5, 2.25), (47.0, 46.75)])
def test_an_answer_is_on_its_way_a_little_before_its_callers_time_is_over(
    remaining: float | None, expected: float
) -> None:
    context: Any = Context(remaining)
    assert answer_within_s(context, 10.0) == pytest.approx(expected)
