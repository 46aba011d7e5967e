"""A device enrols itself: by claim over a real broker, or by a request that an operator signs."""

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cloud_tools.aws import Aws
from cloud_tools.errors import CloudError
from cloud_tools.local import Endpoints
from cloud_tools.provision.device import provision_device
from cloud_tools.provision.fragment import Mqtt as MqttPlace
from cloud_tools.provision.fragment import Wishes
from cloud_tools.provision.listing import show_device
from edge_agent.cli.app import build_app
from edge_agent.config import Mqtt, read_settings
from edge_agent.errors import AgentError, Code, ConfigError, IdentityError
from edge_agent.identity import Folder, Stage
from edge_agent.identity.lineage import RENEWED, Files, Lineage, keys_in
from edge_agent.jobs.asking import Asking
from tests.fakes.jobs_clouds import TIMEOUT_S, MosquittoCloud
from tests.fakes.provisioning_responder import CREATE, REGISTER, ProvisioningResponder

ROOT = json.dumps({"signed": {"_type": "root", "version": 1}, "signatures": []})
FILES = ["ca.pem", "certificate.pem", "config.toml", "private.key", "root.json"]


@pytest.fixture
def service(broker: MosquittoCloud) -> Iterator[ProvisioningResponder]:
    _, settings = broker.new_device()
    responder = ProvisioningResponder(settings, broker.authority)
    responder.start()
    assert responder.ready.wait(TIMEOUT_S)
    yield responder
    responder.stop()


class Device:
    """A machine that is to be enrolled, with a claim on its disk."""

    def __init__(self, directory: Path, broker: MosquittoCloud) -> None:
        self.directory = directory / "etc"
        self.stick = directory / "stick"
        self.stick.mkdir()
        self.thing, self.mqtt = broker.new_device()
        claim = broker.authority.issue(f"claim-{self.thing}")
        self.claim = [Path(shutil.copy(path, self.stick)) for path in claim]
        (self.stick / "root.json").write_text(ROOT)

    def enroll(self, *more: str) -> Result:
        words = ["enroll", "claim", self.thing, "--dir", str(self.directory), "--json", "--timeout", "30"]
        words += ["--endpoint", f"{self.mqtt.endpoint}:{self.mqtt.port}", "--ca", str(self.mqtt.ca)]
        words += ["--claim-certificate", str(self.claim[0]), "--claim-key", str(self.claim[1])]
        return run(*words, "--root", str(self.stick / "root.json"), *more)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir()) if self.directory.exists() else []


def run(*words: str) -> Result:
    return CliRunner().invoke(build_app(), list(words))


def refused(result: Result) -> AgentError:
    assert isinstance(result.exception, AgentError), result.output
    return result.exception


@pytest.fixture
def device(tmp_path: Path, broker: MosquittoCloud, service: ProvisioningResponder) -> Device:
    return Device(tmp_path, broker)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_claim_becomes_an_identity_and_is_deleted(device: Device, service: ProvisioningResponder) -> None:
    result = device.enroll("--parameter", "SerialNumber=7")
    assert result.exit_code == 0, result.output
    settings = read_settings(device.directory / "config.toml")
    assert device.names() == FILES
    assert mode(device.directory / "private.key") == 0o600
    assert (settings.device.thing, settings.trust.root) == (device.thing, device.directory / "root.json")
    assert service.things == {device.thing: {"ThingName": device.thing, "SerialNumber": "7"}}
    assert not any(path.exists() for path in device.claim)
    with Asking(settings.mqtt, device.thing, 30) as connection:
        connection.subscribe(f"$aws/things/{device.thing}/jobs/notify")
    (made,) = service.certificates.values()
    assert (device.directory / "certificate.pem").read_text() == made


def test_a_claim_that_lies_where_the_identity_will_is_refused_and_stays(
    device: Device, service: ProvisioningResponder
) -> None:
    device.directory.mkdir()
    for number, name in enumerate(("certificate.pem", "private.key")):
        device.claim[number] = device.claim[number].rename(device.directory / name)
    before = [path.read_bytes() for path in device.claim]
    assert "expected a claim that lies elsewhere" in refused(device.enroll()).message
    assert [path.read_bytes() for path in device.claim] == before
    assert service.things == {}


def test_what_the_template_tells_is_judged_before_it_is_written(device: Device, service: ProvisioningResponder) -> None:
    service.configuration = {"fleet": "press shop"}
    assert "device.fleet" in refused(device.enroll()).message
    assert "config.toml" not in device.names()
    assert all(path.exists() for path in device.claim)
    # Another word of a person mends it.
    assert device.enroll("--fleet", "press-shop").exit_code == 0
    assert read_settings(device.directory / "config.toml").device.fleet == "press-shop"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
def test_the_key_is_its_owners_also_where_a_power_cut_took_that_back(
    device: Device, service: ProvisioningResponder
) -> None:
    service.refuse[CREATE] = ("AccessDenied", "not yet")
    refused(device.enroll("--owner", "nobody"))
    key = device.directory / "private.key"
    os.chown(key, 0, 0)
    service.refuse.clear()
    assert device.enroll("--owner", "nobody").exit_code == 0
    assert key.owner() == "nobody"


def test_enrolled_again_nothing_is_asked_and_nothing_changes(device: Device, service: ProvisioningResponder) -> None:
    assert device.enroll("--keep-claim").exit_code == 0
    before = {name: (device.directory / name).read_bytes() for name in device.names()}
    assert all(path.exists() for path in device.claim)
    again = json.loads(device.enroll().stdout)
    assert again["was_enrolled"] is True
    assert {name: (device.directory / name).read_bytes() for name in device.names()} == before
    assert len(service.certificates) == 1
    assert not any(path.exists() for path in device.claim)


def test_the_template_tells_what_was_not_said(device: Device, service: ProvisioningResponder) -> None:
    service.configuration = {"fleet": "presses", "repository": "s3://b/releases", "role_alias": "edge-agent-device"}
    error = refused(device.enroll())
    assert "--credentials-endpoint" in error.message
    assert "config.toml" not in device.names()
    assert device.enroll("--credentials-endpoint", "lends.example").exit_code == 0
    settings = read_settings(device.directory / "config.toml")
    assert (settings.device.fleet, settings.repository.credentials) == ("presses", "aws-iot")
    assert settings.repository.role_alias == "edge-agent-device"
    assert len(service.certificates) == 1


def test_a_refusal_is_told_in_aws_own_words_and_the_next_try_needs_no_second_certificate(
    device: Device, service: ProvisioningResponder
) -> None:
    service.refuse = {REGISTER: ("AccessDenied", "the hook knows no such serial number")}
    error = refused(device.enroll())
    assert error.code is Code.PERMISSION_DENIED
    assert "the hook knows no such serial number" in error.message
    assert "config.toml" not in device.names()
    assert all(path.exists() for path in device.claim)
    service.refuse = {}
    assert device.enroll().exit_code == 0
    assert len(service.certificates) == 1


class CutError(Exception):
    """The power."""


@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("after", [False, True], ids=["before it is kept", "after it is kept"])
def test_cut_off_at_any_stage_it_goes_on_with_one_certificate(
    device: Device, service: ProvisioningResponder, monkeypatch: pytest.MonkeyPatch, stage: Stage, *, after: bool
) -> None:
    save = Folder.save

    def cut(folder: Folder, progress: object) -> None:
        if after:
            save(folder, progress)  # type: ignore[arg-type]
        if progress.stage is stage:  # type: ignore[attr-defined]
            raise CutError
        save(folder, progress)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "save", cut)
        device.enroll()
    again = device.enroll()
    assert again.exit_code == 0, (again.output, again.exception)
    assert device.names() == FILES
    # What AWS made and nobody wrote down is not ours to know of; its token ends in an hour, and so does it.
    lost = stage is Stage.CREATED and not after
    assert len(service.certificates) == (2 if lost else 1)


@pytest.mark.parametrize("write", range(1, 6))
def test_cut_off_between_two_files_it_goes_on(
    device: Device, service: ProvisioningResponder, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    write_file, written = Folder._write, 0

    def cut(folder: Folder, path: Path, content: bytes, mode: int) -> None:
        nonlocal written
        written += 1
        if written == write:
            raise CutError
        write_file(folder, path, content, mode)

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "_write", cut)
        assert isinstance(device.enroll().exception, CutError)
    assert "config.toml" not in device.names()
    assert all(path.exists() for path in device.claim)
    assert device.enroll().exit_code == 0
    assert device.names() == FILES
    assert len(service.certificates) == 1


def test_an_answer_that_was_lost_is_made_up_for_by_the_certificate_itself(
    device: Device, service: ProvisioningResponder
) -> None:
    service.silent = {REGISTER}
    assert refused(device.enroll("--timeout", "5")).code is Code.DEADLINE_EXCEEDED
    service.refuse = {REGISTER: ("InvalidCertificateOwnershipToken", "used already")}
    assert device.enroll().exit_code == 0
    assert len(service.certificates) == 1


def test_another_root_of_trust_is_refused_before_anybody_is_asked(
    device: Device, service: ProvisioningResponder
) -> None:
    device.directory.mkdir()
    (device.directory / "root.json").write_text(ROOT.replace("1", "2"))
    error = refused(device.enroll())
    assert error.code is Code.ALREADY_EXISTS
    assert device.names() == ["root.json"]
    assert not service.certificates


def test_settings_that_say_otherwise_are_refused_and_others_stay(
    device: Device, service: ProvisioningResponder
) -> None:
    device.directory.mkdir()
    config = device.directory / "config.toml"
    config.write_text('[device]\nthing = "another"\n')
    error = refused(device.enroll())
    assert isinstance(error, ConfigError)
    assert "another" in error.message
    assert not service.certificates
    config.write_text("[telemetry]\nlevel = 'DEBUG'  # for the first days\n")
    assert device.enroll().exit_code == 0
    assert "# for the first days" in config.read_text()
    assert read_settings(config).telemetry.level == "DEBUG"
    assert read_settings(config).device.thing == device.thing


@pytest.mark.parametrize("root", ["text", "{}", '{"signed": {"_type": "targets"}}'])
def test_what_is_no_root_is_not_pinned(device: Device, service: ProvisioningResponder, root: str) -> None:
    (device.stick / "root.json").write_text(root)
    assert "root" in refused(device.enroll()).message
    assert not device.names()
    assert not service.certificates


def test_a_demos_root_needs_permission(device: Device) -> None:
    (device.stick / "root.json").write_text(json.dumps({"signed": {"_type": "root", "demo": True}}))
    assert "--allow-demo-root" in refused(device.enroll()).message
    assert device.enroll("--allow-demo-root").exit_code == 0
    assert read_settings(device.directory / "config.toml").trust.allow_demo_root


def test_forgetting_deletes_what_followed_too(device: Device, broker: MosquittoCloud, tmp_path: Path) -> None:
    assert device.enroll().exit_code == 0
    state = tmp_path / "state"
    lineage = Lineage(state / RENEWED, Files(device.directory / "certificate.pem", device.directory / "private.key"))
    lineage.ask(device.thing)
    lineage.put(broker.authority.sign(lineage.request))
    lineage.switch()
    lineage.ask(device.thing)
    where = ("--state-dir", str(state), "enroll", "forget", "--dir", str(device.directory), "--json", "--yes")
    told = [Path(name) for name in json.loads(run(*where).stdout)["deleted"]]
    assert [path.name for path in told] == ["private.key"] * 3 + ["certificate.pem"] * 2
    assert keys_in(state / RENEWED) == []


def test_forgetting_deletes_key_and_certificate_and_nothing_else(device: Device) -> None:
    assert device.enroll().exit_code == 0
    where = ("enroll", "forget", "--dir", str(device.directory), "--json")
    told = json.loads(run(*where, "--dry-run").stdout)
    assert [Path(name).name for name in told["would_delete"]] == ["private.key", "certificate.pem"]
    assert device.names() == FILES
    asked = CliRunner().invoke(build_app(), list(where), input="n\n")
    assert (asked.exit_code, device.names()) == (1, FILES)
    assert run(*where, "--yes").exit_code == 0
    assert device.names() == ["ca.pem", "config.toml", "root.json"]
    assert run(*where, "--yes").exit_code == 0


@pytest.fixture
def operator(aws: Aws, local_cloud: Endpoints, tmp_path: Path) -> Callable[..., Path]:
    """Sign a device's request as the cloud's operator does; return what goes back to the device."""

    def sign(thing: str, csr: Path, installed: Path) -> Path:
        mqtt = MqttPlace(local_cloud.mqtt_host, local_cloud.mqtt_port, local_cloud.ca_pem.read_text())
        pack = tmp_path / "pack"
        wishes = Wishes(mqtt, root=ROOT, installed=installed)
        provision_device(aws, thing, pack, wishes=wishes, request=csr.read_text())
        return pack

    return sign


def test_an_operator_signs_a_request_and_the_key_never_leaves(
    aws: Aws, operator: Callable[..., Path], tmp_path: Path
) -> None:
    thing, csr, where = "press-by-request", tmp_path / "press.csr", tmp_path / "etc"
    assert run("enroll", "request", thing, "--csr", str(csr), "--dir", str(where)).exit_code == 0
    pack = operator(thing, csr, where)
    assert not (pack / "private.key").exists()
    result = run("enroll", "install", str(pack), "--dir", str(where), "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    told = json.loads(result.stdout)
    assert show_device(aws, thing)["certificates"] == [{"id": told["certificate_id"], "status": "ACTIVE"}]
    mqtt: Mqtt = read_settings(where / "config.toml").mqtt
    with Asking(mqtt, thing, 30) as connection:
        connection.subscribe(f"$aws/things/{thing}/jobs/notify")
    assert run("enroll", "install", str(pack), "--dir", str(where)).exit_code == 0
    assert operator(thing, csr, where) == pack
    assert len(show_device(aws, thing)["certificates"]) == 1


def test_a_certificate_for_another_key_is_not_installed(operator: Callable[..., Path], tmp_path: Path) -> None:
    thing, csr, where = "press-mixed-up", tmp_path / "press.csr", tmp_path / "etc"
    assert run("enroll", "request", thing, "--csr", str(csr), "--dir", str(where)).exit_code == 0
    pack = operator(thing, csr, where)
    (where / "private.key").unlink()
    assert "key" in refused(run("enroll", "install", str(pack), "--dir", str(where))).message
    assert run("enroll", "request", thing, "--csr", str(csr), "--dir", str(where)).exit_code == 0
    error = refused(run("enroll", "install", str(pack), "--dir", str(where)))
    assert (type(error), error.code) == (IdentityError, Code.FAILED_PRECONDITION)
    assert sorted(path.name for path in where.iterdir()) == ["private.key"]


@pytest.mark.parametrize("thing", ["", "press 4", "a" * 129, "press-4\n"])
def test_what_is_no_things_name_is_refused_before_a_key_is_made(thing: str, tmp_path: Path) -> None:
    csr, where = tmp_path / "press.csr", tmp_path / "etc"
    request = ("enroll", "request", thing, "--csr", str(csr), "--dir", str(where))
    claim = ("--endpoint", "h", "--claim-certificate", "c", "--claim-key", "k", "--root", "r", "--dir", str(where))
    for words in (request, ("enroll", "claim", thing, *claim)):
        failed = run(*words).exception
        assert isinstance(failed, IdentityError)
        assert failed.code is Code.INVALID_ARGUMENT
        assert f"THING: expected 1 to 128 of a-z A-Z 0-9 : _ -, as AWS IoT names things, came {thing!r}" in str(failed)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["text", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"]
)
def test_what_is_no_request_is_not_signed(aws: Aws, tmp_path: Path, text: str) -> None:
    with pytest.raises(CloudError, match="--csr"):
        provision_device(aws, "nobody", tmp_path / "d", wishes=Wishes(MqttPlace("h", 1)), request=text)
    assert not (tmp_path / "d").exists()


def test_another_things_request_is_not_signed(aws: Aws, tmp_path: Path) -> None:
    csr = tmp_path / "other.csr"
    assert run("enroll", "request", "other", "--csr", str(csr), "--dir", str(tmp_path / "etc")).exit_code == 0
    with pytest.raises(CloudError, match="it is other's"):
        provision_device(aws, "one", tmp_path / "d", wishes=Wishes(MqttPlace("h", 1)), request=csr.read_text())
    assert not (tmp_path / "d").exists()


def test_the_settings_alone_are_never_enough(tmp_path: Path) -> None:
    where = tmp_path / "etc"
    error = refused(run("enroll", "install", str(tmp_path), "--dir", str(where)))
    assert error.code is Code.NOT_FOUND
    assert not where.exists()


def test_a_stage_of_an_unused_create_topic_is_never_asked(device: Device, service: ProvisioningResponder) -> None:
    service.refuse = {CREATE: ("InvalidCertificateSigningRequest", "no")}
    assert "InvalidCertificateSigningRequest" in refused(device.enroll()).message
    assert device.names() == ["private.key"]
