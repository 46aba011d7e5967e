import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloud_tools.release.authority import rotate
from cloud_tools.release.publish import revoke
from edge_agent.errors import BundleError, Code, DeploymentError, RefusedError, StorageError, TransferError, TrustError
from edge_agent.formats import ModelVersion
from edge_agent.trust import MAX_SKEW_S, TrustClient
from tests.fakes.repository import DAY, NOW, SignedRepository

UNET1, UNET2 = ModelVersion("unet", "1"), ModelVersion("unet", "2")


class Device:
    """A trust client whose clock can be set and that can be restarted."""

    def __init__(self, repository: SignedRepository, directory: Path) -> None:
        self.repository = repository
        self.directory = directory
        self.now = repository.now
        self.root: Path | None = repository.root
        self.allow_demo_root = True
        self.restart()

    def restart(self) -> None:
        self.client = TrustClient(
            self.directory,
            self.root,
            self.repository.objects,
            allow_demo_root=self.allow_demo_root,
            now=lambda: self.now,
        )

    def refused(self) -> Code:
        """Refresh, which must fail, and return why."""
        with pytest.raises(DeploymentError) as caught:
            self.client.refresh()
        return caught.value.code

    def tree(self) -> dict[str, bytes]:
        """Return what is kept, without the copy that python-tuf works on."""
        files = (path for path in self.directory.rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in files if "refreshing" not in path.parts}


@pytest.fixture
def repository(tmp_path: Path) -> SignedRepository:
    made = SignedRepository(tmp_path / "cloud")
    made.publish("unet", "1")
    return made


@pytest.fixture
def device(repository: SignedRepository, tmp_path: Path) -> Device:
    return Device(repository, tmp_path / "trust")


@pytest.fixture
def stranger(tmp_path: Path) -> SignedRepository:
    made = SignedRepository(tmp_path / "stranger")
    made.publish("unet", "1", b"evil")
    return made


def test_a_signed_release_is_believed(device: Device, repository: SignedRepository) -> None:
    published = repository.publish("unet", "2", b"better")
    device.client.refresh()
    release = device.client.release(UNET2)
    assert release.manifest.model_version == UNET2
    assert (release.manifest.release_seq, release.sha256) == (2, published.sha256)
    assert release.content == (repository.directory / "targets/unet/2/manifest.json").read_bytes()


def test_a_release_asked_for_without_a_refresh_is_refreshed_first(device: Device) -> None:
    assert device.client.release(UNET1).manifest.release_seq == 1


def test_a_release_that_nobody_signed_is_refused(device: Device) -> None:
    device.client.refresh()
    with pytest.raises(RefusedError) as caught:
        device.client.release(UNET2)
    assert caught.value.code is Code.RELEASE_UNKNOWN


def test_a_second_refresh_downloads_the_timestamp_alone(device: Device, repository: SignedRepository) -> None:
    device.client.refresh()
    repository.objects.asked.clear()
    device.client.refresh()
    assert repository.objects.asked == ["metadata/2.root.json", "metadata/timestamp.json"]


def test_a_repository_signed_by_another_s_keys_is_refused(
    device: Device, repository: SignedRepository, stranger: SignedRepository
) -> None:
    shutil.copytree(stranger.directory, repository.directory, dirs_exist_ok=True)
    assert device.refused() is Code.SIGNATURE_INVALID
    assert device.tree() == {}


@pytest.mark.parametrize("name", ["timestamp.json", "2.snapshot.json", "2.targets.json"])
def test_metadata_without_signatures_is_refused(device: Device, repository: SignedRepository, name: str) -> None:
    path = repository.directory / "metadata" / name
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps({**content, "signatures": []}))
    assert device.refused() is Code.SIGNATURE_INVALID


@pytest.mark.parametrize("name", ["timestamp.json", "2.snapshot.json", "2.targets.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 300, b"\xff\x00<html>", b"null", b'{"signed": 7}'])
def test_metadata_that_is_rubbish_is_refused(
    device: Device, repository: SignedRepository, name: str, content: bytes
) -> None:
    (repository.directory / "metadata" / name).write_bytes(content)
    assert device.refused() is Code.SIGNATURE_INVALID


def test_metadata_nested_without_end_is_refused(device: Device, repository: SignedRepository) -> None:
    (repository.directory / "metadata/timestamp.json").write_bytes(b"[" * 16_000)
    assert device.refused() is Code.SIGNATURE_INVALID


def test_a_repository_of_yesterday_is_refused(device: Device, repository: SignedRepository) -> None:
    repository.save("yesterday")
    repository.publish("unet", "2")
    device.client.refresh()
    kept = device.tree()
    repository.restore("yesterday")
    assert device.refused() is Code.METADATA_ROLLBACK
    assert device.tree() == kept


Damage = Callable[[Path, bytes], None]


def torn(path: Path, content: bytes) -> None:
    path.write_bytes(content[: len(content) // 2])


def zeroed(path: Path, content: bytes) -> None:
    path.write_bytes(bytes(len(content)))


def lost(path: Path, content: bytes) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [torn, zeroed, lost])
@pytest.mark.parametrize("spared", ["floors-1.json", "floors-2.json"])
def test_damaged_files_do_not_let_a_repository_of_yesterday_in(
    device: Device, repository: SignedRepository, damage: Damage, spared: str
) -> None:
    repository.save("yesterday")
    repository.publish("unet", "2")
    device.client.refresh()
    for path, content in device.tree().items():
        if Path(path).name != spared:
            damage(Path(path), content)
    repository.restore("yesterday")
    device.restart()
    assert device.refused() is Code.METADATA_ROLLBACK


@pytest.mark.parametrize("damage", [torn, zeroed, lost])
def test_without_floors_the_kept_metadata_still_refuses_yesterday(
    device: Device, repository: SignedRepository, damage: Damage, caplog: pytest.LogCaptureFixture
) -> None:
    repository.save("yesterday")
    repository.publish("unet", "2")
    device.client.refresh()
    for path in device.directory.glob("floors-*.json"):
        damage(path, path.read_bytes())
    repository.restore("yesterday")
    with caplog.at_level(logging.WARNING):
        device.restart()
    assert len([r for r in caplog.records if r.message == "floors damaged"]) == (0 if damage is lost else 2)
    assert device.refused() is Code.METADATA_ROLLBACK


@pytest.mark.parametrize("damage", [torn, zeroed, lost])
def test_damaged_files_are_mended_by_the_next_refresh(
    device: Device, repository: SignedRepository, damage: Damage
) -> None:
    device.client.refresh()
    whole = device.tree()
    for path, content in whole.items():
        if Path(path).name != "floors-2.json":
            damage(Path(path), content)
    device.restart()
    device.client.refresh()
    assert device.tree() == whole
    assert device.client.release(UNET1).manifest.model_version == UNET1


def test_a_frozen_repository_expires(device: Device) -> None:
    device.client.refresh()
    device.now = NOW + 30 * DAY - 1
    device.client.refresh()
    device.now = NOW + 30 * DAY
    assert device.refused() is Code.METADATA_EXPIRED


def test_a_release_is_not_handed_out_after_its_metadata_expired(device: Device) -> None:
    device.client.refresh()
    device.now = NOW + 31 * DAY
    with pytest.raises(TrustError) as caught:
        device.client.release(UNET1)
    assert caught.value.code is Code.METADATA_EXPIRED


def test_a_refreshed_repository_is_fresh_again(device: Device, repository: SignedRepository) -> None:
    device.client.refresh()
    repository.now = device.now = NOW + 40 * DAY
    repository.open().refresh()
    device.client.refresh()
    assert device.client.clock().floor == NOW + 40 * DAY


@pytest.mark.parametrize("mixed", ["2.snapshot.json", "2.targets.json"])
def test_a_mixture_of_two_signed_states_is_refused(
    device: Device, repository: SignedRepository, tmp_path: Path, mixed: str
) -> None:
    repository.save("one")
    genuine = (tmp_path / "cloud" / "one" / "metadata" / mixed).read_bytes()
    repository.publish("unet", "2")
    newer = repository.directory / "metadata" / mixed.replace("2.", "3.")
    assert newer.read_bytes() != genuine
    newer.write_bytes(genuine)
    assert device.refused() is Code.SIGNATURE_INVALID
    assert device.tree() == {}


@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json"])
def test_metadata_without_end_is_not_read_to_its_end(device: Device, repository: SignedRepository, name: str) -> None:
    with (repository.directory / "metadata" / name).open("ab") as file:
        file.truncate(64 << 20)
    with pytest.raises(TransferError) as caught:
        device.client.refresh()
    assert caught.value.code is Code.TRANSFER_FAILED


def test_a_manifest_with_a_flipped_byte_is_refused(device: Device, repository: SignedRepository) -> None:
    device.client.refresh()
    (path,) = (repository.directory / "targets/unet/1").glob("*.manifest.json")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError) as caught:
        device.client.release(UNET1)
    assert caught.value.code is Code.DIGEST_MISMATCH


def test_a_manifest_that_is_not_there_is_a_transfer_error(device: Device, repository: SignedRepository) -> None:
    device.client.refresh()
    shutil.rmtree(repository.directory / "targets")
    with pytest.raises(TransferError) as caught:
        device.client.release(UNET1)
    assert caught.value.code is Code.OBJECT_MISSING


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"version": "2"},
        {"release_seq": 2},
        {"release_seq": 0},
        {"release_seq": "many"},
        {"model": None},
        {"min_release_seq": -1},
    ],
)
def test_facts_that_contradict_the_manifest_are_refused(
    device: Device, repository: SignedRepository, change: dict[str, object]
) -> None:
    opened = repository.open()
    path = "unet/1/manifest.json"
    opened.change_custom({path: {**opened.targets()[path].custom, **change}})
    device.client.refresh()
    with pytest.raises(BundleError) as caught:
        device.client.release(UNET1)
    assert caught.value.code is Code.MANIFEST_INVALID


def test_one_malformed_release_does_not_hide_the_others(device: Device, repository: SignedRepository) -> None:
    repository.publish("unet", "2")
    repository.open().change_custom({"unet/1/manifest.json": {"model": ["no"]}})
    device.client.refresh()
    assert device.client.release(UNET2).manifest.model_version == UNET2


def test_a_signed_manifest_that_is_no_manifest_is_refused(device: Device, repository: SignedRepository) -> None:
    custom = {"model": "unet", "version": "2", "release_seq": 2}
    repository.open().sign({"unet/2/manifest.json": (b"{}", custom)})
    device.client.refresh()
    with pytest.raises(BundleError) as caught:
        device.client.release(UNET2)
    assert caught.value.code is Code.MANIFEST_INVALID


def test_a_signed_manifest_beyond_the_limit_is_not_even_read(device: Device, repository: SignedRepository) -> None:
    custom = {"model": "unet", "version": "2", "release_seq": 2}
    repository.open().sign({"unet/2/manifest.json": (bytes(1 + (1 << 20)), custom)})
    device.client.refresh()
    asked = len(repository.objects.asked)
    with pytest.raises(BundleError) as caught:
        device.client.release(UNET2)
    assert caught.value.code is Code.MANIFEST_INVALID
    assert len(repository.objects.asked) == asked


def test_a_demo_s_root_is_refused_before_anything_is_fetched(device: Device, repository: SignedRepository) -> None:
    device.allow_demo_root = False
    device.restart()
    assert device.refused() is Code.DEMO_ROOT
    assert repository.objects.asked == []


def test_a_root_of_two_of_three_keys_is_no_demo(tmp_path: Path) -> None:
    repository = SignedRepository(tmp_path / "cloud", demo=False)
    repository.publish("unet", "1")
    device = Device(repository, tmp_path / "trust")
    device.allow_demo_root = False
    device.restart()
    device.client.refresh()
    assert device.client.release(UNET1).manifest.model_version == UNET1


def test_a_root_with_one_signature_of_two_is_refused(tmp_path: Path) -> None:
    repository = SignedRepository(tmp_path / "cloud", demo=False)
    content = json.loads(repository.root.read_bytes())
    repository.root.write_text(json.dumps({**content, "signatures": content["signatures"][:1]}))
    assert Device(repository, tmp_path / "trust").refused() is Code.SIGNATURE_INVALID


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_rotated_keys_are_followed_and_the_old_ones_trusted_no_more(
    device: Device, repository: SignedRepository, role: str
) -> None:
    device.client.refresh()
    repository.save("before")
    rotate(repository.open(), role)
    repository.publish("unet", "2")
    device.client.refresh()
    assert device.client.release(UNET2).manifest.release_seq == 2
    # What the old key signed comes back, beside the new root.
    shutil.copytree(repository.home / "before", repository.directory, dirs_exist_ok=True)
    device.restart()
    assert device.refused() in (Code.SIGNATURE_INVALID, Code.METADATA_ROLLBACK)


def test_a_repository_without_the_rotated_root_is_refused_even_by_a_torn_device(
    device: Device, repository: SignedRepository
) -> None:
    repository.save("before")
    rotate(repository.open(), "timestamp")
    device.client.refresh()
    shutil.rmtree(device.directory / "metadata")
    repository.restore("before")
    device.restart()
    assert device.refused() is Code.METADATA_ROLLBACK


def test_a_stolen_timestamp_key_cannot_lock_a_device_out_for_ever(device: Device, repository: SignedRepository) -> None:
    opened = repository.open()
    repository.save("before")
    repository.now = NOW + 300
    thief = repository.open()
    chain = thief.read()
    chain.timestamp.version = 2**31
    (upload,) = thief._signed(chain, ["timestamp"])
    upload.do(thief.storage)
    device.client.refresh()
    repository.restore("before")
    assert device.refused() is Code.METADATA_ROLLBACK
    rotate(opened, "timestamp")
    device.client.refresh()
    assert device.client.release(UNET1).manifest.release_seq == 1


def test_a_revoked_release_lies_under_a_floor_that_never_sinks(device: Device, repository: SignedRepository) -> None:
    repository.publish("unet", "2")
    device.client.refresh()
    assert device.client.floor("unet") == 0
    assert revoke(repository.open(), "unet", 2) == 2
    device.client.refresh()
    assert device.client.floor("unet") == 2
    # Even the holder of the targets key cannot take it back.
    opened = repository.open()
    opened.change_custom({path: {**t.custom, "min_release_seq": 0} for path, t in opened.targets().items()})
    device.client.refresh()
    assert device.client.floor("unet") == 2
    assert device.client.floor("another") == 0


def test_floors_and_clock_are_known_offline_after_a_restart(device: Device, repository: SignedRepository) -> None:
    revoke(repository.open(), "unet", 1)
    device.client.refresh()
    shutil.rmtree(repository.directory)
    device.restart()
    assert device.client.floor("unet") == 1
    assert device.client.clock().floor == NOW
    assert device.refused() is Code.OBJECT_MISSING


def test_a_clock_before_the_time_of_signing_stops_installs(device: Device) -> None:
    device.client.refresh()
    device.now = NOW - MAX_SKEW_S - 1
    assert not device.client.clock().trusted
    assert device.refused() is Code.CLOCK_UNTRUSTED
    device.now = NOW - MAX_SKEW_S
    assert device.client.clock().trusted
    device.client.refresh()


def test_a_clock_before_the_time_of_signing_is_found_at_the_first_refresh(device: Device) -> None:
    device.now = NOW - 7 * DAY
    assert device.client.clock().trusted
    assert device.refused() is Code.CLOCK_UNTRUSTED
    assert device.client.clock().floor == NOW
    with pytest.raises(TrustError):
        device.client.release(UNET1)


def test_a_clock_before_the_agent_was_built_is_blamed_when_nothing_can_be_fetched(
    device: Device, repository: SignedRepository
) -> None:
    device.now = 0.0
    shutil.rmtree(repository.directory)
    assert not device.client.clock().trusted
    assert device.refused() is Code.CLOCK_UNTRUSTED


def test_a_clock_that_runs_ten_years_fast_does_not_poison_the_floor(device: Device) -> None:
    device.client.refresh()
    device.now = NOW + 3650 * DAY
    assert device.refused() is Code.METADATA_EXPIRED
    device.now = NOW + DAY
    device.client.refresh()
    assert device.client.clock().floor == NOW


@pytest.mark.parametrize("fault", ["none", "missing", "rubbish"])
def test_without_a_usable_root_nothing_is_believed(device: Device, tmp_path: Path, fault: str) -> None:
    rubbish = tmp_path / "rubbish.json"
    rubbish.write_bytes(b"root")
    device.root = {"none": None, "missing": tmp_path / "missing.json", "rubbish": rubbish}[fault]
    device.restart()
    assert device.client.floor("unet") == 0
    assert device.refused() is Code.SIGNATURE_INVALID


def test_a_repository_that_cannot_be_reached_is_a_transfer_error_and_keeps_its_permanence(
    device: Device, repository: SignedRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(key: str, **_: object) -> bytes:
        raise TransferError(Code.ACCESS_DENIED, f"{key}: refused", permanent=True)

    monkeypatch.setattr(repository.objects, "read", fail)
    with pytest.raises(TransferError) as caught:
        device.client.refresh()
    assert (caught.value.code, caught.value.permanent) == (Code.ACCESS_DENIED, True)


@pytest.fixture
def unwritable(device: Device) -> Iterator[None]:
    # A file where the directory should be fails for root too, which permissions do not.
    device.directory.write_bytes(b"")
    yield
    device.directory.unlink()


@pytest.mark.usefixtures("unwritable")
def test_a_disk_that_cannot_be_written_is_a_storage_error(device: Device) -> None:
    with pytest.raises(StorageError):
        device.client.refresh()
