"""What must survive, row 21: a candidate that crashes, hangs, returns NaN or a wrong shape, or eats memory
never answers a request. Real workers, real graphs, a line that never stops asking."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from tests.fakes.tiny_models import BRIGHT, GLARE, GREY
from tests.fakes.watched_line import HANG_S, MODEL, Load, WatchedLine, figures

_MODEST: dict[str, Any] = {"changes": {"requires": {"memory_bytes": 130 << 20}}}


class Bad(NamedTuple):
    """A candidate, and where and how it is found out."""

    fault: str
    state: str
    code: str
    says: str
    more: Mapping[str, Any] = MappingProxyType({})


# Those of "glare" pass every golden sample: only copies of live requests find them out.
CANDIDATES = {
    "2": Bad("glare-crash", "SHADOW", "SHADOW_REGRESSION", "worker ended during the request"),
    "3": Bad("glare-hang", "SHADOW", "SHADOW_REGRESSION", f"answered nothing for {HANG_S} s"),
    "4": Bad("glare-nan", "SHADOW", "SHADOW_REGRESSION", "came NaN"),
    "5": Bad("glare-shape", "SHADOW", "SHADOW_REGRESSION", "expected score[1], came [2]"),
    "6": Bad("glare-memory", "SHADOW", "SHADOW_REGRESSION", "expected a worker of about 136314880 bytes", _MODEST),
    "7": Bad("glare-allocation", "SHADOW", "SHADOW_REGRESSION", "Failed to allocate memory"),
    "8": Bad("nan", "TRIED", "GOLDEN_MISMATCH", "came NaN"),
    "9": Bad("shape", "TRIED", "GOLDEN_MISMATCH", "[2]"),
    "10": Bad("", "TRIED", "LOAD_FAILED", "as its manifest says", {"changes": {"requires": {"memory_bytes": 1 << 20}}}),
    "11": Bad("garbage", "BUILDING", "FORMAT_FORBIDDEN", "expected an ONNX file"),
    "12": Bad("build-memory", "BUILDING", "BUILD_FAILED", "it may take 402653184 bytes for itself"),
}


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedLine]:
    versions = {version: {"fault": bad.fault, **bad.more} for version, bad in CANDIDATES.items()}
    line = WatchedLine(
        tmp_path_factory.mktemp("line"),
        {"1": {}, **versions},
        {"shadow": {"max_seconds": 240}, "build_memory_bytes": 384 << 20},
    )
    try:
        line.device.start()
        assert line.install("1").state == "COMMITTED"
        yield line
    finally:
        line.close()


@pytest.mark.parametrize("version", CANDIDATES, ids=[bad.fault or "more-memory" for bad in CANDIDATES.values()])
def test_a_candidate_that_crashes_hangs_returns_nan_or_a_wrong_shape_or_eats_memory_never_answers_a_request(
    line: WatchedLine, version: str
) -> None:
    bad = CANDIDATES[version]
    with Load(line.device, [GREY, BRIGHT, GLARE]) as load:
        asked = len(load.answers)
        report = line.install(version)
        during = load.answers[asked:]
    assert (report.state, report.code) == ("FAILED", bad.code), report.message
    # The fault fired, and it was this one.
    assert bad.says in report.message
    assert [entry.state for entry in report.states if entry.state not in ("FAILED", "REPORTED")][-1] == bad.state
    # The line never noticed.
    assert len(during) >= 3
    assert {answer.version for answer in load.answers} == {"1"}
    assert all(answer.is_right for answer in load.answers)
    assert line.device.generation() == {MODEL: "1"}


def test_a_candidate_that_ends_its_worker_is_seen_in_the_log_and_the_figures(line: WatchedLine) -> None:
    with Load(line.device, [GLARE]):
        report = line.install("2")
    assert figures(report, "SHADOW")["failed"] >= 1
    assert {entry["version"] for entry in line.logged("worker_replaced") if "version" in entry} >= {"2"}


def test_a_candidate_whose_builder_hangs_is_given_up_and_never_answers_a_request(tmp_path: Path) -> None:
    line = WatchedLine(tmp_path, {"1": {}, "2": {"fault": "build-hang"}}, {})
    try:
        line.device.start()
        assert line.install("1").state == "COMMITTED"
        # Only now: a busy machine may take as long for the sound one.
        assert line.device.stop() == 0
        line.device.add_environment({"EDGE_AGENT__DEPLOYMENT__BUILD_TIMEOUT_S": "10"})
        line.device.start()
        with Load(line.device, [GREY, BRIGHT]) as load:
            report = line.install("2")
    finally:
        line.close()
    assert (report.state, report.code) == ("FAILED", "BUILD_FAILED"), report.message
    assert report.message == "expected an engine within 10 s, came none"
    assert all(answer.version == "1" and answer.is_right for answer in load.answers)
    assert line.device.generation() == {MODEL: "1"}
