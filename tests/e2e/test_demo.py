"""The demo's own trial: everything through a local AWS, with the figures that it promises."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERSION_1 = [["img-classification", "1"], ["unet", "1"]]
VERSION_2 = [["img-classification", "2"], ["unet", "2"]]
TAKEN_BACK = [["img-classification", "1"], ["unet", "2"]]

pytest.importorskip("ministack", reason="the extra local is not installed")


@pytest.fixture(scope="module")
def smoke() -> dict[str, Any]:
    """The report of one run, which all tests here read."""
    command = [sys.executable, "-m", "scripts.demo_line", "--smoke"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    report: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    assert (ran.returncode, report["ok"]) == (0, True), f"{ran.stdout}\n{ran.stderr[-6000:]}"
    return report


def test_both_versions_of_both_models_come_over_the_air(smoke: dict[str, Any]) -> None:
    assert smoke["deployed"][:4] == VERSION_1 + VERSION_2


def test_a_client_that_never_pauses_loses_no_request_and_gets_no_mixed_answer(smoke: dict[str, Any]) -> None:
    assert smoke["predictions"] >= 200
    assert smoke["failed_requests"] == 0
    assert smoke["mixed_version_answers"] == 0
    assert smoke["swap_ms"] > 0


def test_a_release_whose_golden_samples_disagree_does_not_answer(smoke: dict[str, Any]) -> None:
    assert smoke["broken_release"] == {
        "job_status": "FAILED",
        "code": "GOLDEN_MISMATCH",
        "serving_after": VERSION_2,
    }


def test_a_flipped_byte_in_the_bucket_does_not_answer(smoke: dict[str, Any]) -> None:
    assert smoke["tampered_release"] == {
        "job_status": "FAILED",
        "code": "DIGEST_MISMATCH",
        "serving_after": VERSION_2,
    }


def test_an_operator_takes_a_version_back(smoke: dict[str, Any]) -> None:
    assert (smoke["rollback"]["from"], smoke["rollback"]["to"]) == ("2", "1")
    assert smoke["rollback"]["ms"] > 0


def test_a_killed_agent_serves_what_it_served_and_goes_on_with_its_download(smoke: dict[str, Any]) -> None:
    assert smoke["restart"]["resumed"] is True
    assert smoke["restart"]["serving"] == TAKEN_BACK
    assert smoke["restart"]["bytes_kept"] > 0


def test_captures_arrive_in_the_bucket(smoke: dict[str, Any]) -> None:
    assert smoke["captures_uploaded"] > 0


def test_nothing_listens_beyond_loopback_and_the_page_asks_nobody_else(smoke: dict[str, Any]) -> None:
    assert smoke["listening"]
    assert all(address.startswith("127.0.0.1:") for address in smoke["listening"])
    if smoke["page_requests_off_host"] is None:
        assert smoke["browser"] == "not found"
    else:
        assert smoke["page_requests_off_host"] == 0
        assert smoke["page_requests"] > 0
