"""What a PLC reads and writes, and where: the one table behind Modbus addresses, OPC UA nodes and docs/plc.md. Pure.

Addresses begin at 0, as they go over the wire. A register has 16 bits, high byte first; what takes
two registers has its high word first. Texts are UTF-8, padded with zero bytes.
"""

import struct
from collections.abc import Mapping, Sequence
from enum import Enum, IntEnum
from typing import NamedTuple

VERSION = 1
_BYTES = 2
# A score of 1 as a whole number, for PLCs without floats.
SCALE = 10_000

Value = bool | int | float | str


class Space(str, Enum):
    """Modbus's four tables."""

    COIL = "coil"
    DISCRETE = "discrete input"
    HOLDING = "holding register"
    INPUT = "input register"


class Kind(str, Enum):
    """What a row holds."""

    BIT = "bit"
    UINT16 = "uint16"
    UINT32 = "uint32"
    FLOAT32 = "float32"
    TEXT = "text"


class Said(IntEnum):
    """A verdict as a number: zeros, as of memory that nobody wrote, are no verdict, and so is any other number."""

    NOTHING = 0
    OK = 1
    NG = 2
    NO_RESULT = 3


class Phase(IntEnum):
    """Where the handshake stands."""

    DISABLED = 0
    READY = 1
    BUSY = 2
    RESULTS = 3
    RELEASING = 4
    FREE_RUNNING = 5


class Fault(IntEnum):
    """Why Error is set."""

    NONE = 0
    TRIGGER_NOT_READY = 1
    ENABLE_DROPPED = 2
    DEADLINE = 3
    CAMERA = 4
    AGENT = 5
    NO_VERDICT = 6


class Row(NamedTuple):
    """One value.

    Attributes:
        name: as the code and the documentation call it.
        space: in which of Modbus's tables it stands; coils and holding registers are written by the PLC.
        address: its first bit or register, from 0.
        kind: what it holds.
        meaning: for a person.
        length: registers of a text.
    """

    name: str
    space: Space
    address: int
    kind: Kind
    meaning: str
    length: int = 1

    @property
    def width(self) -> int:
        """Return how many bits or registers it takes."""
        return 2 if self.kind in (Kind.UINT32, Kind.FLOAT32) else self.length

    @property
    def node(self) -> str:
        """Return its name in OPC UA, as TriggerReady."""
        return "".join(word.capitalize() for word in self.name.split("_"))

    @property
    def written_by_plc(self) -> bool:
        """Tell whether the PLC writes it."""
        return self.space in (Space.COIL, Space.HOLDING)


_SAID = ", ".join(f"{each.value} {each.name.replace('_', ' ')}" for each in Said)
_PHASES = ", ".join(f"{each.value} {each.name.replace('_', ' ')}" for each in Phase)
_FAULTS = ", ".join(f"{each.value} {each.name.replace('_', ' ')}" for each in Fault)
_WIDE = {Kind.UINT32, Kind.FLOAT32}

ROWS = (
    Row(
        "trigger_enable", Space.COIL, 0, Kind.BIT, "the PLC wants to trigger; falls: whatever is under way is NO RESULT"
    ),
    Row("trigger", Space.COIL, 1, Kind.BIT, "rises while Trigger Ready: inspect now; may fall after Trigger Ack"),
    Row("results_ack", Space.COIL, 2, Kind.BIT, "rises while Results Valid: the results were read"),
    Row("trigger_ready", Space.DISCRETE, 0, Kind.BIT, "a trigger is accepted now"),
    Row("trigger_ack", Space.DISCRETE, 1, Kind.BIT, "the trigger was accepted; falls with Trigger"),
    Row("busy", Space.DISCRETE, 2, Kind.BIT, "a picture is taken or inspected"),
    Row("results_valid", Space.DISCRETE, 3, Kind.BIT, "the result registers stand for result_id"),
    Row(
        "error", Space.DISCRETE, 4, Kind.BIT, "error_code says why; falls with the next accepted trigger or with Enable"
    ),
    Row("ok", Space.DISCRETE, 5, Kind.BIT, "results are valid and the verdict is OK"),
    Row("ng", Space.DISCRETE, 6, Kind.BIT, "results are valid and the verdict is NG"),
    Row(
        "no_result",
        Space.DISCRETE,
        7,
        Kind.BIT,
        "results are valid and there is no verdict: treat the part as not inspected",
    ),
    Row("trigger_id", Space.HOLDING, 0, Kind.UINT32, "the PLC's number of the part, written before Trigger; echoed"),
    Row("table_version", Space.INPUT, 0, Kind.UINT16, f"version of this table: {VERSION}"),
    Row("heartbeat", Space.INPUT, 1, Kind.UINT16, "changes each second while the station's loop lives"),
    Row("phase", Space.INPUT, 2, Kind.UINT16, _PHASES),
    Row("error_code", Space.INPUT, 3, Kind.UINT16, _FAULTS),
    Row(
        "inspection_id",
        Space.INPUT,
        4,
        Kind.UINT32,
        "number of the last accepted trigger, or of the last free-running one",
    ),
    Row("missed_triggers", Space.INPUT, 6, Kind.UINT32, "triggers that came while not ready, since the start"),
    Row("ok_count", Space.INPUT, 8, Kind.UINT32, "results OK since the station's start"),
    Row("ng_count", Space.INPUT, 10, Kind.UINT32, "results NG since the station's start"),
    Row("no_result_count", Space.INPUT, 12, Kind.UINT32, "NO RESULT since the station's start"),
    Row("result_id", Space.INPUT, 16, Kind.UINT32, "inspection_id that the results below belong to"),
    Row("result_trigger_id", Space.INPUT, 18, Kind.UINT32, "trigger_id that the results below belong to"),
    Row("verdict", Space.INPUT, 20, Kind.UINT16, _SAID),
    Row("score_scaled", Space.INPUT, 21, Kind.UINT16, f"score times {SCALE}, 0 to 65535"),
    Row("score", Space.INPUT, 22, Kind.FLOAT32, "score of the model that decided"),
    Row("threshold", Space.INPUT, 24, Kind.FLOAT32, "that model's threshold"),
    Row("threshold_scaled", Space.INPUT, 26, Kind.UINT16, f"threshold times {SCALE}, 0 to 65535"),
    Row(
        "duration_ms",
        Space.INPUT,
        27,
        Kind.UINT16,
        "from the picture in hand to the answer, in milliseconds, at most 65535",
    ),
    Row("model", Space.INPUT, 32, Kind.TEXT, "model that decided", 16),
    Row("model_version", Space.INPUT, 48, Kind.TEXT, "its version", 8),
    Row("frame_id", Space.INPUT, 56, Kind.TEXT, "the agent's id of the inspection", 20),
    Row("error_text", Space.INPUT, 76, Kind.TEXT, "why Error is set, for a person", 32),
)
BY_NAME: Mapping[str, Row] = {row.name: row for row in ROWS}


def rows_of(space: Space) -> tuple[Row, ...]:
    """Return the rows of one of Modbus's tables by address."""
    return tuple(row for row in ROWS if row.space is space)


def size_of(space: Space) -> int:
    """Return how many bits or registers one of Modbus's tables has."""
    last = rows_of(space)[-1]
    return last.address + last.width


def registers(space: Space, values: Mapping[str, Value]) -> list[int]:
    """Return one of Modbus's tables, with zeros where nothing stands.

    Args:
        space: which one.
        values: values by name; one that is missing is zero.
    """
    words = [0] * size_of(space)
    for row in rows_of(space):
        if row.name in values:
            words[row.address : row.address + row.width] = encode(row, values[row.name])
    return words


def encode(row: Row, value: Value) -> list[int]:
    """Return a value as bits or registers; a text that is too long is cut between characters.

    Args:
        row: what it is.
        value: of the row's kind; numbers within its range.
    """
    if row.kind is Kind.TEXT:
        return _words(_fitting(str(value), row.length * _BYTES))
    if row.kind is Kind.FLOAT32:
        return _words(struct.pack(">f", float(value)))
    number = int(value)
    return [number >> 16, number & 0xFFFF] if row.kind is Kind.UINT32 else [number]


def decode(row: Row, words: Sequence[int]) -> Value:
    """Return the value that bits or registers hold.

    Args:
        row: what it is.
        words: as many bits or registers as its width.
    """
    if row.kind is Kind.BIT:
        return bool(words[0])
    content = struct.pack(f">{len(words)}H", *words)
    if row.kind is Kind.TEXT:
        return content.rstrip(b"\0").decode()
    if row.kind is Kind.FLOAT32:
        return float(struct.unpack(">f", content)[0])
    return int.from_bytes(content, "big")


def scaled(value: float) -> int:
    """Return a score or threshold as the whole number that PLCs without floats read."""
    return round(min(max(value * SCALE, 0.0), float(0xFFFF)))


def _words(content: bytes) -> list[int]:
    return list(struct.unpack(f">{len(content) // _BYTES}H", content))


def _fitting(text: str, size_bytes: int) -> bytes:
    # A character is never cut in two.
    cut = text.encode()[:size_bytes].decode(errors="ignore").encode()
    return cut.ljust(size_bytes, b"\0")
