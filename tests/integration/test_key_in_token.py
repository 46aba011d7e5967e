"""A device whose key lies in a PKCS#11 token, here SoftHSM's: enrolled, at work, renewed, and mistakes told."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from awsiot import mqtt5_client_builder

from cloud_tools.aws import Aws
from cloud_tools.local import Endpoints
from cloud_tools.provision.device import provision_device
from cloud_tools.provision.fragment import Mqtt as MqttPlace
from cloud_tools.provision.fragment import Wishes
from cloud_tools.provision.listing import show_device
from edge_agent.agent import enrolling
from edge_agent.config import Mqtt, TokenKey, read_settings
from edge_agent.errors import AgentError, Code, ConfigError, IdentityError, JobsError
from edge_agent.identity import Folder, Progress, Stage, material
from edge_agent.identity.lineage import Files, Lineage
from edge_agent.jobs.asking import Asking, prove
from edge_agent.jobs.mqtt import MqttConnection
from tests.fakes.device import eventually
from tests.fakes.jobs_agent import Agent
from tests.fakes.jobs_clouds import TIMEOUT_S, MosquittoCloud
from tests.fakes.soft_token import LABEL, PIN, SoftToken, SoftTpm
from tests.integration.test_enroll import ROOT, Device, refused, run
from tests.integration.test_enroll import device as device  # noqa: PLC0414 - fixtures, taken over
from tests.integration.test_enroll import service as service  # noqa: PLC0414 - as above

JOB = {"schema": "edge-agent/job/1", "operation": "install", "models": [{"name": "unet", "version": "2"}]}


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftToken:
    (tmp_path / "hsm").mkdir()
    return SoftToken(tmp_path / "hsm", monkeypatch)


@pytest.fixture(params=[SoftToken, SoftTpm])
def any_token(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SoftToken | SoftTpm]:
    (tmp_path / "hsm").mkdir()
    token = request.param(tmp_path / "hsm", monkeypatch)
    yield token
    token.stop()


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


def private_keys(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]


def enrolled(token: SoftToken, broker: MosquittoCloud, directory: Path) -> tuple[str, Mqtt]:
    """A device with a certificate for a key in the token."""
    thing, mqtt = broker.new_device()
    folder = Folder(directory, key=token.key())
    folder.put_certificate(broker.authority.sign(folder.request(thing)))
    return thing, mqtt.model_copy(update={"certificate": folder.certificate, "private_key": token.key()})


def test_enrolled_by_claim_a_job_goes_through_and_the_key_is_on_no_disk(
    any_token: SoftToken | SoftTpm, device: Device, broker: MosquittoCloud, tmp_path: Path
) -> None:
    token, thing = any_token, device.thing
    result = device.enroll("--key", str(token.key()))
    assert result.exit_code == 0, (result.output, result.exception)
    assert device.names() == ["ca.pem", "certificate.pem", "config.toml", "request.csr", "root.json"]
    assert private_keys(tmp_path) == []

    settings = read_settings(tmp_path / "etc" / "config.toml").mqtt
    assert settings.private_key == token.key()
    agent = Agent(tmp_path, thing, settings)
    agent.wait_connected()
    broker.create_job(thing, f"job-{thing}", JOB)
    assert agent.finish(f"job-{thing}").accepted
    # The next connection of the same process finds the token open already.
    agent = agent.again()
    agent.wait_connected()
    agent.close()


def test_cut_off_where_the_certificate_is_worth_nothing_a_claim_goes_on_with_another_one(
    token: SoftToken, device: Device, broker: MosquittoCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, tries = Folder(device.directory, key=token.key()), []
    lost = broker.authority.sign(folder.request(device.thing))
    folder.save(Progress(asked=device.thing, stage=Stage.REGISTERING, certificate=lost, token="late"))

    def proven(settings: Mqtt, name: str, timeout_s: float) -> None:
        prove(settings, name, timeout_s)
        tries.append(name)
        if len(tries) == 1:
            raise JobsError(Code.NOT_CONNECTED, "refused, with the token open")

    monkeypatch.setattr(enrolling, "prove", proven)
    result = device.enroll("--key", str(token.key()))
    assert (result.exit_code, len(tries)) == (0, 2), (result.output, result.exception)
    assert folder.certificate.read_text() != lost


def test_the_key_that_enrolment_makes_cannot_be_taken_out(any_token: SoftToken | SoftTpm, tmp_path: Path) -> None:
    import pkcs11  # noqa: PLC0415 - only with the extra hsm

    Folder(tmp_path / "etc", key=any_token.key()).request("press-7")
    with any_token.opened() as session:
        (key,) = session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY})
        said = [key[getattr(pkcs11.Attribute, name)] for name in ("LABEL", "EXTRACTABLE", "SENSITIVE", "PRIVATE")]
    assert said == ["press-7", False, True, True]


def test_a_key_whose_halves_are_labelled_differently_as_on_smart_cards_signs(token: SoftToken, tmp_path: Path) -> None:
    import pkcs11  # noqa: PLC0415 - only with the extra hsm

    with token.opened() as session:
        public, _ = pair(session, {pkcs11.Attribute.LABEL: "press-7 pubkey"}, {pkcs11.Attribute.LABEL: "press-7"})
        pair(session, {pkcs11.Attribute.LABEL: "press-7"}, {pkcs11.Attribute.LABEL: "another"})
        wanted = pkcs11.util.ec.encode_ec_public_key(public)
    request = material.read_request(Folder(tmp_path / "etc", key=token.key()).request("press-7"), "request")
    assert material.public_part(request) == wanted


def test_a_key_that_can_be_taken_out_of_its_token_is_refused(token: SoftToken, tmp_path: Path) -> None:
    import pkcs11  # noqa: PLC0415 - only with the extra hsm

    with token.opened() as session:
        label = {pkcs11.Attribute.LABEL: "press-7"}
        pair(session, label, {**label, pkcs11.Attribute.EXTRACTABLE: True})
    with pytest.raises(IdentityError, match="expected a key that stays in its token"):
        Folder(tmp_path / "etc", key=token.key()).request("press-7")
    assert names(tmp_path / "etc") == []


def pair(session: Any, public: dict[Any, Any], private: dict[Any, Any]) -> Any:
    """Make a key pair as the token's own tool does."""
    import pkcs11  # noqa: PLC0415 - only with the extra hsm

    curve = {pkcs11.Attribute.EC_PARAMS: pkcs11.util.ec.encode_named_curve_parameters("secp256r1")}
    parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
    return parameters.generate_keypair(id=os.urandom(4), store=True, public_template=public, private_template=private)


def test_asked_again_the_same_key_signs(token: SoftToken, tmp_path: Path) -> None:
    csr = [tmp_path / "1.csr", tmp_path / "2.csr"]
    for path in csr:
        words = ("enroll", "request", "press-7", "--csr", str(path), "--dir", str(tmp_path / "etc"))
        assert run(*words, "--key", str(token.key())).exit_code == 0
    from cryptography import x509  # noqa: PLC0415 - as the cloud reads it

    first, second = (x509.load_pem_x509_csr(path.read_bytes()) for path in csr)
    assert first.is_signature_valid
    assert second.is_signature_valid
    assert first.public_key() == second.public_key()
    assert first.subject.rfc4514_string() == "CN=press-7"


def test_an_operator_signs_the_tokens_request_and_what_comes_back_is_installed(
    aws: Aws, local_cloud: Endpoints, token: SoftToken, tmp_path: Path
) -> None:
    thing, csr, where = "press-in-token", tmp_path / "press.csr", tmp_path / "etc"
    key = ("--key", str(token.key()))
    assert run("enroll", "request", thing, "--csr", str(csr), "--dir", str(where), *key).exit_code == 0
    place = MqttPlace(local_cloud.mqtt_host, local_cloud.mqtt_port, local_cloud.ca_pem.read_text())
    wishes = Wishes(place, root=ROOT, installed=where)
    provision_device(aws, thing, tmp_path / "pack", wishes=wishes, request=csr.read_text())
    forgotten = refused(run("enroll", "install", str(tmp_path / "pack"), "--dir", str(where)))
    assert "--key" in forgotten.message
    assert names(where) == ["request.csr"]
    result = run("enroll", "install", str(tmp_path / "pack"), "--dir", str(where), *key, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    told = json.loads(result.stdout)
    assert show_device(aws, thing)["certificates"] == [{"id": told["certificate_id"], "status": "ACTIVE"}]
    with Asking(read_settings(where / "config.toml").mqtt, thing, TIMEOUT_S) as connection:
        connection.subscribe(f"$aws/things/{thing}/jobs/notify")
    assert private_keys(tmp_path) == []
    forgotten = run("enroll", "forget", "--dir", str(where), "--yes")
    assert names(where) == ["ca.pem", "config.toml", "root.json"]
    assert f"the key stays in its token: {token.key()}" in forgotten.output


def test_the_certificate_is_renewed_for_the_key_that_stays(
    token: SoftToken, broker: MosquittoCloud, tmp_path: Path
) -> None:
    thing, mqtt = enrolled(token, broker, tmp_path / "etc")
    first = Files(tmp_path / "etc" / "certificate.pem", token.key())
    lineage = Lineage(tmp_path / "identity", first)
    before = lineage.current
    lineage.ask(thing)
    with pytest.raises(AgentError, match="expected a certificate of this device's key"):
        lineage.put(broker.authority.issue("another").certificate.read_text())
    with pytest.raises(AgentError, match="expected another one, came the one in use"):
        lineage.put(first.certificate.read_text())
    files = lineage.put(broker.authority.sign(lineage.request))
    prove(mqtt.model_copy(update=files._asdict()), thing, TIMEOUT_S)
    lineage.switch()
    after = Lineage(tmp_path / "identity", first)
    assert after.files == Files(tmp_path / "identity" / "1" / "certificate.pem", token.key())
    assert after.current.id != before.id
    assert after.current.public_key == before.public_key


def test_without_its_request_no_certificate_is_asked_for(
    token: SoftToken, broker: MosquittoCloud, tmp_path: Path
) -> None:
    thing, _ = enrolled(token, broker, tmp_path / "etc")
    (tmp_path / "etc" / "request.csr").unlink()
    lineage = Lineage(tmp_path / "identity", Files(tmp_path / "etc" / "certificate.pem", token.key()))
    with pytest.raises(AgentError, match=r"request\.csr: expected a file"):
        lineage.ask(thing)
    assert lineage.request == ""
    assert names(tmp_path / "identity") == []


Mistake = tuple[TokenKey, str]


@pytest.fixture(params=["PIN", "token", "two tokens", "no tokens", "library", "no library", "PIN file"])
def mistake(request: pytest.FixtureRequest, token: SoftToken) -> Iterator[Mistake]:
    """A key that is named wrongly or whose token is not as it should be, and what has to be said."""
    if request.param == "no tokens":
        with token.away():
            yield token.key(), f"the token '{LABEL}' to open, it refused: GENERAL_ERROR"
    else:
        yield _mistake(request.param, token)


def _mistake(what: str, token: SoftToken) -> Mistake:
    match what:
        case "PIN":
            token.write_pin("27182818")
            return token.key(), f"PIN of the token '{LABEL}' in file:{token.pin_file}"
        case "token":
            return token.key(token="press-hall-5"), "one token labelled 'press-hall-5'"
        case "two tokens":
            token.make(LABEL)
            return token.key(), f"one token labelled '{LABEL}'"
        case "library":
            return token.key(library=token.directory / "none.so"), f"library at {token.directory / 'none.so'}"
        case "no library":
            (token.directory / "text.so").write_text("text")
            return token.key(library=token.directory / "text.so"), f"library at {token.directory / 'text.so'}"
    token.pin_file.chmod(0o644)
    return token.key(), f"{token.pin_file} with mode 0600, came 0644"


def test_a_connection_says_what_it_expected_of_the_token(
    mistake: Mistake, broker: MosquittoCloud, tmp_path: Path
) -> None:
    key, said = mistake
    thing, mqtt = broker.new_device()
    with pytest.raises(ConfigError, match=r"mqtt\.private_key: expected") as caught:
        MqttConnection(mqtt.model_copy(update={"private_key": key}), thing, hand_over=print)
    assert said in caught.value.message
    assert "27182818" not in str(caught.value)


def test_enrolment_says_what_it_expected_of_the_token_and_writes_nothing(mistake: Mistake, tmp_path: Path) -> None:
    key, said = mistake
    words = ("enroll", "request", "press-7", "--csr", str(tmp_path / "a.csr"), "--dir", str(tmp_path / "etc"))
    error = refused(run(*words, "--key", str(key)))
    assert (error.code, said in error.message) == (Code.CONFIG_INVALID, True), error.message
    assert not (tmp_path / "a.csr").exists()
    assert names(tmp_path / "etc") == []


def test_a_pin_that_was_refused_is_not_shown_to_the_token_again(
    token: SoftToken, broker: MosquittoCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing, mqtt = enrolled(token, broker, tmp_path / "etc")
    token.write_pin("27182818")
    refusal = "expected the PIN of the token"
    with pytest.raises(ConfigError, match=refusal):
        MqttConnection(mqtt, thing, hand_over=print)
    with monkeypatch.context() as patched:
        # Whoever opens the token now fails otherwise.
        patched.setattr(mqtt5_client_builder, "mtls_with_pkcs11", None)
        with pytest.raises(ConfigError, match=refusal):
            MqttConnection(mqtt, thing, hand_over=print)
    token.write_pin(PIN)
    prove(mqtt, thing, TIMEOUT_S)


def test_an_agent_whose_token_is_away_starts_and_connects_once_it_is_there(
    token: SoftToken, broker: MosquittoCloud, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    thing, mqtt = enrolled(token, broker, tmp_path / "etc")
    with token.away(), caplog.at_level(logging.INFO):
        agent = Agent(tmp_path, thing, mqtt)
        eventually(lambda: "expected the token" in caplog.text or None)
    agent.wait_connected()
    agent.close()


def test_a_token_that_was_taken_out_and_put_back_is_opened_anew(
    token: SoftToken, broker: MosquittoCloud, tmp_path: Path
) -> None:
    thing, mqtt = enrolled(token, broker, tmp_path / "etc")
    agent = Agent(tmp_path, thing, mqtt)
    agent.wait_connected()
    token.replug()
    broker.restart()
    agent.wait_disconnected()
    agent.wait_connected()
    agent.close()


def test_a_key_that_is_not_in_the_token_is_named(token: SoftToken, broker: MosquittoCloud, tmp_path: Path) -> None:
    thing, mqtt = enrolled(token, broker, tmp_path / "etc")
    with pytest.raises(ConfigError, match=f"one key labelled 'press-8' in the token '{LABEL}'"):
        MqttConnection(mqtt.model_copy(update={"private_key": token.key("press-8")}), thing, hand_over=print)
