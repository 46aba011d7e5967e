"""A clock that is ten years off, either way: the whole agent under libfaketime."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.formats import DeploymentReport, ModelVersion
from scripts.benchlib.line import MODEL, Line
from tests.fakes.clocked_agent import YEARS_10_S, FakedClock, command
from tests.fakes.device import AgentDevice, eventually
from tests.fakes.jobs_clouds import MosquittoCloud
from tests.fakes.tiny_models import GREY, grey_picture

either_way = pytest.mark.parametrize("off_s", [YEARS_10_S, -YEARS_10_S], ids=["ten years fast", "ten years slow"])


class Clocked:
    """A device whose clock a test sets."""

    def __init__(
        self, directory: Path, *, deployment: dict[str, object] | None = None, **rooms: dict[str, object]
    ) -> None:
        self.line = Line(directory, 3, {"deployment": {"reserve_bytes": 0, **(deployment or {})}, **rooms})
        self.device: AgentDevice = self.line.device
        self.clock = FakedClock(directory)
        self.device.add_environment(self.clock.environment)

    def start(self) -> None:
        self.device.start(*command())

    def set_clock(self, off_s: float) -> None:
        """Let the clock jump, and see that the agent's did."""
        self.clock.set(off_s)
        # It never gets on without the fault having reached the agent.
        self.device.wait_for(lambda status: abs(status.clock.now - time.time() - off_s) < 3600)

    def version(self) -> str:
        return self.device.inspect(grey_picture(GREY)).results[0].version

    def install(self, version: str) -> tuple[str, str]:
        report = self.device.install((MODEL, version))
        return report.state, report.code

    def order(self, version: str) -> str:
        """Order an install and return its id at once."""
        with self.device.client() as client:
            return client.install([ModelVersion(MODEL, version)])

    def reaches(self, identity: str, state: str) -> None:
        """Wait until the deployment is in a state that lasts."""
        self.device.wait_for_deployment(
            lambda report: report.id == identity and report.states[-1].state == state and report.ended is None
        )

    def end_of(self, identity: str, meanwhile: Callable[[], object]) -> DeploymentReport:
        """Return how the deployment ended; ``meanwhile`` is done until it does."""

        def ended() -> DeploymentReport | None:
            meanwhile()
            with self.device.client() as client:
                (report,) = client.deployments(identity)
            return report if report.ended is not None else None

        return eventually(ended)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Clocked]]:
    made: list[Clocked] = []

    def build(**rooms: dict[str, object]) -> Clocked:
        made.append(Clocked(tmp_path, **rooms))
        made[0].start()
        return made[0]

    yield build
    for clocked in made:
        if clocked.device.process is not None:
            assert clocked.device.stop() == 0


@either_way
def test_with_a_clock_ten_years_off_the_agent_starts_serves_and_rolls_back_and_refuses_installs(
    make: Callable[..., Clocked], off_s: float
) -> None:
    clocked = make()
    assert clocked.install("1") == clocked.install("2") == ("COMMITTED", "")
    clocked.device.kill()
    clocked.clock.set(off_s)
    clocked.start()
    clocked.set_clock(off_s)
    assert clocked.version() == "2"
    refusal = "METADATA_EXPIRED" if off_s > 0 else "CLOCK_UNTRUSTED"
    assert clocked.install("3") == ("FAILED", refusal)
    with clocked.device.client() as client:
        assert client.roll_back(MODEL, "the clock is no reason not to", actor="a test").state == "COMMITTED"
    assert clocked.version() == "1"
    assert clocked.device.stop() == 0
    clocked.start()
    assert clocked.version() == "1"
    # No floor was poisoned, and what happened is told in the order in which it did.
    clocked.set_clock(0)
    assert clocked.device.status().clock.trusted
    assert clocked.install("3") == ("COMMITTED", "")
    assert clocked.version() == "3"
    with clocked.device.client() as client:
        told = client.deployments()
    assert [(report.operation, report.code) for report in reversed(told)] == [
        ("install", ""),
        ("install", ""),
        ("install", refusal),
        ("rollback", ""),
        ("install", ""),
    ]
    assert clocked.device.status().agent.state == "READY"


@either_way
def test_a_clock_that_jumps_during_a_download_never_stops_the_line_nor_keeps_the_deployment_for_ever(
    make: Callable[..., Clocked], off_s: float
) -> None:
    # At this speed the download would take minutes; it may take seconds, of which the jump needs one or two.
    clocked = make(deployment={"bandwidth_bytes_per_s": 100, "deadline_s": 15.0})
    identity = clocked.order("1")
    clocked.reaches(identity, "DOWNLOADING")
    clocked.set_clock(off_s)
    report = clocked.end_of(identity, clocked.device.status)
    assert (report.state, report.code) == ("FAILED", "DEADLINE_EXCEEDED")
    assert report.ended is not None
    assert abs(report.ended - report.started - off_s) < 3600


@either_way
def test_a_clock_that_jumps_under_probation_never_stops_the_line(make: Callable[..., Clocked], off_s: float) -> None:
    clocked = make(deployment={"probation": {"min_requests": 0, "max_seconds": 8}})
    # Under probation is the second one: the first has nothing to go back to.
    assert clocked.install("1") == ("COMMITTED", "")
    identity = clocked.order("2")
    clocked.reaches(identity, "PROBATION")
    clocked.set_clock(off_s)
    answered: list[str] = []
    report = clocked.end_of(identity, lambda: answered.append(clocked.version()))
    assert {"1", "2"} >= set(answered)
    assert answered
    # Set back, the watch goes on as long as it should; set forward, the deadline may have passed.
    expected = {("COMMITTED", "")} if off_s < 0 else {("COMMITTED", ""), ("FAILED", "ROLLED_BACK")}
    assert (report.state, report.code) in expected
    clocked.set_clock(0)
    assert clocked.install("2") == ("COMMITTED", "")
    assert clocked.version() == "2"


def test_a_broker_whose_certificate_is_not_yet_valid_by_the_clock_is_tried_until_it_is(tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    cloud = MosquittoCloud(tmp_path / "broker")
    thing, mqtt = cloud.new_device()
    clocked = Clocked(
        tmp_path / "device", device={"thing": thing}, mqtt=mqtt.model_dump(mode="json", exclude_defaults=True)
    )
    try:
        clocked.clock.set(-YEARS_10_S)
        clocked.start()
        eventually(lambda: "could not connect" in clocked.device.log.read_text() or None)
        assert clocked.device.status().agent.cloud == "CONNECTING"
        assert clocked.device.status().agent.state == "READY"
        clocked.set_clock(0)
        clocked.device.wait_for(lambda status: status.agent.cloud == "CONNECTED")
        document = {
            "schema": "edge-agent/job/1",
            "operation": "install",
            "models": [{"name": MODEL, "version": "1"}],
        }
        cloud.create_job(thing, "after-the-clock", document)
        eventually(lambda: _status(cloud, thing) == "SUCCEEDED" or None)
        assert clocked.version() == "1"
    finally:
        assert clocked.device.stop() == 0
        cloud.stop()


def _status(cloud: MosquittoCloud, thing: str) -> str:
    standing = cloud.standing(thing, "after-the-clock")
    return standing.status if standing else ""
