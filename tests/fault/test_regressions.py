"""What must survive, row 22: a shadow regression blocks the commit; a late regression in probation rolls back.

Real agent, real models, a line that never stops asking.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edge_agent.formats import DeploymentReport, ModelVersion
from tests.fakes.device import eventually
from tests.fakes.tiny_models import BRIGHT, GLARE, GREY, grey_picture
from tests.fakes.watched_line import HANG_S, MODEL, Load, WatchedLine, figures

_SHADOW = {
    "min_requests": 12,
    "max_seconds": 240,
    "min_agreement": 0.9,
    "max_score_distance": 0.2,
    "max_latency_ratio": 20,
    "min_mask_iou": 0.5,
}


def start(line: WatchedLine) -> WatchedLine:
    line.device.start()
    report = line.install("1")
    assert report.state == "COMMITTED", report.message
    return line


@pytest.fixture(scope="module")
def shadowed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedLine]:
    line = WatchedLine(
        tmp_path_factory.mktemp("shadow"),
        {
            "1": {"kind": "anomaly"},
            "2": {"kind": "anomaly", "bias": 4.0},  # grey parts become NG, and its masks stay
            "3": {"kind": "anomaly", "bias": 1.5},  # verdicts stay, scores move
            "4": {"kind": "anomaly", "fault": "slow"},
            "5": {"kind": "anomaly", "changes": {"decision": {"threshold": 0.5, "pixel_threshold": 0.9999}}},
            "6": {"kind": "anomaly", "bias": 0.1},
        },
        {"shadow": _SHADOW},
    )
    try:
        yield start(line)
    finally:
        line.close()


@pytest.mark.parametrize(
    ("version", "says"),
    [
        # Only the grey half of the parts changes its verdict; which half of the copies that is, is chance.
        ("2", "expected agreement of at least 0.9, came 0."),
        ("3", "expected score distance (p95) of at most 0.2"),
        ("4", "expected latency ratio of at most 20"),
        ("5", "expected mask IoU of at least 0.5, came 0"),
    ],
    ids=["verdicts", "scores", "latency", "masks"],
)
def test_a_shadow_regression_blocks_the_commit(shadowed: WatchedLine, version: str, says: str) -> None:
    with Load(shadowed.device, [GREY, BRIGHT]) as load:
        report = shadowed.install(version)
    assert (report.state, report.code) == ("FAILED", "SHADOW_REGRESSION"), report.message
    assert says in report.message
    seen = figures(report, "SHADOW")
    assert seen["compared"] >= 12
    assert seen["failed"] == 0
    # What was written before stays, and the line never noticed.
    assert shadowed.device.generation() == {MODEL: "1"}
    assert {answer.version for answer in load.answers} == {"1"}
    assert all(answer.is_right for answer in load.answers)
    if version == "4":
        assert seen["dropped"] > 0  # slower than the line: copies go, requests never wait


def test_a_candidate_that_agrees_passes_the_shadow_with_its_figures(shadowed: WatchedLine) -> None:
    with Load(shadowed.device, [GREY, BRIGHT]) as load:
        report = shadowed.install("6")
    assert report.state == "COMMITTED", report.message
    seen = figures(report, "SHADOW")
    assert seen["compared"] >= 12
    assert seen["agreement"] == 1
    assert 0 < seen["score_distance_p95"] < 0.2
    assert seen["mask_iou"] == 1
    assert seen["latency_ratio"] > 0
    assert all(answer.is_right for answer in load.answers)


Line = Callable[[Mapping[str, Mapping[str, Any]]], WatchedLine]


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    lines: list[WatchedLine] = []

    def make(versions: Mapping[str, Mapping[str, Any]]) -> WatchedLine:
        lines.append(WatchedLine(tmp_path, versions, {}))
        return start(lines[-1])

    yield make
    for each in lines:
        each.close()


def asks_for(probation: Mapping[str, Any]) -> dict[str, Any]:
    """Return what makes a manifest ask for a probation; the device itself asks for none."""
    return {"changes": {"policy": {"probation": probation}}}


def under_probation(line: WatchedLine, version: str) -> str:
    """Order a version and return the deployment's id once it answers."""
    with line.device.client() as client:
        identity = client.install([ModelVersion(MODEL, version)])
    line.device.wait_for_deployment(lambda report: report.id == identity and report.state == "PROBATION")
    eventually(lambda: line.answering() == version or None)
    return identity


def end_of(line: WatchedLine, identity: str) -> DeploymentReport:
    return line.device.wait_for_deployment(lambda report: report.id == identity and report.ended is not None)


@pytest.mark.parametrize(
    ("bad", "policy", "greys", "says"),
    [
        # One or more: who looks at them may be late.
        ({"fault": "glare-crash"}, {}, [GLARE], "error rate of at most 0, came "),
        ({"fault": "glare-hang"}, {}, [GLARE], f"answered nothing for {HANG_S} s"),
        ({"fault": "glare-nan"}, {}, [GLARE], "came NaN"),
        ({"fault": "slow"}, {"max_latency_ratio": 10}, [GREY], "latency ratio of at most 10"),
        (
            {"bias": 4.0},
            {"max_verdict_rate_change": 0.3},
            [GREY],
            "share of NG (before 0, now 1) of at most 0.3",
        ),
    ],
    ids=["crash", "hang", "nan", "latency", "verdicts"],
)
def test_a_late_regression_in_probation_rolls_back_to_the_warm_version(
    line: Line, bad: dict[str, Any], policy: dict[str, Any], greys: list[int], says: str
) -> None:
    device = line({"1": {}, "2": {**bad, **asks_for({"max_seconds": 240, **policy})}})
    with Load(device.device, [GREY]) as load:
        eventually(lambda: len(load.answers) > 25 or None)
        identity = under_probation(device, "2")
        load.ask(*greys)
        report = end_of(device, identity)
        asked = len(load.answers)
        eventually(lambda: len(load.answers) > asked + 3 or None)
        after = load.answers[asked + 1 :]
    assert (report.state, report.code) == ("FAILED", "ROLLED_BACK"), report.message
    assert "PROBATION_REGRESSION" in report.message
    assert says in report.message
    assert {answer.version for answer in after} == {"1"}
    assert "2" in {answer.version for answer in load.answers}, "the candidate did answer"
    assert device.device.generation() == {MODEL: "1"}


def test_a_death_caused_by_a_request_that_also_ends_the_committed_versions_worker_never_counts(line: Line) -> None:
    device = line(
        {
            "1": {"fault": "glare-crash"},
            # Not over before the line asks.
            "2": {"fault": "glare-crash", "bias": 0.5, **asks_for({"min_requests": 20, "max_seconds": 240})},
        }
    )
    identity = under_probation(device, "2")
    frame = device.device.inspect(grey_picture(GLARE))
    assert frame.verdict.value == "NO_RESULT"
    with Load(device.device, [GREY, BRIGHT], pause_s=0.2) as load:
        report = end_of(device, identity)
    assert report.state == "COMMITTED", report.message
    seen = figures(report, "PROBATION")
    assert seen["excused"] >= 1
    assert seen["failures"] == 0
    # Both workers really ended of it, and it is told why that changed nothing.
    assert {entry["version"] for entry in device.logged("worker_replaced") if "version" in entry} == {"1", "2"}
    assert [entry["model"] for entry in device.logged("failure_excused")]
    assert all(answer.is_right for answer in load.answers)


def compared(report: DeploymentReport) -> float:
    return figures(report, "SHADOW").get("compared", 0) if report.state == "SHADOW" else 0


def test_killed_in_the_middle_of_a_shadow_its_counters_are_kept_and_it_still_blocks(line: Line) -> None:
    shadow = {"min_requests": 100_000, "max_seconds": 20}
    worse = {"bias": 4.0, "changes": {"policy": {"shadow": shadow}}}
    device = line({"1": {}, "2": worse})
    with device.device.client() as client:
        identity = client.install([ModelVersion(MODEL, "2")])
    with Load(device.device, [GREY, BRIGHT], pause_s=0.05):
        half = device.device.wait_for_deployment(lambda report: report.id == identity and compared(report) > 10)
    device.device.kill()
    device.device.start()
    assert device.answering() == "1"
    with Load(device.device, [GREY, BRIGHT], pause_s=0.05) as load:
        report = end_of(device, identity)
    assert report.code == "SHADOW_REGRESSION", report.message
    seen = figures(report, "SHADOW")
    assert seen["compared"] > compared(half)
    assert [entry.state for entry in report.states].count("SHADOW") == 1
    # Most of the time had passed before the kill, and was not served again.
    assert seen["seconds_watched"] < 25
    assert device.device.generation() == {MODEL: "1"}
    assert {answer.version for answer in load.answers} == {"1"}


def test_when_nobody_asks_the_last_pictures_of_the_line_are_asked_again_of_both(line: Line) -> None:
    quiet = {"shadow": {"max_seconds": 0.5}, "probation": {"max_seconds": 0.5}}
    device = line({"1": {}, "2": {"bias": 0.1, "changes": {"policy": quiet}}})
    for grey in (GREY, BRIGHT, GLARE):
        device.device.inspect(grey_picture(grey))
    report = device.install("2")
    assert report.state == "COMMITTED", report.message
    shadow, probation = figures(report, "SHADOW"), figures(report, "PROBATION")
    assert (shadow["compared"], shadow["replayed"], shadow["agreement"]) == (3, 3, 1)
    assert (probation["requests"], probation["replayed"], probation["failures"]) == (3, 3, 0)
    assert probation["ng_share"] == probation["ng_share_before"] == pytest.approx(2 / 3)
