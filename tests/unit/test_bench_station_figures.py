"""What the bench of the station makes of what it saw."""

import json
from pathlib import Path

from edge_agent.formats import InspectedFrame, ModelResult, Verdict
from scripts.benchlib.drawn import Sighting, arrivals, arrivals_in, first_drawn, told
from scripts.benchlib.page_load import page_bytes
from scripts.benchlib.station import Block, ratios

OK, NG, NO_RESULT = Verdict.OK, Verdict.NG, Verdict.NO_RESULT


def frame(identity: str, verdict: Verdict = OK, *, models_ms: tuple[float, ...] = ()) -> InspectedFrame:
    results = tuple(
        ModelResult(application=str(number), model="m", verdict=verdict, milliseconds=milliseconds)
        for number, milliseconds in enumerate(models_ms)
    )
    return InspectedFrame(id=identity, at=0.0, source="left", verdict=verdict, results=results)


def sight(identity: str, word: str, at_ms: float) -> Sighting:
    return Sighting(f"http://127.0.0.1:8080/frames/{identity}.jpg", word, at_ms)


def answered(identity: str, time: str, milliseconds: float) -> str:
    return json.dumps({"time": time, "action": "answered", "frame_id": identity, "milliseconds": milliseconds})


def test_a_frame_arrives_where_its_answer_came_minus_how_long_that_took() -> None:
    log = [
        answered("7-a", "1970-01-01T00:00:10.250Z", 50.5),
        json.dumps({"time": "1970-01-01T00:00:11.000Z", "action": "station_recovered"}),
        answered("", "1970-01-01T00:00:12.000Z", 1.0),
    ]

    assert arrivals(log) == {"7-a": 10_199.5}


def test_a_line_that_the_station_is_just_writing_is_left_for_later(tmp_path: Path) -> None:
    log = tmp_path / "station.log"
    log.write_text(answered("1", "1970-01-01T00:00:01.000Z", 0.0) + '\n{"action": "answered", "fra')

    assert arrivals_in(log) == {"1": 1000.0}


def test_a_frame_is_drawn_when_its_picture_first_stands_beside_its_own_verdict() -> None:
    seen = [
        sight("1", "NG", 10.0),  # of the part before
        sight("1", "OK", 12.0),
        sight("1", "OK", 15.0),
        sight("2", "\n ■ NG ", 20.0),
        sight("3", "NO RESULT", 30.0),
    ]

    drawn = first_drawn([frame("1", OK), frame("2", NG), frame("3", NO_RESULT), frame("4", NG)], seen)

    assert drawn == {"1": 12.0, "2": 20.0, "3": 30.0}


def test_the_models_own_time_is_taken_off_and_what_was_not_drawn_is_counted() -> None:
    frames = [frame(str(number), models_ms=(4.0, 6.0)) for number in range(5)]
    arrived = {str(number): 100.0 * number for number in range(5)}
    seen = [sight(str(number), "OK", 100.0 * number + 50 + number) for number in range(4)]

    figures = told(frames, arrived, seen)

    assert figures == {
        "frame_to_browser_ms": 41.5,
        "frame_to_browser_p95_ms": 42.85,
        "frame_to_browser_with_models_ms": 51.5,
        "frame_to_browser_with_models_p95_ms": 52.85,
        "models_ms": 10.0,
        "frames_measured": 4,
        "frames_not_drawn": 1,
    }


def test_nothing_drawn_is_null_and_not_fast() -> None:
    assert told([frame("1")], {"1": 0.0}, []) == {
        "frame_to_browser_ms": None,
        "frames_measured": 0,
        "frames_not_drawn": 1,
    }


def test_the_rate_with_viewers_is_compared_with_the_rate_without_over_all_blocks() -> None:
    cores = [{"agent": 0.5}, {"agent": 0.7}]
    rates = {
        "without": (100.0, 60.0),
        "with": (80.0, 72.0),
        "beside_a_browser": (96.0, 64.0),
        "beside_a_stranger": (72.0, 72.0),
    }

    figures = ratios(
        {name: [Block(rate, used) for rate, used in zip(found, cores, strict=True)] for name, found in rates.items()}
    )

    assert figures["verdict_rate_ratio_8_viewers"] == 0.95
    assert figures["verdict_rate_ratio_beside_a_browser"] == 1.0
    assert figures["verdict_rate_ratio_beside_a_stranger"] == 0.9
    assert figures["verdicts_per_s"]["with"] == [80.0, 72.0]
    assert figures["cores_used"]["with"] == {"agent": 0.6}


def test_pictures_of_the_line_are_no_part_of_the_page() -> None:
    page = "http://127.0.0.1:8080"
    sizes = {f"{page}/": 1000, f"{page}/static/page.css": 500, f"{page}/frames/1.jpg": 9000}
    sizes |= {f"{page}/frames/1/overlay/unet.png": 9000}

    assert page_bytes(sizes) == 1500
