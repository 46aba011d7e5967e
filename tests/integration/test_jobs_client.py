"""The jobs client against real brokers, through their deaths and silences."""

import json
import queue
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.config import Mqtt
from edge_agent.errors import Code, ConfigError, JobsError
from edge_agent.jobs import Connection, JobGone, JobOffered, JobReported, JobsClient, JobsQueued, Outbox
from edge_agent.jobs.asking import prove
from edge_agent.jobs.happenings import Disconnected, Happening
from edge_agent.jobs.messages import LIMIT_PAYLOAD_BYTES
from edge_agent.jobs.mqtt import MqttConnection
from tests.fakes.certificates import Authority
from tests.fakes.jobs_agent import Agent
from tests.fakes.jobs_clouds import CLOUDS, TIMEOUT_S, JobsCloud, MosquittoCloud
from tests.fakes.jobs_service import Publication

DOCUMENT = {"schema": "edge-agent/job/1", "operation": "install", "models": [{"name": "unet", "version": "2"}]}


@pytest.fixture(scope="module", params=list(CLOUDS))
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobsCloud]:
    cloud = CLOUDS[request.param](tmp_path_factory.mktemp("cloud"))
    yield cloud
    cloud.stop()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox(tmp_path / "outbox.db")
    yield outbox
    outbox.close()


@pytest.fixture
def agent(cloud: JobsCloud, tmp_path: Path) -> Iterator[Agent]:
    yield from connected(cloud, tmp_path)


@pytest.fixture
def on_mosquitto(broker: MosquittoCloud, tmp_path: Path) -> Iterator[Agent]:
    broker.responder.lose = lambda _: False
    yield from connected(broker, tmp_path)


def connected(cloud: JobsCloud, directory: Path) -> Iterator[Agent]:
    agent = Agent(directory, *cloud.new_device())
    agent.wait_connected()
    yield agent
    agent.close()


def a_job(cloud: JobsCloud, agent: Agent, **document: str) -> str:
    job_id = f"j-{secrets.token_hex(4)}"
    cloud.create_job(agent.thing, job_id, document or DOCUMENT)
    return job_id


def test_a_job_runs_from_offer_to_accepted_report(cloud: JobsCloud, agent: Agent) -> None:
    job_id = a_job(cloud, agent)
    assert agent.finish(job_id) == JobReported(job_id, "SUCCEEDED", accepted=True, code="")
    standing = cloud.standing(agent.thing, job_id)
    assert standing
    assert (standing.status, standing.details) == ("SUCCEEDED", {"step": "REPORTED"})
    assert agent.client.pending_reports(job_id) == 0
    assert agent.of(JobOffered)[0].document == DOCUMENT


def test_jobs_are_offered_one_at_a_time_and_the_queue_is_told(cloud: JobsCloud, agent: Agent) -> None:
    first = a_job(cloud, agent)
    agent.wait(JobOffered)
    second = a_job(cloud, agent, operation="rollback")
    queued = agent.wait(JobsQueued, lambda event: bool(event.jobs))
    assert [(job.job_id, job.document) for job in queued.jobs] == [(second, {"operation": "rollback"})]
    assert agent.client.queued() == queued.jobs
    agent.client.report(first, "FAILED", {"code": "SUPERSEDED"})
    assert agent.finish(second).accepted


def test_a_preferred_job_runs_before_an_older_one(cloud: JobsCloud, agent: Agent) -> None:
    first = a_job(cloud, agent)
    agent.wait(JobOffered)
    older, rollback = a_job(cloud, agent), a_job(cloud, agent, operation="rollback")
    agent.wait(JobsQueued, lambda event: [job.job_id for job in event.jobs] == [older, rollback])
    agent.client.prefer(rollback)
    agent.client.report(first, "FAILED", {"code": "SUPERSEDED"})
    assert agent.finish(rollback).accepted
    assert agent.finish(older).accepted


def test_a_restarted_agent_resumes_its_job(cloud: JobsCloud, tmp_path: Path) -> None:
    agent = Agent(tmp_path, *cloud.new_device())
    agent.wait_connected()
    job_id = a_job(cloud, agent)
    assert agent.wait(JobOffered).status == "IN_PROGRESS"
    agent = agent.again()
    try:
        assert agent.finish(job_id).accepted
    finally:
        agent.close()


def test_a_report_made_while_offline_arrives_after_the_restart(cloud: JobsCloud, tmp_path: Path) -> None:
    agent = Agent(tmp_path, *cloud.new_device())
    agent.wait_connected()
    job_id = a_job(cloud, agent)
    agent.wait(JobOffered)
    agent.client.stop()
    agent.client.report(job_id, "SUCCEEDED", {"step": "REPORTED"})
    agent = agent.again()
    try:
        assert agent.wait(JobReported) == JobReported(job_id, "SUCCEEDED", accepted=True, code="")
        assert agent.of(JobOffered) == []
    finally:
        agent.close()


def test_a_job_cancelled_by_force_is_gone_and_the_next_one_comes(cloud: JobsCloud, agent: Agent) -> None:
    first = a_job(cloud, agent)
    agent.wait(JobOffered)
    second = a_job(cloud, agent)
    cloud.cancel_job(first, force=True)
    assert agent.wait(JobGone).job_id == first
    agent.client.report(first, "FAILED", {"code": "CANCELLED"})
    assert agent.wait(JobReported).accepted is False
    standing = cloud.standing(agent.thing, first)
    assert standing
    assert standing.status == "CANCELED"
    assert second in [event.job_id for event in agent.of(JobOffered)] or agent.wait(JobOffered).job_id == second


def test_a_deleted_job_is_gone(cloud: JobsCloud, agent: Agent) -> None:
    job_id = a_job(cloud, agent)
    agent.wait(JobOffered)
    cloud.delete_job(job_id)
    assert agent.wait(JobGone) == JobGone(job_id, "ResourceNotFound")


def test_the_service_goes_and_comes_back_and_jobs_go_on(cloud: JobsCloud, agent: Agent) -> None:
    for _ in range(2):
        job_id = a_job(cloud, agent)
        offered = agent.wait(JobOffered)
        cloud.restart()
        agent.wait_disconnected()
        agent.client.report(job_id, "SUCCEEDED", {"step": "REPORTED"})
        assert offered.job_id == job_id
        assert agent.wait(JobReported) == JobReported(job_id, "SUCCEEDED", accepted=True, code="")
    assert len(agent.of(JobOffered)) == 2


def test_a_job_goes_on_while_another_connection_has_the_things_name(cloud: JobsCloud, agent: Agent) -> None:
    job_id = a_job(cloud, agent)
    agent.wait(JobOffered)
    assert agent.client.hold()
    agent.wait_disconnected()
    later = a_job(cloud, agent)
    agent.client.report(job_id, "SUCCEEDED", {"step": "REPORTED"})
    prove(agent.settings, agent.thing, TIMEOUT_S)
    agent.client.use(agent.settings)
    assert agent.wait(JobReported) == JobReported(job_id, "SUCCEEDED", accepted=True, code="")
    assert agent.finish(later).accepted
    assert [event.job_id for event in agent.of(JobOffered)] == [job_id, later]


def test_who_was_stopped_meanwhile_does_not_connect_again(broker: MosquittoCloud, on_mosquitto: Agent) -> None:
    agent = on_mosquitto
    assert broker
    assert agent.client.hold()
    agent.client.stop()
    agent.client.use(agent.settings)
    assert not agent.client.connected


def test_a_connection_that_never_was_is_free_at_once(broker: MosquittoCloud, tmp_path: Path) -> None:
    thing, settings = broker.new_device()
    broker.broker.kill()
    agent = Agent(tmp_path, thing, settings)
    try:
        assert agent.client.hold()
        broker.broker.start()
        agent.client.use(settings)
        agent.wait_connected()
    finally:
        agent.close()


def test_messages_on_other_topics_go_to_who_asked_for_them(broker: MosquittoCloud, outbox: Outbox) -> None:
    thing, settings = broker.new_device()
    came: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    topic, events = f"$aws/things/{thing}/shadow/name/x/get/accepted", queue.SimpleQueue[object]()
    client = JobsClient(settings, thing, outbox, events=events.put, others={topic: came.put})
    client.start()
    try:
        assert events.get(timeout=TIMEOUT_S) == Connection(connected=True, reason="")
        client.publish(topic, b"hello")
        assert came.get(timeout=TIMEOUT_S) == b"hello"
    finally:
        client.stop()


def test_a_frozen_broker_is_noticed_and_jobs_go_on_when_it_thaws(broker: MosquittoCloud, on_mosquitto: Agent) -> None:
    agent = on_mosquitto
    job_id = a_job(broker, agent)
    agent.wait(JobOffered)
    broker.broker.freeze()
    try:
        agent.client.report(job_id, "SUCCEEDED", {"step": "REPORTED"})
        agent.wait_disconnected()
    finally:
        broker.broker.thaw()
    assert agent.wait(JobReported) == JobReported(job_id, "SUCCEEDED", accepted=True, code="")
    assert agent.finish(a_job(broker, agent)).accepted


def test_a_job_made_while_the_broker_was_dead_is_found_on_return(broker: MosquittoCloud, on_mosquitto: Agent) -> None:
    agent = on_mosquitto
    broker.broker.kill()
    agent.wait_disconnected()
    job_id = a_job(broker, agent)
    broker.broker.start()
    assert agent.finish(job_id).accepted


def test_a_lost_update_accepted_is_made_up_for_and_nothing_runs_twice(
    broker: MosquittoCloud, on_mosquitto: Agent
) -> None:
    agent = on_mosquitto
    lost = threading.Event()

    def lose_once(publication: Publication) -> bool:
        if publication.topic.endswith("/update/accepted") and not lost.is_set():
            lost.set()
            return True
        return False

    job_id = a_job(broker, agent)
    agent.wait(JobOffered)
    broker.responder.lose = lose_once
    agent.client.report(job_id, "SUCCEEDED", {"step": "REPORTED"})
    assert agent.wait(JobReported).accepted
    assert lost.is_set()
    standing = broker.standing(agent.thing, job_id)
    assert standing == ("SUCCEEDED", {"step": "REPORTED"}, 3)
    assert len(agent.of(JobOffered)) == 1


def test_rubbish_on_our_topics_is_ignored_and_jobs_go_on(broker: MosquittoCloud, on_mosquitto: Agent) -> None:
    agent = on_mosquitto
    prefix = f"$aws/things/{agent.thing}/jobs"
    forged = {"execution": {"jobId": "evil", "status": "IN_PROGRESS", "versionNumber": 1, "jobDocument": DOCUMENT}}
    rubbish = [
        Publication(f"{prefix}/notify-next", b"\xff not JSON"),
        Publication(f"{prefix}/notify-next", b"x" * (LIMIT_PAYLOAD_BYTES + 1)),
        Publication(f"{prefix}/start-next/accepted", json.dumps(forged).encode()),
        Publication(f"{prefix}/notify-next", json.dumps(forged).encode()),
        Publication(f"{prefix}/evil/get/accepted", json.dumps(forged).encode()),
    ]
    broker.responder.operate(lambda _: [*rubbish, *rubbish])
    assert agent.finish(a_job(broker, agent)).accepted
    assert [event.job_id for event in agent.of(JobOffered)] != ["evil"]
    assert len(agent.of(JobOffered)) == 1


def test_doubled_answers_and_notifications_offer_each_job_once(broker: MosquittoCloud, on_mosquitto: Agent) -> None:
    agent = on_mosquitto
    echoed: list[Publication] = []

    def double(publication: Publication) -> bool:
        echoed.append(publication)
        return False

    broker.responder.lose = double
    jobs = [a_job(broker, agent) for _ in range(3)]
    for job_id in jobs:
        assert agent.finish(job_id).accepted
        broker.responder.operate(lambda _: [*echoed, *reversed(echoed)])
    assert agent.finish(last := a_job(broker, agent)).accepted
    assert [event.job_id for event in agent.of(JobOffered)] == [*jobs, last]


def test_the_same_end_reported_again_is_told_again_and_sent_once(broker: MosquittoCloud, on_mosquitto: Agent) -> None:
    agent = on_mosquitto
    job_id = a_job(broker, agent)
    first = agent.finish(job_id)
    agent.client.report(job_id, "SUCCEEDED", {"step": "REPORTED"})
    assert agent.wait(JobReported) == first
    agent.client.report(job_id, "FAILED", {"code": "INTERNAL"})
    assert agent.wait(JobReported) == first
    standing = broker.standing(agent.thing, job_id)
    assert standing
    assert standing.status == "SUCCEEDED"


def test_anything_else_can_be_published_while_connected(broker: MosquittoCloud, on_mosquitto: Agent) -> None:
    agent = on_mosquitto
    token = secrets.token_hex(4)
    heard = threading.Event()
    broker.responder.lose = lambda said: token.encode() in said.payload and bool(heard.set())
    agent.client.publish(f"$aws/things/{agent.thing}/jobs/get", json.dumps({"clientToken": token}).encode())
    assert heard.wait(TIMEOUT_S)
    agent.client.stop()
    with pytest.raises(JobsError) as caught:
        agent.client.publish("factory/news", b"{}")
    assert (caught.value.code, caught.value.permanent) == (Code.NOT_CONNECTED, False)


def test_a_stranger_without_certificate_of_the_authority_stays_outside(broker: MosquittoCloud, tmp_path: Path) -> None:
    _, settings = broker.new_device()
    certificate, private_key = Authority(tmp_path).issue("stranger")
    outside = settings.model_copy(update={"certificate": certificate, "private_key": private_key})
    told: queue.SimpleQueue[Happening] = queue.SimpleQueue()
    link = MqttConnection(outside, "stranger", hand_over=told.put)
    link.start()
    assert "could not connect" in str(told.get(timeout=TIMEOUT_S))
    assert link.stop(TIMEOUT_S)


@pytest.mark.parametrize("missing", ["endpoint", "certificate", "private_key"])
def test_a_missing_setting_is_named(broker: MosquittoCloud, outbox: Outbox, missing: str) -> None:
    thing, settings = broker.new_device()
    incomplete = settings.model_copy(update={missing: "" if missing == "endpoint" else None})
    with pytest.raises(ConfigError, match=f"mqtt.{missing}"):
        JobsClient(incomplete, thing, outbox, events=print)


def test_an_authority_that_is_named_has_to_be_there(broker: MosquittoCloud, outbox: Outbox, tmp_path: Path) -> None:
    thing, settings = broker.new_device()
    with pytest.raises(ConfigError, match=r"mqtt\.ca"):
        JobsClient(settings.model_copy(update={"ca": tmp_path / "none.pem"}), thing, outbox, events=print)


def test_without_an_authority_only_who_the_system_trusts_is_believed(broker: MosquittoCloud) -> None:
    thing, settings = broker.new_device()
    told: queue.SimpleQueue[Happening] = queue.SimpleQueue()
    link = MqttConnection(settings.model_copy(update={"ca": None}), thing, hand_over=told.put)
    link.start()
    happened = told.get(timeout=TIMEOUT_S)
    link.stop(TIMEOUT_S)
    assert isinstance(happened, Disconnected)
    assert "TLS" in happened.reason


def test_a_key_that_is_no_key_is_a_config_error(broker: MosquittoCloud, outbox: Outbox, tmp_path: Path) -> None:
    thing, settings = broker.new_device()
    (tmp_path / "bad.key").write_text("no key")
    wrong = settings.model_copy(update={"private_key": tmp_path / "bad.key"})
    with pytest.raises(ConfigError, match="PEM"):
        JobsClient(wrong, thing, outbox, events=print)


def test_a_report_that_cannot_be_made_is_refused_and_kept_nowhere(broker: MosquittoCloud, on_mosquitto: Agent) -> None:
    with pytest.raises(JobsError, match="expected a status") as caught:
        on_mosquitto.client.report("j1", "CANCELED", {})  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.permanent) == (Code.INVALID_ARGUMENT, True)
    assert on_mosquitto.client.pending_reports("j1") == 0


def test_without_a_broker_reports_are_kept_and_nothing_fails(broker: MosquittoCloud, tmp_path: Path) -> None:
    thing, settings = broker.new_device()
    nobody = Mqtt.model_validate(settings.model_dump() | {"port": 1})
    agent = Agent(tmp_path, thing, nobody)
    agent.client.report("j1", "SUCCEEDED", {})
    assert (agent.client.connected, agent.client.pending_reports("j1")) == (False, 1)
    agent.close()
