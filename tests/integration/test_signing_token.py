"""A signing key that never leaves a PKCS#11 token, here SoftHSM's: targets and root signed by it."""

import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from cloud_tools.release.authority import rotate, signatories
from cloud_tools.release.keys import KeyDirectory
from cloud_tools.release.repository import Repository
from cloud_tools.storage import DirectoryStorage
from edge_agent.errors import AgentError, Code
from edge_agent.formats import ModelVersion
from edge_agent.trust import TrustClient
from tests.fakes.repository import NOW, SignedRepository
from tests.fakes.soft_token import softhsm

PIN = "31415926"
LABEL = "edge-cloud test"


class Token(NamedTuple):
    """A token with keys of its own.

    Attributes:
        label: its name.
        keys: ids of its signing keys.
    """

    label: str
    keys: tuple[int, ...]


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Token:
    """A fresh token with two P-256 keys."""
    library = str(softhsm())
    pkcs11 = pytest.importorskip("pkcs11", reason="the extra hsm is not installed")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path / 'tokens'}\nlog.level = ERROR\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    monkeypatch.setenv("PYKCS11LIB", library)
    words = ["softhsm2-util", "--init-token", "--free", "--label", LABEL, "--so-pin", PIN, "--pin", PIN]
    subprocess.run(words, check=True, capture_output=True)
    opened = pkcs11.lib(library)
    # The library reads its configuration once in a process; a test before this one may have loaded it.
    opened.reinitialize()
    from pkcs11.util.ec import encode_named_curve_parameters  # noqa: PLC0415 - only with the extra hsm

    with opened.get_token(token_label=LABEL).open(rw=True, user_pin=PIN) as session:
        for number in (2, 3):
            curve = session.create_domain_parameters(
                pkcs11.KeyType.EC,
                {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")},
                local=True,
            )
            curve.generate_keypair(id=bytes([number]), label=f"key {number}", store=True)
    return Token(LABEL, (2, 3))


@pytest.fixture
def repository(tmp_path: Path) -> SignedRepository:
    made = SignedRepository(tmp_path / "cloud")
    made.publish("unet", "1")
    return made


def opened(repository: SignedRepository, pin: str = PIN) -> Repository:
    asked = KeyDirectory(repository.keys.directory, str, (), lambda: pin)
    return Repository(DirectoryStorage(repository.directory), asked, NOW)


@pytest.mark.parametrize("role", ["targets", "root"])
def test_a_key_in_a_token_signs_and_devices_follow(
    repository: SignedRepository, token: Token, tmp_path: Path, role: str
) -> None:
    device = TrustClient(tmp_path / "trust", repository.root, repository.objects, allow_demo_root=True, now=lambda: NOW)
    device.refresh()
    at_work = opened(repository)
    key = at_work.keys.add_token(role, label=token.label, keyid=token.keys[0])
    path = repository.keys.directory / f"{role}-2.token.json"
    assert rotate(at_work, role, public=[path]) == []
    (row,) = (row for row in signatories(opened(repository)) if row.role == role)
    assert row.keyids == row.at_hand == (key.keyid,)
    repository.keys = opened(repository).keys
    repository.publish("unet", "2")
    device.refresh()
    assert device.release(ModelVersion("unet", "2")).manifest.release_seq == 2
    assert b"PRIVATE" not in path.read_bytes()


def test_a_wrong_pin_signs_nothing(repository: SignedRepository, token: Token) -> None:
    at_work = opened(repository)
    at_work.keys.add_token("targets", label=token.label, keyid=token.keys[1])
    rotate(at_work, "targets", public=[repository.keys.directory / "targets-2.token.json"])
    before = {p: p.read_bytes() for p in (repository.directory / "metadata").iterdir()}
    repository.keys = opened(repository, pin="27182818").keys
    with pytest.raises(AgentError) as caught:
        repository.publish("unet", "2")
    assert caught.value.code is Code.PERMISSION_DENIED
    assert "27182818" not in str(caught.value)
    assert {p: p.read_bytes() for p in (repository.directory / "metadata").iterdir()} == before


@pytest.mark.parametrize(("label", "keyid"), [("another", 2), (LABEL, 9)])
def test_a_token_or_a_key_that_is_not_there_is_named(
    repository: SignedRepository, token: Token, label: str, keyid: int
) -> None:
    with pytest.raises(AgentError, match=f"{label}, key {keyid}") as caught:
        opened(repository).keys.add_token("targets", label=label, keyid=keyid)
    assert caught.value.code is Code.CONFIG_INVALID
    assert not list(repository.keys.directory.glob("*.token.json"))
