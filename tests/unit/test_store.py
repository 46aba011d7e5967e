import json
import os
import stat
from pathlib import Path

import pytest

from edge_agent.errors import AgentError, BundleError, Code, DocumentError, StorageError
from edge_agent.formats import CommittedModel, ModelsConfig, ModelVersion
from edge_agent.storage import durable
from edge_agent.store import Committed, Generation, Generations, Store, layout, read_models_config, write_models_config
from edge_agent.store.layout import Migration
from edge_agent.store.versions import inside
from tests.fakes.faulty_os import faults
from tests.fakes.releases import MODEL_FILE, download, install, make_release, sha256

ONE, TWO, THREE = (make_release(version=version) for version in "123")
DAY_S = 86_400.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


def _flip(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"?" + path.read_bytes()[1:])


def test_an_installed_version_is_its_manifest_and_read_only_links_to_verified_blobs(store: Store) -> None:
    install(store, ONE)
    directory = store.directory(ONE.model_version)
    model = directory / MODEL_FILE
    assert model.read_bytes() == ONE.blobs[ONE.manifest.model_artefact.sha256]
    assert stat.S_IMODE(model.stat().st_mode) == 0o444
    assert model.stat().st_nlink == 2
    assert (directory / "manifest.json").read_bytes() == ONE.content == store.content(ONE.model_version)
    assert store.manifest(ONE.model_version) == ONE.manifest == store.verify(ONE.model_version)
    assert store.digest(ONE.model_version) == ONE.sha256
    assert store.installed() == [ONE.model_version]


def test_missing_names_each_digest_once_and_only_what_lacks(store: Store) -> None:
    same = make_release(files={"golden/part-2.png": b"the same part"})
    assert len(same.manifest.artefacts) == 3
    assert [artefact.sha256 for artefact in store.missing(same.manifest)] == list(same.blobs)
    download(store, ONE)
    assert store.missing(same.manifest) == ()


def test_a_blob_cut_short_counts_as_missing(store: Store) -> None:
    download(store, ONE)
    artefact = ONE.manifest.model_artefact
    blob = store.directory(ONE.model_version).parents[2] / "blobs" / artefact.sha256
    blob.chmod(0o644)
    os.truncate(blob, 3)
    assert store.missing(ONE.manifest) == (artefact,)


def test_wrong_bytes_are_not_admitted_and_deleted(store: Store) -> None:
    partial = store.partial_path(ONE.sha256)
    partial.write_bytes(b"other bytes")
    with pytest.raises(BundleError, match=sha256(b"other bytes")) as told:
        store.admit(ONE.sha256, partial)
    assert told.value.code is Code.DIGEST_MISMATCH
    assert not partial.exists()


def test_only_regular_files_are_admitted(store: Store, tmp_path: Path) -> None:
    digest = sha256(b"")
    os.mkfifo(store.partial_path(digest))
    with pytest.raises(StorageError, match="regular file"):
        store.admit(digest, store.partial_path(digest))
    with pytest.raises(StorageError, match="there is none"):
        store.admit(digest, tmp_path / "none")


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_what_is_no_digest_is_refused_everywhere(store: Store, digest: str) -> None:
    for use in (store.partial_path, store.is_quarantined, store.clear_quarantine):
        with pytest.raises(BundleError, match="64 hex digits"):
            use(digest)
    with pytest.raises(BundleError):
        store.admit(digest, Path("/nowhere"))
    with pytest.raises(BundleError):
        store.quarantine(digest, "")


@pytest.mark.parametrize(
    "version", [ModelVersion("..", "1"), ModelVersion("a/b", "1"), ModelVersion("unet", ".."), ModelVersion("", "1")]
)
def test_a_name_that_leaves_the_directory_is_refused(store: Store, version: ModelVersion) -> None:
    with pytest.raises(BundleError):
        store.directory(version)


def test_an_artefact_path_that_leaves_its_version_is_refused_even_through_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "version").mkdir()
    (tmp_path / "version" / "out").symlink_to(tmp_path)
    assert inside(tmp_path / "version", "golden/1.png") == tmp_path / "version" / "golden" / "1.png"
    for path in ("../x", "/etc/x", "out/x", "a/../../x", "."):
        with pytest.raises(BundleError):
            inside(tmp_path / "version", path)


def test_an_install_without_its_blobs_names_the_first_and_changes_nothing(store: Store) -> None:
    with pytest.raises(StorageError, match=MODEL_FILE) as told:
        store.install(ONE.content)
    assert told.value.code is Code.CONTENT_MISSING
    assert store.installed() == []


def test_a_manifest_that_is_none_is_refused(store: Store) -> None:
    with pytest.raises(BundleError) as told:
        store.install(b'{"schema": "edge-agent/manifest/1"}')
    assert told.value.code is Code.MANIFEST_INVALID


def test_a_published_version_never_changes(store: Store) -> None:
    install(store, ONE)
    changed = make_release(version="1", release_seq=2)
    with pytest.raises(BundleError, match="never changes") as told:
        store.install(changed.content)
    assert told.value.code is Code.MANIFEST_INVALID
    assert store.manifest(ONE.model_version) == ONE.manifest


def test_versions_are_listed_as_versions_and_strangers_are_not(store: Store) -> None:
    for version in ("1.10", "1.9"):
        install(store, make_release(version=version))
    (store.directory(ONE.model_version).parent / "not a version").mkdir()
    (store.directory(ONE.model_version).parent / "not a version" / "manifest.json").touch()
    assert [version.version for version in store.installed()] == ["1.9", "1.10"]


def test_rot_is_found_becomes_missing_and_is_mended_while_the_version_stays(store: Store) -> None:
    install(store, ONE)
    model = store.directory(ONE.model_version) / MODEL_FILE
    _flip(model)
    with pytest.raises(StorageError, match=f"{MODEL_FILE} is absent or damaged") as told:
        store.verify(ONE.model_version)
    assert told.value.code is Code.CONTENT_MISSING
    assert model.exists()
    assert [artefact.path for artefact in store.missing(ONE.manifest)] == [MODEL_FILE]
    install(store, ONE)
    assert store.verify(ONE.model_version) == ONE.manifest


@pytest.mark.parametrize("spoiled", [b"", b"{", b"\0" * 100])
def test_a_damaged_manifest_is_found_and_mended_from_the_signed_one(store: Store, spoiled: bytes) -> None:
    install(store, ONE)
    path = store.directory(ONE.model_version) / "manifest.json"
    path.chmod(0o644)
    path.write_bytes(spoiled)
    with pytest.raises(StorageError) as told:
        store.verify(ONE.model_version)
    assert told.value.code is Code.CONTENT_MISSING
    store.install(ONE.content)
    assert store.verify(ONE.model_version, manifest_sha256=ONE.sha256) == ONE.manifest


def test_a_manifest_other_than_the_committed_one_is_found(store: Store) -> None:
    install(store, ONE)
    with pytest.raises(StorageError, match=ONE.sha256):
        store.verify(ONE.model_version, manifest_sha256=TWO.sha256)


def test_a_version_with_copies_instead_of_links_is_sound_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "FAT")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "symlink", refuse)
    install(store, ONE)
    assert store.verify(ONE.model_version) == ONE.manifest
    _flip(store.directory(ONE.model_version) / MODEL_FILE)
    with pytest.raises(StorageError):
        store.verify(ONE.model_version)
    store.install(ONE.content)
    assert store.verify(ONE.model_version) == ONE.manifest


def test_a_commit_names_only_what_is_there_as_its_digest_says(store: Store) -> None:
    with pytest.raises(StorageError) as told:
        store.commit({"unet": ONE.committed()})
    assert told.value.code is Code.CONTENT_MISSING
    install(store, ONE)
    with pytest.raises(StorageError, match=TWO.sha256):
        store.commit({"unet": Committed(version="1", manifest_sha256=TWO.sha256, release_seq=1)})
    assert store.generations.current() == Generation(number=0)
    assert store.commit({"unet": ONE.committed()}).number == 1


def test_committed_and_previous_are_never_discarded_or_pruned(store: Store) -> None:
    for release in (ONE, TWO, THREE):
        install(store, release)
    store.commit({"unet": TWO.committed("1")})
    for release in (ONE, TWO):
        with pytest.raises(StorageError, match="cannot be discarded"):
            store.discard(release.manifest)
    assert store.prune(set(), partial_age_s=0, now=4e9) == [THREE.model_version]
    assert store.installed() == [ONE.model_version, TWO.model_version]
    for release in (ONE, TWO):
        store.verify(release.model_version)


def test_a_discarded_version_takes_only_its_own_blobs_with_it(store: Store) -> None:
    install(store, ONE)
    install(store, TWO)
    store.discard(TWO.manifest)
    assert store.verify(ONE.model_version) == ONE.manifest
    assert [artefact.path for artefact in store.missing(TWO.manifest)] == [MODEL_FILE]
    assert not store.directory(TWO.model_version).exists()


def test_blobs_of_a_version_whose_manifest_is_unreadable_are_kept(store: Store) -> None:
    install(store, ONE)
    path = store.directory(ONE.model_version) / "manifest.json"
    path.chmod(0o644)
    path.write_bytes(b"")
    store.prune({ONE.model_version}, partial_age_s=0, now=4e9)
    assert store.missing(ONE.manifest) == ()


def test_pruning_keeps_young_and_in_flight_bytes_and_forgets_old_ones(store: Store) -> None:
    download(store, ONE)
    blob = ONE.manifest.model_artefact.sha256
    young, old, flying = (store.partial_path(sha256(name)) for name in (b"young", b"old", b"flying"))
    for partial, age_days in ((young, 1), (old, 8), (flying, 8)):
        partial.write_bytes(b"begun")
        os.utime(partial, (0, 100 * DAY_S - age_days * DAY_S))
    store.prune(set(), partial_age_s=7 * DAY_S, now=100 * DAY_S, in_flight={flying.name})
    assert (young.exists(), old.exists(), flying.exists()) == (True, False, True)
    assert store.missing(ONE.manifest) == ()
    store.prune(set(), partial_age_s=7 * DAY_S, now=4e9, in_flight={blob})
    assert [artefact.sha256 for artefact in store.missing(ONE.manifest)] == [set(ONE.blobs).difference({blob}).pop()]


def test_recovery_sweeps_what_was_staged_and_touches_nothing_published(store: Store) -> None:
    install(store, ONE)
    root = store.directory(ONE.model_version).parents[2]
    for place in ("", "blobs", "generations", "quarantine", "versions", "versions/unet", "versions/unet/1/golden"):
        durable.staging_path(root / place / "left").touch()
    store.recover()
    assert not list(root.rglob(f".*{durable.STAGED_SUFFIX}"))
    assert store.verify(ONE.model_version) == ONE.manifest


def test_free_bytes_is_what_this_process_may_use(store: Store) -> None:
    assert 0 < store.free_bytes() < 1 << 60


def test_a_quarantined_manifest_stays_so_until_cleared_even_if_its_reason_is_lost(store: Store) -> None:
    store.quarantine(ONE.sha256, "three unclean ends")
    assert store.quarantined() == {ONE.sha256: "three unclean ends"}
    root = store.directory(ONE.model_version).parents[2]
    (root / "quarantine" / f"{ONE.sha256}.json").write_bytes(b"")
    assert store.is_quarantined(ONE.sha256)
    assert list(store.quarantined()) == [ONE.sha256]
    assert store.clear_quarantine(ONE.sha256)
    assert not store.clear_quarantine(ONE.sha256)
    assert not store.is_quarantined(ONE.sha256)


COMMITTED = ONE.committed()


def test_generations_count_up_and_their_history_is_bounded(tmp_path: Path) -> None:
    generations = Generations(tmp_path)
    assert generations.current() == Generation(number=0)
    with faults():
        for number in range(1, 41):
            assert generations.commit({"unet": COMMITTED}).number == number
    assert generations.current() == Generation(number=40, models={"unet": COMMITTED})
    assert [generation.number for generation in generations.history()] == list(range(9, 41))


@pytest.mark.parametrize("kept", [0, 1, 50, -1])
def test_a_torn_generation_is_skipped_and_its_number_never_used_again(tmp_path: Path, kept: int) -> None:
    generations = Generations(tmp_path)
    generations.commit({"unet": COMMITTED})
    generations.commit({})
    content = (tmp_path / "2.json").read_bytes()
    torn = content[: content.rindex(b"}")] if kept == -1 else content[:kept]
    (tmp_path / "2.json").write_bytes(torn)
    assert generations.current().models == {"unet": COMMITTED}
    assert generations.commit({}).number == 3


def test_a_generation_that_was_altered_or_renamed_is_skipped(tmp_path: Path) -> None:
    generations = Generations(tmp_path)
    generations.commit({"unet": COMMITTED})
    content = json.loads((tmp_path / "1.json").read_bytes())
    (tmp_path / "5.json").write_text(json.dumps(content))
    content["generation"]["number"] = 4
    (tmp_path / "4.json").write_text(json.dumps(content))
    assert generations.current().number == 1


def test_generations_that_cannot_be_read_are_an_error_and_not_an_empty_device(tmp_path: Path) -> None:
    (tmp_path / "generations").write_bytes(b"a file")
    with pytest.raises(StorageError):
        Generations(tmp_path / "generations").current()


def test_a_new_directory_gets_todays_layout_and_a_newer_one_is_refused(tmp_path: Path) -> None:
    assert layout.prepare(tmp_path / "state") == 0
    assert layout.prepare(tmp_path / "state") == layout.LAYOUT_VERSION
    assert layout.read_version(tmp_path / "state") == layout.LAYOUT_VERSION
    (tmp_path / "state" / "layout_version").write_text("99\n")
    with pytest.raises(StorageError, match="newer agent"):
        Store(tmp_path / "state")
    (tmp_path / "state" / "layout_version").write_text("one")
    with pytest.raises(StorageError, match="expected a number"):
        Store(tmp_path / "state")


def test_migrations_run_once_in_order_and_again_only_if_they_failed(tmp_path: Path) -> None:
    layout.prepare(tmp_path, target=1)
    ran: list[int] = []

    def fail_once(_: Path) -> None:
        ran.append(2)
        if ran.count(2) == 1:
            raise StorageError(Code.NO_SPACE, "full")

    migrations = {1: Migration(lambda _: ran.append(1)), 2: Migration(fail_once)}
    with pytest.raises(StorageError):
        layout.prepare(tmp_path, migrations=migrations, target=3)
    assert layout.read_version(tmp_path) == 2
    assert layout.prepare(tmp_path, migrations=migrations, target=3) == 2
    assert ran == [1, 2, 2]


def test_the_models_file_keeps_what_is_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "models_config.json"
    assert read_models_config(path) == ModelsConfig()
    path.write_text('{"mappings": {"app": "unet"}, "theirs": {"x": 1}}')
    committed = (CommittedModel(name="unet", version="1", identifier="unet-1"),)
    write_models_config(path, read_models_config(path).with_models(committed))
    content = json.loads(path.read_text())
    assert content["theirs"] == {"x": 1}
    assert content["mappings"] == {"app": "unet"}
    assert content["models"] == [{"name": "unet", "version": "1", "identifier": "unet-1"}]


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"mappings": {"app": "../x"}}', b"\xff"])
def test_a_bad_models_file_is_told_and_stays(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "models_config.json"
    path.write_bytes(content)
    with pytest.raises(DocumentError) as told:
        read_models_config(path)
    assert isinstance(told.value, AgentError)
    assert path.read_bytes() == content
