"""The agent knows when it was built, as a floor for the clock: that must follow the releases."""

import re
from datetime import datetime, timedelta, timezone

import pytest

from edge_agent.trust import BUILT
from tests.fakes.tree import ROOT

_RELEASE = re.compile(r"^## \[\d+\.\d+\.\d+\] - (\d{4}-\d{2}-\d{2})$", re.MULTILINE)


def expected(changelog: str) -> tuple[datetime, datetime] | None:
    """Return from when to when BUILT may lie, None before the first release."""
    days = [datetime.fromisoformat(day).replace(tzinfo=timezone.utc) for day in _RELEASE.findall(changelog)]
    return (max(days), max(days) + timedelta(days=2)) if days else None


def agrees(built: float, changelog: str) -> bool:
    """Tell whether ``built`` belongs to the newest release of the changelog."""
    found = expected(changelog)
    moment = datetime.fromtimestamp(built, timezone.utc)
    # Before the first release only the future is wrong: a device would distrust a clock that is right.
    return found[0] <= moment <= found[1] if found else moment <= datetime.now(timezone.utc)


def test_the_build_time_follows_the_newest_release() -> None:
    assert agrees(BUILT, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")), (
        "raise BUILT in edge_agent/trust/rules.py"
    )


@pytest.mark.parametrize(("day", "good"), [("2026-01-01", True), ("2026-03-01", False), ("2025-06-01", False)])
def test_a_build_time_that_was_forgotten_is_noticed(day: str, good: bool) -> None:
    january = datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp()
    assert agrees(january, f"## [Unreleased]\n\n## [0.2.0] - {day}\n\n## [0.1.0] - 2025-01-01\n") is good
