"""A device is taken out of service: what it could do ends, what it did stays."""

import json
import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest

from cloud_tools import cli
from cloud_tools.aws import Aws
from cloud_tools.errors import CloudError
from cloud_tools.local import Endpoints
from cloud_tools.provision import renewal_shadow, retire
from cloud_tools.provision.device import Device, provision_device
from cloud_tools.provision.fragment import Mqtt, Wishes
from cloud_tools.provision.listing import list_devices, show_device
from edge_agent.config import read_settings
from edge_agent.errors import Code, JobsError
from edge_agent.jobs.asking import Asking

TODAY = datetime(2026, 3, 1, tzinfo=timezone.utc)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def wishes(local_cloud: Endpoints) -> Wishes:
    return Wishes(Mqtt(local_cloud.mqtt_host, local_cloud.mqtt_port, local_cloud.ca_pem.read_text()))


@pytest.fixture
def thing() -> str:
    return f"line-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def made(aws: Aws, wishes: Wishes, thing: str, tmp_path: Path) -> Device:
    """A device with two jobs that wait, one of which it works on."""
    made = provision_device(aws, thing, tmp_path / "device", fleet=f"{thing}-fleet", wishes=wishes)
    for number in (1, 2):
        aws.call("iot", "create_job", jobId=f"{thing}-{number}", targets=[made.arn], document="{}")
    with Asking(read_settings(made.config).mqtt, thing, 30) as device:
        assert device.ask(f"$aws/things/{thing}/jobs/start-next", b"{}").accepted
    return made


@pytest.fixture
def run(aws_settings: dict[str, str], capsys: pytest.CaptureFixture[str]) -> Run:
    assert aws_settings

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            cli.main(words)
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return run


def statuses(aws: Aws, thing: str) -> dict[str, str]:
    return {job["job_id"]: job["status"] for job in show_device(aws, thing)["jobs"]}


def test_a_retired_device_is_cut_off_and_nothing_waits_for_it(aws: Aws, run: Run, made: Device, thing: str) -> None:
    assert sorted(statuses(aws, thing).values()) == ["IN_PROGRESS", "QUEUED"]
    code, out, said = run("device", "retire", thing, "--yes", "--json")
    assert code == 0, said
    told = json.loads(out)
    assert (told["retired"], told["certificates"]) == (True, [made.certificate_id])
    assert (sorted(told["jobs"]), told["groups"]) == ([f"{thing}-1", f"{thing}-2"], [f"{thing}-fleet"])
    assert "captures: stay" in said
    shown = show_device(aws, thing)
    assert (shown["certificates"], shown["groups"], shown["fleet"]) == ([], [], "")
    assert set(statuses(aws, thing).values()) == {"CANCELED"}
    with pytest.raises(CloudError) as caught:
        aws.call("iot", "describe_certificate", certificateId=made.certificate_id)
    assert caught.value.code is Code.NOT_FOUND
    with pytest.raises(JobsError), Asking(read_settings(made.config).mqtt, thing, 3):
        pass
    (row,) = [row for row in list_devices(aws) if row["thing"] == thing]
    assert datetime.fromisoformat(row["retired"])


def test_a_dry_run_and_a_person_who_is_not_asked_end_nothing(aws: Aws, run: Run, made: Device, thing: str) -> None:
    before = show_device(aws, thing)
    code, out, _ = run("device", "retire", thing, "--dry-run")
    assert code == 0
    assert made.certificate_id in out
    code, _, said = run("device", "retire", thing)
    assert (code, "--yes" in said) == (2, True)
    assert show_device(aws, thing) == before


def test_retired_again_nothing_is_left_to_do(aws: Aws, run: Run, made: Device, thing: str) -> None:
    assert made
    assert run("device", "retire", thing, "--yes")[0] == 0
    code, out, _ = run("device", "retire", thing, "--yes", "--json")
    told = json.loads(out)
    assert (code, told["certificates"], told["jobs"], told["groups"]) == (0, [], [], [])


def test_who_is_not_there_cannot_be_retired(run: Run, thing: str) -> None:
    assert run("device", "retire", thing, "--yes")[0] == 3


@pytest.mark.parametrize("call", range(1, 9))
def test_cut_off_at_any_call_it_is_finished_by_asking_again(
    aws: Aws, made: Device, thing: str, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    real, calls = Aws.call, 0

    def cut(door: Aws, service: str, operation: str, **arguments: object) -> dict[str, object]:
        nonlocal calls
        calls += 1
        if calls == call:
            raise CloudError(Code.UNAVAILABLE, "the line is dead")
        return real(door, service, operation, **arguments)

    found = retire.look(aws, thing)
    with monkeypatch.context() as patched:
        patched.setattr(Aws, "call", cut)
        with pytest.raises(CloudError, match="the line is dead"):
            retire.retire(aws, found, TODAY)
    if call > 1:
        # What the device could do ended first.
        with pytest.raises(JobsError), Asking(read_settings(made.config).mqtt, thing, 1):
            pass
    retire.retire(aws, retire.look(aws, thing), TODAY)
    shown = show_device(aws, thing)
    assert (shown["certificates"], shown["groups"], shown["fleet"]) == ([], [], "")
    assert set(statuses(aws, thing).values()) == {"CANCELED"}


def test_a_certificate_that_is_another_things_too_goes_on(aws: Aws, made: Device, thing: str) -> None:
    other = f"{thing}-b"
    aws.call("iot", "create_thing", thingName=other)
    arn = aws.call("iot", "list_thing_principals", thingName=thing)["principals"][0]
    aws.call("iot", "attach_thing_principal", thingName=other, principal=arn)
    found = retire.look(aws, thing)
    assert (found.certificates, found.shared) == ((), (arn,))
    retire.retire(aws, found, TODAY)
    assert show_device(aws, other)["certificates"] == [{"id": made.certificate_id, "status": "ACTIVE"}]
    assert show_device(aws, thing)["certificates"] == []


def test_a_report_that_nobody_understands_keeps_no_device_in_service(aws: Aws, made: Device, thing: str) -> None:
    renewal_shadow._write(aws, thing, {"reported": {"id": 7}})
    retire.retire(aws, retire.look(aws, thing), TODAY)
    assert show_device(aws, made.thing)["fleet"] == ""
    assert renewal_shadow.read(aws, thing) == renewal_shadow.Exchange()


def test_who_was_retired_may_be_provisioned_anew(
    aws: Aws, wishes: Wishes, made: Device, thing: str, tmp_path: Path
) -> None:
    retire.retire(aws, retire.look(aws, thing), TODAY)
    again = provision_device(aws, thing, tmp_path / "again", fleet="east", wishes=wishes)
    assert again.certificate_id != made.certificate_id
    assert {"thing": thing, "fleet": "east"} in list_devices(aws)
