"""The real agent with a deployment under probation, while its broker or what comes through it misbehaves.

Each time the job ends as it should, is done once, and the line is answered all along.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.formats import DeploymentReport
from edge_agent.jobs.messages import LIMIT_PAYLOAD_BYTES
from scripts.benchlib.line import MODEL, Line
from scripts.benchlib.load import Load
from tests.fakes.device import eventually
from tests.fakes.jobs_clouds import MosquittoCloud, Standing
from tests.fakes.jobs_service import Publication

RELEASES = 12
WATCH_S = 1


class World:
    """A broker with a job service, one device on it, and callers that never stop asking it."""

    def __init__(self, directory: Path) -> None:
        (directory / "cloud").mkdir()
        self.cloud = MosquittoCloud(directory / "cloud")
        self.thing, mqtt = self.cloud.new_device()
        rooms: dict[str, dict[str, object]] = {
            "device": {"thing": self.thing},
            "mqtt": mqtt.model_dump(mode="json", exclude_defaults=True),
            "deployment": {"reserve_bytes": 0, "probation": {"min_requests": 0, "max_seconds": WATCH_S}},
        }
        self.line = Line(directory / "device", RELEASES, rooms)
        self.device = self.line.device
        self.device.add_environment({"HOLD": "PROBATION:before"})
        # Only what ``begin`` orders is held.
        self._held().touch()
        self.load = Load(self.device.client, callers=2, interval_s=0.1)
        self.version = 1

    def start(self) -> None:
        """Start the agent, whose next deployment stands still as it comes under probation."""
        self.device.start(sys.executable, "-m", "tests.fakes.held_agent")

    def begin(self) -> str:
        """Have the next release ordered by a job; return the job's id once it is held at its probation."""
        self.version += 1
        self.load.cut()
        self.load.allow(str(self.version - 1), str(self.version))
        job_id = f"release-{self.version}"
        for file in (self._go(), self._held()):
            file.unlink(missing_ok=True)
        self.create_job(job_id, self.version)
        eventually(lambda: self._held().exists() or None, lambda: self._story(job_id))
        return job_id

    def let_go(self) -> None:
        """Let the probation go on."""
        self._go().touch()

    def _held(self) -> Path:
        return self.device.state_dir.with_name("held")

    def _go(self) -> Path:
        return self.device.state_dir.with_name("go")

    def create_job(self, job_id: str, version: int) -> None:
        models = [{"name": MODEL, "version": str(version)}]
        document = {"schema": "edge-agent/job/1", "operation": "install", "models": models}
        self.cloud.create_job(self.thing, job_id, document)

    def say(self, *publications: Publication) -> None:
        """Let the service say this on the device's topics, or on others."""
        self.cloud.responder.operate(lambda _: list(publications))

    def topic(self, word: str) -> str:
        return f"$aws/things/{self.thing}/jobs/{word}"

    def wait_for_cloud(self, state: str) -> None:
        self.device.wait_for(lambda status: status.agent.cloud == state)

    def ended(self, job_id: str) -> DeploymentReport:
        """Return how the job's deployment ended."""
        return self.device.wait_for_deployment(lambda report: report.job_id == job_id and report.ended is not None)

    def ignored(self, why: str) -> int:
        """Return how many messages the agent has ignored so far, and said why."""
        told = (json.loads(line) for line in self.device.log.read_text().splitlines() if '"jobs_ignored"' in line)
        return sum(entry["why"] == why for entry in told)

    def wait_for_callers(self) -> None:
        """Wait until every caller was answered since now; each has a connection of its own to find again."""
        answered: set[str] = set()
        self.load.cut()

        def all_of_them() -> bool | None:
            answered.update(request.caller for request in self.load.cut() if not request.fault)
            return len(answered) == self.load.callers or None

        eventually(all_of_them)

    def check(self, job_id: str) -> None:
        """See that the job succeeded in the cloud, once, and that the line never noticed."""
        eventually(lambda: True if self._standing(job_id).status == "SUCCEEDED" else None, lambda: self._story(job_id))
        assert self.device.generation() == {MODEL: str(self.version)}
        with self.device.client() as client:
            (report,) = [report for report in client.deployments(limit=100) if report.job_id == job_id]
        assert (report.state, report.code) == ("COMMITTED", "")
        self.load.allow(str(self.version))
        asked = self.load.cut()
        assert asked
        assert [request.fault for request in asked if request.fault] == []

    def _standing(self, job_id: str) -> Standing:
        standing = self.cloud.standing(self.thing, job_id)
        assert standing is not None
        return standing

    def _story(self, job_id: str) -> str:
        return f"{self._standing(job_id)}\n{self.device.log.read_text()[-4000:]}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("w"))
    world.start()
    try:
        assert world.device.install((MODEL, "1")).state == "COMMITTED"
        world.load.allow("1")
        with world.load.running():
            yield world
    finally:
        assert world.device.stop() == 0
        world.cloud.stop()


@pytest.fixture(autouse=True)
def at_rest(world: World) -> Iterator[None]:
    """Whatever one test ended with, the next begins with a service that loses nothing, and an agent that waits."""
    yield
    world.cloud.responder.lose = lambda _: False
    world.let_go()
    world.device.wait_for(lambda status: status.deployment is None)


def test_a_broker_killed_and_restarted_that_lost_its_sessions_changes_nothing(world: World) -> None:
    job_id = world.begin()
    world.cloud.broker.kill()
    world.wait_for_cloud("CONNECTING")
    world.cloud.broker.start()
    world.wait_for_cloud("CONNECTED")
    world.let_go()
    world.check(job_id)


def test_a_broker_that_is_away_when_the_deployment_ends_is_told_on_its_return(world: World) -> None:
    job_id = world.begin()
    world.cloud.broker.kill()
    try:
        world.wait_for_cloud("CONNECTING")
        world.let_go()
        assert world.ended(job_id).state == "COMMITTED"
        assert world.device.status().agent.cloud == "CONNECTING"
    finally:
        world.cloud.broker.start()
    world.check(job_id)


def test_a_frozen_broker_is_noticed_and_told_when_it_thaws(world: World) -> None:
    job_id = world.begin()
    world.cloud.broker.freeze()
    try:
        world.wait_for_cloud("CONNECTING")
        world.let_go()
        assert world.ended(job_id).state == "COMMITTED"
    finally:
        world.cloud.broker.thaw()
    world.check(job_id)


def test_doubled_messages_begin_nothing_twice(world: World) -> None:
    said: list[Publication] = []
    world.cloud.responder.lose = lambda publication: said.append(publication) is not None
    job_id = world.begin()
    before = world.ignored("unasked")
    world.say(*said, *said)
    eventually(lambda: world.ignored("unasked") > before or None)
    world.let_go()
    assert world.ended(job_id).state == "COMMITTED"
    world.say(*said)
    world.cloud.responder.lose = lambda _: False
    world.check(job_id)


def test_messages_that_come_late_and_in_the_wrong_order_only_take_time(world: World) -> None:
    late: dict[str, Publication] = {}

    def hold_back(publication: Publication) -> bool:
        word = publication.topic.partition("/jobs/")[2]
        # Whom no notification reaches at all asks by itself only after minutes.
        held = word != "notify-next" and word not in late
        if held:
            late[word] = publication
        return held

    world.cloud.responder.lose = hold_back
    before = world.ignored("unasked")
    job_id = world.begin()
    wanted = {"notify", "start-next/accepted", f"{job_id}/update/accepted"}
    eventually(lambda: wanted <= late.keys() or None, lambda: str(late))
    world.say(*reversed(late.values()))
    eventually(lambda: world.ignored("unasked") > before or None)
    world.cloud.responder.lose = lambda _: False
    world.let_go()
    world.check(job_id)


FORGED = {
    "execution": {"jobId": "evil", "status": "QUEUED", "versionNumber": 1, "jobDocument": {"operation": "remove"}}
}


@pytest.mark.parametrize(
    ("why", "messages"),
    [
        (
            "unasked",
            lambda world: [
                Publication(world.topic("start-next/accepted"), json.dumps(FORGED).encode()),
                Publication(world.topic("release-1/update/accepted"), b"{}"),
                Publication(world.topic("notify-next"), json.dumps(FORGED).encode()),
                Publication("$aws/things/another-press/jobs/notify-next", json.dumps(FORGED).encode()),
            ],
        ),
        (
            "oversized",
            lambda world: [
                Publication(world.topic("notify-next"), b"x" * (LIMIT_PAYLOAD_BYTES + 1)),
                Publication(world.topic("notify"), b" " * (8 << 20)),
            ],
        ),
        (
            "malformed",
            lambda world: [
                Publication(world.topic("notify-next"), b"\xff not JSON"),
                Publication(world.topic("notify"), b"[" * 50_000),
                Publication(world.topic("start-next/accepted"), b""),
            ],
        ),
    ],
    ids=["for another thing or unasked", "oversized", "not JSON"],
)
def test_messages_that_make_no_sense_change_nothing(
    world: World, why: str, messages: Callable[[World], list[Publication]]
) -> None:
    before = world.ignored(why)
    job_id = world.begin()
    world.say(*messages(world))
    eventually(lambda: world.ignored(why) > before or None)
    world.let_go()
    world.check(job_id)
    with world.device.client() as client:
        assert all(report.operation == "install" for report in client.deployments(limit=100))


def test_an_agent_killed_while_its_broker_is_away_ends_the_job_when_both_are_back(world: World) -> None:
    job_id = world.begin()
    world.cloud.broker.kill()
    world.wait_for_cloud("CONNECTING")
    world.device.kill()
    world.start()
    world.wait_for_callers()
    world.cloud.broker.start()
    world.check(job_id)
