"""The page of how far a fleet goes, as it stands: a fleet that is not there, a release, and one that is stopped."""

import json
from pathlib import Path

import pytest

from tests.e2e.shell import ROOT, blocks, run_blocks

TIMEOUT_S = 280
pytestmark = pytest.mark.timeout(TIMEOUT_S + 60)


def test_a_release_reaches_a_fleet_that_is_not_there_and_a_bad_one_stops_at_two_of_twenty(tmp_path: Path) -> None:
    said = run_blocks(blocks(ROOT / "docs" / "fleet-scale.md"), tmp_path, timeout_s=TIMEOUT_S)
    assert "stopped with 1" in said
    *_, summary, removed = said.splitlines()
    assert removed == "fleet hall is gone: 20 things, 2 certificates, its group"
    told = json.loads(summary)
    deployed, stopped = told["jobs"].values()
    assert (deployed["statuses"], deployed["more_than_once"]) == ({"SUCCEEDED": 20}, 0)
    assert (stopped["offered"], stopped["statuses"]) == (2, {"FAILED": 2})
