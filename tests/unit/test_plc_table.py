"""The table of a PLC's registers: what stands where, and what it looks like in bits and words."""

import itertools
import struct

import pytest

from edge_agent.formats import Verdict
from edge_agent.station.plc.handshake import Handshake, Outcome, told
from edge_agent.station.plc.table import (
    BY_NAME,
    ROWS,
    Fault,
    Kind,
    Phase,
    Said,
    Space,
    decode,
    encode,
    registers,
    rows_of,
    scaled,
    size_of,
)


@pytest.mark.parametrize("space", Space)
def test_no_two_rows_share_an_address_and_they_stand_in_its_order(space: Space) -> None:
    rows = rows_of(space)
    for row, following in itertools.pairwise(rows):
        assert row.address + row.width <= following.address
    assert all(row.kind is Kind.BIT for row in rows) is (space in (Space.COIL, Space.DISCRETE))


def test_every_table_is_read_in_one_request_of_modbus() -> None:
    assert all(size_of(space) <= 125 for space in Space)


def test_zeros_and_ones_that_nobody_wrote_are_never_ok() -> None:
    assert Said.OK not in (0, 0xFFFF)
    assert Said(decode(BY_NAME["verdict"], [0])) is Said.NOTHING
    assert registers(Space.INPUT, {}) == [0] * size_of(Space.INPUT)


def test_the_high_word_and_the_high_byte_come_first() -> None:
    assert encode(BY_NAME["inspection_id"], 0x1234_5678) == [0x1234, 0x5678]
    assert encode(BY_NAME["score"], 0.75) == list(struct.unpack(">2H", struct.pack(">f", 0.75)))
    assert encode(BY_NAME["model"], "une")[:3] == [0x756E, 0x6500, 0]


def test_a_text_that_is_too_long_is_cut_between_characters() -> None:
    row = BY_NAME["model_version"]
    assert decode(row, encode(row, "1.2.3")) == "1.2.3"
    assert decode(row, encode(row, "ä" * 20)) == "ä" * 8
    assert decode(row, encode(row, "x" + "ä" * 20)) == "x" + "ä" * 7


def test_a_score_is_also_a_whole_number_within_one_register() -> None:
    assert [scaled(value) for value in (0.0, 0.98765, 1.0, 6.5535, 100.0, -3.0)] == [0, 9876, 10000, 65535, 65535, 0]


def test_every_value_that_is_told_has_a_row_and_every_row_of_the_station_is_told() -> None:
    outcome = Outcome(Verdict.OK, Fault.NONE, "", 0.1, 0.5, "unet", "1.2.0", "f" * 36, 12.6)
    shown = told(Handshake(phase=Phase.RESULTS, inspection_id=7, trigger_id=9, outcome=outcome))
    own = {row.name for row in ROWS if not row.written_by_plc} - {"heartbeat"}
    assert shown.keys() == own == told(Handshake()).keys()
    words = registers(Space.INPUT, shown)
    read = {row.name: decode(row, words[row.address : row.address + row.width]) for row in rows_of(Space.INPUT)}
    assert (read["result_id"], read["result_trigger_id"], read["verdict"]) == (7, 9, Said.OK)
    assert (read["model"], read["model_version"], read["frame_id"], read["duration_ms"]) == (
        "unet",
        "1.2.0",
        "f" * 36,
        13,
    )
    assert read["score"] == pytest.approx(0.1)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_no_number_is_zero(score: float) -> None:
    shown = told(Handshake(phase=Phase.RESULTS, inspection_id=1, outcome=Outcome(Verdict.NG, score=score)))
    assert (shown["score"], shown["score_scaled"]) == (0.0, 0)


def test_names_of_opcua_are_unique() -> None:
    assert len({row.node for row in ROWS}) == len(ROWS)
    assert BY_NAME["trigger_ready"].node == "TriggerReady"
