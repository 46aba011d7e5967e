"""What the stack lets devices, claims and people do, tried: the local AWS enforces every policy of it.

Only what AWS's credentials provider does is done here: it fills a device's name into the policy.
"""

import json
import queue
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from cloud_tools import cli
from cloud_tools.aws import Aws
from cloud_tools.captures.records import Wanted, content_of, read_captures
from cloud_tools.errors import CloudError
from cloud_tools.local import LocalCloud
from cloud_tools.provision.device import provision_device
from cloud_tools.provision.fragment import Mqtt as Broker
from cloud_tools.provision.fragment import Wishes
from cloud_tools.provision.identity import signing_request
from cloud_tools.storage import BucketStorage
from edge_agent.capture import CaptureSpool, Destination, Uploader
from edge_agent.config import Mqtt, read_settings
from edge_agent.errors import Code, TransferError
from edge_agent.formats import Alarm, AlarmDetail, EncodedPicture
from edge_agent.jobs.happenings import Connected, Disconnected, Happening, Received, Subscribed
from edge_agent.jobs.mqtt import MqttConnection
from edge_agent.transfer import ObjectStore, open_objects
from tests.fakes.captures import AT, frame
from tests.fakes.stacked import StackedCloud

TIMEOUT_S = 60
BUNDLE = Path(__file__).resolve().parents[2] / "samples" / "bundles" / "unet" / "1"
BLOB = "releases/blobs/sha256/abc"
OWN, OTHERS = "captures/press-1/hall/unet/2026/05/31/20/a.jsonl", "captures/press-2/hall/unet/2026/05/31/20/b.jsonl"
JOB = {"jobId": "by-nobody", "document": "{}", "targets": ["arn:aws:iot:us-east-1:000000000000:thing/press-2"]}


@pytest.fixture(scope="module")
def stacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackedCloud]:
    local = LocalCloud(tmp_path_factory.mktemp("least") / "cloud")
    try:
        made = StackedCloud(local.start(), tmp_path_factory.mktemp("credentials"))
        for key in (BLOB, OWN, OTHERS):
            made.owner.call("s3", "put_object", Bucket=made.bucket, Key=key, Body=b"content")
        yield made
    finally:
        local.stop()


@pytest.fixture(scope="module")
def device(stacked: StackedCloud) -> dict[str, str]:
    return stacked.device("press-1")


@pytest.fixture(scope="module")
def people(stacked: StackedCloud) -> dict[str, dict[str, str]]:
    return {kind: stacked.person(kind) for kind in ("Publisher", "Operator", "CaptureReader", "Registrar")}


def refused(act: Callable[[], Any]) -> str:
    with pytest.raises(CloudError) as caught:
        act()
    assert caught.value.code is Code.ACCESS_DENIED, caught.value
    return caught.value.message


def store(stacked: StackedCloud, environment: dict[str, str], prefix: str) -> ObjectStore:
    """The door that a device itself uses."""
    return open_objects(f"s3://{stacked.bucket}/{prefix}", stacked.credentials_file(environment, "device"))


# What a device's credentials may do.


def test_a_device_reads_releases_and_writes_its_own_captures(stacked: StackedCloud, device: dict[str, str]) -> None:
    assert store(stacked, device, "releases").read("blobs/sha256/abc", limit_bytes=100) == b"content"
    own = store(stacked, device, "captures/press-1")
    own.put("hall/unet/2026/05/31/20/c.jsonl", b"record")
    large = b"x" * (9 << 20)
    own.put("hall/unet/2026/05/31/20/raw-data/c-0.png", large)
    key = "captures/press-1/hall/unet/2026/05/31/20/raw-data/c-0.png"
    assert stacked.owner.call("s3", "head_object", Bucket=stacked.bucket, Key=key)["ContentLength"] == len(large)


def test_a_capture_that_a_device_sent_is_found_by_who_reads_captures(
    stacked: StackedCloud, device: dict[str, str], people: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    url = f"{stacked.outputs['Captures']}/press-1"
    spool = CaptureSpool(tmp_path, 1 << 24, policy="ng", uploads=True, now=lambda: AT)
    own = store(stacked, device, "captures/press-1")
    uploader = Uploader(spool, own, Destination(url, "hall", "press-1"), rng=random.Random(0))
    spool.start()
    picture = b"\xff\xd8" + bytes(100_000)
    assert spool.offer(frame("f1"), EncodedPicture(picture))
    assert spool.drain(30)
    assert uploader.send_next() == 0.0
    spool.stop()
    source = BucketStorage(stacked.bucket, "captures", Aws(people["CaptureReader"]))
    (found,) = read_captures(source, Wanted(thing="press-1"), print)
    assert (found.id, found.fleet) == ("f1", "hall")
    assert content_of(source, found.picture) == picture


@pytest.mark.parametrize("size", [10, 9 << 20], ids=["whole", "in parts"])
@pytest.mark.parametrize("prefix", ["captures/press-2", "captures/press-10", "captures", "releases", ""])
def test_a_device_writes_nowhere_else(stacked: StackedCloud, device: dict[str, str], prefix: str, size: int) -> None:
    with pytest.raises(TransferError) as caught:
        store(stacked, device, prefix).put("hall/unet/2026/05/31/20/b.jsonl", b"x" * size)
    assert caught.value.code is Code.ACCESS_DENIED
    kept = stacked.owner.call("s3", "get_object", Bucket=stacked.bucket, Key=OTHERS)["Body"].read()
    assert kept == b"content"


@pytest.mark.parametrize(
    ("service", "operation", "arguments"),
    [
        ("s3", "put_object", {"Key": "releases/metadata/timestamp.json", "Body": b"{}"}),
        ("s3", "put_object", {"Key": "releases/metadata/9.root.json", "Body": b"{}"}),
        ("s3", "put_object", {"Key": "releases/targets/unet/9/manifest.json", "Body": b"{}"}),
        ("s3", "put_object", {"Key": BLOB, "Body": b"other"}),
        ("s3", "put_object_tagging", {"Key": OWN, "Tagging": {"TagSet": []}}),
        ("s3", "get_object", {"Key": OTHERS}),
        ("s3", "get_object", {"Key": OWN}),
        ("s3", "head_object", {"Key": OTHERS}),
        ("s3", "delete_object", {"Key": OWN}),
        ("s3", "delete_object", {"Key": OTHERS}),
        ("s3", "delete_object", {"Key": BLOB}),
        ("s3", "list_objects_v2", {}),
        ("s3", "list_objects_v2", {"Prefix": "captures/press-1/"}),
        ("s3", "list_object_versions", {}),
        ("s3", "list_multipart_uploads", {}),
        ("s3", "get_bucket_policy", {}),
        ("s3", "delete_bucket", {}),
    ],
    ids=lambda value: value.get("Key", "") if isinstance(value, dict) else value,
)
def test_a_device_is_refused_in_the_bucket(
    stacked: StackedCloud, device: dict[str, str], service: str, operation: str, arguments: dict[str, Any]
) -> None:
    refused(lambda: Aws(device).call(service, operation, Bucket=stacked.bucket, **arguments))


@pytest.mark.parametrize(
    ("service", "operation", "arguments"),
    [
        ("s3", "list_buckets", {}),
        ("s3", "create_bucket", {"Bucket": "another"}),
        ("iot", "create_job", JOB),
        ("iot", "list_things", {}),
        ("iot", "describe_thing", {"thingName": "press-2"}),
        ("iot", "describe_endpoint", {"endpointType": "iot:Data-ATS"}),
        ("iot", "update_thing", {"thingName": "press-1"}),
        ("iot-data", "get_thing_shadow", {"thingName": "press-2"}),
        ("iot-data", "update_thing_shadow", {"thingName": "press-1", "payload": b"{}"}),
        ("iot-data", "publish", {"topic": "edge-agent/press-2/inspections", "payload": b"{}"}),
        ("iam", "list_roles", {}),
        ("cloudformation", "describe_stacks", {}),
        ("logs", "describe_log_groups", {}),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_a_device_has_no_other_service(
    device: dict[str, str], service: str, operation: str, arguments: dict[str, Any]
) -> None:
    refused(lambda: Aws(device).call(service, operation, **arguments))


def test_a_device_takes_no_other_role(
    stacked: StackedCloud, device: dict[str, str], people: dict[str, dict[str, str]]
) -> None:
    assert people
    for role in (f"arn:aws:iam::{stacked.account}:role/Operator", stacked.outputs["DeviceRole"]):
        refused(lambda role=role: Aws(device).call("sts", "assume_role", RoleArn=role, RoleSessionName="mine"))


def test_the_device_role_is_lent_to_the_credentials_provider_alone(stacked: StackedCloud) -> None:
    administrator, role = Aws(stacked.administrator()), stacked.outputs["DeviceRole"]
    assert administrator.call("iot", "list_things")["things"] == []
    refused(lambda: administrator.call("sts", "assume_role", RoleArn=role, RoleSessionName="mine"))


# What people may do: their own verbs, and nobody else's.


@pytest.fixture
def run_as(
    people: dict[str, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Callable[..., tuple[int, str, str]]:
    """Run ``edge-cloud`` as one of them; return exit code, stdout and stderr."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))

    def run(kind: str, *words: str) -> tuple[int, str, str]:
        for name, value in people[kind].items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as end:
            cli.main(words)
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return run


def test_each_does_their_work_and_is_refused_the_others(
    stacked: StackedCloud,
    people: dict[str, dict[str, str]],
    run_as: Callable[..., tuple[int, str, str]],
    device: dict[str, str],
    tmp_path: Path,
) -> None:
    url, keys = stacked.outputs["Repository"], str(tmp_path / "keys")
    init, publish = (
        ("repo", "init", url, "--demo", "--keys", keys),
        ("publish", str(BUNDLE), "--repo", url, "--keys", keys),
    )
    provision = ("device", "provision", "press-4", "--dir", str(tmp_path / "d"), "--stack", "edge-agent")
    deploy = ("deploy", "unet", "1", "--to", "thing/press-4")
    captures = ("captures", "list", "--from", stacked.outputs["Captures"])

    assert run_as("Publisher", *init)[0] == 0
    code, _, said = run_as("Publisher", *publish)
    assert code == 0, said
    code, _, said = run_as("Registrar", *provision)
    assert code == 0, said
    # The device asks for another certificate; who signs it and who does not.
    made = json.loads(run_as("Registrar", "device", "show", "press-4", "--json")[1])["certificates"][0]["id"]
    request = signing_request(ec.generate_private_key(ec.SECP256R1()), "press-4")
    report = {"state": {"reported": {"id": made, "ends": int(time.time()) + 86_400, "request": request}}}
    shadow = {"thingName": "press-4", "shadowName": "certificate", "payload": json.dumps(report)}
    stacked.owner.call("iot-data", "update_thing_shadow", **shadow)
    code, out, said = run_as("Registrar", "device", "rotate", "press-4", "--json")
    assert (code, json.loads(out)[0]["state"]) == (0, "signed"), (out, said)
    refused(lambda: Aws(people["Operator"]).call("iot-data", "update_thing_shadow", **shadow))
    code, out, said = run_as("Operator", *deploy, "--json")
    assert code == 0, said
    job = json.loads(out.splitlines()[-1])["job_id"]
    fleet = (("fleet",), ("fleet", "--where", "thingName:press-4", "--json"), ("logs", "press-4"))
    show = (("status", job), ("jobs",), ("device", "list"), ("device", "show", "press-4"))
    for words in (*show, *fleet, ("cancel", job)):
        code, _, said = run_as("Operator", *words)
        assert code == 0, f"{words}: {said}"
    state, plan = ("--state", stacked.outputs["Rollouts"]), tmp_path / "rollout.yaml"
    plan.write_text('{name: r, models: [{name: unet, version: "1"}], to: [thing/press-4], stages: [{percent: 100}]}')
    for words in (("start", str(plan), "--once"), ("status", "r"), ("pause", "r"), ("list",), ("abort", "r")):
        code, _, said = run_as("Operator", "rollout", *words, *state)
        assert code == 0, f"{words}: {said}"
    assert run_as("Operator", "rollout", "status", "another", *state)[0] == 3
    with pytest.raises(CloudError, match="NOT_FOUND"):
        Aws(people["Operator"]).call("iot-data", "get_thing_shadow", thingName="press-4")
    assert run_as("Registrar", "device", "show", "press-4")[0] == 0
    code, _, said = run_as("CaptureReader", *captures)
    assert code == 0, said
    # A device takes what was put up, with its own credentials.
    assert b'"root"' in store(stacked, device, "releases").read("metadata/1.root.json", limit_bytes=1 << 20)

    resume = ("rollout", "resume", "r", *state)
    others = {
        "Publisher": (provision, deploy, captures),
        "Operator": (
            publish,
            captures,
            ("device", "retire", "press-4", "--yes"),
            ("fleet", "--enable-index"),
            ("stack", "deploy", "--yes"),
        ),
        "CaptureReader": (
            publish,
            provision,
            deploy,
            ("jobs",),
            ("logs", "press-4"),
            ("stack", "delete", "--yes"),
            resume,
        ),
        "Registrar": (publish, deploy, captures, ("stack", "deploy", "--yes"), resume),
    }
    for kind, tried in others.items():
        for words in tried:
            code, _, said = run_as(kind, *words)
            assert (code, "ACCESS_DENIED" in said) == (5, True), f"{kind} {words}: {code} {said}"
    code, _, said = run_as("Registrar", "device", "retire", "press-4", "--yes")
    assert code == 0, said


@pytest.mark.parametrize("kind", ["Publisher", "Operator", "CaptureReader", "Registrar"])
@pytest.mark.parametrize(
    ("service", "operation", "arguments"),
    [
        ("s3", "delete_object", {"Key": BLOB}),
        ("s3", "delete_object", {"Key": OTHERS}),
        ("s3", "put_object", {"Key": OTHERS, "Body": b"x"}),
        ("s3", "put_bucket_versioning", {"VersioningConfiguration": {"Status": "Suspended"}}),
        ("s3", "delete_bucket_policy", {}),
        ("s3", "put_bucket_policy", {"Policy": "{}"}),
        ("s3", "delete_bucket", {}),
    ],
    ids=lambda value: value.get("Key", "") if isinstance(value, dict) else value,
)
def test_nobody_may_take_away_what_was_sent(
    stacked: StackedCloud,
    people: dict[str, dict[str, str]],
    kind: str,
    service: str,
    operation: str,
    arguments: dict[str, Any],
) -> None:
    refused(lambda: Aws(people[kind]).call(service, operation, Bucket=stacked.bucket, **arguments))


@pytest.mark.parametrize("kind", ["Publisher", "Operator", "CaptureReader", "Registrar"])
def test_nobody_may_widen_what_a_device_may_do(
    stacked: StackedCloud, people: dict[str, dict[str, str]], kind: str
) -> None:
    document = json.dumps({"Version": "2012-10-17", "Statement": []})
    role = stacked.outputs["DeviceRole"].rpartition("/")[2]
    tried: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("iot", "create_policy_version", {"policyName": "edge-agent-device", "policyDocument": document}),
        ("iot", "create_policy", {"policyName": "wider", "policyDocument": document}),
        ("iot", "update_indexing_configuration", {}),
        ("iam", "put_role_policy", {"RoleName": role, "PolicyName": "more", "PolicyDocument": document}),
        ("iam", "create_policy_version", {"PolicyArn": stacked.outputs[kind], "PolicyDocument": document}),
        ("sts", "assume_role", {"RoleArn": stacked.outputs["DeviceRole"], "RoleSessionName": "mine"}),
    )
    for service, operation, arguments in tried:
        refused(lambda: Aws(people[kind]).call(service, operation, **arguments))  # noqa: B023 - called at once


# What a certificate may do over MQTT.


class Talker:
    """One connection to the broker."""

    def __init__(self, settings: Mqtt, client_id: str) -> None:
        self.inputs: queue.SimpleQueue[Happening] = queue.SimpleQueue()
        self.link = MqttConnection(settings, client_id, hand_over=self.inputs.put)
        self.link.start()

    def next(self, *kinds: type[Any]) -> Any:
        limit = time.monotonic() + TIMEOUT_S
        while True:
            happened = self.inputs.get(timeout=limit - time.monotonic())
            if isinstance(happened, kinds):
                return happened

    def subscribes(self, topic: str) -> bool:
        """Tell whether the broker agrees to a subscription."""
        self.link.subscribe((topic,))
        happened = self.next(Subscribed, Disconnected)
        return isinstance(happened, Subscribed) and happened.fault == ""

    def publishes(self, topic: str, payload: bytes = b"{}") -> bool:
        """Tell whether the broker takes a message and keeps the connection."""
        sent: Future[Any] = self.link.deliver(topic, payload)
        try:
            return sent.result(TIMEOUT_S).puback.reason_code.value < 128
        except Exception:  # noqa: BLE001 - the library has no kind of its own for a connection that ended
            return False


@pytest.fixture(scope="module")
def talkers(stacked: StackedCloud, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Talker]:
    """Return what connects as a thing with a certificate of its own, or of another."""
    there = stacked.endpoints
    broker = Broker(there.mqtt_host, there.mqtt_port, there.ca_pem.read_text())
    settings: dict[str, Mqtt] = {}
    for thing in ("press-1", "press-2"):
        made = provision_device(stacked.owner, thing, tmp_path_factory.mktemp(thing), wishes=Wishes(broker))
        settings[thing] = read_settings(made.config).mqtt
    return lambda thing, client_id="": Talker(settings[thing], client_id or thing)


@pytest.fixture
def talker(talkers: Callable[..., Talker]) -> Iterator[Talker]:
    talker = talkers("press-1")
    assert talker.next(Connected, Disconnected) == Connected(1)
    yield talker
    assert talker.link.stop(TIMEOUT_S)


def test_a_device_hears_and_reports_its_own_jobs_and_shadow(talker: Talker) -> None:
    assert talker.subscribes("$aws/things/press-1/jobs/notify-next")
    assert talker.subscribes("$aws/things/press-1/shadow/update/accepted")
    assert talker.publishes("$aws/things/press-1/jobs/get")
    assert talker.publishes("$aws/things/press-1/shadow/update", b'{"state":{"reported":{"a":1}}}')
    assert json.loads(talker.next(Received).payload)["state"] == {"reported": {"a": 1}}
    assert talker.publishes("edge-agent/press-1/inspections")


@pytest.mark.parametrize(
    "topic",
    [
        "$aws/things/press-2/jobs/notify-next",
        "$aws/things/press-2/shadow/update/accepted",
        "$aws/things/+/jobs/notify-next",
        "$aws/things/#",
        "edge-agent/press-2/inspections",
        "edge-agent/press-1/inspections",
        "$aws/events/#",
        "#",
    ],
)
def test_a_device_does_not_hear_of_others(talker: Talker, topic: str) -> None:
    assert not talker.subscribes(topic)


@pytest.mark.parametrize(
    "topic",
    [
        "$aws/things/press-2/jobs/get",
        "$aws/things/press-2/jobs/j-1/update",
        "$aws/things/press-2/shadow/update",
        "$aws/things/press-10/shadow/update",
        "edge-agent/press-2/inspections",
        "edge-agent/press-1/other",
        "$aws/provisioning-templates/edge-agent/provision/json",
        "$aws/rules/any",
    ],
)
def test_a_device_does_not_speak_for_others(talker: Talker, topic: str) -> None:
    assert not talker.publishes(topic)


def alarm(thing: str, subject: str) -> bytes:
    detail = AlarmDetail(
        id=f"{thing}/{subject}",
        thing=thing,
        fleet="hall",
        kind="camera-gone",
        subject=subject,
        state="raised",
        severity="critical",
        message="away",
        raised=1.8e9,
    )
    return Alarm(detail_type="Edge Agent Alarm Raised", time="2027-01-15T08:00:00.000Z", detail=detail).to_json()


def test_an_alarm_goes_where_eventbridge_gets_it_and_none_that_a_device_tells_of_another(
    stacked: StackedCloud, talker: Talker
) -> None:
    topic = "edge-agent/press-1/alarm"
    for thing, subject in (("press-2", "left"), ("press-1", "right")):
        assert talker.publishes(topic, alarm(thing, subject))
    queue_url = stacked.outputs["Alarms"]
    (taken,) = stacked.owner.call("sqs", "receive_message", QueueUrl=queue_url, WaitTimeSeconds=20)["Messages"]
    assert json.loads(taken["Body"]) == json.loads(alarm("press-1", "right"))
    stacked.owner.call("sqs", "delete_message", QueueUrl=queue_url, ReceiptHandle=taken["ReceiptHandle"])
    # Rules see messages one after the other: what was told before it is not on its way.
    assert "Messages" not in stacked.owner.call("sqs", "receive_message", QueueUrl=queue_url)


@pytest.mark.parametrize("kind", ["Publisher", "Operator", "CaptureReader", "Registrar"])
def test_nobody_takes_alarms_away_or_reads_the_account_s_other_logs(
    stacked: StackedCloud, people: dict[str, dict[str, str]], kind: str
) -> None:
    for service, operation, arguments in (
        ("sqs", "receive_message", {"QueueUrl": stacked.outputs["Alarms"]}),
        ("sqs", "send_message", {"QueueUrl": stacked.outputs["Alarms"], "MessageBody": "{}"}),
        ("sqs", "purge_queue", {"QueueUrl": stacked.outputs["Alarms"]}),
        ("logs", "filter_log_events", {"logGroupName": "AWSIotLogsV2"}),
        ("logs", "delete_log_group", {"logGroupName": stacked.outputs["Logs"]}),
        ("iot", "disable_topic_rule", {"ruleName": "edge_agent_alarm"}),
    ):
        refused(lambda: Aws(people[kind]).call(service, operation, **arguments))  # noqa: B023 - called at once


@pytest.mark.parametrize("name", ["press-2", "press-10", "operator"])
def test_a_certificate_is_not_taken_for_another_thing(talkers: Callable[..., Talker], name: str) -> None:
    stranger = talkers("press-1", name)
    assert isinstance(stranger.next(Connected, Disconnected), Disconnected)
    assert stranger.link.stop(TIMEOUT_S)


# What a claim may do: make one new thing.


@pytest.fixture
def claim(stacked: StackedCloud, tmp_path: Path) -> Mqtt:
    """A certificate with the claim's policy and nothing else, as a batch of devices is delivered with."""
    there = stacked.endpoints
    made = stacked.owner.call("iot", "create_keys_and_certificate", setAsActive=True)
    stacked.owner.call("iot", "attach_policy", policyName="edge-agent-claim", target=made["certificateArn"])
    return mqtt(there.mqtt_host, there.mqtt_port, there.ca_pem, made["certificatePem"], made["keyPair"], tmp_path)


def mqtt(host: str, port: int, ca: Path, certificate: str, keys: dict[str, str], directory: Path) -> Mqtt:
    paths = {"certificate": directory / "claim.pem", "private_key": directory / "claim.key"}
    paths["certificate"].write_text(certificate)
    paths["private_key"].touch(mode=0o600)
    paths["private_key"].write_text(keys["PrivateKey"])
    return Mqtt(endpoint=host, port=port, ca=ca, **paths)


def test_a_claim_speaks_of_enrolment_alone(claim: Mqtt) -> None:
    asked, told = "$aws/certificates/create-from-csr/json", "$aws/provisioning-templates/edge-agent/provision/json"
    talker = Talker(claim, "claim-press-11")
    assert talker.next(Connected, Disconnected) == Connected(1)
    assert talker.subscribes(f"{asked}/accepted")
    assert talker.subscribes(f"{told}/rejected")
    assert talker.publishes(asked)
    assert talker.publishes(told)
    for topic in (
        "$aws/things/press-11/jobs/notify-next",
        "$aws/certificates/create/json/accepted",
        "edge-agent/+/inspections",
    ):
        assert not talker.subscribes(topic), topic
    assert talker.link.stop(TIMEOUT_S)


@pytest.mark.parametrize(
    "topic",
    [
        "$aws/certificates/create/json",
        "$aws/provisioning-templates/other/provision/json",
        "$aws/things/press-11/jobs/get",
        "$aws/things/press-1/shadow/update",
        "edge-agent/press-1/inspections",
    ],
)
def test_a_claim_does_not_speak_as_a_device(claim: Mqtt, topic: str) -> None:
    talker = Talker(claim, "claim-press-11")
    assert talker.next(Connected, Disconnected) == Connected(1)
    assert not talker.publishes(topic)
    assert talker.link.stop(TIMEOUT_S)


@pytest.mark.parametrize("name", ["press-1", "operator"])
def test_a_claim_pushes_no_device_off(claim: Mqtt, name: str) -> None:
    talker = Talker(claim, name)
    assert isinstance(talker.next(Connected, Disconnected), Disconnected)
    assert talker.link.stop(TIMEOUT_S)


class Enrolling(Talker):
    """A device that enrols with a key which the local AWS makes: it answers no signing requests over MQTT."""

    def ask(self, topic: str, **fields: Any) -> tuple[str, dict[str, Any]]:
        """Return the last word of the topic of an answer, and the answer."""
        for end in ("accepted", "rejected"):
            assert self.subscribes(f"{topic}/{end}")
        assert self.publishes(topic, json.dumps(fields).encode())
        answer = self.next(Received)
        return answer.topic.rpartition("/")[2], json.loads(answer.payload)

    def enrol(self, thing: str) -> tuple[str, dict[str, Any], str]:
        """Ask for a certificate and register as ``thing``; return also the certificate's id."""
        word, made = self.ask("$aws/certificates/create/json")
        assert word == "accepted"
        word, told = self.ask(
            "$aws/provisioning-templates/edge-agent/provision/json",
            certificateOwnershipToken=made["certificateOwnershipToken"],
            parameters={"ThingName": thing},
        )
        return word, told, made["certificateId"]


@pytest.fixture
def enrolling(stacked: StackedCloud, tmp_path: Path) -> Iterator[Enrolling]:
    there = stacked.endpoints
    made = stacked.owner.call("iot", "create_provisioning_claim", templateName="edge-agent")
    settings = mqtt(there.mqtt_host, there.mqtt_port, there.ca_pem, made["certificatePem"], made["keyPair"], tmp_path)
    talker = Enrolling(settings, "new-device")
    assert talker.next(Connected, Disconnected) == Connected(1)
    yield talker
    assert talker.link.stop(TIMEOUT_S)


def test_a_device_enrols_through_the_template_and_is_a_thing_like_any_other(
    stacked: StackedCloud, enrolling: Enrolling
) -> None:
    word, told, certificate = enrolling.enrol("press-21")
    assert (word, told["thingName"]) == ("accepted", "press-21")
    assert told["deviceConfiguration"] == {
        "fleet": "default",
        "repository": f"s3://{stacked.bucket}/releases",
        "captures": f"s3://{stacked.bucket}/captures/press-21",
        "credentials_endpoint": "",
        "role_alias": "edge-agent-device",
    }
    thing = stacked.owner.call("iot", "describe_thing", thingName="press-21")
    assert (thing["thingTypeName"], thing["attributes"]) == (
        "edge-agent",
        {"fleet": "default", "enrolled": certificate},
    )
    groups = stacked.owner.call("iot", "list_thing_groups_for_thing", thingName="press-21")["thingGroups"]
    assert [group["groupName"] for group in groups] == ["default"]
    known = stacked.owner.call("iot", "describe_certificate", certificateId=certificate)["certificateDescription"]
    policies = stacked.owner.call("iot", "list_attached_policies", target=known["certificateArn"])["policies"]
    assert (known["status"], [each["policyName"] for each in policies]) == ("ACTIVE", ["edge-agent-device"])


@pytest.mark.parametrize("thing", ["press-1", "press-31"], ids=["made by a registrar", "enrolled before"])
def test_a_claim_never_becomes_a_thing_that_is_there(
    stacked: StackedCloud, talkers: Callable[..., Talker], enrolling: Enrolling, thing: str
) -> None:
    if thing == "press-31":
        assert enrolling.enrol(thing)[0] == "accepted"
    before = stacked.owner.call("iot", "list_thing_principals", thingName=thing)["principals"]
    word, told, certificate = enrolling.enrol(thing)
    assert (word, told["errorCode"]) == ("rejected", "ProvisioningFailed")
    assert stacked.owner.call("iot", "list_thing_principals", thingName=thing)["principals"] == before
    known = stacked.owner.call("iot", "describe_certificate", certificateId=certificate)["certificateDescription"]
    assert known["status"] == "PENDING_ACTIVATION"
