import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cloud_tools.errors import CloudError
from cloud_tools.release import commands
from cloud_tools.release.keys import KeyDirectory
from cloud_tools.release.publish import publish, read_bundle, revoke
from cloud_tools.release.repository import Repository
from cloud_tools.release.verify import verify
from cloud_tools.storage import DirectoryStorage, open_storage, read
from edge_agent.errors import AgentError, Code
from edge_agent.formats import Manifest, ModelVersion, parse
from tests.fakes.ceremony import CutOffError, DyingStorage
from tests.fakes.repository import DAY, NOW, PASSPHRASE, SignedRepository, write_bundle


@pytest.fixture
def repository(tmp_path: Path) -> SignedRepository:
    return SignedRepository(tmp_path)


def verified(repository: SignedRepository) -> list[ModelVersion]:
    """Return the releases that a fresh client finds good."""
    return verify(
        DirectoryStorage(repository.directory), repository.keys.pinned_root.read_bytes(), repository.now
    ).releases


def public(repository: SignedRepository) -> dict[str, bytes]:
    """Return every file of the repository."""
    return {str(p): p.read_bytes() for p in repository.directory.rglob("*") if p.is_file()}


def refusal(act: Any, *arguments: Any) -> Code:
    """Do it, which must fail, and return why."""
    with pytest.raises(AgentError) as caught:
        act(*arguments)
    return caught.value.code


def test_a_published_release_verifies_and_its_blobs_lie_under_their_digests(repository: SignedRepository) -> None:
    result = repository.publish("unet", "1", b"weights")
    assert (result.release_seq, result.new, result.uploaded_bytes) == (1, True, len(b"weights") + len(b"picture"))
    assert verified(repository) == [ModelVersion("unet", "1")]
    content = (repository.directory / "targets/unet/1/manifest.json").read_bytes()
    for artefact in parse(Manifest, content, what="manifest").artefacts:
        assert (repository.directory / "blobs/sha256" / artefact.sha256).stat().st_size == artefact.size_bytes


def test_what_is_signed_beside_a_manifest_lets_a_device_decide_before_it_downloads(
    repository: SignedRepository,
) -> None:
    repository.publish("unet", "1", b"weights")
    assert repository.open().targets()["unet/1/manifest.json"].custom == {
        "model": "unet",
        "version": "1",
        "release_seq": 1,
        "min_release_seq": 0,
        "machines": ["x86_64", "aarch64"],
        "runtime": "onnxruntime",
        "agent": "0.1",
        "size_bytes": 14,
    }


def test_release_sequences_grow_for_each_model_alone(repository: SignedRepository) -> None:
    sequences = [
        repository.publish(name, version).release_seq
        for name, version in [("unet", "1"), ("unet", "2"), ("other", "7"), ("unet", "1.5"), ("other", "8")]
    ]
    assert sequences == [1, 2, 1, 3, 2]


def test_bundles_given_together_are_signed_together(repository: SignedRepository, tmp_path: Path) -> None:
    bundles = [read_bundle(write_bundle(tmp_path / version, "unet", version)) for version in ("1", "2")]
    assert [result.release_seq for result in publish(repository.open(), bundles)] == [1, 2]
    assert repository.open().read().targets.version == 2


def test_publishing_again_changes_nothing(repository: SignedRepository) -> None:
    first = repository.publish("unet", "1")
    before = public(repository)
    again = repository.publish("unet", "1")
    assert (again.release_seq, again.sha256, again.new, again.uploaded_bytes) == (1, first.sha256, False, 0)
    assert public(repository) == before


def test_publishing_again_brings_a_lost_blob_back(repository: SignedRepository) -> None:
    repository.publish("unet", "1")
    before = public(repository)
    for blob in (repository.directory / "blobs/sha256").iterdir():
        blob.unlink()
    assert refusal(verified, repository) is Code.NOT_FOUND
    repository.publish("unet", "1")
    assert public(repository) == before


def test_a_version_that_is_out_keeps_its_content(repository: SignedRepository) -> None:
    repository.publish("unet", "1", b"weights")
    before = public(repository)
    assert refusal(repository.publish, "unet", "1", b"others") is Code.ALREADY_EXISTS
    assert public(repository) == before


def test_versions_that_old_clients_could_not_tell_apart_are_refused(repository: SignedRepository) -> None:
    repository.publish("unet", "1.2")
    before = public(repository)
    assert refusal(repository.publish, "unet-1", "2") is Code.ALREADY_EXISTS
    assert public(repository) == before


def test_identifiers_collide_also_inside_one_publication(repository: SignedRepository, tmp_path: Path) -> None:
    bundles = [
        read_bundle(write_bundle(tmp_path / "a", "unet", "1.2")),
        read_bundle(write_bundle(tmp_path / "b", "unet-1", "2")),
    ]
    before = public(repository)
    assert refusal(publish, repository.open(), bundles) is Code.ALREADY_EXISTS
    assert refusal(publish, repository.open(), [bundles[0], bundles[0]]) is Code.ALREADY_EXISTS
    assert public(repository) == before


@pytest.mark.parametrize("writes", range(7))
def test_a_publisher_that_dies_leaves_the_old_state_whole_and_can_do_it_again(
    repository: SignedRepository, tmp_path: Path, writes: int
) -> None:
    repository.publish("unet", "1")
    bundle = read_bundle(write_bundle(tmp_path / "new", "unet", "2", b"better"))
    dying = Repository(DyingStorage(repository.directory, writes), repository.keys, NOW)
    try:
        publish(dying, [bundle])
        died = False
    except CutOffError:
        died = True
    assert died == (writes < 6)
    assert verified(repository) == [ModelVersion("unet", "1"), ModelVersion("unet", "2")][: 1 if died else 2]
    assert repository.publish("unet", "2", b"better").release_seq == 2
    assert verified(repository) == [ModelVersion("unet", "1"), ModelVersion("unet", "2")]


def test_a_publisher_signs_nothing_that_someone_else_put_into_the_bucket(
    repository: SignedRepository, tmp_path: Path
) -> None:
    repository.publish("unet", "1")
    path = repository.directory / "metadata/2.targets.json"
    content = json.loads(path.read_bytes())
    content["signed"]["targets"]["evil/1/manifest.json"] = content["signed"]["targets"]["unet/1/manifest.json"]
    path.write_text(json.dumps(content))
    assert refusal(repository.publish, "unet", "2") in (Code.SIGNATURE_INVALID, Code.DIGEST_MISMATCH)


@pytest.mark.parametrize("pattern", ["blobs/sha256/*", "targets/unet/1/*.manifest.json", "metadata/*.targets.json"])
def test_verify_finds_one_flipped_bit_anywhere(repository: SignedRepository, pattern: str) -> None:
    repository.publish("unet", "1")
    path = max(repository.directory.glob(pattern))
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    assert refusal(verified, repository) in (Code.DIGEST_MISMATCH, Code.SIGNATURE_INVALID)


def test_verify_says_that_the_metadata_expired_and_a_refresh_mends_it(repository: SignedRepository) -> None:
    repository.publish("unet", "1")
    repository.now = NOW + 30 * DAY
    assert refusal(verified, repository) is Code.METADATA_EXPIRED
    repository.open().refresh()
    assert verified(repository) == [ModelVersion("unet", "1")]


def test_a_floor_is_signed_for_all_releases_and_inherited_by_new_ones(repository: SignedRepository) -> None:
    for version in ("1", "2", "3"):
        repository.publish("unet", version)
    repository.publish("other", "1")
    assert revoke(repository.open(), "unet", 3) == 3
    assert revoke(repository.open(), "unet", 2) == 3
    repository.publish("unet", "4")
    floors = {path: target.custom["min_release_seq"] for path, target in repository.open().targets().items()}
    assert floors.pop("other/1/manifest.json") == 0
    assert set(floors.values()) == {3}
    assert len(floors) == 4


@pytest.mark.parametrize(("model", "below", "code"), [("none", 1, Code.NOT_FOUND), ("unet", 2, Code.OUT_OF_RANGE)])
def test_a_floor_that_makes_no_sense_is_refused(
    repository: SignedRepository, model: str, below: int, code: Code
) -> None:
    repository.publish("unet", "1")
    assert refusal(revoke, repository.open(), model, below) is code


def broken(directory: Path, fault: str) -> Path:
    """Return a bundle with one thing wrong."""
    write_bundle(directory, "unet", "1")
    manifest = directory / "manifest.json"
    if fault == "no manifest":
        manifest.unlink()
    elif fault == "no object":
        manifest.write_text("[]")
    elif fault == "bad field":
        manifest.write_text(manifest.read_text().replace('"unet"', '"../unet"'))
    elif fault == "no file":
        (directory / "model.onnx").unlink()
    else:
        (directory / "model.onnx").write_bytes(b"other")
    return directory


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("no manifest", Code.NOT_FOUND),
        ("no object", Code.MANIFEST_INVALID),
        ("bad field", Code.MANIFEST_INVALID),
        ("no file", Code.NOT_FOUND),
        ("other file", Code.DIGEST_MISMATCH),
    ],
)
def test_a_bundle_with_a_fault_is_refused(tmp_path: Path, fault: str, code: Code) -> None:
    assert refusal(read_bundle, broken(tmp_path / "bundle", fault)) is code


def test_the_keys_of_a_demo_lie_open_and_only_the_owner_reads_them(repository: SignedRepository) -> None:
    files = sorted(repository.keys.directory.glob("*.pem"))
    assert [path.name for path in files] == ["root-1.pem", "snapshot-1.pem", "targets-1.pem", "timestamp-1.pem"]
    assert all(b"ENCRYPTED" not in path.read_bytes() for path in files)
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)
    assert repository.open().read().root.unrecognized_fields == {"demo": True}


def test_other_keys_are_encrypted_and_root_needs_two_of_three(tmp_path: Path) -> None:
    repository = SignedRepository(tmp_path, demo=False)
    files = list(repository.keys.directory.glob("*.pem"))
    assert len(files) == 6
    assert all(path.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") for path in files)
    root = repository.open().read().root
    assert (root.roles["root"].threshold, len(root.roles["root"].keyids)) == (2, 3)
    assert "demo" not in root.unrecognized_fields


def test_a_wrong_passphrase_uploads_nothing(tmp_path: Path) -> None:
    repository = SignedRepository(tmp_path, demo=False)
    before = public(repository)
    repository.keys = KeyDirectory(repository.keys.directory, lambda: "another phrase")
    assert refusal(repository.publish, "unet", "1") is Code.PERMISSION_DENIED
    assert public(repository) == before


def test_a_short_passphrase_makes_no_repository(tmp_path: Path) -> None:
    keys = KeyDirectory(tmp_path / "keys", lambda: "short")
    storage = DirectoryStorage(tmp_path / "repository")
    assert refusal(lambda: Repository(storage, keys, NOW).create(demo=False)) is Code.INVALID_ARGUMENT
    assert not storage.root.exists()


@pytest.mark.parametrize("fault", ["missing", "rubbish"])
def test_keys_that_cannot_be_read_are_named(repository: SignedRepository, fault: str) -> None:
    path = repository.keys.directory / "targets-1.pem"
    path.unlink()
    if fault == "rubbish":
        path.write_bytes(b"key")
    repository.keys = KeyDirectory(repository.keys.directory, lambda: PASSPHRASE)
    with pytest.raises(CloudError, match=r"targets-"):
        repository.publish("unet", "1")


def test_a_second_repository_is_not_made_over_the_first(repository: SignedRepository) -> None:
    before = public(repository)
    assert refusal(lambda: repository.open().create(demo=True)) is Code.ALREADY_EXISTS
    assert public(repository) == before


@pytest.mark.parametrize("url", ["ftp://host/x", "s3://", "s3:///prefix", "https://host/x"])
def test_a_url_that_cannot_be_written_to_is_refused(url: str) -> None:
    assert refusal(open_storage, url) is Code.INVALID_ARGUMENT


def test_a_directory_may_be_named_by_path_or_by_url(tmp_path: Path) -> None:
    place = tmp_path / "a place"
    open_storage(str(place)).write("x/y", b"1")
    assert read(open_storage(place.as_uri()), "x/y", limit_bytes=1) == b"1"
    assert open_storage(place.as_uri()).url == place.as_uri()


def test_a_directory_s_object_is_read_only_up_to_its_bound(tmp_path: Path) -> None:
    storage = DirectoryStorage(tmp_path)
    storage.write("x", b"12")
    assert storage.size("x") == 2
    assert storage.size("y") is None
    assert refusal(lambda: read(storage, "x", limit_bytes=1)) is Code.DIGEST_MISMATCH
    assert refusal(lambda: read(storage, "y", limit_bytes=1)) is Code.NOT_FOUND


class Terminal:
    """The verbs, as a shell calls them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.app = typer.Typer()
        commands.register(self.app)

    def __call__(self, *words: str, passphrase: str | None = None) -> Any:
        environment = {"EDGE_CLOUD_PASSPHRASE": passphrase or ""}
        keys = () if "--root" in words else ("--keys", "keys")
        result = CliRunner().invoke(self.app, [*words, *keys, "--json"], env=environment)
        if result.exception is not None:
            raise result.exception
        return json.loads(result.stdout)


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.chdir(tmp_path)
    write_bundle(tmp_path / "bundle", "unet", "1")
    return Terminal(tmp_path)


def test_the_verbs_answer_in_json(terminal: Terminal) -> None:
    made = terminal("repo", "init", "repository", "--demo")
    assert made == {
        "url": (terminal.home / "repository").as_uri(),
        "root": str(terminal.home / "keys/root.json"),
        "demo": True,
    }
    (release,) = terminal("publish", "bundle", "--repo", "repository")["releases"]
    assert (release["model"], release["version"], release["release_seq"], release["new"]) == ("unet", "1", 1, True)
    found = terminal("repo", "verify", made["url"])
    assert (found["ok"], found["releases"], found["blobs"]) == (True, [{"model": "unet", "version": "1"}], 2)
    assert terminal("repo", "verify", made["url"], "--root", made["root"]) == found
    assert terminal("repo", "revoke", "unet", "--below", "1", "--repo", made["url"])["min_release_seq"] == 1
    rotated = terminal("repo", "keys", "rotate", "snapshot", "--repo", made["url"])
    assert rotated == {"role": "snapshot", "done": True, "lacking": []}
    assert terminal("repo", "refresh", made["url"])["valid_days"] == 30


def test_the_passphrase_comes_from_the_environment(terminal: Terminal) -> None:
    terminal("repo", "init", "repository", passphrase=PASSPHRASE)
    assert terminal("publish", "bundle", "--repo", "repository", passphrase=PASSPHRASE)["releases"][0]["new"]
    assert refusal(lambda: terminal("repo", "refresh", "repository", passphrase="wrong")) is Code.PERMISSION_DENIED


@pytest.mark.parametrize("key", ["../secret", "a/../../secret", "/etc/passwd", "a//b", "./a", ""])
def test_a_key_never_leads_out_of_its_directory(tmp_path: Path, key: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "root" / "a").mkdir(parents=True)
    with pytest.raises(CloudError) as caught:
        read(DirectoryStorage(tmp_path / "root"), key, limit_bytes=100)
    assert caught.value.code is Code.NOT_FOUND
