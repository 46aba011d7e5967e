"""Whose signatures count: root rotation, thresholds, revoked keys, kinds of keys (TUF 1.0 §5.3, and 4 of 'Verify')."""

import functools
import json
from typing import Any, NamedTuple

import pytest
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata

from tests.fakes.tuf_client import OK, Client
from tests.fakes.tuf_simulator import TOP, Simulator

BELOW_ROOT = ("timestamp", "snapshot", "targets")


class Signing(NamedTuple):
    """Which keys a role has, how many must sign, and who signs: digits name keys."""

    keys: str
    threshold: int
    signers: str


ROTATIONS = {
    "one key is replaced, old and new sign": ["1 1 1", "2 1 21", "2 1 2"],
    "signatures of strangers do no harm": ["1 1 314", "2 1 3214", "2 1 324"],
    "any three of five": ["01234 3 024", "01234 3 041", "01234 3 013", "01234 3 013"],
    "one of five is replaced": ["01234 3 024", "01345 3 041"],
    "one of five is replaced with a step between": ["01234 3 024", "01345 3 0245", "01345 3 045"],
    "all five are replaced with a step between": ["01234 3 024", "56789 3 024567", "56789 3 567"],
    "the threshold rises": ["123 1 1", "123 2 12"],
    "the threshold sinks": ["123 2 12", "123 1 12", "123 1 1"],
    "a key joins and the threshold rises": ["1 1 1", "12 2 12"],
}
REFUSED_ROTATIONS = {
    "the old key did not sign": ["1 1 1", "2 1 234"],
    "the new key did not sign": ["1 1 1", "2 1 134"],
    "two of the new three signed": ["01234 3 024", "01345 3 024"],
    "two of the old three signed": ["01234 3 024", "01345 3 045"],
    "the risen threshold is not reached": ["123 1 1", "123 2 2"],
    "the old threshold is not reached": ["123 2 12", "123 1 1"],
    "nobody signed": ["1 1 1", "1 1 "],
}
SIGNED_ENOUGH = ["2 1 2", "1 1 314", "01234 3 024", "01234 3 041", "01234 3 123", "01234 5 01234"]
SIGNED_TOO_LITTLE = ["2 1 134", "01345 3 024", "01345 3 04", "1 1 ", "01 2 0", "0 2 0"]


@functools.cache
def signer(digit: str) -> CryptoSigner:
    return CryptoSigner.generate_ed25519()


@functools.cache
def other_signer(kind: str) -> CryptoSigner:
    return {
        "ed25519": CryptoSigner.generate_ed25519,
        "ecdsa": CryptoSigner.generate_ecdsa,
        "rsa-pss": CryptoSigner.generate_rsa,
        "rsa-pkcs1v15": lambda: CryptoSigner.generate_rsa(scheme="rsa-pkcs1v15-sha256"),
    }[kind]()


def arrange(repo: Simulator, role: str, text: str) -> None:
    """Give ``role`` keys, threshold and signers in the drafts."""
    keys, threshold, signers = text.split(" ")
    case = Signing(keys, int(threshold), signers)
    repo.root.roles[role].keyids = []
    repo.root.roles[role].threshold = case.threshold
    for digit in case.keys:
        repo.root.add_key(signer(digit).public_key, role)
    repo.signers[role] = [signer(digit) for digit in case.signers]


def publish_roots(repo: Simulator, versions: list[str]) -> list[bytes]:
    """Publish a chain of roots from version 1 on, instead of the present one; return them."""
    repo.root.version = 0
    roots = []
    for version in versions:
        arrange(repo, "root", version)
        repo.publish("root")
        roots.append(repo.content("root"))
    return roots


@pytest.mark.parametrize("versions", ROTATIONS.values(), ids=ROTATIONS)
def test_a_chain_of_roots_is_followed(client: Client, repo: Simulator, versions: list[str]) -> None:
    roots = publish_roots(repo, versions)
    assert client.init(roots[0]) == OK
    assert client.refresh() == OK
    assert client.content("root") == roots[-1]


@pytest.mark.parametrize("versions", REFUSED_ROTATIONS.values(), ids=REFUSED_ROTATIONS)
def test_a_chain_of_roots_ends_where_signatures_lack(client: Client, repo: Simulator, versions: list[str]) -> None:
    roots = publish_roots(repo, versions)
    assert client.init(roots[0]) == OK
    assert client.refresh() == "SIGNATURE_INVALID"
    assert client.content("root") == roots[0]
    assert list(client.versions()) == ["root"]


@pytest.mark.parametrize("role", BELOW_ROOT)
@pytest.mark.parametrize("case", SIGNED_ENOUGH)
def test_a_role_that_enough_of_its_keys_signed_is_taken(client: Client, repo: Simulator, role: str, case: str) -> None:
    arrange(repo, role, case)
    repo.publish("root")
    repo.update("targets")
    assert client.init() == OK
    assert client.refresh() == OK
    assert client.content(role) == repo.content(role)


@pytest.mark.parametrize("role", BELOW_ROOT)
@pytest.mark.parametrize("case", SIGNED_TOO_LITTLE)
def test_a_role_that_too_few_of_its_keys_signed_is_refused(
    client: Client, repo: Simulator, role: str, case: str
) -> None:
    assert client.init() == OK
    assert client.refresh() == OK
    trusted = client.content(role)
    arrange(repo, role, case)
    repo.publish("root")
    repo.update("targets")
    assert client.refresh() == "SIGNATURE_INVALID"
    assert (client.versions()["root"], client.content(role)) == (2, trusted)


@pytest.mark.parametrize("role", BELOW_ROOT)
def test_a_key_that_root_revoked_signs_no_more(client: Client, repo: Simulator, role: str) -> None:
    assert client.init() == OK
    assert client.refresh() == OK
    revoked = repo.signers[role]
    repo.rotate(role)
    repo.signers[role] = revoked
    repo.update("targets")
    assert client.refresh() == "SIGNATURE_INVALID"
    assert client.versions()[role] == 1


def test_a_local_role_whose_key_was_revoked_is_fetched_again(client: Client, repo: Simulator) -> None:
    assert client.init() == OK
    assert client.refresh() == OK
    repo.rotate(*BELOW_ROOT)
    repo.publish(*BELOW_ROOT, bump=False)
    assert client.refresh() == OK
    assert all(client.content(role) == repo.content(role) for role in TOP)


@pytest.mark.parametrize("version", [1, 3, 9])
def test_a_root_of_another_version_than_its_name_says_is_refused(client: Client, repo: Simulator, version: int) -> None:
    assert client.init() == OK
    trusted = client.content("root")
    repo.root.version = version
    repo.files[repo.place("root", 2)] = repo.sign(repo.root, repo.signers["root"])
    assert client.refresh() == "METADATA_ROLLBACK"
    assert client.content("root") == trusted


def test_a_root_behind_a_gap_is_not_reached(client: Client, repo: Simulator) -> None:
    first = repo.content("root")
    repo.publish("root", "root")
    del repo.files[repo.place("root", 2)]
    assert client.init(first) == OK
    assert client.refresh() == OK
    assert client.versions()["root"] == 1
    assert repo.asked_roles()[:2] == ["2.root", "timestamp"]


def test_all_roots_between_are_asked_for_once_and_in_order(client: Client, repo: Simulator) -> None:
    assert client.init() == OK
    for _ in range(5):
        repo.rotate("root")
        repo.signers["root"] = repo.signers["root"][:1]
    assert client.refresh() == OK
    assert repo.asked_roles()[:6] == [f"{number}.root" for number in range(2, 8)]
    assert client.versions()["root"] == 6
    assert client.refresh() == OK
    assert repo.asked_roles() == ["7.root", "timestamp"]


def test_one_refresh_follows_a_bounded_number_of_roots(client: Client, repo: Simulator) -> None:
    assert client.init() == OK
    repo.publish(*["root"] * 260)
    assert client.refresh() == OK
    assert client.versions()["root"] == 257
    assert client.refresh() == OK
    assert client.versions()["root"] == 261


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa-pss", "rsa-pkcs1v15"])
@pytest.mark.parametrize("forged", [False, True], ids=["genuine", "forged"])
def test_every_kind_of_key_may_sign_and_is_verified(client: Client, repo: Simulator, kind: str, forged: bool) -> None:
    assert client.init() == OK
    for role in BELOW_ROOT:
        repo.root.roles[role].keyids = []
        repo.signers[role] = []
        repo.add_key(role, other_signer(kind))
    repo.publish("root")
    repo.update("targets")
    if forged:
        changed = json.loads(repo.content("targets"))
        changed["signed"]["expires"] = "2999-01-01T00:00:00Z"
        repo.files[repo.place("targets")] = json.dumps(changed).encode()
    assert client.refresh() == ("SIGNATURE_INVALID" if forged else OK)
    assert client.versions().get("targets") == (None if forged else 2)


def test_a_key_id_may_be_any_text(client: Client, repo: Simulator) -> None:
    made = CryptoSigner.generate_ed25519()
    public = made.public_key
    odd = SSlibKey("not a digest/ü?#", public.keytype, public.scheme, public.keyval)
    repo.root.roles["snapshot"].keyids = []
    repo.signers["snapshot"] = []
    repo.add_key("snapshot", CryptoSigner(made._private_key, odd))
    repo.publish("root")
    repo.update()
    assert client.init() == OK
    assert client.refresh() == OK
    assert json.loads(client.content("snapshot"))["signatures"][0]["keyid"] == odd.keyid


def test_an_unknown_hash_algorithm_for_key_ids_is_no_concern(client: Client, repo: Simulator) -> None:
    key = repo.root.keys[repo.root.roles["snapshot"].keyids[0]]
    key.unrecognized_fields["keyid_hash_algorithms"] = ["md5"]
    repo.publish("root")
    assert client.init() == OK
    assert client.refresh() == OK
    assert client.versions()["root"] == 2


@pytest.mark.parametrize("doubled", ["key id in root", "signature"])
def test_one_key_counts_once(client: Client, repo: Simulator, doubled: str) -> None:
    assert client.init() == OK
    assert client.refresh() == OK
    repo.add_key("snapshot")
    repo.root.roles["snapshot"].threshold = 2
    repo.signers["snapshot"] = repo.signers["snapshot"][:1]
    if doubled == "key id in root":
        # As add_key would never leave it.
        repo.root.roles["snapshot"].keyids = repo.root.roles["snapshot"].keyids[:1] * 2
    repo.publish("root")
    repo.update()
    if doubled == "signature":
        repo.files[repo.place("snapshot")] = with_signatures(repo.content("snapshot"), lambda each: each * 2)
    assert client.refresh() == "SIGNATURE_INVALID"
    assert client.versions()["snapshot"] == 1


@pytest.mark.parametrize("role", BELOW_ROOT)
@pytest.mark.parametrize("sig", ["", "00", "zz", "cut"])
def test_a_broken_signature_counts_nothing(client: Client, repo: Simulator, role: str, sig: str) -> None:
    def broken(signatures: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**each, "sig": each["sig"][:-2] if sig == "cut" else sig} for each in signatures]

    repo.files[repo.place(role)] = with_signatures(repo.content(role), broken)
    assert client.init() == OK
    assert client.refresh() == "SIGNATURE_INVALID"
    assert role not in client.versions()


def test_a_signature_of_a_role_is_worth_nothing_for_another(client: Client, repo: Simulator) -> None:
    """The key of timestamp lies online; it must not do for targets."""
    repo.signers["targets"] = repo.signers["timestamp"]
    repo.update("targets")
    assert client.init() == OK
    assert client.refresh() == "SIGNATURE_INVALID"
    assert "targets" not in client.versions()


def with_signatures(content: bytes, change: Any) -> bytes:
    fields = json.loads(content)
    fields["signatures"] = change(fields["signatures"])
    return json.dumps(fields).encode()


def test_the_simulator_signs_what_python_tuf_reads(repo: Simulator) -> None:
    assert {Metadata.from_bytes(repo.content(role)).signed.type for role in TOP} == set(TOP)
