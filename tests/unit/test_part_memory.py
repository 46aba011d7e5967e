"""What is remembered of parts: drift, places of captured parts, and banks that are broken."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import Code, InferenceError, StorageError
from edge_agent.formats import Embedded, InspectedFrame, ModelVersion, Verdict
from edge_agent.formats.bank import write_bank
from edge_agent.similarity import PartMemory, Place, Places
from edge_agent.similarity import memory as memory_module
from edge_agent.similarity import places as places_module
from edge_agent.similarity.drift import LIVE, NEEDED, Watch, farther
from tests.fakes.banks import bank_of

BRICK = ModelVersion("brick", "1")
OTHER = ModelVersion("brick", "2")
BANK = bank_of(6, width=4)
PATIENCE_S = 30.0


def frame(number: int) -> InspectedFrame:
    return InspectedFrame(id=f"frame-{number}", at=1000.0 + number, verdict=Verdict.OK)


def embedded(row: "np.ndarray", version: ModelVersion = BRICK) -> list[Embedded]:
    return [Embedded(version, np.asarray(row, np.float32).tobytes())]


def away(distance: float) -> "np.ndarray":
    """A place at this distance from the first part of the bank, and farther from the others."""
    first = BANK.embeddings[0].astype(np.float64)
    mean = BANK.embeddings.mean(0).astype(np.float64)
    across = first - mean
    across -= across @ first * first
    across /= np.linalg.norm(across)
    cosine = 1 - distance
    return np.asarray(cosine * first + np.sqrt(1 - cosine**2) * across, np.float32)


class Asked(list[str]):
    """Ids of frames that were to be captured since they lie far away."""

    def __call__(self, frame_id: str) -> bool:
        self.append(frame_id)
        return True


@pytest.fixture
def contents() -> dict[ModelVersion, bytes]:
    return {BRICK: write_bank(BANK)}


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def memory(tmp_path: Path, contents: dict[ModelVersion, bytes], asked: Asked) -> Iterator[PartMemory]:
    made = PartMemory(lambda version: contents.get(version, b""), Places(tmp_path / "places.db"), capture=asked)
    made.start()
    yield made
    made.stop()


def test_parts_like_those_of_the_training_are_no_drift() -> None:
    watch = Watch(BANK)
    drawn = np.random.default_rng(0).choice(BANK.distances, LIVE)
    assert sum(watch.add(float(distance)) for distance in drawn) == 0
    told = watch.status()
    assert (told.state, told.parts, told.seen, told.far_share) == ("STEADY", 6, LIVE, 0.0)
    assert told.drift < 0.2


def test_parts_farther_away_are_a_drift_and_nearer_ones_are_none() -> None:
    watch = Watch(BANK)
    for _ in range(NEEDED):
        assert watch.add(0.2)
    told = watch.status()
    assert (told.state, told.far_share, told.drift) == ("DRIFTED", 1.0, 1.0)
    assert told.distance == pytest.approx(0.2)
    near = Watch(BANK)
    for _ in range(NEEDED):
        near.add(0.0)
    assert (near.status().state, near.status().drift) == ("STEADY", 0.0)


def test_a_few_parts_say_nothing_yet_and_old_ones_are_forgotten() -> None:
    watch = Watch(BANK)
    assert watch.status().state == "WAITING"
    for _ in range(NEEDED - 1):
        watch.add(0.2)
    assert (watch.status().state, watch.status().seen) == ("WAITING", NEEDED - 1)
    for _ in range(LIVE):
        watch.add(0.01)
    assert (watch.status().state, watch.status().seen, watch.status().far_share) == ("STEADY", LIVE, 0.0)


def test_the_statistic_is_that_of_the_textbook() -> None:
    held = np.array([1, 2, 3, 4], np.float32)
    assert farther(held, held).statistic == 0.0
    assert farther(held, np.array([3, 4, 5, 6], np.float32)).statistic == 0.5
    assert farther(held, np.array([0, 1, 1, 2], np.float32)).statistic == 0.0
    # exp(-2 D^2 nm / (n + m)) is the chance of it, for large samples.
    assert np.exp(-2 * farther(held, held).critical ** 2 * 4 * 4 / 8) == pytest.approx(1e-3)


def test_a_good_line_raises_no_alarm_by_chance() -> None:
    draws = np.random.default_rng(3)
    for held_count in (8, 40, 400):
        alarms = 0
        for _ in range(100):
            held = np.sort(draws.exponential(1.0, held_count)).astype(np.float32)
            alarms += farther(held, draws.exponential(1.0, LIVE).astype(np.float32)).is_more_than_chance
        assert alarms <= 1


def test_live_parts_are_measured_and_far_ones_captured(memory: PartMemory, asked: Asked) -> None:
    memory.offer(frame(1), embedded(away(0.05)))
    memory.offer(frame(2), embedded(away(0.5)))
    memory.offer(frame(3), embedded(away(0.5)), captured=True)
    assert memory.drain(PATIENCE_S)
    told = memory.status(BRICK)
    assert told is not None
    assert (told.state, told.seen, round(told.far_share, 3)) == ("WAITING", 3, 0.667)
    # One that is captured already is not asked for again.
    assert asked == ["frame-2"]
    found = memory.alike(BRICK, np.asarray(away(0.5)).tobytes(), 3)
    assert {part.id for part in found.parts if part.captured} == {"frame-2", "frame-3"}


def test_the_most_alike_come_first_whether_learnt_or_captured(memory: PartMemory) -> None:
    memory.offer(frame(1), embedded(away(0.001)), captured=True)
    memory.offer(frame(2), embedded(away(0.05)))
    assert memory.drain(PATIENCE_S)
    found = memory.alike(BRICK, BANK.embeddings[0].tobytes(), 10)
    assert (found.parts[0].id, found.parts[0].captured, found.parts[0].label) == ("train/good/0.png", False, "good")
    assert (found.parts[1].id, found.parts[1].captured) == ("frame-1", True)
    assert [part.similarity for part in found.parts] == sorted((p.similarity for p in found.parts), reverse=True)
    assert len(found.parts) == 7
    assert (round(found.distance, 6), found.limit) == (0.0, pytest.approx(0.1))
    assert "frame-1" not in {
        part.id for part in memory.alike(BRICK, BANK.embeddings[0].tobytes(), 10, but="frame-1").parts
    }


def test_a_broken_bank_is_told_and_a_mended_one_loaded(
    memory: PartMemory, contents: dict[ModelVersion, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    contents[OTHER] = b"rubbish"
    with caplog.at_level(logging.ERROR):
        memory.expect(OTHER)
        memory.offer(frame(1), embedded(BANK.embeddings[0], OTHER), captured=True)
        assert memory.drain(PATIENCE_S)
    told = memory.status(OTHER)
    assert told is not None
    assert told.state == "BROKEN"
    assert told.message.startswith("the memory bank of brick 2: expected a memory bank in the format of safetensors")
    assert "the model answers all the same" in caplog.text
    # Captured parts are still compared.
    found = memory.alike(OTHER, BANK.embeddings[0].tobytes(), 5)
    assert ([part.id for part in found.parts], found.limit) == (["frame-1"], 0.0)
    assert found.message == told.message
    contents[OTHER] = write_bank(BANK)
    memory.expect(OTHER)
    assert memory.drain(PATIENCE_S)
    again = memory.status(OTHER)
    assert again is not None
    assert again.state == "WAITING"


def test_a_version_without_a_bank_has_no_status(memory: PartMemory) -> None:
    memory.expect(OTHER)
    assert memory.drain(PATIENCE_S)
    assert memory.status(OTHER) is None
    assert memory.alike(OTHER, BANK.embeddings[0].tobytes(), 5).message == "brick 2 carries no memory of what it learnt"


def test_many_banks_are_no_more_than_fit_into_memory(
    memory: PartMemory, contents: dict[ModelVersion, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    contents[OTHER] = write_bank(BANK)
    monkeypatch.setattr(memory_module, "LIMIT_BANKS_BYTES", len(contents[OTHER]) + 1)
    for version in (BRICK, OTHER):
        memory.expect(version)
    assert memory.drain(PATIENCE_S)
    assert memory.status(BRICK) is None
    assert memory.status(OTHER) is not None
    # Asked for, it is read again.
    assert memory.alike(BRICK, BANK.embeddings[0].tobytes(), 1).message == ""
    assert memory.status(BRICK) is not None


def test_an_embedding_that_does_not_fit_its_bank_is_refused(memory: PartMemory) -> None:
    with pytest.raises(
        InferenceError, match="expected an embedding of 4 numbers as in its memory bank, came 3"
    ) as caught:
        memory.alike(BRICK, np.ones(3, np.float32).tobytes(), 5)
    assert caught.value.code is Code.INTERNAL
    memory.offer(frame(1), embedded(np.ones(3)))
    assert memory.drain(PATIENCE_S)


def test_where_recent_frames_lie_is_known_for_a_while(memory: PartMemory) -> None:
    place = embedded(BANK.embeddings[0])
    memory.offer(frame(1), place)
    assert list(memory.place_of("frame-1")) == place
    assert memory.place_of("frame-2") == ()


def test_captured_places_survive_a_restart_and_versions_do_not_mix(tmp_path: Path) -> None:
    first = Places(tmp_path / "places.db")
    first.add(BRICK, Place("a", 1.0, BANK.embeddings[0].tobytes()))
    first.add(BRICK, Place("b", 2.0, BANK.embeddings[1].tobytes()))
    first.add(OTHER, Place("a", 1.0, BANK.embeddings[2].tobytes()))
    first.close()
    again = Places(tmp_path / "places.db")
    found, rows = again.of(BRICK, 4)
    assert [place.id for place in found] == ["b", "a"]
    np.testing.assert_array_equal(rows, BANK.embeddings[[1, 0]])
    assert again.of(BRICK, 5)[1].shape == (0, 5)
    again.forget(BRICK, "b")
    assert [place.id for place in again.of(BRICK, 4)[0]] == ["a"]
    assert [place.id for place in again.of(OTHER, 4)[0]] == ["a"]
    again.close()


def test_old_places_and_old_versions_give_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places_module, "LIMIT_OF_VERSION", 3)
    monkeypatch.setattr(places_module, "_PRUNED", 1)
    places = Places(tmp_path / "places.db")
    row = BANK.embeddings[0].tobytes()
    for number in range(5):
        places.add(BRICK, Place(f"{number}", float(number), row))
    assert [place.id for place in places.of(BRICK, 4)[0]] == ["4", "3", "2"]
    for number in range(places_module.LIMIT_VERSIONS):
        places.add(ModelVersion("brick", f"{number + 2}"), Place("x", 10.0 + number, row))
    assert places.of(BRICK, 4)[0] == []
    assert len(places.of(ModelVersion("brick", "2"), 4)[0]) == 1
    places.close()


def test_a_full_disk_costs_the_comparison_and_nothing_else(
    memory: PartMemory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise StorageError(Code.NO_SPACE, "the disk is full")

    monkeypatch.setattr(Places, "add", full)
    memory.offer(frame(1), embedded(away(0.05)), captured=True)
    assert memory.drain(PATIENCE_S)
    told = memory.status(BRICK)
    assert told is not None
    assert told.seen == 1
    assert "place not kept" in caplog.text
