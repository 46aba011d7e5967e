"""``bench fleet`` in small: stages that a bad release does not pass, and a broker that is killed in the middle."""

from pathlib import Path

from cloud_tools.simulate.course import TIMES_S
from scripts.benchlib.fleet import FIELDS, faults, measure

DEVICES = 30
QUICK = dict.fromkeys(TIMES_S, 0.05)


def test_a_good_release_reaches_all_in_stages_a_bad_one_stops_within_the_canaries_and_a_killed_broker_loses_nothing(
    tmp_path: Path,
) -> None:
    figures = measure(DEVICES, tmp_path, QUICK)
    assert faults(figures) == []
    assert tuple(figures) == FIELDS
    assert None not in figures.values()
    assert (figures["staged_ended"], figures["killed_ended"], figures["canaries"]) == (DEVICES, DEVICES, 5)
    assert 0 < figures["bad_failed"] <= figures["bad_asked"] <= 5
    # Few threads carry all: the fleet's, the library's loops and its resolver.
    assert figures["threads"] < 20
    assert figures["open_files"] >= DEVICES
    # What a device says of a deployment is bounded: a word for each state, and what asking for a job takes.
    assert 10 < figures["staged_messages_per_device"] < 80


def test_each_thing_that_does_not_hold_is_named() -> None:
    good = dict.fromkeys(FIELDS, 0) | {
        "devices": 9, "staged_ended": 9, "killed_ended": 9, "canaries": 5, "bad_asked": 5, "bad_failed": 1
    }  # fmt: skip
    assert faults(good) == []
    worse = {"staged_ended": 8, "bad_asked": 6, "killed_ended": 8, "lost": 1, "more_than_once": 1, "disagreements": 1}
    for field, value in worse.items():
        assert len(faults(good | {field: value})) == 1, field
