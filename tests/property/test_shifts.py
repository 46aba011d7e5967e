"""Shifts as intervals of wall time, also on the days on which clocks are changed; and what is counted in them."""

from datetime import datetime, timezone
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.formats import InspectedFrame, ModelResult, Verdict
from edge_agent.inspection.shifts import shift_at
from edge_agent.inspection.tally import BINS, Tally, bucket, percentile, points_of, score_bin

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Tokyo", "Australia/Lord_Howe", "America/St_Johns"])
BEGINS = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
SHIFTS = st.lists(BEGINS, unique=True, max_size=6).map(lambda begins: {begin: begin for begin in begins})
NOWS = st.integers(0, 4_000_000_000)
THREE = {"early": "06:00", "late": "14:00", "night": "22:00"}
TWO_DAYS_S = 2 * 86_400


def at(zone: ZoneInfo, *moment: int, fold: int = 0) -> float:
    return datetime(*moment, tzinfo=zone, fold=fold).timestamp()  # type: ignore[arg-type, misc]


@given(NOWS, SHIFTS, ZONES)
def test_every_moment_is_in_one_shift_and_the_next_begins_where_it_ends(
    now: int, begins: dict[str, str], zone: str
) -> None:
    span = shift_at(now, begins, ZoneInfo(zone))
    assert span.began <= now < span.ends
    assert span.ends - span.began < TWO_DAYS_S
    assert shift_at(span.began, begins, ZoneInfo(zone)) == span
    assert shift_at(span.ends - 1, begins, ZoneInfo(zone)) == span
    assert shift_at(span.ends, begins, ZoneInfo(zone)).began == span.ends


def test_the_night_in_which_clocks_go_on_is_an_hour_shorter_and_that_in_autumn_longer() -> None:
    spring = shift_at(at(BERLIN, 2026, 3, 29, 1, 0), THREE, BERLIN)
    autumn = shift_at(at(BERLIN, 2026, 10, 25, 1, 0), THREE, BERLIN)
    assert (spring.name, autumn.name) == ("night", "night")
    assert (spring.ends - spring.began, autumn.ends - autumn.began) == (7 * 3600, 9 * 3600)


def test_a_begin_that_comes_twice_begins_once_and_one_that_is_skipped_begins_when_clocks_go_on() -> None:
    begins = {"a": "02:30", "b": "12:00"}
    first, second = (at(BERLIN, 2026, 10, 25, 2, 30, fold=fold) for fold in (0, 1))
    assert shift_at(first, begins, BERLIN).began == first
    assert shift_at(second, begins, BERLIN).began == first
    skipped = shift_at(at(BERLIN, 2026, 3, 29, 4, 0), begins, BERLIN)
    assert (skipped.name, skipped.began) == ("a", at(timezone.utc, 2026, 3, 29, 1, 30))  # type: ignore[arg-type]


FRAMES = st.builds(
    lambda at, verdict, scores, ms: InspectedFrame(
        id="f",
        at=at,
        verdict=verdict,
        milliseconds=ms,
        results=tuple(ModelResult(application=a, model="m", verdict=v, score=s) for a, v, s in scores),
    ),
    st.floats(0, 4000),
    st.sampled_from(Verdict),
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(Verdict), st.floats(0, 1)), max_size=3),
    st.floats(0, 1e6),
)


@given(st.lists(FRAMES, max_size=30), st.data())
def test_tallies_that_are_merged_are_the_tally_of_all(frames: list[InspectedFrame], data: st.DataObject) -> None:
    whole, parts = Tally(), [Tally(), Tally()]
    cut = data.draw(st.integers(0, len(frames)))
    for index, frame in enumerate(frames):
        whole.add(frame)
        parts[index >= cut].add(frame)
    parts[0].merge(parts[1])
    assert vars(parts[0]) == vars(whole)
    told = sum(result.verdict is not Verdict.NO_RESULT for frame in frames for result in frame.results)
    assert sum(sum(bins.values()) for bins in whole.scores.values()) == told
    assert sum(point.count for point in points_of(whole)) == len(frames)


@given(st.floats(0.01, 1e6))
def test_a_latency_is_told_within_five_percent(milliseconds: float) -> None:
    assert abs(percentile({bucket(milliseconds): 1}, 0.5) / milliseconds - 1) < 0.05


def test_bins_and_percentiles_are_those_of_the_whole() -> None:
    assert [score_bin(score) for score in (-1.0, 0.0, 0.05, 0.999, 1.0, 7.0)] == [0, 0, 1, BINS - 1, BINS - 1, BINS - 1]
    buckets = {bucket(1.0): 94, bucket(100.0): 6}
    assert percentile(buckets, 0.5) < 1.1
    assert percentile(buckets, 0.95) > 90
    assert percentile({}, 0.5) == 0.0


def test_scores_of_no_more_models_than_a_line_has_are_kept() -> None:
    tally = Tally()
    for number in range(1000):
        result = ModelResult(application=f"a{number}", model="m", verdict=Verdict.OK, score=0.1)
        tally.add(InspectedFrame(id="f", at=0.0, verdict=Verdict.OK, results=(result,)))
    assert len(tally.scores) == 64
    assert tally.verdicts[Verdict.OK] == 1000
