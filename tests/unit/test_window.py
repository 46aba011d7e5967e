"""The window in which installs may start: local time, told while it is waited for, and no bar to a way back."""

import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from datetime import time as time_of_day
from pathlib import Path

import pytest

from edge_agent.config import Deployment as Limits
from edge_agent.config import read_settings
from edge_agent.deployment import capacity
from edge_agent.deployment.record import Deployment, status_details, to_report
from edge_agent.deployment.states import State
from edge_agent.deployment.steps import admission as admission_module
from edge_agent.errors import ConfigError
from tests.fakes.deployment import Device, configure, install, remove, rollback
from tests.fakes.releases import make_release


@pytest.mark.parametrize(
    ("window", "now", "inside"),
    [
        ("", "12:00", True),
        ("22:00-05:00", "21:59:59", False),
        ("22:00-05:00", "22:00", True),
        ("22:00-05:00", "23:59:59", True),
        ("22:00-05:00", "00:00", True),
        ("22:00-05:00", "04:59:59", True),
        ("22:00-05:00", "05:00", False),
        ("08:00-16:00", "07:59", False),
        ("08:00-16:00", "08:00", True),
        ("08:00-16:00", "16:00", False),
        ("00:00-00:01", "00:00:59", True),
        ("00:00-00:00", "12:00", True),
    ],
)
def test_a_window_may_span_midnight_and_ends_with_its_last_minute(window: str, now: str, inside: bool) -> None:
    assert capacity.in_window(window, time_of_day.fromisoformat(now)) is inside


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("utc", "local"),
    [
        ("2026-07-01T20:00", "22:00"),
        ("2026-12-01T20:00", "21:00"),
        ("2026-03-29T00:59", "01:59"),  # the last minute of winter time
        ("2026-03-29T01:00", "03:00"),  # the hour between does not exist
        ("2026-10-25T00:30", "02:30"),  # this hour comes twice
        ("2026-10-25T01:30", "02:30"),
    ],
)
def test_local_time_follows_summer_time_at_the_moment_it_is_asked_for(utc: str, local: str) -> None:
    at = datetime.fromisoformat(utc).replace(tzinfo=timezone.utc).timestamp()
    assert admission_module._local_time(at) == time_of_day.fromisoformat(local)


@pytest.mark.parametrize("window", ["22-5", "22:00", "25:00-05:00", "22:00-05:60", "22:00 - 05:00", "always"])
def test_a_window_of_another_form_is_an_error_of_the_configuration(window: str) -> None:
    with pytest.raises(ConfigError, match=r"deployment\.window"):
        read_settings(None, {"deployment": {"window": window}})


NIGHT = "22:00-05:00"


class Clock:
    """Wall time that a test sets; local time is UTC here."""

    def __init__(self, hour: int) -> None:
        self.at = datetime(2026, 6, 1, hour, tzinfo=timezone.utc).timestamp()

    def __call__(self) -> float:
        return self.at


class Waiting:
    """A device by day whose installs may start by night; each waits until the test lets time go on."""

    def __init__(self, directory: Path, clock: Clock, **limits: object) -> None:
        self.waits, self.clock = threading.Event(), clock
        self.device = Device(
            directory,
            limits=Limits(reserve_bytes=0, window=NIGHT, **limits),  # type: ignore[arg-type]
            at_state=self._look,
            now=clock,
        )
        self.told: list[Deployment] = []
        releases = [make_release("unet", version, release_seq=int(version)) for version in ("1", "2", "3")]
        self.device.offers(*releases)
        self.device.already_has(releases[0])

    def _look(self, record: Deployment) -> None:
        if record.waits_for_window and record.state is State.CHECKING:
            self.told.append(record)
            self.waits.set()


@pytest.fixture
def waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Waiting]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(admission_module, "LOOK_S", 0.01)
    waiting = Waiting(tmp_path, Clock(12))
    waiting.device.start()
    yield waiting
    waiting.device.stop()
    monkeypatch.undo()
    time.tzset()


def ended(device: Device, job_id: str) -> Deployment:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        record = device.journal.of_job(job_id)
        if record is not None and record.ended is not None:
            return record
        threading.Event().wait(0.01)
    raise AssertionError(f"{job_id} did not end")


def test_a_job_outside_the_window_says_what_it_waits_for_and_goes_on_when_it_opens(waiting: Waiting) -> None:
    device = waiting.device
    device.job("job-2", install(("unet", "2")))
    assert waiting.waits.wait(30)
    record = waiting.told[0]
    for told in (record.remark, to_report(record).remark, status_details(record)["remark"]):
        assert told == f"waits for the window {NIGHT}, local time"
    assert status_details(record)["step"] == "CHECKING"
    assert device.blobs.fetched == []
    assert device.journal.running() is not None
    waiting.clock.at += 10 * 3600
    after = ended(device, "job-2")
    assert (after.outcome, after.remark) == (State.COMMITTED, "")
    assert device.answering() == {"unet": "2"}


def test_a_deadline_before_the_window_opens_ends_it_failed_and_still_says_what_it_waited_for(
    waiting: Waiting,
) -> None:
    device = waiting.device
    device.job("job-2", install(("unet", "2"), policy={"deadline_s": 3600}))
    assert waiting.waits.wait(30)
    waiting.clock.at += 3601
    record = ended(device, "job-2")
    assert (record.outcome, record.code) == (State.FAILED, "DEADLINE_EXCEEDED")
    assert NIGHT in status_details(record)["remark"]
    assert device.committed() == device.answering() == {"unet": "1"}


def test_a_cancelled_job_waits_no_longer(waiting: Waiting) -> None:
    device = waiting.device
    device.job("job-2", install(("unet", "2")))
    assert waiting.waits.wait(30)
    device.deployer.cancel("job-2", "CANCELED")
    assert ended(device, "job-2").code == "CANCELLED"


def test_what_can_never_succeed_is_refused_by_day_already(waiting: Waiting) -> None:
    waiting.device.offers(make_release("unet", "9", release_seq=9, requires={"machines": ["riscv64"]}))
    waiting.device.job("job-9", install(("unet", "9")))
    assert ended(waiting.device, "job-9").code == "WRONG_HARDWARE"
    assert waiting.told == []


def test_what_is_already_current_needs_no_window(waiting: Waiting) -> None:
    waiting.device.job("job-1", install(("unet", "1")))
    assert ended(waiting.device, "job-1").outcome is State.COMMITTED
    assert waiting.told == []


@pytest.mark.parametrize("document", [configure(unet=0.6), remove("unet")])
def test_the_window_is_for_installs_only(waiting: Waiting, document: dict[str, object]) -> None:
    assert waiting.device.call(document).outcome is State.COMMITTED


def test_a_rollback_is_not_bound_by_the_window(waiting: Waiting) -> None:
    device = waiting.device
    waiting.clock.at += 10 * 3600
    device.job("job-2", install(("unet", "2")))
    assert ended(device, "job-2").outcome is State.COMMITTED
    waiting.clock.at += 12 * 3600
    assert device.call(rollback("unet")).outcome is State.COMMITTED
    assert device.answering() == {"unet": "1"}


def test_a_rollback_does_not_wait_behind_an_install_that_waits_for_its_window(waiting: Waiting) -> None:
    device = waiting.device
    waiting.clock.at += 10 * 3600
    device.job("job-2", install(("unet", "2")))
    assert ended(device, "job-2").outcome is State.COMMITTED
    waiting.clock.at += 12 * 3600
    device.job("job-3", install(("unet", "3")))
    assert waiting.waits.wait(30)
    assert device.call(rollback("unet")).outcome is State.COMMITTED
    assert device.answering() == device.committed() == {"unet": "1"}
    given_way = ended(device, "job-3")
    assert (given_way.outcome, given_way.code) == (State.FAILED, "SUPERSEDED")


def test_a_restart_while_waiting_asks_for_the_window_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission_module, "LOOK_S", 0.01)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    first = Waiting(tmp_path, Clock(12))
    first.device.start()
    first.device.job("job-2", install(("unet", "2")))
    assert first.waits.wait(30)
    first.device.stop()
    again = Device(tmp_path, limits=Limits(reserve_bytes=0), now=first.clock)
    again.offers(make_release("unet", "2", release_seq=2))
    again.serve(make_release("unet", "1", release_seq=1))
    again.start()
    record = ended(again, "job-2")
    assert (record.outcome, record.remark, record.waits_for_window) == (State.COMMITTED, "", False)
    again.stop()
    monkeypatch.undo()
    time.tzset()


def test_a_job_cannot_bring_a_window_of_its_own(waiting: Waiting) -> None:
    waiting.device.job("job-2", install(("unet", "2"), policy={"window": "00:00-23:59"}))
    record = ended(waiting.device, "job-2")
    assert (record.outcome, record.code) == (State.REFUSED, "JOB_INVALID")
    assert "policy.window: unknown field" in record.message
