"""A device's certificate is exchanged while it works: by the verb, against a local AWS."""

import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloud_tools import cli
from cloud_tools.aws import Aws
from cloud_tools.errors import Exit
from cloud_tools.local import aws_environment
from cloud_tools.provision import renewal_shadow, rotate, rotation
from cloud_tools.provision.device import provision_device
from cloud_tools.provision.fragment import Mqtt as Broker
from cloud_tools.provision.fragment import Wishes
from cloud_tools.provision.listing import show_device
from cloud_tools.provision.rotate import Step
from edge_agent.agent import renewing
from edge_agent.agent.renewing import Renewing
from edge_agent.config import Mqtt, TokenKey, read_settings
from edge_agent.errors import JobsError
from edge_agent.identity import Folder
from edge_agent.identity.lineage import Files, Lineage
from edge_agent.jobs import Connection, Event, JobOffered, JobReported, JobsClient, Outbox
from edge_agent.jobs.asking import Asking, prove
from edge_agent.store import AuditLog
from edge_agent.telemetry import metrics
from tests.fakes.dead_line import dead_at
from tests.fakes.device import eventually
from tests.fakes.jobs_clouds import EmulatedCloud
from tests.fakes.soft_token import SoftToken

DOCUMENT = {"schema": "edge-agent/job/1", "operation": "install", "models": [{"name": "unet", "version": "2"}]}
END = "edge_agent_certificate_end_seconds "
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedCloud]:
    cloud = EmulatedCloud(tmp_path_factory.mktemp("cloud"))
    yield cloud
    cloud.stop()


@pytest.fixture
def aws(cloud: EmulatedCloud) -> Aws:
    return Aws(aws_environment(cloud.endpoints))


class Device:
    """The device's side of jobs and of renewal, as the agent puts them together; ``again`` is the next start."""

    def __init__(self, directory: Path, mqtt: Mqtt, thing: str) -> None:
        self.directory, self.mqtt, self.thing = directory, mqtt, thing
        assert mqtt.certificate
        assert mqtt.private_key
        self.first = Files(mqtt.certificate, mqtt.private_key)
        self.troubles: dict[str, str] = {}
        self.events: list[Event] = []
        self.lineage = Lineage(directory / "identity", self.first)
        self.audit = AuditLog(directory / "audit.log")
        self.renewing = Renewing(
            thing, mqtt, self.lineage, lambda: self.jobs, audit=self.audit, note=self.troubles.__setitem__
        )
        self.outbox = Outbox(directory / "outbox.db")
        receivers = self.renewing.receivers()
        self.jobs = JobsClient(self.renewing.settings(), thing, self.outbox, events=self._take, others=receivers)
        self.renewing.start()
        self.jobs.start()

    def _take(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Connection) and event.connected:
            self.renewing.connected()

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    def wait(self, kind: type[Event]) -> Event:
        return eventually(lambda: next(iter(self.of(kind)), None), lambda: str(self.events))

    def close(self) -> None:
        self.renewing.stop()
        self.jobs.stop()
        self.outbox.close()

    def again(self) -> "Device":
        self.close()
        return Device(self.directory, self.mqtt, self.thing)


@pytest.fixture
def device(aws: Aws, cloud: EmulatedCloud, tmp_path: Path) -> Iterator[Device]:
    thing = f"press-{secrets.token_hex(4)}"
    there = cloud.endpoints
    broker = Broker(there.mqtt_host, there.mqtt_port, there.ca_pem.read_text())
    made = provision_device(aws, thing, tmp_path / "etc", fleet=thing, wishes=Wishes(broker))
    device = Device(tmp_path, read_settings(made.config).mqtt, thing)
    yield device
    device.close()


@pytest.fixture
def run(
    cloud: EmulatedCloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[dict[str, str]], str]]:
    for name, value in aws_environment(cloud.endpoints).items():
        monkeypatch.setenv(name, value)

    def run(*words: str) -> tuple[int, list[dict[str, str]], str]:
        with pytest.raises(SystemExit) as end:
            cli.main(("device", "rotate", *words, "--json"))
        said = capsys.readouterr()
        return int(end.value.code or 0), json.loads(said.out or "[]"), said.err

    return run


Run = Callable[..., tuple[int, list[dict[str, str]], str]]


def certificates(aws: Aws, thing: str) -> dict[str, str]:
    return {one["id"]: one["status"] for one in show_device(aws, thing)["certificates"]}


def active(aws: Aws) -> set[str]:
    """Return all certificates of the account that open something, whosever they are."""
    found = aws.pages("iot", "list_certificates", "certificates")
    return {one["certificateId"] for one in found if one["status"] == "ACTIVE"}


def seen(aws: Aws, thing: str) -> None:
    """Wait until the device has reported its certificate."""
    eventually(lambda: renewal_shadow.read(aws, thing).reported)


def until(aws: Aws, thing: str, step: Step) -> rotate.Standing:
    def look() -> rotate.Standing | None:
        standing = rotate.look(aws, thing)
        return standing if rotate.next_step(standing, wanted=False) is step else None

    return eventually(look)


def test_a_certificate_is_exchanged_and_the_job_in_work_and_the_next_one_are_not_lost(
    aws: Aws, cloud: EmulatedCloud, device: Device, run: Run
) -> None:
    thing, old = device.thing, device.lineage.current.id
    seen(aws, thing)
    cloud.create_job(thing, f"{thing}-1", DOCUMENT)
    device.wait(JobOffered)
    device.jobs.report(f"{thing}-1", "IN_PROGRESS", {"step": "DOWNLOADING"}, step_timeout_minutes=15)
    code, (row,), said = run(thing, "--wait", str(PATIENCE_S))
    assert (code, row["state"]) == (0, "rotated"), said
    new = device.lineage.current.id
    assert certificates(aws, thing) == {old: "INACTIVE", new: "ACTIVE"}
    cloud.create_job(thing, f"{thing}-2", DOCUMENT)
    device.jobs.report(f"{thing}-1", "SUCCEEDED", {"step": "REPORTED"})
    assert device.wait(JobReported) == JobReported(f"{thing}-1", "SUCCEEDED", accepted=True, code="")
    eventually(lambda: len(device.of(JobOffered)) == 2 or None)
    assert [event.job_id for event in device.of(JobOffered)] == [f"{thing}-1", f"{thing}-2"]
    assert device.audit.verify() == 1
    (end,) = [line for line in metrics.exposition().decode().splitlines() if line.startswith(END)]
    assert float(end.removeprefix(END)) == device.lineage.current.ends
    # And the next start knows it too, and where the cloud stands.
    device.jobs.hold()
    prove(device.renewing.settings(), thing, PATIENCE_S)
    with pytest.raises(JobsError), Asking(device.mqtt, thing, 2):
        pass
    assert Lineage(device.directory / "identity", device.first).current.id == new
    assert run(thing, "--dry-run")[1][0]["state"] == "asked"
    assert renewal_shadow.read(aws, thing)[1:] == ("", "")


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TokenKey:
    (tmp_path / "hsm").mkdir()
    return SoftToken(tmp_path / "hsm", monkeypatch).key()


def with_token(aws: Aws, cloud: EmulatedCloud, key: TokenKey, directory: Path, *packs: str) -> tuple[str, Device]:
    """A device whose key is in a token, which was provisioned once into each pack and uses the last."""
    thing, folder = f"press-{secrets.token_hex(4)}", Folder(directory / "etc", key=key)
    there, request = cloud.endpoints, folder.request(thing)
    broker = Broker(there.mqtt_host, there.mqtt_port, there.ca_pem.read_text())
    for pack in packs:
        made = provision_device(aws, thing, directory / pack, fleet=thing, wishes=Wishes(broker), request=request)
        folder.put_certificate((directory / pack / "certificate.pem").read_text())
    files = {"certificate": folder.certificate, "private_key": key}
    return thing, Device(directory, read_settings(made.config).mqtt.model_copy(update=files), thing)


def test_with_a_key_in_a_token_certificates_are_exchanged_again_and_again_and_the_key_stays(
    aws: Aws, cloud: EmulatedCloud, run: Run, tmp_path: Path, key: TokenKey
) -> None:
    thing, device = with_token(aws, cloud, key, tmp_path, "pack")
    try:
        first = device.lineage.current
        seen(aws, thing)
        for number in (1, 2):
            code, (row,), said = run(thing, "--wait", str(PATIENCE_S))
            assert (code, row["state"]) == (0, "rotated"), said
            assert device.lineage.files == Files(tmp_path / "identity" / str(number) / "certificate.pem", key)
        now = device.lineage.current
        assert (now.public_key, len(certificates(aws, thing))) == (first.public_key, 3)
        assert certificates(aws, thing)[now.id] == "ACTIVE"
        cloud.create_job(thing, f"{thing}-1", DOCUMENT)
        device.wait(JobOffered)
    finally:
        device.close()


def test_an_older_certificate_of_the_same_key_is_not_offered_as_the_next_one(
    aws: Aws, cloud: EmulatedCloud, run: Run, tmp_path: Path, key: TokenKey
) -> None:
    thing, device = with_token(aws, cloud, key, tmp_path, "before the disk died", "pack")
    try:
        before = certificates(aws, thing)
        seen(aws, thing)
        code, (row,), said = run(thing, "--wait", str(PATIENCE_S))
        assert (code, row["state"], len(before)) == (0, "rotated", 2), said
        assert device.lineage.current.id not in before
    finally:
        device.close()


def test_each_call_takes_one_step_and_cut_off_anywhere_the_device_works_with_one_of_both(
    aws: Aws, device: Device, run: Run
) -> None:
    thing, old = device.thing, device.lineage.current.id
    seen(aws, thing)
    assert run(thing)[1][0]["state"] == "asked"
    until(aws, thing, Step.SIGN)
    device = device.again()
    try:
        assert device.lineage.current.id == old
        # Switched off, it finds the certificate when it comes back.
        device.close()
        assert run(thing)[1][0]["state"] == "signed"
        assert run(thing)[1][0]["state"] == "waits for the device to use it"
        assert run("--expiring-within", "0", "--fleet", thing)[1][0]["state"] == "waits for the device to use it"
        assert set(certificates(aws, thing).values()) == {"ACTIVE"}
        device = Device(device.directory, device.mqtt, thing)
        until(aws, thing, Step.END_OLD)
        device = device.again()
        assert run(thing)[1][0]["state"] == "rotated"
        assert certificates(aws, thing)[old] == "INACTIVE"
        assert run("--expiring-within", "30", "--fleet", thing)[1] == []
    finally:
        device.close()


def test_the_cloud_side_cut_off_at_any_call_makes_no_second_certificate_that_works(
    aws: Aws, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen(aws, device.thing)
    rotate.carry_out(aws, rotate.look(aws, device.thing), Step.ASK)
    standing = until(aws, device.thing, Step.SIGN)
    device.close()  # so that nobody takes up what is offered
    working = active(aws)
    for cut in ("attach_thing_principal", "attach_policy", "update_certificate"):
        with dead_at(cut):
            rotate.carry_out(aws, rotate.look(aws, device.thing), Step.SIGN)
        assert active(aws) == working, f"cut off at {cut}"
    with monkeypatch.context() as patched:
        patched.setattr(renewal_shadow, "desire", lambda *_, **__: None)
        rotate.carry_out(aws, rotate.look(aws, device.thing), Step.SIGN)
    rotate.carry_out(aws, rotate.look(aws, device.thing), Step.SIGN)
    assert len(active(aws) - working) == 1
    assert rotate.next_step(rotate.look(aws, device.thing), wanted=True) is Step.AWAIT_DEVICE
    assert len(certificates(aws, device.thing)) == len(standing.held) + 1


@pytest.fixture
def offered_in_vain(aws: Aws, device: Device, run: Run) -> Iterator[tuple[Device, str]]:
    """Return a device that lost its new key while the certificate for it was made, and that certificate's id."""
    thing = device.thing
    seen(aws, thing)
    run(thing)
    until(aws, thing, Step.SIGN)
    device.close()
    held = certificates(aws, thing)
    assert run(thing)[1][0]["state"] == "signed"
    (offered,) = certificates(aws, thing).keys() - held.keys()
    shutil.rmtree(device.directory / "identity")
    device = Device(device.directory, device.mqtt, thing)
    eventually(lambda: rotate.look(aws, thing).lapsed or None)
    yield device, offered
    device.close()


def test_what_was_offered_and_never_used_ends_when_the_device_asks_with_another_key(
    aws: Aws, offered_in_vain: tuple[Device, str], run: Run
) -> None:
    device, offered = offered_in_vain
    thing, old = device.thing, device.lineage.current.id
    by_hand = aws.call("iot", "create_keys_and_certificate", setAsActive=True)
    aws.call("iot", "attach_thing_principal", thingName=thing, principal=by_hand["certificateArn"])
    code, (row,), said = run(thing, "--wait", str(PATIENCE_S))
    assert (code, row["state"]) == (0, "rotated"), said
    told = {old: "INACTIVE", offered: "INACTIVE", device.lineage.current.id: "ACTIVE"}
    assert certificates(aws, thing) == told | {by_hand["certificateId"]: "ACTIVE"}


def test_what_was_offered_and_never_used_ends_although_no_certificate_is_due(
    aws: Aws, offered_in_vain: tuple[Device, str], run: Run
) -> None:
    device, offered = offered_in_vain
    thing, old = device.thing, device.lineage.current.id
    nightly = ("--expiring-within", "0", "--fleet", thing)
    assert run(*nightly, "--dry-run")[1][0]["state"] == "lapsed"
    assert certificates(aws, thing) == {old: "ACTIVE", offered: "ACTIVE"}
    code, (row,), _ = run(*nightly)
    assert (code, row["state"]) == (0, "lapsed")
    assert certificates(aws, thing) == {old: "ACTIVE", offered: "INACTIVE"}
    assert renewal_shadow.read(aws, thing)[1:] == ("", "")
    assert run(*nightly)[1] == []


def test_a_certificate_that_does_not_connect_is_refused_and_the_old_one_goes_on(
    aws: Aws, cloud: EmulatedCloud, device: Device, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewing, "_TRIAL_S", 2.0)
    monkeypatch.setattr(renewing, "_AGAIN_S", 0.0)
    thing, old = device.thing, device.lineage.current.id
    seen(aws, thing)
    run(thing)
    request = until(aws, thing, Step.SIGN).exchange.reported
    assert request
    made = aws.call("iot", "create_certificate_from_csr", certificateSigningRequest=request.request, setAsActive=False)
    aws.call("iot", "attach_thing_principal", thingName=thing, principal=made["certificateArn"])
    renewal_shadow.desire(aws, thing, certificate=made["certificatePem"])
    until(aws, thing, Step.REFUSED)
    code, (row,), _ = run(thing)
    assert (code, row["state"]) == (Exit.FAILED, "refused")
    assert "expected a connection" in row["message"]
    assert device.lineage.current.id == old
    cloud.create_job(thing, f"{thing}-1", DOCUMENT)
    device.wait(JobOffered)
    # Mended in the cloud, it is taken by the next try, which has all the time that it needs.
    monkeypatch.setattr(renewing, "_TRIAL_S", PATIENCE_S)
    aws.call("iot", "attach_policy", policyName="edge-agent-device", target=made["certificateArn"])
    aws.call("iot", "update_certificate", certificateId=made["certificateId"], newStatus="ACTIVE")
    device.renewing.connected()
    until(aws, thing, Step.END_OLD)
    assert device.lineage.current.id == made["certificateId"]


def test_a_certificate_near_its_end_is_asked_anew_for_by_the_device_itself(
    aws: Aws, device: Device, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen(aws, device.thing)
    device.close()
    soon = device.lineage.current.ends - 3 * 86_400
    device = Device(device.directory, device.mqtt, device.thing)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(device.renewing, "_now", lambda: soon)
            device.renewing.connected()
            until(aws, device.thing, Step.SIGN)
            assert "ends on" in device.troubles["certificate"]
        rows = {
            row["thing"]: row["state"]
            for row in run("--expiring-within", "30", "--fleet", device.thing, "--wait", str(PATIENCE_S))[1]
        }
        assert rows[device.thing] == "rotated"
    finally:
        device.close()


def test_an_old_certificate_that_is_another_things_too_is_only_let_go(aws: Aws, device: Device, run: Run) -> None:
    seen(aws, device.thing)
    other, old = f"{device.thing}-b", device.lineage.current.id
    aws.call("iot", "create_thing", thingName=other)
    arn = aws.call("iot", "describe_certificate", certificateId=old)["certificateDescription"]["certificateArn"]
    aws.call("iot", "attach_thing_principal", thingName=other, principal=arn)
    assert run(device.thing, "--wait", str(PATIENCE_S))[1][0]["state"] == "rotated"
    assert certificates(aws, other) == {old: "ACTIVE"}
    assert certificates(aws, device.thing) == {device.lineage.current.id: "ACTIVE"}
    assert run(device.thing, "--dry-run")[1][0]["state"] == "asked"


def test_a_request_that_is_another_things_is_not_signed(aws: Aws, device: Device, run: Run) -> None:
    seen(aws, device.thing)
    device.close()
    foreign = Lineage(device.directory / "foreign", device.first)
    foreign.ask("another")
    reported = {"reported": {"request": foreign.request}}
    renewal_shadow._write(aws, device.thing, reported)
    code, (row,), _ = run(device.thing)
    assert (code, row["state"]) == (Exit.FAILED, "failed")
    assert "it is another's" in row["message"]
    assert len(certificates(aws, device.thing)) == 1


def test_who_never_reported_is_said_and_stops_nobody(aws: Aws, device: Device, run: Run) -> None:
    seen(aws, device.thing)
    aws.call("iot", "create_thing", thingName=f"{device.thing}-silent")
    code, rows, _ = run(device.thing, f"{device.thing}-silent", "--dry-run")
    assert (code, [row["state"] for row in rows]) == (Exit.PARTLY_FAILED, ["asked", "silent"])
    assert run(f"{device.thing}-nobody")[0] == Exit.NOT_FOUND
    assert run()[0] == Exit.USAGE
    assert run(device.thing, "--expiring-within", "3")[0] == Exit.USAGE
    assert renewal_shadow.read(aws, device.thing).renew == ""


def test_a_device_that_reports_a_certificate_that_is_not_its_own_gets_none(aws: Aws, device: Device) -> None:
    seen(aws, device.thing)
    device.close()
    renewal_shadow._write(aws, device.thing, {"reported": {"id": "0" * 64}})
    (row,) = rotation.follow(aws, rotation.Chosen((device.thing,), None))
    assert row.state == "strange"
