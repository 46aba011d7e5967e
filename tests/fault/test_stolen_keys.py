"""What each stolen key can do at worst: the cells of the table in docs/trust.md, each tried by its thief.

A thief of a key alone has the bucket too: whatever he signs is served. Installed is only what
``TrustClient.release`` hands out.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, Root, TargetFile

from cloud_tools.release.authority import delegate, revoke_key, rotate, signatories
from cloud_tools.release.chain import Chain
from cloud_tools.release.publish import publish, read_bundle, revoke
from cloud_tools.release.repository import sign
from edge_agent.errors import AgentError, Code
from edge_agent.formats import ModelVersion
from edge_agent.transfer import open_objects
from edge_agent.trust import TrustClient
from edge_agent.trust.rules import MAX_FLOOR
from tests.fakes.ceremony import forge, opened, targets_of
from tests.fakes.mirror import Mirror, mirrored
from tests.fakes.repository import NOW, SignedRepository, write_bundle

UNET1, WHEEL1 = ModelVersion("unet", "1"), ModelVersion("wheel", "1")
EVIL = ModelVersion("unet", "66")
ONLINE = ["snapshot", "timestamp"]


@pytest.fixture
def repository(tmp_path: Path) -> SignedRepository:
    """The model ``unet`` is signed by the family ``press``, ``wheel`` by ``wheels``; root is 2 of 3, no demo."""
    made = SignedRepository(tmp_path / "cloud", demo=False)
    made.publish("unet", "1")
    made.publish("wheel", "1")
    delegate(made.open(), "press", ["unet"])
    delegate(made.open(), "wheels", ["wheel"])
    made.save("honest")
    return made


@pytest.fixture
def mirror(repository: SignedRepository) -> Iterator[Mirror]:
    with mirrored(repository.directory) as mirror:
        yield mirror


class Device:
    """A device in the field."""

    def __init__(self, repository: SignedRepository, mirror: Mirror, directory: Path) -> None:
        self.repository, self.mirror = repository, mirror
        self.now = NOW
        self.client = TrustClient(
            directory, repository.root, open_objects(mirror.url), allow_demo_root=False, now=lambda: self.now
        )

    def attack(self) -> None:
        """Serve what the thief made of the repository, beside the honest state that the owner still has."""
        self.repository.save("thief")
        self.repository.restore("honest")
        self.mirror.show(self.repository.home / "thief")

    def fails(self, act: Callable[[], object]) -> Code:
        with pytest.raises(AgentError) as caught:
            act()
        return caught.value.code

    def asked_for(self, key: str) -> bool:
        """Tell whether forged bytes of ``key`` were fetched."""
        return any(path.endswith(key) for path in self.mirror.attacks)

    def recovered(self) -> None:
        """See the honest repository again, and all that it releases."""
        self.mirror.be_honest()
        self.client.refresh()
        assert self.client.release(UNET1).manifest.release_seq == 1
        assert self.client.release(WHEEL1).manifest.release_seq == 1


@pytest.fixture
def device(repository: SignedRepository, mirror: Mirror, tmp_path: Path) -> Device:
    device = Device(repository, mirror, tmp_path / "trust")
    device.client.refresh()
    mirror.be_honest()
    return device


def evil_release(repository: SignedRepository, path: str, custom: dict[str, Any]) -> TargetFile:
    """Put the thief's manifest into the bucket and return what is to be signed of it."""
    content = b'{"evil": true}'
    file = TargetFile.from_data(path, content, ["sha256"])
    file.unrecognized_fields["custom"] = custom
    directory, _, name = path.rpartition("/")
    place = repository.directory / "targets" / directory / f"{file.hashes['sha256']}.{name}"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return file


def put(repository: SignedRepository, role: str, version: ModelVersion, **facts: Any) -> Callable[[Chain], None]:
    """Return a change: ``role`` signs a release of the thief."""
    path = f"{version.name}/{version.version}/manifest.json"
    custom = {"model": version.name, "version": version.version, "release_seq": 66, **facts}
    file = evil_release(repository, path, custom)

    def change(chain: Chain) -> None:
        targets_of(chain, role).targets[path] = file

    return change


# One of the three root keys: nothing.


def test_one_stolen_root_key_makes_no_root(device: Device, repository: SignedRepository) -> None:
    root = Root.from_dict(repository.open().read().root.to_dict())
    root.version += 1
    thief = CryptoSigner.generate_ed25519()
    for role in root.roles:
        root.add_key(thief.public_key, role)
        root.roles[role].threshold = 1
    stolen = repository.keys.signers("root")[0]
    (repository.directory / "metadata/2.root.json").write_bytes(sign(root, [stolen, thief]))
    device.attack()
    assert device.fails(device.client.refresh) is Code.SIGNATURE_INVALID
    assert device.asked_for("2.root.json")
    device.recovered()
    keyid = stolen.public_key.keyid
    assert revoke_key(repository.open(), keyid) == []
    assert all(keyid not in row.keyids for row in signatories(repository.open()))
    device.recovered()


# timestamp: may hold devices at a state they know, and stop installs; until its key is rotated.


def test_a_stolen_timestamp_key_can_freeze_a_repository_and_install_nothing_else(
    device: Device, repository: SignedRepository
) -> None:
    later = NOW + 40 * 86_400

    def freeze(chain: Chain) -> None:
        chain.timestamp.version = 1000

    repository.now = later
    forge(repository, ["timestamp"], freeze)
    device.attack()
    device.now = later
    device.client.refresh()
    assert device.asked_for("timestamp.json")
    assert device.client.release(UNET1).manifest.release_seq == 1
    device.mirror.be_honest()
    assert device.fails(device.client.refresh) is Code.METADATA_ROLLBACK
    rotate(repository.open(), "timestamp")
    device.recovered()


def test_a_stolen_timestamp_key_can_blame_the_clock_and_rotation_ends_that(
    device: Device, repository: SignedRepository
) -> None:
    repository.now = NOW + 3650 * 86_400
    forge(repository, ["timestamp"], lambda _chain: None)
    repository.now = NOW
    device.attack()
    assert device.fails(device.client.refresh) is Code.CLOCK_UNTRUSTED
    assert device.asked_for("timestamp.json")
    # Serving, restart and rollback ask for floors only.
    assert device.client.floor("unet") == 0
    device.mirror.be_honest()
    assert device.fails(device.client.refresh) in (Code.CLOCK_UNTRUSTED, Code.METADATA_ROLLBACK)
    rotate(repository.open(), "timestamp")
    device.recovered()
    assert device.client.clock().trusted


# snapshot: alone nothing; with timestamp (whoever has the cloud account has both) no release of his own.


def test_a_stolen_snapshot_key_alone_is_worth_nothing(device: Device, repository: SignedRepository) -> None:
    genuine = (repository.directory / "metadata/timestamp.json").read_bytes()
    forge(repository, ONLINE, lambda chain: chain.snapshot.meta.pop("models-press.json"))
    version = json.loads(genuine)["signed"]["meta"]["snapshot.json"]["version"]
    forged = max((repository.directory / "metadata").glob("*.snapshot.json"), key=lambda p: int(p.name.split(".")[0]))
    # The thief has no timestamp that names his snapshot; he puts it where the genuine one lies.
    shutil.copy(forged, repository.directory / f"metadata/{version}.snapshot.json")
    (repository.directory / "metadata/timestamp.json").write_bytes(genuine)
    device.attack()
    newcomer = Device(repository, device.mirror, repository.home / "newcomer")
    assert newcomer.fails(newcomer.client.refresh) in (Code.SIGNATURE_INVALID, Code.TRANSFER_FAILED)
    assert device.asked_for(f"{version}.snapshot.json")
    device.client.refresh()
    device.recovered()


@pytest.mark.parametrize("role", ["targets", "models-press"])
def test_stolen_online_keys_install_nothing_that_targets_or_a_family_did_not_sign(
    device: Device, repository: SignedRepository, role: str
) -> None:
    change = put(repository, role, EVIL)

    def with_another_key(chain: Chain) -> None:
        change(chain)
        signed = targets_of(chain, role)
        signed.version += 1
        content = sign(signed, [CryptoSigner.generate_ed25519()])
        (repository.directory / f"metadata/{signed.version}.{role}.json").write_bytes(content)
        chain.snapshot.meta[f"{role}.json"].version = signed.version
        chain.snapshot.meta[f"{role}.json"].length = len(content)
        chain.snapshot.meta[f"{role}.json"].hashes = None

    forge(repository, ONLINE, with_another_key)
    device.attack()
    assert device.fails(lambda: device.client.refresh() or device.client.release(EVIL)) is Code.SIGNATURE_INVALID
    assert device.asked_for(f".{role}.json")
    rotate(repository.open(), "snapshot")
    rotate(repository.open(), "timestamp")
    device.recovered()


def test_stolen_online_keys_sink_no_family_below_what_a_device_has_seen_even_with_torn_metadata(
    device: Device, repository: SignedRepository
) -> None:
    repository.save("one release")
    repository.publish("unet", "2")
    device.client.refresh()
    (repository.home / "honest").rename(repository.home / "older")
    repository.save("honest")
    version = repository.open().read().signed_by("models-press").version - 1

    def sink(chain: Chain) -> None:
        meta = chain.snapshot.meta["models-press.json"]
        meta.version, meta.length, meta.hashes = version, None, None

    forge(repository, ONLINE, sink)
    device.attack()
    # Without python-tuf's own memory only the floors know better.
    shutil.rmtree(device.client._directory / "metadata")
    device.client.refresh()
    assert device.fails(lambda: device.client.release(UNET1)) is Code.METADATA_ROLLBACK
    assert device.client.release(WHEEL1).manifest.release_seq == 1
    assert device.asked_for("timestamp.json")
    assert not (device.client._directory / "metadata/models-press.json").exists()


# targets: alone nothing reaches a device; with the online keys everything, and rotation ends it.


def test_a_stolen_targets_key_alone_reaches_no_device(device: Device, repository: SignedRepository) -> None:
    genuine = (repository.directory / "metadata/timestamp.json").read_bytes()
    version = repository.open().read().targets.version
    forge(repository, ["targets", *ONLINE], put(repository, "targets", EVIL))
    (repository.directory / "metadata/timestamp.json").write_bytes(genuine)
    shutil.copy(
        repository.directory / f"metadata/{version + 1}.targets.json",
        repository.directory / f"metadata/{version}.targets.json",
    )
    device.attack()
    newcomer = Device(repository, device.mirror, repository.home / "newcomer")
    assert newcomer.fails(newcomer.client.refresh) in (Code.SIGNATURE_INVALID, Code.TRANSFER_FAILED)
    assert device.asked_for(f"{version}.targets.json")
    device.client.refresh()
    assert device.fails(lambda: device.client.release(EVIL)) is Code.RELEASE_UNKNOWN
    device.recovered()


def test_stolen_targets_and_online_keys_sign_everything_until_they_are_rotated(
    device: Device, repository: SignedRepository
) -> None:
    forge(repository, ["targets", *ONLINE], put(repository, "targets", EVIL))
    device.attack()
    device.client.refresh()
    # The device has no way to know: it gets as far as the thief's manifest.
    assert device.fails(lambda: device.client.release(EVIL)) is Code.MANIFEST_INVALID
    assert device.asked_for("manifest.json")
    for role in ("targets", *ONLINE):
        rotate(repository.open(), role)
    device.recovered()
    assert device.fails(lambda: device.client.release(EVIL)) is Code.RELEASE_UNKNOWN


# A family's key: its own models, and nothing of another's.


def test_a_stolen_family_key_alone_reaches_no_device(device: Device, repository: SignedRepository) -> None:
    genuine = (repository.directory / "metadata/timestamp.json").read_bytes()
    version = repository.open().read().signed_by("models-press").version
    forge(repository, ["models-press", *ONLINE], put(repository, "models-press", EVIL))
    (repository.directory / "metadata/timestamp.json").write_bytes(genuine)
    shutil.copy(
        repository.directory / f"metadata/{version + 1}.models-press.json",
        repository.directory / f"metadata/{version}.models-press.json",
    )
    device.attack()
    newcomer = Device(repository, device.mirror, repository.home / "newcomer")
    newcomer_says = newcomer.fails(lambda: newcomer.client.release(EVIL))
    assert newcomer_says in (Code.SIGNATURE_INVALID, Code.TRANSFER_FAILED)
    assert device.asked_for(f"{version}.models-press.json")
    device.recovered()


def test_a_stolen_family_key_signs_its_own_models_until_it_is_revoked(
    device: Device, repository: SignedRepository
) -> None:
    forge(repository, ["models-press", *ONLINE], put(repository, "models-press", EVIL))
    device.attack()
    device.client.refresh()
    assert device.fails(lambda: device.client.release(EVIL)) is Code.MANIFEST_INVALID
    assert device.asked_for("manifest.json")
    (stolen,) = repository.open().read().delegations()["models-press"].keyids
    assert revoke_key(repository.open(), stolen) == []
    for role in ONLINE:
        rotate(repository.open(), role)
    device.recovered()
    assert device.fails(lambda: device.client.release(EVIL)) is Code.RELEASE_UNKNOWN


def test_a_stolen_family_key_signs_no_release_of_another_family(device: Device, repository: SignedRepository) -> None:
    wheel9 = ModelVersion("wheel", "9")
    forge(repository, ["models-press", *ONLINE], put(repository, "models-press", wheel9))
    device.attack()
    device.client.refresh()
    assert device.asked_for("models-press.json")
    assert device.fails(lambda: device.client.release(wheel9)) is Code.RELEASE_UNKNOWN
    assert device.client.release(WHEEL1).manifest.release_seq == 1


@pytest.mark.parametrize("path", ["wheel/9/manifest.json", "unet/9/manifest.json"])
def test_a_stolen_family_key_raises_no_floor_of_another_family_s_model(
    device: Device, repository: SignedRepository, path: str
) -> None:
    """Neither under the other's path nor by speaking of the other's model beside its own path."""
    custom = {"model": "wheel", "version": "9", "release_seq": 9, "min_release_seq": 9}
    file = evil_release(repository, path, custom)

    def change(chain: Chain) -> None:
        targets_of(chain, "models-press").targets[path] = file

    forge(repository, ["models-press", *ONLINE], change)
    device.attack()
    device.client.refresh()
    assert device.asked_for("models-press.json")
    assert device.client.floor("wheel") == 0
    assert device.client.release(WHEEL1).manifest.release_seq == 1


def test_a_stolen_family_key_delegates_to_nobody(device: Device, repository: SignedRepository) -> None:
    thief = CryptoSigner.generate_ed25519()

    def change(chain: Chain) -> None:
        signed = targets_of(chain, "models-press")
        role = DelegatedRole("models-evil", [thief.public_key.keyid], 1, terminating=True, paths=["*/*/*"])
        signed.delegations = Delegations({thief.public_key.keyid: thief.public_key}, {"models-evil": role})

    forge(repository, ["models-press", *ONLINE], change)
    device.attack()
    device.client.refresh()
    assert device.asked_for("models-press.json")
    assert device.client.release(WHEEL1).manifest.release_seq == 1
    assert device.fails(lambda: device.client.release(EVIL)) is Code.RELEASE_UNKNOWN
    assert not any("models-evil" in key for key in device.mirror.asked)


def test_a_floor_that_a_thief_raised_stays_and_new_releases_go_above_it(
    device: Device, repository: SignedRepository, tmp_path: Path
) -> None:
    facts = {"release_seq": MAX_FLOOR, "min_release_seq": MAX_FLOOR}
    forge(repository, ["models-press", *ONLINE], put(repository, "models-press", EVIL, **facts))
    device.attack()
    device.client.refresh()
    assert device.client.floor("unet") == MAX_FLOOR
    assert device.asked_for("models-press.json")
    for role in ("models-press", *ONLINE):
        rotate(repository.open(), role)
    bundle = read_bundle(write_bundle(tmp_path / "bundle", "unet", "2"))
    (released,) = publish(opened(repository), [bundle], above=MAX_FLOOR)
    device.mirror.be_honest()
    device.client.refresh()
    assert device.client.floor("unet") == MAX_FLOOR
    assert device.client.release(ModelVersion("unet", "2")).manifest.release_seq == released.release_seq > MAX_FLOOR


def test_no_floor_is_higher_than_what_leaves_room_for_releases(device: Device, repository: SignedRepository) -> None:
    facts = {"release_seq": MAX_FLOOR + 1, "min_release_seq": MAX_FLOOR + 1}
    forge(repository, ["models-press", *ONLINE], put(repository, "models-press", EVIL, **facts))
    device.attack()
    device.client.refresh()
    assert device.asked_for("models-press.json")
    assert device.client.floor("unet") == 0


def test_a_broken_family_stops_its_own_models_and_no_other_s(device: Device, repository: SignedRepository) -> None:
    key = f"metadata/{repository.open().read().signed_by('models-press').version}.models-press.json"
    device.mirror.forged[key] = b"{}"
    newcomer = Device(repository, device.mirror, repository.home / "newcomer")
    newcomer.client.refresh()
    assert device.mirror.attacks == {key: 1}
    assert newcomer.fails(lambda: newcomer.client.release(UNET1)) is Code.SIGNATURE_INVALID
    assert newcomer.client.release(WHEEL1).manifest.release_seq == 1


def test_a_revocation_of_a_release_reaches_devices_though_its_family_s_key_was_rotated_since(
    device: Device, repository: SignedRepository
) -> None:
    repository.publish("unet", "2")
    revoke(repository.open(), "unet", 2)
    rotate(repository.open(), "models-press")
    device.client.refresh()
    assert device.client.floor("unet") == 2
