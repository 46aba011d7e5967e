"""Malformed requests of a protocol, grown from its messages' own grammar, and what an agent makes of them."""

import os
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fakes.census import Census, census
from tests.fakes.device import AgentDevice, eventually

T = TypeVar("T")


class Words(dict[str, st.SearchStrategy[Any]]):
    """What may stand in a field, by ``Message.field`` or ``field``; others take any value of their type.

    A whole request may stand by its ``Message``.
    """

    any_order = False
    """Fields are set in any order, so that of a oneof every member comes last at times: that one counts."""

    def __repr__(self) -> str:
        return "Words"


EXAMPLES = 10_000 if os.environ.get("EDGE_TEST_SWEEP") == "1" else 300
PATIENCE_S = 60.0
_GROWTH_BYTES = 96 << 20
_REPEATS = 3
# Never right here, and without their words nobody would know why they came.
_TOLD = ("INTERNAL", "UNAVAILABLE", "UNKNOWN")
_EDGES = [0, 1, 2, 3, 255, 2**15, 2**31 - 1]
_SIGNED = [-1, -(2**31)]
_UNSIGNED_64 = [2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1]
_TEXT = st.one_of(
    st.sampled_from(["", "/", "..", "../../etc/passwd", "a\0b", "\n", "%s%n", "ä" * 300, "x" * 5000]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
_BY_TYPE: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: _TEXT,
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=64),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.TYPE_DOUBLE: st.floats(),
    FieldDescriptor.TYPE_INT32: st.sampled_from(_EDGES + _SIGNED),
    FieldDescriptor.TYPE_UINT32: st.sampled_from(_EDGES),
    FieldDescriptor.TYPE_INT64: st.sampled_from([*_EDGES, *_SIGNED, 2**63 - 1, -(2**63)]),
    FieldDescriptor.TYPE_UINT64: st.sampled_from(_EDGES + _UNSIGNED_64),
    # proto3 keeps numbers that its enum does not name.
    FieldDescriptor.TYPE_ENUM: st.sampled_from([0, 1, 2, 3, 5, 6, 7, 99, -1]),
}


class Call(NamedTuple):
    """One request as its bytes."""

    path: str
    content: bytes


@st.composite
def messages(draw: st.DrawFn, kind: type[Message], words: Words) -> Message:
    """Return any message of a kind: fields left out, doubled, and filled with what nobody means."""
    message = kind()
    fields = list(kind.DESCRIPTOR.fields)
    for field in draw(st.permutations(fields)) if words.any_order else fields:
        if draw(st.integers(0, 7)) == 0:
            continue
        count = draw(st.integers(0, _REPEATS)) if field.is_repeated else 1
        values = [draw(_value(kind.DESCRIPTOR.name, field, words)) for _ in range(count)]
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for entry in values:
                getattr(message, field.name)[entry.key].CopyFrom(entry.value)
        elif field.is_repeated:
            getattr(message, field.name).extend(values)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(values[0])
        else:
            setattr(message, field.name, values[0])
    return message


def _value(owner: str, field: FieldDescriptor, words: Words) -> st.SearchStrategy[Any]:
    found = words.get(f"{owner}.{field.name}", words.get(field.name))
    if found is not None:
        return found
    if field.message_type is not None:
        return messages(GetMessageClass(field.message_type), words)
    return _BY_TYPE[field.type]


@st.composite
def calls(draw: st.DrawFn, service: Any, words: Words) -> Call:
    """Return any unary call of a service; every fourth has bytes that were changed after all."""
    method = draw(st.sampled_from(list(service.methods)))
    whole = words.get(method.input_type.name, messages(GetMessageClass(method.input_type), words))
    content = draw(whole).SerializeToString()
    spoilt = draw(st.integers(0, 3)) == 0
    return Call(f"/{service.full_name}/{method.name}", _changed(draw, content) if spoilt else content)


def _changed(draw: st.DrawFn, content: bytes) -> bytes:
    for _ in range(draw(st.integers(1, 4))):
        # Tags and lengths stand at the beginning, and nobody looks at one byte of many pixels.
        at = draw(st.integers(0, min(len(content), 96)))
        act = draw(st.sampled_from(["put", "cut", "end", "double"]))
        if act == "put":
            content = content[:at] + draw(st.binary(min_size=1, max_size=3)) + content[at:]
        elif act == "cut":
            content = content[:at] + content[at + draw(st.integers(1, 8)) :]
        elif act == "end":
            content = content[:at]
        else:
            content = content[:at] + content[:at] + content[at:]
    return content


def ask(channel: grpc.Channel, call: Call) -> str:
    """Send a request as it is; return the code of the answer."""
    try:
        channel.unary_unary(call.path)(call.content, timeout=PATIENCE_S)
    except grpc.RpcError as exc:
        error: Any = exc
        code, details = str(error.code().name), str(error.details())
        return f"{code}: {details}" if code in _TOLD else code
    return "OK"


def bombard(
    device: AgentDevice,
    target: str,
    service: Any,
    words: Words,
    *,
    allowed: frozenset[str],
    good: Callable[[], None],
) -> Counter[str]:
    """Send malformed requests; good ones are answered before and after, and nothing more is held than before.

    Args:
        device: a running agent.
        target: where it serves the protocol.
        service: the descriptor of the service.
        words: see ``Words``.
        allowed: codes that an answer may have.
        good: asks something and checks the answer; undoes what requests were allowed to leave behind.

    Returns:
        How many answers each method gave with each code, as ``ListModels OK``.
    """
    assert device.process is not None
    pid = device.process.pid
    codes: Counter[str] = Counter()
    with grpc.insecure_channel(target) as channel:

        def send(call: Call) -> None:
            code = ask(channel, call)
            codes[f"{call.path.rpartition('/')[2]} {code}"] += 1
            assert code in allowed, (code, call.path, call.content[:300])

        def run(examples: int) -> None:
            generated(calls(service, words), send, examples)

        # What is loaded and allocated once is no leak.
        good()
        run(100)
        good()
        before = census(pid)
        run(EXAMPLES)
        good()
        settle(pid, before)
    return codes


def generated(strategy: st.SearchStrategy[T], act: Callable[[T], None], examples: int) -> None:
    """Act on so many examples, the same ones in every run."""
    profile = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    # Named by position: the function's own parameter may be called anything.
    profile(given(strategy)(lambda example: act(example)))()  # noqa: PLW0108 - hypothesis reads the signature


def settle(pid: int, before: Census) -> None:
    """Wait until an agent holds no more than before; memory within an allowance for what it keeps of the last calls."""
    told = ""

    def look() -> bool | None:
        nonlocal told
        now = census(pid)
        told = now.holds_more_than(before)
        if now.resident_bytes > before.resident_bytes + _GROWTH_BYTES:
            told += f"; {before.resident_bytes} bytes resident then, {now.resident_bytes} now"
        if now.answering != before.answering:
            told += f"; other processes answer: {before.answering ^ now.answering}"
        return None if told else True

    eventually(look, lambda: told)
    print(f"held before: {before}", f"held after: {census(pid)}", sep="\n")  # noqa: T201 - shown with -s
