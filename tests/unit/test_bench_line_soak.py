"""What the soak of a line makes of what it saw, and that it shows each part once."""

from pathlib import Path

import pytest

from edge_agent.formats import Counts, InspectedFrame, Verdict
from edge_agent.station.directory import DirectoryCamera
from scripts.benchlib.held import Held, growth, more
from scripts.benchlib.truth import Feed, compared, wrong

OK, NG = Verdict.OK, Verdict.NG


def test_counts_are_equal_only_where_each_verdict_is() -> None:
    before = Counts(ok=10, ng=20, no_result=5)
    truth = [OK, OK, NG]

    assert compared(truth, before, Counts(ok=12, ng=21, no_result=5))["counts_equal"] is True
    swapped = compared(truth, before, Counts(ok=11, ng=22, no_result=5))
    assert (swapped["counts_equal"], swapped["counts"], swapped["counts_expected"]) == (
        False,
        {"ok": 1, "ng": 2, "no_result": 0},
        {"ok": 2, "ng": 1, "no_result": 0},
    )
    assert compared(truth, before, Counts(ok=12, ng=21, no_result=6))["counts_equal"] is False


def told(name: str, verdict: Verdict) -> InspectedFrame:
    return InspectedFrame(id="1", at=0.0, source="left", name=name, verdict=verdict)


def pictures_in(directory: Path) -> list[Path]:
    found = [directory / f"{letter}.jpg" for letter in "ab"]
    for picture in found:
        picture.write_bytes(picture.stem.encode())
    return found


def test_a_camera_takes_each_part_of_a_feed_once_in_order_and_no_more(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "left", pictures_in(tmp_path), [OK, NG], first=1)
    camera = DirectoryCamera(feed.directory, loop=False)
    feed.ask(500)
    taken = []
    most = 0
    while (shot := camera.newest(0.0)) is not None:
        taken.append(shot)
        most = max(most, len(list(feed.directory.iterdir())))
        feed.take(shot.name)
        feed.go_on()

    assert len({shot.name for shot in taken}) == len(taken) == 500
    assert [shot.content for shot in taken] == [b"b", b"a"] * 250
    assert feed.truth(0, 500) == [feed.verdict_of(shot.name) for shot in taken] == [NG, OK] * 250
    assert most < 250, "names that wait, and a few that were taken"


def test_a_wrong_verdict_and_a_part_that_came_twice_are_told(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "left", pictures_in(tmp_path), [OK, NG])
    frames = [told("00000000.jpg", OK), told("00000001.jpg", OK)]

    assert wrong([*frames, frames[0]], {"left": feed}) == {
        "wrong_verdicts": 1,
        "repeated_parts": 1,
        "first_wrong": "left 00000001.jpg: came OK ",
    }


def test_memory_growth_is_that_of_the_worst_process_and_replaced_ones_are_named() -> None:
    warm = {"agent": Held(100, 5, 1), "dashboard": Held(50, 5, 0), "worker 7": Held(10, 1, 1)}
    ended = {"agent": Held(101, 5, 1), "dashboard": Held(56, 5, 0), "worker 8": Held(90, 1, 1)}

    figures = growth(warm, ended)

    assert figures["memory_growth"] == pytest.approx(0.12)
    assert figures["memory_growth_by_process"] == {"agent": 0.01, "dashboard": 0.12}
    assert figures["processes_replaced"] == ["worker 7", "worker 8"]


def test_descriptors_and_segments_are_counted_over_all_processes() -> None:
    first = {"agent": Held(1, 5, 2), "dashboard": Held(1, 5, 0)}
    last = {"agent": Held(1, 8, 1), "dashboard": Held(1, 4, 0)}

    assert more(first, last) == {"descriptors_more": 2, "segments_more": -1}
