"""The memory bank: what a file may hold, and what is told of one that is broken."""

import json
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import load, save

from edge_agent.deployment.capacity import graph_bytes
from edge_agent.errors import BundleError, DocumentError, InferenceError
from edge_agent.formats import Manifest, parse
from edge_agent.formats.bank import Bank, BankPart, distances_to, evenly, nearest, place_of, read_bank, write_bank
from edge_agent.formats.contents import check_other
from edge_agent.vision import encode_jpeg
from tests.fakes.agent_core import manifest_of
from tests.fakes.banks import bank_of, rows_of

SMALL = encode_jpeg(np.zeros((8, 8, 3), np.uint8))


def test_what_is_written_is_read_again() -> None:
    bank = bank_of(5, width=7, thumbnails=(SMALL, b"", SMALL, b"", b""))
    again = read_bank(write_bank(bank), "bank")
    np.testing.assert_array_equal(again.embeddings, bank.embeddings)
    np.testing.assert_array_equal(again.distances, np.sort(bank.distances))
    assert (again.parts, again.thumbnails) == (bank.parts, bank.thumbnails)


def test_a_bank_is_no_file_that_a_release_may_not_hold() -> None:
    check_other(write_bank(bank_of(5)), "bank")


def test_any_reader_of_safetensors_reads_a_bank() -> None:
    pieces = load(write_bank(bank_of(3)))
    assert sorted(pieces) == ["distances", "embeddings", "ends", "parts", "thumbnails"]
    assert json.loads(pieces["parts"].tobytes())["parts"][0]["file"] == "train/good/0.png"


def _changed(**pieces: Any) -> bytes:
    return save({**load(write_bank(bank_of(3, thumbnails=(SMALL, b"", b"")))), **pieces})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a memory bank in the format of safetensors"),
        (b"\x93NUMPY" + bytes(100), "expected a memory bank in the format of safetensors"),
        (write_bank(bank_of(3))[:-1], "expected a memory bank in the format of safetensors"),
        (save({"embeddings": np.zeros((1, 2), np.float32)}), "expected the pieces"),
        (_changed(embeddings=np.ones((3, 4), np.float64)), "expected the pieces"),
        (_changed(embeddings=np.ones((3, 4), np.float32)), r"expected embeddings of length 1, came lengths 2\.\.2"),
        (_changed(embeddings=np.full((3, 4), np.nan, np.float32)), "expected embeddings of length 1"),
        (_changed(embeddings=np.full((3, 4), 3e38, np.float32)), "expected embeddings of length 1"),
        (_changed(embeddings=rows_of(2, 4)), "expected a name and a picture for each of 2 embeddings, came 3 names"),
        (_changed(embeddings=rows_of(4, 4)[0]), r"expected embeddings \[1\.\.20000, 1\.\.4096\], came \[4\]"),
        (_changed(distances=np.zeros(0, np.float32)), r"expected 1\.\.100000 finite distances, came \[0\]"),
        (_changed(distances=np.array([np.inf], np.float32)), r"finite distances"),
        (_changed(distances=np.array(0.5, np.float32)), r"finite distances"),
        (_changed(ends=np.array([0, 5, 2], np.int64)), "expected ends that rise"),
        (_changed(ends=np.array([0, 0, 10**9], np.int64)), "expected ends that rise"),
        (_changed(thumbnails=np.frombuffer(b"<svg" + SMALL[4:], np.uint8)), "expected thumbnails that are JPEG"),
        (_changed(parts=np.frombuffer(b'{"parts": [{"file": 3}]}', np.uint8)), r"parts\.0\.file"),
        (_changed(parts=np.frombuffer(b"\x80\x04N.", np.uint8)), "expected JSON"),
    ],
)
def test_a_broken_bank_says_what_was_expected_and_what_came(content: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        read_bank(content, "the memory bank of brick 1")


def test_the_nearest_come_first_and_no_more_than_there_are() -> None:
    rows = np.array([[1, 0], [0, 1], [0.8, 0.6], [-1, 0]], np.float32)
    found = nearest(rows, np.array([1, 0], np.float32), 3)
    assert [index for index, _ in found] == [0, 2, 1]
    assert [round(cosine, 3) for _, cosine in found] == [1.0, 0.8, 0.0]
    assert len(nearest(rows, rows[0], 99)) == 4
    assert nearest(rows[:0], rows[0], 3) == []
    np.testing.assert_allclose(distances_to(rows[:2], rows), [0, 0, 0.2, 1.0], atol=1e-6)


def test_only_a_row_of_numbers_tells_a_place_and_it_has_length_1() -> None:
    told = place_of(np.array([[3, 4]], np.float32))
    np.testing.assert_allclose(np.frombuffer(told, np.float32), [0.6, 0.8])
    others = (np.zeros((1, 4), np.float32), np.ones((1, 2, 2, 3), np.float32), np.ones((1, 5000), np.float32))
    assert {place_of(other) for other in (*others, np.ones((1, 3), np.float64))} == {b""}


@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan])
def test_a_place_that_is_not_finite_is_no_place(number: float) -> None:
    with pytest.raises(InferenceError, match="expected finite numbers in embedding, came NaN or infinity"):
        place_of(np.array([[1.0, number]], np.float32))


def test_a_place_of_the_largest_and_of_the_smallest_numbers_has_length_1_too() -> None:
    for number in (3e38, 1e-44):
        told = np.frombuffer(place_of(np.full((1, 4), number, np.float32)), np.float32)
        np.testing.assert_allclose(told, np.full(4, 0.5))


def test_the_limit_is_a_distance_that_a_good_part_had() -> None:
    bank = bank_of(3)._replace(distances=np.linspace(0, 1, 101, dtype=np.float32))
    assert bank.limit(0.99) == pytest.approx(0.99)
    assert bank.limit(1.0) == 1.0
    few = bank._replace(distances=np.array([0.1, 0.3], np.float32))
    assert few.limit(0.99) == pytest.approx(0.3)


def test_too_many_parts_are_thinned_evenly() -> None:
    assert evenly(range(10), 3) == [0, 4, 9]
    assert evenly(range(3), 10) == [0, 1, 2]


def test_a_manifest_has_one_bank_at_most_and_no_large_one() -> None:
    content = manifest_of("brick", "1").model_dump(mode="json", by_alias=True, exclude_none=True)
    bank = {"path": "bank.safetensors", "role": "bank", "size_bytes": 10, "sha256": "a" * 64}

    def with_banks(*banks: dict[str, Any]) -> Manifest:
        return parse(Manifest, {**content, "artefacts": [*content["artefacts"], *banks]}, what="manifest")

    assert with_banks().bank is None
    assert graph_bytes(with_banks(bank)) == graph_bytes(with_banks())
    told = with_banks(bank).bank
    assert told is not None
    assert told.path == "bank.safetensors"
    with pytest.raises(DocumentError, match="at most one with role bank, came 2"):
        with_banks(bank, {**bank, "path": "other"})
    with pytest.raises(DocumentError, match="a bank of at most 67108864 bytes, came 67108865"):
        with_banks({**bank, "size_bytes": (64 << 20) + 1})


def test_names_of_parts_are_bounded() -> None:
    with pytest.raises(ValidationError, match="at most 1000 characters"):
        BankPart(file="x" * 1001)
    assert Bank(rows_of(1, 4), (BankPart(file="x"),), (SMALL,), np.zeros(1)).without_thumbnails().thumbnails == (b"",)
