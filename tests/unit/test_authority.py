"""Who may sign what: families, rotation, revocation, ceremonies by parts, and changes that are cut off."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cloud_tools.errors import CloudError
from cloud_tools.release import commands
from cloud_tools.release.authority import delegate, revoke_key, rotate, signatories, undelegate
from cloud_tools.release.keys import KeyDirectory
from cloud_tools.release.pending import PendingRoot
from cloud_tools.release.publish import publish, read_bundle, revoke
from cloud_tools.release.repository import Repository
from cloud_tools.release.verify import verify
from cloud_tools.storage import DirectoryStorage
from edge_agent.errors import AgentError, Code
from edge_agent.formats import ModelVersion
from edge_agent.trust import TrustClient
from tests.fakes.ceremony import CutOffError, DyingStorage, opened
from tests.fakes.repository import NOW, PASSPHRASE, SignedRepository, write_bundle

TOP = ("root", "targets", "snapshot", "timestamp")
UNET1, UNET2 = ModelVersion("unet", "1"), ModelVersion("unet", "2")


@pytest.fixture
def repository(tmp_path: Path) -> SignedRepository:
    made = SignedRepository(tmp_path / "cloud")
    made.publish("unet", "1")
    return made


@pytest.fixture
def device(repository: SignedRepository, tmp_path: Path) -> TrustClient:
    """A device that pinned the first root and has seen the repository."""
    client = pinned(repository, tmp_path / "trust")
    client.refresh()
    return client


def pinned(repository: SignedRepository, directory: Path) -> TrustClient:
    return TrustClient(directory, repository.root, repository.objects, allow_demo_root=True, now=lambda: repository.now)


def verified(repository: SignedRepository) -> list[ModelVersion]:
    storage = DirectoryStorage(repository.directory)
    return verify(storage, repository.keys.pinned_root.read_bytes(), repository.now).releases


def refusal(act: Any, *arguments: Any, **more: Any) -> Code:
    with pytest.raises(AgentError) as caught:
        act(*arguments, **more)
    return caught.value.code


def keyids(repository: SignedRepository, role: str) -> list[str]:
    (found,) = (row for row in signatories(repository.open()) if row.role == role)
    return list(found.keyids)


def public(repository: SignedRepository) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in repository.directory.rglob("*") if p.is_file()}


# Families.


def test_a_family_signs_its_models_and_targets_all_others(repository: SignedRepository, device: TrustClient) -> None:
    delegate(repository.open(), "press", ["unet"])
    repository.publish("unet", "2")
    repository.publish("wheel", "1")
    chain = repository.open().read()
    assert sorted(chain.signed_by("models-press").targets) == ["unet/1/manifest.json", "unet/2/manifest.json"]
    assert sorted(chain.targets.targets) == ["wheel/1/manifest.json"]
    assert verified(repository) == [UNET1, UNET2, ModelVersion("wheel", "1")]
    device.refresh()
    assert [device.release(v).manifest.release_seq for v in verified(repository)] == [1, 2, 1]


def test_a_team_needs_no_key_of_targets_to_publish_its_models(repository: SignedRepository, tmp_path: Path) -> None:
    team = tmp_path / "team"
    delegate(opened(repository, repository.keys.directory, team), "press", ["unet"], directory=team)
    shutil.copy(repository.root, team)
    for online in ("snapshot-1", "timestamp-1"):
        for path in repository.keys.directory.glob(f"{online}.*"):
            shutil.copy(path, team)
    at_work = opened(repository, team)
    bundle = read_bundle(write_bundle(tmp_path / "bundle", "unet", "2"))
    assert publish(at_work, [bundle])[0].release_seq == 2
    before = public(repository)
    other = read_bundle(write_bundle(tmp_path / "other", "wheel", "1"))
    assert refusal(publish, at_work, [other]) is Code.CONFIG_INVALID
    assert public(repository) == before
    assert verified(repository) == [UNET1, UNET2]


def test_a_family_of_two_keys_signs_with_both_or_not_at_all(repository: SignedRepository, device: TrustClient) -> None:
    delegate(repository.open(), "press", ["unet"], threshold=2)
    repository.publish("unet", "2")
    device.refresh()
    assert device.release(UNET2).manifest.release_seq == 2
    (repository.keys.directory / "models-press-2.pem").unlink()
    repository.keys = KeyDirectory(repository.keys.directory, lambda: PASSPHRASE)
    assert refusal(repository.publish, "unet", "3") is Code.PERMISSION_DENIED


def test_a_model_belongs_to_one_family(repository: SignedRepository) -> None:
    delegate(repository.open(), "press", ["unet"])
    before = public(repository)
    assert refusal(delegate, repository.open(), "wheels", ["rim", "unet"]) is Code.ALREADY_EXISTS
    assert public(repository) == before


def test_a_family_may_grow_and_be_given_up_again(repository: SignedRepository, device: TrustClient) -> None:
    delegate(repository.open(), "press", ["unet"])
    first = keyids(repository, "models-press")
    delegate(repository.open(), "press", ["plate"])
    assert keyids(repository, "models-press") == first
    repository.publish("plate", "1")
    device.refresh()
    assert undelegate(repository.open(), "press") == ("plate", "unet")
    assert sorted(repository.open().read().targets.targets) == ["plate/1/manifest.json", "unet/1/manifest.json"]
    device.refresh()
    assert device.release(ModelVersion("plate", "1")).manifest.release_seq == 1
    # And founded anew: its versions go on counting, so no device sees a rollback.
    delegate(repository.open(), "press", ["unet"])
    device.refresh()
    assert device.release(UNET1).manifest.release_seq == 1


def test_floors_of_a_family_s_model_are_signed_by_the_family(repository: SignedRepository, device: TrustClient) -> None:
    delegate(repository.open(), "press", ["unet"])
    repository.publish("unet", "2")
    assert revoke(repository.open(), "unet", 2) == 2
    device.refresh()
    assert device.floor("unet") == 2


@pytest.mark.parametrize(("family", "models"), [("press/../x", ["unet"]), ("press", ["un*"]), ("", ["unet"])])
def test_names_that_could_match_more_are_refused(repository: SignedRepository, family: str, models: list[str]) -> None:
    before = public(repository)
    assert refusal(delegate, repository.open(), family, models) is Code.INVALID_ARGUMENT
    assert refusal(undelegate, repository.open(), "nobody") is Code.NOT_FOUND
    assert public(repository) == before


# Rotation and revocation.


@pytest.mark.parametrize("role", [*TOP, "models-press"])
def test_rotated_keys_sign_and_a_device_in_the_field_follows(
    repository: SignedRepository, device: TrustClient, role: str
) -> None:
    delegate(repository.open(), "press", ["unet"])
    device.refresh()
    first, old = repository.root.read_bytes(), keyids(repository, role)
    assert rotate(repository.open(), role) == []
    new = keyids(repository, role)
    assert len(new) == len(old)
    assert not {*new} & {*old}
    repository.publish("unet", "2")
    device.refresh()
    assert device.release(UNET2).manifest.release_seq == 2
    assert repository.root.read_bytes() == first


def test_a_device_that_slept_through_many_rotations_of_all_roles_follows(
    repository: SignedRepository, device: TrustClient
) -> None:
    for _ in range(3):
        for role in TOP:
            rotate(repository.open(), role)
    repository.publish("unet", "2")
    assert repository.open().read().root.version == 13
    device.refresh()
    assert device.release(UNET2).manifest.release_seq == 2


def test_a_root_of_two_of_three_is_rotated_with_signatures_of_old_and_new_keys(tmp_path: Path) -> None:
    repository = SignedRepository(tmp_path / "cloud", demo=False)
    repository.publish("unet", "1")
    client = TrustClient(
        tmp_path / "trust", repository.root, repository.objects, allow_demo_root=False, now=lambda: NOW
    )
    client.refresh()
    old = keyids(repository, "root")
    for version in (2, 3, 4):
        assert rotate(repository.open(), "root") == []
        content = json.loads((repository.directory / f"metadata/{version}.root.json").read_bytes())
        new = keyids(repository, "root")
        assert {s["keyid"] for s in content["signatures"]} >= {*old, *new}
        assert content["signed"]["roles"]["root"]["threshold"] == 2
        old = new
    client.refresh()
    assert client.release(UNET1).manifest.release_seq == 1


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp", "models-press"])
def test_a_revoked_key_signs_no_more_and_another_takes_its_place(
    repository: SignedRepository, device: TrustClient, role: str
) -> None:
    delegate(repository.open(), "press", ["unet"])
    (stolen,) = keyids(repository, role)
    assert revoke_key(repository.open(), stolen[:12]) == []
    assert stolen not in keyids(repository, role)
    assert len(keyids(repository, role)) == 1
    device.refresh()
    assert device.release(UNET1).manifest.release_seq == 1
    assert refusal(revoke_key, repository.open(), stolen) is Code.NOT_FOUND


def test_one_of_three_root_keys_is_revoked_by_the_other_two(tmp_path: Path) -> None:
    repository = SignedRepository(tmp_path / "cloud", demo=False)
    stolen, *others = keyids(repository, "root")
    # It is gone: the thief has it.
    for path in repository.keys.directory.glob("root-1.*"):
        path.unlink()
    repository.keys = KeyDirectory(repository.keys.directory, lambda: PASSPHRASE)
    assert revoke_key(repository.open(), stolen) == []
    left = keyids(repository, "root")
    assert stolen not in left
    assert {*others} < {*left}
    assert len(left) == 3


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_a_key_that_is_lost_is_replaced_without_it(
    repository: SignedRepository, device: TrustClient, role: str
) -> None:
    for path in repository.keys.directory.glob(f"{role}-1.*"):
        path.unlink()
    repository.keys = KeyDirectory(repository.keys.directory, lambda: PASSPHRASE)
    # Another key of the role is there already, made for the occasion.
    made = repository.keys.add(role, demo=True)
    part = next(repository.keys.directory.glob(f"{role}-*.pub.json"))
    assert rotate(repository.open(), role, public=[part]) == []
    assert keyids(repository, role) == [made.public_key.keyid]
    repository.publish("unet", "2")
    device.refresh()
    assert device.release(UNET2).manifest.release_seq == 2


def test_only_roles_that_exist_are_rotated(repository: SignedRepository) -> None:
    before = public(repository)
    for role in ("models-none", "mirrors", ""):
        assert refusal(rotate, repository.open(), role) is Code.INVALID_ARGUMENT
    assert refusal(revoke_key, repository.open(), "") is Code.INVALID_ARGUMENT
    assert public(repository) == before


# Cut off.


@pytest.mark.parametrize("role", [*TOP, "models-press"])
def test_a_rotation_cut_off_at_any_write_leaves_devices_a_whole_and_is_finished_by_the_same_command(
    repository: SignedRepository, tmp_path: Path, role: str
) -> None:
    delegate(repository.open(), "press", ["unet"])
    start = tmp_path / "start"
    shutil.copytree(repository.home, start)
    died = 0
    while True:
        shutil.rmtree(repository.home)
        shutil.copytree(start, repository.home)
        old = keyids(repository, role)
        storage = DyingStorage(repository.directory, died)
        try:
            rotate(opened(repository, storage=storage), role)
        except CutOffError:
            pass
        else:
            break
        # At any moment a device that comes now believes the old state or the new.
        pinned(repository, tmp_path / f"trust-{died}").refresh()
        assert rotate(opened(repository), role) == []
        after = keyids(repository, role)
        assert not {*after} & {*old}
        assert verified(repository) == [UNET1]
        pinned(repository, tmp_path / f"trust-{died}").refresh()
        assert not list(repository.keys.directory.glob("pending*"))
        died += 1
    assert died == {"root": 2, "targets": 5, "snapshot": 4, "timestamp": 3, "models-press": 4}[role]


@pytest.mark.parametrize("writes", range(5))
def test_a_repository_whose_making_was_cut_off_is_finished_by_the_same_command(tmp_path: Path, writes: int) -> None:
    keys = KeyDirectory(tmp_path / "keys", lambda: PASSPHRASE)
    with pytest.raises(CutOffError):
        Repository(DyingStorage(tmp_path / "repository", writes), keys, NOW).create(demo=True)
    storage = DirectoryStorage(tmp_path / "repository")
    assert Repository(storage, keys, NOW).create(demo=True) == []
    assert verify(storage, keys.pinned_root.read_bytes(), NOW).releases == []
    assert len(keys.files("root")) == 1
    assert refusal(Repository(storage, keys, NOW).create, demo=True) is Code.ALREADY_EXISTS


def test_a_rotation_cut_off_is_finished_by_whatever_is_done_next(repository: SignedRepository) -> None:
    with pytest.raises(CutOffError):
        rotate(opened(repository, storage=DyingStorage(repository.directory, 1)), "timestamp")
    assert (repository.keys.directory / "pending-upload.json").exists()
    repository.publish("unet", "2")
    assert not list(repository.keys.directory.glob("pending*"))
    assert repository.open().read().root.version == 2
    assert verified(repository) == [UNET1, UNET2]


def test_a_rotation_that_another_publisher_overtook_is_undone_and_can_be_run_again(
    repository: SignedRepository,
) -> None:
    with pytest.raises(CutOffError):
        rotate(opened(repository, storage=DyingStorage(repository.directory, 0)), "timestamp")
    elsewhere = repository.home / "elsewhere"
    shutil.copytree(repository.keys.directory, elsewhere)
    (elsewhere / "pending-upload.json").unlink()
    opened(repository, elsewhere).refresh()
    assert refusal(rotate, opened(repository), "timestamp") is Code.FAILED_PRECONDITION
    assert repository.open().read().root.version == 1
    assert rotate(opened(repository), "timestamp") == []
    assert verified(repository) == [UNET1]


# Keys in different places.


def test_root_keys_lie_on_three_sticks_and_no_stick_alone_signs(tmp_path: Path) -> None:
    sticks = [tmp_path / f"stick-{n}" for n in (1, 2, 3)]
    office, storage = tmp_path / "office", DirectoryStorage(tmp_path / "repository")
    founder = Repository(storage, KeyDirectory(office, lambda: PASSPHRASE, sticks), NOW)
    assert founder.create(demo=False, sticks=sticks) == []
    assert not list(office.glob("root-*.pem"))
    assert [len(list(stick.glob("*.pem"))) for stick in sticks] == [1, 1, 1]

    def at(*places: Path) -> Repository:
        return Repository(storage, KeyDirectory(office, lambda: PASSPHRASE, places), NOW)

    # One stick after the other, none beside another.
    lacking = rotate(at(sticks[0]), "timestamp")
    assert [entry.partition(" more of the ")[0] for entry in lacking] == ["1", "1"]
    assert at().read().root.version == 1
    assert refusal(rotate, at(sticks[1]), "snapshot") is Code.FAILED_PRECONDITION
    assert at(sticks[0]).advance() == lacking
    assert at(sticks[1]).advance() == []
    assert at().read().root.version == 2
    # The same command with another stick does as well.
    assert rotate(at(sticks[2]), "snapshot")
    assert rotate(at(sticks[0]), "snapshot") == []
    assert at().read().root.version == 3


def test_a_root_of_keys_that_never_met_is_signed_part_by_part(tmp_path: Path) -> None:
    holders = [KeyDirectory(tmp_path / f"safe-{n}", lambda: PASSPHRASE) for n in (1, 2, 3)]
    for holder in holders:
        holder.add("root", demo=False)
    parts = [holder.directory / "root-1.pub.json" for holder in holders]
    office, storage = tmp_path / "office", DirectoryStorage(tmp_path / "repository")
    founder = Repository(storage, KeyDirectory(office, lambda: PASSPHRASE), NOW)
    assert len(founder.create(demo=False, public=parts)) == 1
    assert not storage.root.exists()
    for holder in holders[:2]:
        # Only the waiting root travels.
        journey = tmp_path / "journey"
        journey.mkdir()
        shutil.copy(office / "pending-root.json", journey)
        PendingRoot(journey).sign(holder, None)
        shutil.move(journey / "pending-root.json", office / "pending-root.json")
        journey.rmdir()
    assert founder.advance() == []
    assert verify(storage, (office / "root.json").read_bytes(), NOW).releases == []
    assert json.loads((office / "root.json").read_bytes()).keys() == {"signatures", "signed"}


def test_a_change_that_waits_can_be_given_up(tmp_path: Path) -> None:
    sticks = [tmp_path / f"stick-{n}" for n in (1, 2, 3)]
    office, storage = tmp_path / "office", DirectoryStorage(tmp_path / "repository")
    Repository(storage, KeyDirectory(office, lambda: PASSPHRASE, sticks), NOW).create(demo=False, sticks=sticks)
    one = Repository(storage, KeyDirectory(office, lambda: PASSPHRASE, sticks[:1]), NOW)
    assert rotate(one, "timestamp")
    one.pending_root.discard()
    assert refusal(one.advance) is Code.NOT_FOUND
    assert rotate(one, "snapshot")


@pytest.mark.parametrize("count", [1, 2, 4])
def test_root_keys_of_another_number_make_no_repository(tmp_path: Path, count: int) -> None:
    sticks = [tmp_path / f"stick-{n}" for n in range(count)]
    storage = DirectoryStorage(tmp_path / "repository")
    founder = Repository(storage, KeyDirectory(tmp_path / "office", lambda: PASSPHRASE, sticks), NOW)
    assert refusal(founder.create, demo=False, sticks=sticks) is Code.INVALID_ARGUMENT
    assert not storage.root.exists()


# The verbs.


class Terminal:
    """The verbs, as a shell calls them."""

    def __init__(self) -> None:
        self.app = typer.Typer()
        commands.register(self.app)

    def __call__(self, *words: str, **environment: str) -> Any:
        result = CliRunner().invoke(self.app, [*words, "--json"], env=environment)
        if result.exception is not None:
            raise result.exception
        return json.loads(result.stdout)


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.chdir(tmp_path)
    write_bundle(tmp_path / "bundle", "unet", "1")
    (tmp_path / "phrase").write_text(f"{PASSPHRASE}\n")
    return Terminal()


def test_the_verbs_of_a_ceremony(terminal: Terminal, tmp_path: Path) -> None:
    where = ("--repo", "repository", "--passphrase-file", "phrase")
    sticks = ("s1", "s2", "s3")
    terminal(
        "repo", "init", "repository", "--keys", "keys", *(w for s in sticks for w in ("--root-keys", s)), *where[2:]
    )
    terminal("repo", "delegate", "press", "unet", "--keys", "keys", "--key", "team", *where)
    assert (tmp_path / "team/models-press-1.pem").is_file()
    terminal("publish", "bundle", "--keys", "keys", "--keys", "team", *where)
    rows = terminal("repo", "keys", "--keys", "keys", "--keys", "s1", "--repo", "repository")
    assert [(row["role"], row["threshold"], len(row["keyids"]), len(row["at_hand"])) for row in rows] == [
        ("root", 2, 3, 1),
        ("targets", 1, 1, 1),
        ("snapshot", 1, 1, 1),
        ("timestamp", 1, 1, 1),
        ("models-press", 1, 1, 0),
    ]
    assert [row["models"] for row in rows] == [[], ["*"], [], [], ["unet"]]
    stolen = rows[3]["keyids"][0]
    waits = terminal("repo", "keys", "revoke", stolen, "--keys", "keys", "--keys", "s1", *where)
    assert not waits["done"]
    assert terminal("repo", "sign", "--keys", "keys", "--keys", "s3", *where) == {"done": True, "lacking": []}
    assert terminal("repo", "keys", "cancel", "--keys", "keys") == {"cancelled": None}
    made = terminal("repo", "keys", "make", "root", "--keys", "s4", *where[2:])
    assert Path(made["public"]).is_file()
    assert terminal("repo", "undelegate", "press", "--keys", "keys", *where) == {"models": ["unet"]}
    assert terminal("repo", "verify", "repository", "--keys", "keys")["releases"] == [{"model": "unet", "version": "1"}]


def test_a_passphrase_file_that_is_not_there_is_named(terminal: Terminal) -> None:
    with pytest.raises(CloudError, match="missing: expected a passphrase"):
        terminal("repo", "init", "repository", "--keys", "keys", "--passphrase-file", "missing")


def test_no_option_takes_a_secret() -> None:
    app = typer.Typer()
    commands.register(app)
    options = {
        word
        for words in (
            ("repo", "init"),
            ("publish",),
            ("repo", "keys", "rotate"),
            ("repo", "sign"),
            ("repo", "keys", "make"),
        )
        for word in CliRunner().invoke(app, [*words, "--help"]).stdout.split()
        if word.startswith("--")
    }
    assert "--passphrase-file" in options
    assert not {option for option in options if option in {"--passphrase", "--pin", "--password"}}
