"""What a person must see is raised once, cleared once, and survives a restart."""

from dataclasses import dataclass
from typing import Any

import pytest

from edge_agent.agent.alarms import HOLD_S, KINDS, LIMIT, Alarms, Condition, Situation, conditions
from edge_agent.deployment import record as records
from edge_agent.errors import Code
from edge_agent.formats import Alarm, CameraStatus, StateReport, parse

DAY_S = 86_400
FAILED = records.refused(
    "d1", job_id="j", execution_number=1, queued_at=0, now=7.0, code=Code.JOB_INVALID, message="no sense"
)
UNDONE = FAILED.model_copy(update={"states": (StateReport(state="ROLLING_BACK", at=1.0), *FAILED.states)})


@pytest.mark.parametrize(
    ("situation", "key", "severity"),
    [
        ({"troubles": {"unet": "not served"}}, "agent-degraded/unet", "critical"),
        ({"troubles": {"providers": "unet: on the CPU"}}, "provider-fallback/", "warning"),
        ({"troubles": {"golden parts": "1 of 3"}}, "golden-parts-failed/", "critical"),
        ({"last": FAILED}, "deployment-failed/d1", "critical"),
        ({"last": UNDONE}, "deployment-rolled-back/d1", "critical"),
        ({"quarantined": {"ab": "it hung"}}, "quarantine/ab", "critical"),
        ({"disk_free_bytes": 9, "disk_low_bytes": 10}, "disk-low/", "critical"),
        ({"clock_trusted": False}, "clock-wrong/", "critical"),
        ({"clock_synchronised": False}, "clock-unsynchronised/", "warning"),
        ({"cameras": (CameraStatus(id="left", state="CAMERA_AWAY"),)}, "camera-gone/left", "critical"),
        ({"cameras": (CameraStatus(id="left", state="SILENT"),)}, "camera-gone/left", "critical"),
        ({"certificate_ends": 20.0 * DAY_S, "certificate_days": 30.0}, "certificate-ends/", "warning"),
        ({"certificate_ends": 2.0 * DAY_S, "certificate_days": 30.0}, "certificate-ends/", "critical"),
        ({"certificate_ends": -1.0, "certificate_days": 30.0}, "certificate-ends/", "critical"),
    ],
)
def test_each_trouble_is_a_condition_of_its_kind(situation: dict[str, Any], key: str, severity: str) -> None:
    (found,) = conditions(Situation(now=0.0, **situation), {}).values()
    assert (found.key, found.severity) == (key, severity)
    assert found.kind in KINDS


def test_a_device_that_is_well_has_none() -> None:
    well = Situation(
        now=0.0,
        disk_free_bytes=10,
        disk_low_bytes=10,
        clock_synchronised=None,
        cameras=(CameraStatus(id="left", state="WATCHING"),),
        certificate_ends=31.0 * DAY_S,
        certificate_days=30.0,
    )
    assert conditions(well, {}) == {}


def test_a_disk_that_hovers_at_its_limit_is_one_alarm() -> None:
    hovering = Situation(now=0.0, disk_free_bytes=105, disk_low_bytes=100)
    assert conditions(hovering, {}) == {}
    assert list(conditions(hovering, {"disk-low/": object()})) == ["disk-low/"]
    assert conditions(hovering._replace(disk_free_bytes=111), {"disk-low/": object()}) == {}


@dataclass
class Watched:
    alarms: Alarms
    at: float = 1000.0

    def look(self, *found: Condition, after_s: float = 0.0) -> list[Alarm]:
        self.at += after_s
        changes = self.alarms.look({one.key: one for one in found}, self.at, self.at)
        self.alarms.took(changes)
        return [change.alarm for change in changes]


AWAY = Condition("camera-gone", "left", "critical", "no picture")


def test_it_is_raised_once_it_stood_and_cleared_once_it_was_away_with_the_same_id() -> None:
    line = Watched(Alarms("press-4", "default", {}))
    assert line.look(AWAY) == []
    (raised,) = line.look(AWAY, after_s=HOLD_S)
    assert line.look(AWAY, after_s=9 * HOLD_S) == [], "told once"
    assert line.look() == []
    (cleared,) = line.look(after_s=HOLD_S)
    assert (raised.detail_type, cleared.detail_type) == ("Edge Agent Alarm Raised", "Edge Agent Alarm Cleared")
    assert raised.detail.id == cleared.detail.id
    assert (cleared.detail.raised, cleared.detail.cleared) == (raised.detail.raised, line.at)
    assert (raised.source, raised.detail.severity, raised.time) == (
        "edge-agent",
        "critical",
        "1970-01-01T00:16:55.000Z",
    )
    assert parse(Alarm, raised.to_json(), what="alarm") == raised
    assert b'"detail-type":"Edge Agent Alarm Raised"' in raised.to_json()


def test_a_camera_that_comes_and_goes_faster_than_that_is_not_told_each_time() -> None:
    line = Watched(Alarms("press-4", "default", {}))
    for _ in range(20):
        assert line.look(AWAY, after_s=HOLD_S / 2) == []
        assert line.look(after_s=HOLD_S / 2) == []


def test_after_a_restart_it_is_not_raised_again_and_still_cleared() -> None:
    line = Watched(Alarms("press-4", "default", {}))
    line.look(AWAY)
    (raised,) = line.look(AWAY, after_s=HOLD_S)
    again = Watched(Alarms("press-4", "default", line.alarms.standing), line.at)
    assert again.look(AWAY, after_s=HOLD_S) == []
    again.look()
    assert [alarm.detail.id for alarm in again.look(after_s=HOLD_S)] == [raised.detail.id]


def test_a_certificate_that_nobody_renews_becomes_a_critical_alarm_in_its_last_week() -> None:
    line = Watched(Alarms("press-4", "default", {}, hold_s=0.0))

    def ending(days: float) -> list[Condition]:
        return list(conditions(Situation(0.0, certificate_ends=days * DAY_S, certificate_days=30.0), {}).values())

    (warned,) = line.look(*ending(20))
    assert line.look(*ending(8), after_s=12 * DAY_S) == []
    cleared, raised = line.look(*ending(6), after_s=2 * DAY_S)
    assert (cleared.detail.state, cleared.detail.id, cleared.detail.severity) == (
        "cleared",
        warned.detail.id,
        "warning",
    )
    assert (raised.detail.state, raised.detail.severity) == ("raised", "critical")
    assert raised.detail.id != warned.detail.id
    assert line.look(*ending(-1), after_s=7 * DAY_S) == [], "told once"
    assert [alarm.detail.id for alarm in line.look()] == [raised.detail.id]


def test_no_more_than_so_many_stand_at_a_time() -> None:
    line = Watched(Alarms("press-4", "default", {}, hold_s=0.0))
    many = [Condition("quarantine", f"{number:03}", "critical", "x" * 9000) for number in range(LIMIT + 9)]
    raised = line.look(*many)
    assert len(raised) == LIMIT
    assert max(len(alarm.to_json()) for alarm in raised) < 2000
    assert line.look(*many) == []
