"""Every attack that TUF names, against the agent's own trust room over HTTP: served for certain, and in vain.

The names are those of the specification (TUF 1.0 §1.5.2). Each test looks at the mirror's log: an attack
whose bytes nobody fetched would prove nothing.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud_tools.release.authority import rotate
from edge_agent.errors import AgentError, Code
from edge_agent.formats import ModelVersion
from edge_agent.transfer import Timeouts, open_objects
from edge_agent.trust import TrustClient
from tests.fakes.ceremony import forge
from tests.fakes.mirror import ENDLESS_BYTES, Mirror, mirrored
from tests.fakes.repository import DAY, NOW, SignedRepository

UNET1, UNET2 = ModelVersion("unet", "1"), ModelVersion("unet", "2")
METADATA = ("metadata/timestamp.json", "metadata/3.snapshot.json", "metadata/3.targets.json")


class Device:
    """A trust client that reads from a mirror, with a clock that can be set."""

    def __init__(self, directory: Path, root: Path, url: str, timeouts: Timeouts | None = None) -> None:
        self.directory = directory
        self.now = NOW
        objects = open_objects(url, timeouts=timeouts or Timeouts())
        self.client = TrustClient(directory, root, objects, allow_demo_root=True, now=lambda: self.now)

    def refused(self, act: Callable[[], object] | None = None) -> Code:
        """Refresh, or ``act``, which must fail and leave everything as it was; return why."""
        before = self.tree()
        with pytest.raises(AgentError) as caught:
            (act or self.client.refresh)()
        assert self.tree() == before
        return caught.value.code

    def tree(self) -> dict[str, bytes]:
        """Return what is kept, without the copy that python-tuf works on."""
        files = (path for path in self.directory.rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in files if "refreshing" not in path.parts}


@pytest.fixture
def repository(tmp_path: Path) -> SignedRepository:
    """Releases 1 and 2 of one model; the state before the second is kept as ``yesterday``."""
    made = SignedRepository(tmp_path / "cloud")
    made.publish("unet", "1")
    made.save("yesterday")
    made.publish("unet", "2", b"better")
    return made


@pytest.fixture
def mirror(repository: SignedRepository) -> Iterator[Mirror]:
    with mirrored(repository.directory) as mirror:
        yield mirror


@pytest.fixture
def device(repository: SignedRepository, mirror: Mirror, tmp_path: Path) -> Device:
    """A device that has seen today's repository."""
    device = Device(tmp_path / "trust", repository.root, mirror.url)
    device.client.refresh()
    mirror.be_honest()
    return device


@pytest.fixture
def newcomer(repository: SignedRepository, mirror: Mirror, tmp_path: Path) -> Device:
    """A device that knows the pinned root alone."""
    return Device(tmp_path / "newcomer", repository.root, mirror.url)


def manifest_key(repository: SignedRepository, version: ModelVersion) -> str:
    return repository.open().targets()[f"{version.name}/{version.version}/manifest.json"].key


# Arbitrary software installation: the attacker's own files, signed by nobody whom the device trusts.


def test_arbitrary_installation_a_repository_signed_by_a_stranger_is_refused(
    device: Device, newcomer: Device, mirror: Mirror, tmp_path: Path
) -> None:
    stranger = SignedRepository(tmp_path / "stranger")
    for version in ("1", "2", "3"):
        stranger.publish("unet", version, b"evil")
    mirror.show(stranger.directory)
    assert device.refused() is Code.SIGNATURE_INVALID
    assert newcomer.refused() is Code.SIGNATURE_INVALID
    assert mirror.attacks["metadata/timestamp.json"] == 2


@pytest.mark.parametrize("key", METADATA)
def test_arbitrary_installation_metadata_with_a_stranger_s_signature_is_refused(
    newcomer: Device, mirror: Mirror, repository: SignedRepository, tmp_path: Path, key: str
) -> None:
    stranger = SignedRepository(tmp_path / "stranger")
    stranger.publish("unet", "1", b"evil")
    stranger.publish("unet", "2", b"evil")
    mirror.forged[key] = (stranger.directory / key).read_bytes()
    assert newcomer.refused() is Code.SIGNATURE_INVALID
    assert mirror.attacks == {key: 1}


def test_arbitrary_installation_another_manifest_in_the_place_of_the_signed_one_is_refused(
    device: Device, mirror: Mirror, repository: SignedRepository
) -> None:
    key = manifest_key(repository, UNET2)
    content = (repository.directory / key).read_bytes()
    mirror.forged[key] = content.replace(b"model.onnx", b"other.onnx")
    assert device.refused(lambda: device.client.release(UNET2)) in (Code.DIGEST_MISMATCH, Code.TRANSFER_FAILED)
    assert mirror.attacks == {key: 1}


# Endless data: what never ends is not read to its end, wherever it comes.


@pytest.mark.parametrize("key", ["metadata/2.root.json", *METADATA])
def test_endless_data_in_metadata_is_read_up_to_its_bound_and_no_further(
    newcomer: Device, mirror: Mirror, key: str
) -> None:
    mirror.endless.add(key)
    assert newcomer.refused() is Code.TRANSFER_FAILED
    assert mirror.attacks == {key: 1}
    assert mirror.poured < ENDLESS_BYTES / 2


def test_endless_data_in_a_manifest_is_read_up_to_its_signed_length_and_no_further(
    device: Device, mirror: Mirror, repository: SignedRepository
) -> None:
    key = manifest_key(repository, UNET2)
    mirror.endless.add(key)
    assert device.refused(lambda: device.client.release(UNET2)) is Code.TRANSFER_FAILED
    assert mirror.attacks == {key: 1}
    assert mirror.poured < ENDLESS_BYTES / 2


# Extraneous dependencies: a good release made to bring something else along.


def test_extraneous_dependencies_an_artefact_added_to_a_manifest_is_refused(
    device: Device, mirror: Mirror, repository: SignedRepository
) -> None:
    key = manifest_key(repository, UNET2)
    manifest = json.loads((repository.directory / key).read_bytes())
    manifest["artefacts"].append({"path": "more.onnx", "role": "model", "size_bytes": 4, "sha256": "0" * 64})
    mirror.forged[key] = json.dumps(manifest).encode()
    assert device.refused(lambda: device.client.release(UNET2)) in (Code.DIGEST_MISMATCH, Code.TRANSFER_FAILED)
    assert mirror.attacks == {key: 1}


@pytest.mark.parametrize("addition", ["targets", "delegations"])
def test_extraneous_dependencies_a_release_or_a_signer_added_to_targets_is_refused(
    newcomer: Device, mirror: Mirror, repository: SignedRepository, addition: str
) -> None:
    key = "metadata/3.targets.json"
    content: dict[str, Any] = json.loads((repository.directory / key).read_bytes())
    if addition == "targets":
        content["signed"]["targets"]["evil/1/manifest.json"] = content["signed"]["targets"]["unet/1/manifest.json"]
    else:
        role = {"name": "models-evil", "keyids": [], "threshold": 1, "terminating": True, "paths": ["*/*/*"]}
        content["signed"]["delegations"] = {"keys": {}, "roles": [role]}
    mirror.forged[key] = json.dumps(content).encode()
    assert newcomer.refused() in (Code.SIGNATURE_INVALID, Code.TRANSFER_FAILED)
    assert mirror.attacks == {key: 1}


# Fast-forward: version numbers so high that the honest repository never gets there.


@pytest.mark.parametrize("roles", [["timestamp"], ["snapshot", "timestamp"], ["targets", "snapshot", "timestamp"]])
def test_fast_forward_ends_when_the_stolen_keys_are_rotated(
    device: Device, mirror: Mirror, repository: SignedRepository, roles: list[str]
) -> None:
    def jump(chain: Any) -> None:
        for role in roles:
            getattr(chain, role).version = 2**31

    repository.save("before")
    forge(repository, roles, jump)
    repository.save("thief")
    repository.restore("before")
    mirror.show(repository.home / "thief")
    device.client.refresh()
    assert mirror.attacks["metadata/timestamp.json"] == 1
    mirror.be_honest()
    assert device.refused() is Code.METADATA_ROLLBACK
    for role in roles:
        rotate(repository.open(), role)
    device.client.refresh()
    assert device.client.release(UNET2).manifest.release_seq == 2


# Indefinite freeze: the same old state for ever.


def test_freeze_a_repository_that_stands_still_is_believed_for_thirty_days_only(
    device: Device, mirror: Mirror, repository: SignedRepository
) -> None:
    repository.save("frozen")
    repository.now = NOW + 20 * DAY
    repository.publish("unet", "3")
    mirror.show(repository.home / "frozen")
    device.now = NOW + 29 * DAY
    device.client.refresh()
    device.now = NOW + 31 * DAY
    assert device.refused() is Code.METADATA_EXPIRED
    assert mirror.attacks["metadata/timestamp.json"] == 2
    mirror.be_honest()
    device.client.refresh()
    assert device.client.release(ModelVersion("unet", "3")).manifest.release_seq == 3


# Malicious mirror: one that lies about everything it can, or says nothing.


def test_malicious_mirror_a_flipped_bit_in_any_file_is_noticed_and_a_good_mirror_mends_it(
    repository: SignedRepository, mirror: Mirror, tmp_path: Path
) -> None:
    keys = [*METADATA, manifest_key(repository, UNET2)]
    for number, key in enumerate(keys):
        mirror.be_honest()
        content = bytearray((repository.directory / key).read_bytes())
        content[content.rindex(b'"') - 1] ^= 1
        mirror.forged[key] = bytes(content)
        device = Device(tmp_path / f"device-{number}", repository.root, mirror.url)
        with pytest.raises(AgentError) as caught:
            device.client.release(UNET2)
        assert caught.value.code in (Code.SIGNATURE_INVALID, Code.DIGEST_MISMATCH)
        assert mirror.attacks == {key: 1}
        mirror.be_honest()
        device.client.refresh()
        assert device.client.release(UNET2).manifest.release_seq == 2


def test_malicious_mirror_that_withholds_everything_costs_nothing_that_was_kept(
    device: Device, mirror: Mirror, repository: SignedRepository
) -> None:
    mirror.forged = dict.fromkeys(METADATA)
    assert device.refused() is Code.OBJECT_MISSING
    assert mirror.attacks == {"metadata/timestamp.json": 1}
    assert device.client.floor("unet") == 0
    mirror.be_honest()
    device.client.refresh()


# Mix and match: pieces of states that never were one state.


@pytest.mark.parametrize(("key", "old"), [(METADATA[1], "2.snapshot.json"), (METADATA[2], "2.targets.json")])
def test_mix_and_match_pieces_of_two_signed_states_are_refused(
    newcomer: Device, mirror: Mirror, repository: SignedRepository, key: str, old: str
) -> None:
    mirror.forged[key] = (repository.home / "yesterday/metadata" / old).read_bytes()
    assert newcomer.refused() in (Code.SIGNATURE_INVALID, Code.METADATA_ROLLBACK)
    assert mirror.attacks == {key: 1}


# Rollback: a state that was genuine once.


def test_rollback_to_yesterday_s_repository_is_refused(
    device: Device, mirror: Mirror, repository: SignedRepository
) -> None:
    mirror.show(repository.home / "yesterday")
    assert device.refused() is Code.METADATA_ROLLBACK
    assert mirror.attacks["metadata/timestamp.json"] == 1


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_rollback_by_a_thief_of_the_online_keys_sinks_no_role(
    device: Device, mirror: Mirror, repository: SignedRepository, role: str
) -> None:
    """The thief signs fresh timestamps and snapshots that point to yesterday's files."""

    def sink(chain: Any) -> None:
        if role == "targets":
            chain.snapshot.meta["targets.json"].version = 2
            chain.snapshot.meta["targets.json"].length = chain.snapshot.meta["targets.json"].hashes = None
        else:
            getattr(chain, role).version = 0

    forge(repository, ["snapshot", "timestamp"], sink)
    repository.save("thief")
    mirror.show(repository.home / "thief")
    mirror.genuine = repository.home / "yesterday"
    assert device.refused() is Code.METADATA_ROLLBACK
    assert mirror.attacks["metadata/timestamp.json"] == 1


# Slow retrieval: byte after byte, for ever.


@pytest.mark.parametrize("key", [METADATA[0], METADATA[2], "manifest"])
def test_slow_retrieval_is_given_up_and_can_be_tried_again(
    repository: SignedRepository, mirror: Mirror, tmp_path: Path, key: str
) -> None:
    key = manifest_key(repository, UNET2) if key == "manifest" else key
    mirror.slow[key] = 0.2
    device = Device(tmp_path / "trust", repository.root, mirror.url, Timeouts(request_s=3.0))
    with pytest.raises(AgentError) as caught:
        device.client.release(UNET2)
    assert caught.value.code is Code.TRANSFER_FAILED
    assert mirror.attacks == {key: 1}
    assert not getattr(caught.value, "permanent", True)
    mirror.be_honest()
    assert device.client.release(UNET2).manifest.release_seq == 2


class GivenUpError(Exception):
    """Whoever asked wants it no more."""


@pytest.mark.parametrize("key", [METADATA[0], "manifest"])
def test_slow_retrieval_holds_nobody_who_gives_up(
    repository: SignedRepository, mirror: Mirror, tmp_path: Path, key: str
) -> None:
    key = manifest_key(repository, UNET2) if key == "manifest" else key
    mirror.slow[key] = 5.0
    device = Device(tmp_path / "trust", repository.root, mirror.url)

    def check() -> None:
        if mirror.attacks:
            raise GivenUpError

    with pytest.raises(GivenUpError):
        device.client.release(UNET2, check)
    assert mirror.attacks == {key: 1}
    mirror.be_honest()
    assert device.client.release(UNET2, check).manifest.release_seq == 2


# Wrong software: genuine, but not what was asked for.


def test_wrong_software_another_release_s_genuine_manifest_is_refused(
    device: Device, mirror: Mirror, repository: SignedRepository
) -> None:
    key = manifest_key(repository, UNET2)
    mirror.forged[key] = (repository.directory / manifest_key(repository, UNET1)).read_bytes()
    assert device.refused(lambda: device.client.release(UNET2)) is Code.DIGEST_MISMATCH
    assert mirror.attacks == {key: 1}


def test_wrong_software_signed_under_another_release_s_name_is_refused(
    device: Device, mirror: Mirror, repository: SignedRepository
) -> None:
    """A mistake, or a thief, at the publisher: the name says one release, the manifest another."""
    opened = repository.open()
    target = opened.targets()["unet/1/manifest.json"]
    content = (repository.directory / target.key).read_bytes()
    opened.sign({"unet/9/manifest.json": (content, {**target.custom, "version": "9", "release_seq": 9})})
    device.client.refresh()
    wrong = ModelVersion("unet", "9")
    assert device.refused(lambda: device.client.release(wrong)) is Code.MANIFEST_INVALID
    assert manifest_key(repository, wrong) in mirror.asked
