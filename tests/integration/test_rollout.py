"""A rollout seen from both ends: the operator's verbs, and a device on MQTT with its certificate."""

import json
import queue
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from awscrt import mqtt5
from awsiot import mqtt5_client_builder

from cloud_tools.aws import Aws
from cloud_tools.cli import main
from cloud_tools.errors import CloudError
from cloud_tools.rollout.jobs import cancel_job, create_job, form_document, read_status
from edge_agent.config import read_settings
from edge_agent.errors import Code, DocumentError
from edge_agent.formats import JobDocument, parse
from edge_agent.formats.job_document import LIMIT_CHARACTERS

PATIENCE_S = 60


class Ran(NamedTuple):
    code: int
    lines: list[Any]
    err: str


@pytest.fixture
def edge_cloud(aws_settings: dict[str, str], capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run a verb as a person would, and read its JSON lines."""

    def run(*arguments: str) -> Ran:
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--json"])
        said = capsys.readouterr()
        return Ran(int(end.value.code or 0), [json.loads(line) for line in said.out.splitlines()], said.err)

    return run


@pytest.fixture
def thing() -> str:
    return f"line-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def fleet() -> str:
    return f"fleet-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def device(edge_cloud: Callable[..., Ran], thing: str, fleet: str, tmp_path: Path) -> Path:
    ran = edge_cloud("device", "provision", thing, "--dir", str(tmp_path / thing), "--fleet", fleet)
    assert ran.code == 0, ran.err
    return tmp_path / thing


class Line:
    """A device that reads its jobs as AWS documents them, with nothing of the agent in between."""

    def __init__(self, directory: Path) -> None:
        settings = read_settings(directory / "config.toml")
        self.topic = f"$aws/things/{settings.device.thing}/jobs"
        self.arrived: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
        self.connected: queue.Queue[object] = queue.Queue()
        self.stopped: queue.Queue[object] = queue.Queue()
        self.client = mqtt5_client_builder.mtls_from_path(
            endpoint=settings.mqtt.endpoint,
            port=settings.mqtt.port,
            cert_filepath=str(settings.mqtt.certificate),
            pri_key_filepath=str(settings.mqtt.private_key),
            ca_filepath=str(settings.mqtt.ca),
            client_id=settings.device.thing,
            on_publish_received=lambda data: self.arrived.put(
                (data.publish_packet.topic, json.loads(data.publish_packet.payload))
            ),
            on_lifecycle_connection_success=lambda _data: self.connected.put("yes"),
            on_lifecycle_connection_failure=lambda data: self.connected.put(data.exception),
            on_lifecycle_stopped=self.stopped.put,
        )

    def start(self) -> None:
        self.client.start()
        assert self.connected.get(timeout=PATIENCE_S) == "yes"
        words = ("notify", "notify-next", "+/get/+", "+/update/+")
        filters = [mqtt5.Subscription(f"{self.topic}/{word}", mqtt5.QoS.AT_LEAST_ONCE) for word in words]
        self.client.subscribe(mqtt5.SubscribePacket(filters)).result(PATIENCE_S)

    def stop(self) -> None:
        self.client.stop()
        self.stopped.get(timeout=PATIENCE_S)

    def send(self, word: str, **payload: Any) -> None:
        packet = mqtt5.PublishPacket(
            topic=f"{self.topic}/{word}", qos=mqtt5.QoS.AT_LEAST_ONCE, payload=json.dumps(payload)
        )
        self.client.publish(packet).result(PATIENCE_S)

    def wait_for(self, word: str) -> dict[str, Any]:
        while True:
            topic, payload = self.arrived.get(timeout=PATIENCE_S)
            if topic == f"{self.topic}/{word}":
                return payload

    def report(self, job_id: str, status: str, **details: str) -> None:
        self.send(f"{job_id}/update", status=status, statusDetails=details)
        self.wait_for(f"{job_id}/update/accepted")


@contextmanager
def online(directory: Path) -> Iterator[Line]:
    line = Line(directory)
    line.start()
    try:
        yield line
    finally:
        line.stop()


@pytest.fixture
def line(device: Path) -> Iterator[Line]:
    with online(device) as line:
        yield line


def test_a_deployed_job_reaches_the_device_with_a_document_that_the_agent_reads(
    edge_cloud: Callable[..., Ran], line: Line, thing: str
) -> None:
    ran = edge_cloud("deploy", "unet", "1.2", "img-classification", "3", "--to", f"thing/{thing}")
    assert ran.code == 0, ran.err
    (created,) = ran.lines
    assert created["targets"] == [f"thing/{thing}"]
    execution = line.wait_for("notify-next")["execution"]
    assert execution["jobId"] == created["job_id"]
    document = parse(JobDocument, execution["jobDocument"], what="job")
    assert document.operation == "install"
    assert [(model.name, model.version) for model in document.models] == [("unet", "1.2"), ("img-classification", "3")]


def test_a_device_reaches_its_own_topics_and_no_other_devices(
    edge_cloud: Callable[..., Ran], line: Line, fleet: str, tmp_path: Path
) -> None:
    assert edge_cloud("device", "provision", "other", "--dir", str(tmp_path / "other"), "--fleet", fleet).code == 0
    topic = "$aws/things/other/jobs"
    subscribe = mqtt5.SubscribePacket([mqtt5.Subscription(f"{topic}/notify", mqtt5.QoS.AT_LEAST_ONCE)])
    codes = line.client.subscribe(subscribe).result(PATIENCE_S).reason_codes
    assert codes == [mqtt5.SubackReasonCode.NOT_AUTHORIZED]
    publish = mqtt5.PublishPacket(topic=f"{topic}/start-next", qos=mqtt5.QoS.AT_LEAST_ONCE, payload="{}")
    assert line.client.publish(publish).result(PATIENCE_S).puback.reason_code == mqtt5.PubackReasonCode.NOT_AUTHORIZED


def test_status_shows_what_the_device_says_of_itself(edge_cloud: Callable[..., Ran], line: Line, thing: str) -> None:
    job_id = edge_cloud("deploy", "unet", "1", "--to", f"thing/{thing}").lines[0]["job_id"]
    line.wait_for("notify-next")
    line.report(job_id, "IN_PROGRESS", step="DOWNLOADING")
    (now,) = edge_cloud("status", job_id).lines
    assert now == {
        "job_id": job_id,
        "status": "IN_PROGRESS",
        "executions": [{"thing": thing, "status": "IN_PROGRESS", "step": "DOWNLOADING", "code": "", "message": ""}],
    }
    line.report(job_id, "FAILED", step="REPORTED", code="GOLDEN_MISMATCH", message="answers differ by 0.4")
    ended = edge_cloud("status", job_id)
    assert ended.code == 0
    assert ended.lines[0]["status"] == "COMPLETED"
    assert ended.lines[0]["executions"] == [
        {
            "thing": thing,
            "status": "FAILED",
            "step": "REPORTED",
            "code": "GOLDEN_MISMATCH",
            "message": "answers differ by 0.4",
        }
    ]


@pytest.mark.parametrize(("status", "code"), [("SUCCEEDED", 0), ("FAILED", 1), ("REJECTED", 1)])
def test_watching_ends_with_the_job_and_its_exit_code_says_how(
    edge_cloud: Callable[..., Ran], line: Line, thing: str, status: str, code: int
) -> None:
    job_id = edge_cloud("rollback", "unet", "--to", f"thing/{thing}").lines[0]["job_id"]
    assert line.wait_for("notify-next")["execution"]["jobDocument"]["operation"] == "rollback"
    line.report(job_id, status, step="REPORTED")
    ran = edge_cloud("status", job_id, "--watch", "--interval", "0.1", "--timeout", "60")
    assert ran.code == code
    assert ran.lines[-1]["executions"][0]["status"] == status


def test_a_group_reaches_every_device_and_one_failure_is_partly_failed(
    edge_cloud: Callable[..., Ran], line: Line, thing: str, fleet: str, tmp_path: Path
) -> None:
    other = f"{thing}-b"
    assert edge_cloud("device", "provision", other, "--dir", str(tmp_path / other), "--fleet", fleet).code == 0
    job_id = edge_cloud("deploy", "unet", "1", "--to", f"group/{fleet}").lines[0]["job_id"]
    line.wait_for("notify-next")
    line.report(job_id, "SUCCEEDED", step="REPORTED")
    with online(tmp_path / other) as second:
        second.report(job_id, "REJECTED", code="WRONG_HARDWARE", message="made for another machine")
    ran = edge_cloud("status", job_id, "--watch", "--interval", "0.1", "--timeout", "60")
    assert ran.code == 6
    assert [(one["thing"], one["status"]) for one in ran.lines[-1]["executions"]] == [
        (thing, "SUCCEEDED"),
        (other, "REJECTED"),
    ]


def test_patience_that_ends_first_is_exit_7_and_leaves_the_job_alone(
    edge_cloud: Callable[..., Ran], device: Path, thing: str
) -> None:
    arguments = ("--watch", "--interval", "0.1", "--timeout", "0.2")
    ran = edge_cloud("deploy", "unet", "1", "--to", f"thing/{thing}", *arguments)
    assert ran.code == 7
    assert "it goes on" in ran.err
    assert edge_cloud("status", ran.lines[0]["job_id"]).lines[0]["executions"][0]["status"] == "QUEUED"


def test_a_cancelled_job_leaves_the_devices_queue(edge_cloud: Callable[..., Ran], line: Line, thing: str) -> None:
    job_id = edge_cloud("deploy", "unet", "1", "--to", f"thing/{thing}").lines[0]["job_id"]
    assert "execution" in line.wait_for("notify-next")
    assert edge_cloud("cancel", job_id, "--comment", "wrong version").code == 0
    assert "execution" not in line.wait_for("notify-next")
    now = edge_cloud("status", job_id).lines[0]
    assert (now["status"], now["executions"][0]["status"]) == ("CANCELED", "CANCELED")
    again = edge_cloud("cancel", job_id)
    assert again.code == 4
    assert "CANCELED" in again.err


def test_only_force_takes_a_job_from_a_device_that_works_on_it(aws: Aws, line: Line, thing: str) -> None:
    job = create_job(aws, form_document("install", [{"name": "unet", "version": "1"}]), [f"thing/{thing}"])
    line.wait_for("notify-next")
    line.report(job.job_id, "IN_PROGRESS", step="BUILDING")
    cancel_job(aws, job.job_id)
    assert [one.status for one in read_status(aws, job.job_id).executions] == ["IN_PROGRESS"]
    assert not read_status(aws, job.job_id).ended


def test_force_takes_it_also_from_a_device_that_works_on_it(aws: Aws, line: Line, thing: str) -> None:
    job = create_job(aws, form_document("install", [{"name": "unet", "version": "1"}]), [f"thing/{thing}"])
    line.wait_for("notify-next")
    line.report(job.job_id, "IN_PROGRESS", step="BUILDING")
    cancel_job(aws, job.job_id, force=True)
    status = read_status(aws, job.job_id)
    assert status.ended
    assert [one.status for one in status.executions] == ["CANCELED"]


def test_executions_that_had_ended_are_not_asked_for_again(
    aws: Aws, line: Line, thing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = create_job(aws, form_document("rollback", [{"name": "unet"}]), [f"thing/{thing}"])
    line.wait_for("notify-next")
    line.report(job.job_id, "SUCCEEDED")
    known = read_status(aws, job.job_id)
    asked: list[str] = []
    call = aws.call
    monkeypatch.setattr(aws, "call", lambda service, verb, **rest: asked.append(verb) or call(service, verb, **rest))
    assert read_status(aws, job.job_id, known=known) == known
    assert asked == ["describe_job"]


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("deploy", "unet", "1", "--to", "thing/nobody"), 3, "nobody"),
        (("deploy", "unet", "1", "--to", "group/nobody"), 3, "nobody"),
        (("deploy", "unet", "1", "--to", "nobody"), 2, "thing/NAME"),
        (("deploy", "unet", "1", "--to", "thing/"), 2, "thing/NAME"),
        (("deploy", "unet", "--to", "thing/x"), 2, "MODEL VERSION"),
        (("deploy", "unet", "v1", "--to", "thing/x"), 2, "version"),
        (("deploy", "../unet", "1", "--to", "thing/x"), 2, "name"),
        (("deploy", "unet", "1", "unet", "2", "--to", "thing/x"), 2, "once"),
        (("deploy", "unet", "1", "--to", "thing/x", "--policy", "{"), 2, "JSON"),
        (("deploy", "unet", "1", "--to", "thing/x", "--policy", "[]"), 2, "object"),
        (("deploy", "unet", "1", "--to", "thing/x", "--policy", '{"shadow": {"min": 1}}'), 2, "shadow.min"),
        (("rollback", "un et", "--to", "thing/x"), 2, "name"),
        (("status", "nothing"), 3, "nothing"),
        (("cancel", "nothing"), 3, "nothing"),
        (("device", "show", "nothing"), 3, "nothing"),
        (("device", "provision", "a b", "--dir", "/nowhere"), 2, "a b"),
        (("device", "provision", "a", "--dir", "/nowhere", "--mqtt", "host"), 2, "HOST:PORT"),
        (("bucket", "create", "Not_A_Bucket"), 2, "create_bucket"),
    ],
)
def test_wrong_input_is_one_clear_line_and_creates_no_job(
    edge_cloud: Callable[..., Ran], aws: Aws, arguments: tuple[str, ...], code: int, word: str
) -> None:
    before = [job["jobId"] for job in aws.pages("iot", "list_jobs", "jobs")]
    ran = edge_cloud(*arguments)
    assert ran.code == code
    assert ran.lines == []
    assert word in ran.err
    assert ran.err.startswith("edge-cloud: ")
    assert ran.err.count("\n") == 1
    assert [job["jobId"] for job in aws.pages("iot", "list_jobs", "jobs")] == before


def test_a_group_without_things_is_refused_since_its_job_would_look_like_a_success(
    edge_cloud: Callable[..., Ran], aws: Aws, fleet: str
) -> None:
    aws.call("iot", "create_thing_group", thingGroupName=fleet)
    ran = edge_cloud("deploy", "unet", "1", "--to", f"group/{fleet}")
    assert ran.code == 3
    assert "none" in ran.err


def test_a_dry_run_asks_nobody(edge_cloud: Callable[..., Ran], aws: Aws) -> None:
    before = list(aws.pages("iot", "list_jobs", "jobs"))
    ran = edge_cloud("deploy", "unet", "1", "--to", "thing/whoever", "--dry-run")
    assert ran.code == 0
    assert parse(JobDocument, ran.lines[0], what="job").models[0].version == "1"
    assert list(aws.pages("iot", "list_jobs", "jobs")) == before


def test_the_same_job_id_twice_is_a_conflict(edge_cloud: Callable[..., Ran], device: Path, thing: str) -> None:
    job_id = f"job-{uuid.uuid4().hex[:8]}"
    arguments = ("deploy", "unet", "1", "--to", f"thing/{thing}", "--job-id", job_id)
    assert edge_cloud(*arguments).code == 0
    assert edge_cloud(*arguments).code == 4
    assert job_id in [job["job_id"] for job in edge_cloud("jobs").lines[0]]


def test_the_largest_job_fits_into_what_aws_takes() -> None:
    models = [{"name": f"{'m' * 61}{number:02}", "version": "9" * 9 + ".999999999" * 3} for number in range(16)]
    stage = {"min_requests": 1_000_000, "max_seconds": 604_800.0}
    document = form_document("install", models, {"shadow": stage, "probation": stage, "deadline_s": 2_592_000.0})
    assert 0 < len(document.to_json()) <= LIMIT_CHARACTERS
    with pytest.raises(DocumentError, match="16"):
        form_document("install", [*models, {"name": "one-more", "version": "1"}])


def test_an_unreachable_cloud_is_said_with_the_way_to_start_one(
    edge_cloud: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    ran = edge_cloud("device", "list")
    assert ran.code == 1
    assert "edge-cloud local up" in ran.err


def test_an_unknown_key_is_not_allowed(edge_cloud: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "never-shown")
    for verb in (("bucket", "list"), ("device", "list")):
        ran = edge_cloud(*verb)
        assert ran.code == 5
        assert "never-shown" not in ran.err


def test_no_credentials_are_a_matter_of_configuration(
    edge_cloud: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    ran = edge_cloud("device", "list")
    assert ran.code == 78
    assert "credentials" in ran.err


def test_only_the_code_of_a_refusal_decides_what_follows(aws: Aws) -> None:
    with pytest.raises(CloudError) as caught:
        aws.call("iot", "describe_thing", thingName="nobody")
    assert caught.value.code is Code.NOT_FOUND
    with pytest.raises(CloudError) as caught:
        aws.call("iot", "describe_thing")
    assert caught.value.code is Code.INVALID_ARGUMENT
