"""What never sinks, whatever becomes of the two copies; the clock; and roots that are many versions old."""

import json
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from tuf.api.metadata import Root

from cloud_tools.release.authority import delegate, rotate
from cloud_tools.release.publish import revoke
from cloud_tools.release.repository import sign
from edge_agent.errors import AgentError, Code
from edge_agent.formats import ModelVersion
from edge_agent.trust import MAX_SKEW_S, TrustClient
from edge_agent.trust.floors import FloorFiles, Floors, RoleFloor
from tests.fakes.repository import DAY, NOW, SignedRepository

UNET1, WHEEL1 = ModelVersion("unet", "1"), ModelVersion("wheel", "1")
COPIES = ("floors-1.json", "floors-2.json")
TEN_YEARS = 3652 * DAY


def torn(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


def lost(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES = [torn, zeroed, flipped, lost, empty]


@pytest.fixture
def repository(tmp_path: Path) -> SignedRepository:
    """Two models, one signed by a family; both have a floor."""
    made = SignedRepository(tmp_path / "cloud")
    for name in ("unet", "wheel"):
        made.publish(name, "1")
        made.publish(name, "2")
    delegate(made.open(), "press", ["unet"])
    made.save("no floors")
    revoke(made.open(), "unet", 2)
    revoke(made.open(), "wheel", 2)
    return made


def device(repository: SignedRepository, tmp_path: Path, now: float = NOW) -> TrustClient:
    """Return a freshly started client."""
    return TrustClient(tmp_path / "trust", repository.root, repository.objects, allow_demo_root=True, now=lambda: now)


def refusal(act: Callable[[], object]) -> Code:
    with pytest.raises(AgentError) as caught:
        act()
    return caught.value.code


# Floors.


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("copies", [COPIES[:1], COPIES[1:], COPIES])
def test_floors_of_models_stay_known_offline_whatever_becomes_of_their_copies(
    repository: SignedRepository, tmp_path: Path, damage: Callable[[Path], None], copies: tuple[str, ...]
) -> None:
    device(repository, tmp_path).refresh()
    for name in copies:
        path = tmp_path / "trust" / name
        before = path.read_bytes()
        damage(path)
        assert not path.exists() or path.read_bytes() != before
    shutil.rmtree(repository.directory)
    again = device(repository, tmp_path)
    assert (again.floor("unet"), again.floor("wheel"), again.floor("none")) == (2, 2, 0)


@pytest.mark.parametrize("damage", DAMAGES)
def test_floors_outlive_all_metadata_and_one_copy(
    repository: SignedRepository, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    device(repository, tmp_path).refresh()
    damage(tmp_path / "trust" / COPIES[0])
    for path in (tmp_path / "trust/metadata").rglob("*.json"):
        if path.is_file() and not path.is_symlink():
            damage(path)
    repository.restore("no floors")
    again = device(repository, tmp_path)
    assert (again.floor("unet"), again.floor("wheel")) == (2, 2)
    assert refusal(again.refresh) is Code.METADATA_ROLLBACK


def test_a_copy_that_is_whole_but_old_loses_against_the_newer_one(tmp_path: Path) -> None:
    files = FloorFiles(tmp_path)
    old = Floors(serial=1, models={"unet": 7}, roles={"targets": RoleFloor(version=3)}, issued=5)
    files.save(old)
    kept = (tmp_path / COPIES[0]).read_bytes()
    files.save(Floors(serial=2, models={"wheel": 4}, roles={"targets": RoleFloor(version=9)}, issued=6))
    (tmp_path / COPIES[0]).write_bytes(kept)
    loaded = files.load()
    # Models take the maximum of both: they never sink, for whatever reason.
    assert loaded.models == {"unet": 7, "wheel": 4}
    assert (loaded.roles["targets"].version, loaded.issued) == (9, 6)
    assert not files.complete(loaded)


def test_damaged_copies_are_made_whole_by_the_next_refresh(repository: SignedRepository, tmp_path: Path) -> None:
    device(repository, tmp_path).refresh()
    for name in COPIES:
        flipped(tmp_path / "trust" / name)
    device(repository, tmp_path).refresh()
    loaded = FloorFiles(tmp_path / "trust").load()
    assert FloorFiles(tmp_path / "trust").complete(loaded)
    assert loaded.models == {"unet": 2, "wheel": 2}
    assert {*loaded.roles} == {"root", "timestamp", "snapshot", "targets", "models-press"}


@pytest.mark.parametrize("damage", [torn, zeroed, lost])
@pytest.mark.parametrize("spared", COPIES)
def test_a_family_s_metadata_of_yesterday_is_refused_though_all_files_but_one_are_damaged(
    repository: SignedRepository, tmp_path: Path, damage: Callable[[Path], None], spared: str
) -> None:
    repository.save("yesterday")
    repository.publish("unet", "3")
    device(repository, tmp_path).refresh()
    for path in [p for p in (tmp_path / "trust").rglob("*.json") if not p.is_symlink() and p.name != spared]:
        damage(path)
    repository.restore("yesterday")
    assert refusal(device(repository, tmp_path).refresh) is Code.METADATA_ROLLBACK


def test_a_family_s_files_are_kept_durably_and_not_fetched_twice(repository: SignedRepository, tmp_path: Path) -> None:
    device(repository, tmp_path).refresh()
    assert (tmp_path / "trust/metadata/models-press.json").is_file()
    repository.objects.asked.clear()
    device(repository, tmp_path).refresh()
    assert repository.objects.asked == ["metadata/2.root.json", "metadata/timestamp.json"]


def test_a_family_s_metadata_that_is_torn_is_fetched_again(repository: SignedRepository, tmp_path: Path) -> None:
    device(repository, tmp_path).refresh()
    torn(tmp_path / "trust/metadata/models-press.json")
    repository.objects.asked.clear()
    again = device(repository, tmp_path)
    assert again.release(ModelVersion("unet", "2")).manifest.release_seq == 2
    assert any(key.endswith(".models-press.json") for key in repository.objects.asked)


def test_a_family_that_expired_stops_its_models_alone(repository: SignedRepository, tmp_path: Path) -> None:
    late = NOW + 1095 * DAY
    repository.now = late - DAY
    opened = repository.open()
    opened.commit(opened.read(), {"targets"})
    at_work = device(repository, tmp_path, late)
    at_work.refresh()
    assert refusal(lambda: at_work.release(ModelVersion("unet", "2"))) is Code.METADATA_EXPIRED
    assert at_work.release(ModelVersion("wheel", "2")).manifest.release_seq == 2


def test_more_delegations_than_a_refresh_looks_after_are_refused(repository: SignedRepository, tmp_path: Path) -> None:
    opened = repository.open()
    chain = opened.read()
    assert chain.targets.delegations is not None
    assert chain.targets.delegations.roles is not None
    one = chain.targets.delegations.roles["models-press"]
    for number in range(64):
        again = type(one).from_dict({**one.to_dict(), "name": f"models-{number}"})
        chain.targets.delegations.roles[again.name] = again
    opened.commit(chain, {"targets"})
    assert refusal(device(repository, tmp_path).refresh) is Code.SIGNATURE_INVALID


# The clock: only what was signed and the build time raise its floor.


@pytest.mark.parametrize("wrong", [-TEN_YEARS, TEN_YEARS])
def test_a_clock_ten_years_off_stops_installs_and_poisons_nothing(
    repository: SignedRepository, tmp_path: Path, wrong: float
) -> None:
    device(repository, tmp_path).refresh()
    before = FloorFiles(tmp_path / "trust").load()
    off = device(repository, tmp_path, NOW + wrong)
    expected = Code.METADATA_EXPIRED if wrong > 0 else Code.CLOCK_UNTRUSTED
    assert refusal(off.refresh) is expected
    assert refusal(lambda: off.release(WHEEL1)) is expected
    # What serving, a restart and a rollback need goes on without the clock.
    assert (off.floor("unet"), off.floor("wheel")) == (2, 2)
    assert off.clock().trusted is (wrong > 0)
    assert FloorFiles(tmp_path / "trust").load() == before
    device(repository, tmp_path).refresh()


@pytest.mark.parametrize("wrong", [-TEN_YEARS, TEN_YEARS])
def test_a_new_device_whose_clock_is_ten_years_off_installs_nothing_until_it_is_set(
    repository: SignedRepository, tmp_path: Path, wrong: float
) -> None:
    assert refusal(device(repository, tmp_path, NOW + wrong).refresh) in (Code.METADATA_EXPIRED, Code.CLOCK_UNTRUSTED)
    at_work = device(repository, tmp_path)
    at_work.refresh()
    assert at_work.release(ModelVersion("wheel", "2")).manifest.release_seq == 2


def test_a_clock_that_was_fast_and_is_set_right_is_trusted_again_at_once(
    repository: SignedRepository, tmp_path: Path
) -> None:
    # Fast, but within the validity: the refresh passes and must not raise the floor to the clock.
    device(repository, tmp_path, NOW + 29 * DAY).refresh()
    right = device(repository, tmp_path, NOW - MAX_SKEW_S)
    assert right.clock().trusted
    right.refresh()


# Roots that are many versions old.


def long_life(repository: SignedRepository, rotations: int) -> None:
    for _ in range(rotations):
        rotate(repository.open(), "timestamp")


def test_a_device_follows_roots_over_many_versions_and_keeps_what_it_learned(
    repository: SignedRepository, tmp_path: Path
) -> None:
    long_life(repository, 7)
    device(repository, tmp_path).refresh()
    kept = sorted(path.name for path in (tmp_path / "trust/metadata/root_history").glob("*.json"))
    assert kept == [f"{version}.root.json" for version in range(1, 9)]
    # Roots that a repository no longer holds are no obstacle to who has seen them.
    for version in range(2, 8):
        (repository.directory / f"metadata/{version}.root.json").unlink()
    repository.objects.asked.clear()
    device(repository, tmp_path).refresh()
    assert repository.objects.asked == ["metadata/9.root.json", "metadata/timestamp.json"]


def test_a_device_that_misses_a_root_in_between_does_not_jump(repository: SignedRepository, tmp_path: Path) -> None:
    device(repository, tmp_path).refresh()
    long_life(repository, 3)
    (repository.directory / "metadata/3.root.json").unlink()
    # TUF 1.0 §5.3.3: without version 3 it stays with version 2, whose timestamp key signs no more.
    assert refusal(device(repository, tmp_path).refresh) is Code.SIGNATURE_INVALID
    assert not (tmp_path / "trust/metadata/root_history/4.root.json").exists()


def expire(repository: SignedRepository, version: int, when: float) -> None:
    """Sign a root anew with another time of expiry, as its owners could have."""
    path = repository.directory / f"metadata/{version}.root.json"
    root = Root.from_dict(json.loads(path.read_bytes())["signed"])
    root.expires = datetime.fromtimestamp(when, timezone.utc) - timedelta(days=1)
    path.write_bytes(sign(root, repository.keys.signers("root")))


def test_roots_on_the_way_may_have_expired(repository: SignedRepository, tmp_path: Path) -> None:
    long_life(repository, 3)
    for version in (2, 3):
        expire(repository, version, NOW)
    device(repository, tmp_path).refresh()


def test_the_last_root_must_not_have_expired(repository: SignedRepository, tmp_path: Path) -> None:
    long_life(repository, 3)
    expire(repository, 4, NOW)
    assert refusal(device(repository, tmp_path).refresh) is Code.METADATA_EXPIRED


def test_one_refresh_follows_a_bounded_number_of_roots(
    repository: SignedRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.trust.working_copy._CONFIG.max_root_rotations", 2)
    long_life(repository, 4)
    repository.objects.asked.clear()
    assert refusal(device(repository, tmp_path).refresh) is Code.SIGNATURE_INVALID
    assert [key for key in repository.objects.asked if key.endswith(".root.json")] == [
        "metadata/2.root.json",
        "metadata/3.root.json",
    ]
