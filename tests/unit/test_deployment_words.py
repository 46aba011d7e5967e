"""What `edge-agent deployments ID` tells a person: who asked, why it ended, every state with its figures."""

import pytest

from edge_agent.cli import deployments as words
from edge_agent.formats import DeployedModel, DeploymentReport, StateReport


def report(**more: object) -> DeploymentReport:
    told: dict[str, object] = {
        "id": "d1",
        "job_id": "job-1",
        "operation": "install",
        "models": (DeployedModel.model_validate({"name": "unet", "from": "1", "to": "2"}),),
        "state": "FAILED",
        "code": "SUPERSEDED",
        "message": "taken back by job back-1",
        "started": 1000.0,
        "ended": 1071.5,
        "states": (
            StateReport(state="ACCEPTED", at=1000.0, seconds=0.2),
            StateReport(
                state="DOWNLOADING",
                at=1000.2,
                seconds=60.0,
                bytes=3 << 20,
                figures={"kept_bytes": 1024, "p50_ms": 1.25},
            ),
            StateReport(state="REPORTED", at=1071.5),
        ),
        "bytes_done": 3 << 20,
        "bytes_total": 3 << 20,
    }
    return DeploymentReport.model_validate({**told, **more})


def test_it_tells_who_asked_why_it_ended_and_each_state_with_time_length_bytes_and_figures() -> None:
    told = list(words.lines(report()))
    assert told[0] == "deployment d1: install unet 1 -> 2: FAILED SUPERSEDED, 3 MiB of 3 MiB"
    assert "  why       taken back by job back-1" in told
    assert "  asked by  job job-1" in told
    assert any(line.startswith("  ended") and line.endswith("after 1 min 12 s") for line in told)
    assert "  cloud     took the last report" in told
    heads, accepted, downloading, reported = (line.split(None, 1)[0] for line in told[-4:])
    assert (heads, accepted, downloading, reported) == ("STATE", "ACCEPTED", "DOWNLOADING", "REPORTED")
    assert "1 min 00 s" in told[-2]
    assert told[-2].endswith("3 MiB  kept 1 KiB, p50 1.2 ms")


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"job_id": "", "actor": "cli:anna", "reason": "scrap"}, "  asked by  cli:anna on this device"),
        ({"job_id": "", "actor": "cli:anna", "reason": "scrap"}, "  reason    scrap"),
        (
            {"refusal": "UPDATE_REJECTED: TIMED_OUT"},
            "  cloud     did not take the last report: UPDATE_REJECTED: TIMED_OUT",
        ),
        ({"states": ()}, "  cloud     has not taken the last report yet"),
        ({"states": (), "ended": None}, "  cloud     is told as it goes on"),
        ({"ended": None}, "  ended     -"),
        ({"remark": "waits for its window"}, "  note      waits for its window"),
    ],
)
def test_each_fact_has_a_line_of_its_own(more: dict[str, object], line: str) -> None:
    assert line in list(words.lines(report(**more)))


def test_a_call_of_this_device_says_nothing_of_the_cloud() -> None:
    assert not [line for line in words.lines(report(job_id="", actor="cli")) if line.strip().startswith("cloud")]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.0 s"), (59.94, "59.9 s"), (61.0, "1 min 01 s"), (3599.0, "59 min 59 s"), (90_000, "25 h 00 min")],
)
def test_lengths_are_told_as_a_person_reads_them(seconds: float, text: str) -> None:
    assert words.length(seconds) == text


def test_the_list_tells_who_asked_and_how_long_it_took() -> None:
    assert words.row(report())[5:] == ("job-1", words.moment(1000.0), "1 min 12 s")
    assert words.row(report(ended=None))[-1] == "running"
