"""The metadata half of TUF's client workflow, as the project's conformance suite asks for it (TUF 1.0 §5.3 to §5.6)."""

import json
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from tests.fakes.tree import ROOT
from tests.fakes.tuf_client import OK, Client
from tests.fakes.tuf_simulator import Simulator, in_days

BELOW_ROOT = ("timestamp", "snapshot", "targets")
ALL_ONE = {"root": 1, "snapshot": 1, "targets": 1, "timestamp": 1}
on_and_off = pytest.mark.parametrize("repo", [True, False], indirect=True, ids=["consistent", "plain"])
with_and_without_hashes = pytest.mark.parametrize("hashes", [False, True], ids=["versions", "hashes"])


def trusting(client: Client) -> Client:
    """Initialise and refresh once."""
    assert (client.init(), client.refresh()) == (OK, OK)
    return client


# init


def test_init_keeps_the_given_root_and_asks_for_nothing(client: Client, repo: Simulator) -> None:
    assert client.init() == OK
    assert client.state() == {"root.json": repo.content("root")}
    assert repo.asked == []


@pytest.mark.parametrize("wrong", ["junk", "other role", "unsigned", "other key", "no version"])
def test_init_refuses_what_is_no_signed_root(client: Client, repo: Simulator, wrong: str) -> None:
    without = json.loads(repo.content("root"))
    del without["signed"]["version"]
    given = {
        "junk": b"\x00{",
        "other role": repo.content("targets"),
        "unsigned": repo.sign(repo.root, []),
        "other key": repo.sign(repo.root, [CryptoSigner.generate_ed25519()]),
        "no version": json.dumps(without).encode(),
    }
    assert client.init(given[wrong]) == "SIGNATURE_INVALID"
    assert client.state() == {}


def test_init_refuses_a_root_that_is_not_there(client: Client) -> None:
    assert client.run("--metadata-dir", str(client.metadata), "init", "/nowhere/root.json") == "CONFIG_INVALID"
    assert client.state() == {}


def test_nothing_is_asked_for_before_init(client: Client, repo: Simulator) -> None:
    assert client.refresh() == "SIGNATURE_INVALID"
    assert (client.state(), repo.asked) == ({}, [])


@pytest.mark.parametrize("damage", [b"", b"{}", b"unsigned"])
def test_nothing_is_asked_for_when_the_trusted_root_is_damaged(client: Client, repo: Simulator, damage: bytes) -> None:
    assert client.init() == OK
    (client.metadata / "root.json").write_bytes(repo.sign(repo.root, []) if damage == b"unsigned" else damage)
    assert client.refresh() == "SIGNATURE_INVALID"
    assert repo.asked == []


@pytest.mark.parametrize(
    "words",
    [[], ["refresh"], ["init"], ["--metadata-dir", "d"], ["--metadata-dir", "d", "dance"]]
    + [["--metadata-dir", "d", verb] for verb in ("init", "refresh", "download")]
    + [["--metadata-dir", "d", "--metadata-url", "http://127.0.0.1:1", "download"]],
    ids=" ".join,
)
def test_a_wrong_command_line_ends_with_exit_code_one(client: Client, words: list[str]) -> None:
    assert client.run(*words) == "usage"


def test_only_http_is_asked(client: Client) -> None:
    assert client.init() == OK
    words = ["--metadata-dir", str(client.metadata), "--metadata-url", "file:///etc", "refresh"]
    assert client.run(*words) == "CONFIG_INVALID"


# refresh


@on_and_off
def test_a_first_refresh_asks_role_after_role_and_keeps_them_byte_for_byte(client: Client, repo: Simulator) -> None:
    trusting(client)
    version = "1." if repo.root.consistent_snapshot else ""
    assert repo.asked_roles() == ["2.root", "timestamp", f"{version}snapshot", f"{version}targets"]
    assert client.versions() == ALL_ONE
    assert all(client.content(role) == repo.content(role) for role in ALL_ONE)


@on_and_off
def test_a_refresh_without_news_asks_for_root_and_timestamp_only(client: Client, repo: Simulator) -> None:
    before = trusting(client).state()
    repo.asked.clear()
    assert client.refresh() == OK
    assert repo.asked_roles() == ["2.root", "timestamp"]
    assert client.state() == before


@on_and_off
@with_and_without_hashes
def test_news_of_every_role_is_taken(client: Client, repo: Simulator, hashes: bool) -> None:
    trusting(client)
    repo.with_hashes = hashes
    repo.publish("root")
    repo.update("targets")
    assert client.refresh() == OK
    assert client.versions() == {"root": 2, "snapshot": 2, "targets": 2, "timestamp": 2}


def test_only_what_changed_is_fetched(client: Client, repo: Simulator) -> None:
    trusting(client)
    repo.update()
    repo.asked.clear()
    assert client.refresh() == OK
    assert repo.asked_roles() == ["2.root", "timestamp", "2.snapshot"]


@pytest.mark.parametrize("repo", [True, False], indirect=True, ids=["to plain", "to consistent"])
def test_a_repository_may_change_how_it_names_its_files(client: Client, repo: Simulator) -> None:
    trusting(client)
    repo.root.consistent_snapshot = not repo.root.consistent_snapshot
    repo.publish("root")
    repo.update("targets")
    repo.asked.clear()
    assert client.refresh() == OK
    prefix = "2." if repo.root.consistent_snapshot else ""
    assert repo.asked_roles()[-2:] == [f"{prefix}snapshot", f"{prefix}targets"]


def test_fields_that_tuf_does_not_know_are_signed_content_and_no_obstacle(client: Client, repo: Simulator) -> None:
    trusting(client)
    key = repo.root.keys[repo.root.roles["root"].keyids[0]]
    for fields in (key.unrecognized_fields, repo.root.roles["root"].unrecognized_fields):
        fields["extra"] = {"a": 1, "b": [2, None]}
    for draft in repo.drafts.values():
        draft.unrecognized_fields["custom-field"] = "value"
    repo.publish("root")
    repo.update("targets")
    assert client.refresh() == OK
    assert client.versions()["root"] == 2


def test_what_only_the_agent_forbids_is_no_obstacle(client: Client, repo: Simulator) -> None:
    repo.root.unrecognized_fields["demo"] = True
    repo.timestamp.unrecognized_fields["issued"] = 9_999_999_999
    repo.publish("root", "timestamp")
    assert client.init() == OK
    assert client.refresh() == OK


def test_a_timestamp_of_the_same_version_does_not_replace_the_trusted_one(client: Client, repo: Simulator) -> None:
    trusted = trusting(client).content("timestamp")
    repo.timestamp.snapshot_meta.version = 100
    repo.publish("timestamp", bump=False)
    assert client.refresh() == OK
    assert client.content("timestamp") == trusted != repo.content("timestamp")


@pytest.mark.parametrize("damage", [b"", b"\0" * 100, b"{}"], ids=["empty", "zeroes", "no metadata"])
@pytest.mark.parametrize("role", BELOW_ROOT)
def test_a_damaged_local_role_is_fetched_again(client: Client, repo: Simulator, role: str, damage: bytes) -> None:
    trusting(client)
    (client.metadata / f"{role}.json").write_bytes(damage)
    assert client.refresh() == OK
    assert client.content(role) == repo.content(role)


# rollback


def test_an_older_timestamp_is_refused(client: Client, repo: Simulator) -> None:
    repo.update_timestamp()
    before = trusting(client).state()
    repo.timestamp.version = 1
    repo.publish("timestamp", bump=False)
    assert client.refresh() == "METADATA_ROLLBACK"
    assert client.state() == before
    assert repo.asked_roles()[-1] == "timestamp"


@with_and_without_hashes
def test_a_timestamp_that_names_an_older_snapshot_is_refused(client: Client, repo: Simulator, hashes: bool) -> None:
    repo.with_hashes = hashes
    repo.update()
    before = trusting(client).state()
    repo.snapshot.version = 1
    repo.publish("snapshot", bump=False)
    repo.update_timestamp()
    assert client.refresh() == "METADATA_ROLLBACK"
    assert client.state() == before
    assert repo.asked_roles()[-1] == "timestamp"


@pytest.mark.parametrize("repo", [False], indirect=True, ids=["plain"])
def test_an_older_snapshot_that_no_timestamp_names_is_not_even_asked_for(client: Client, repo: Simulator) -> None:
    repo.update()
    before = trusting(client).state()
    repo.snapshot.version = 1
    repo.publish("snapshot", bump=False)
    assert client.refresh() == OK
    assert client.state() == before
    assert repo.asked_roles()[-1] == "timestamp"


@with_and_without_hashes
@on_and_off
def test_a_snapshot_that_names_older_targets_is_refused(client: Client, repo: Simulator, hashes: bool) -> None:
    repo.with_hashes = hashes
    repo.update("targets")
    trusting(client)
    repo.targets.version = 1
    repo.publish("targets", bump=False)
    repo.update()
    repo.snapshot.meta["targets.json"].version = 1
    assert client.refresh() == OK, "the snapshot still names version 2"
    repo.publish("snapshot")
    repo.update_timestamp()
    assert client.refresh() == "METADATA_ROLLBACK"
    assert client.versions()["targets"] == 2


def test_a_snapshot_that_no_longer_names_a_role_is_refused(client: Client, repo: Simulator) -> None:
    repo.delegate("a")
    repo.update("targets", "a")
    trusting(client)
    del repo.snapshot.meta["a.json"]
    repo.update()
    assert client.refresh() == "SIGNATURE_INVALID"
    assert client.versions()["snapshot"] == 2


@pytest.mark.parametrize(
    ("role", "kept"), [("snapshot", ["root", "timestamp"]), ("targets", ["root", "snapshot", "timestamp"])]
)
def test_a_role_of_another_version_than_was_named_is_refused(
    client: Client, repo: Simulator, role: str, kept: list[str]
) -> None:
    place = repo.place(role)
    repo.drafts[role].version = 2
    repo.files[place] = repo.sign(repo.drafts[role], repo.signers[role])
    assert client.init() == OK
    assert client.refresh() == "METADATA_ROLLBACK"
    assert sorted(client.versions()) == kept
    assert repo.asked[-1] == place


# freeze


@pytest.mark.parametrize("role", BELOW_ROOT)
def test_an_expired_role_is_refused_and_the_trusted_one_stays(client: Client, repo: Simulator, role: str) -> None:
    trusted = trusting(client).content(role)
    repo.drafts[role].expires = in_days(-5)
    repo.update("targets")
    assert client.refresh() == "METADATA_EXPIRED"
    assert client.content(role) == trusted


def test_an_expired_root_is_kept_and_nothing_is_asked_after_it(client: Client, repo: Simulator) -> None:
    trusting(client)
    repo.root.expires = in_days(-1)
    repo.publish("root")
    repo.update("targets")
    assert client.refresh() == "METADATA_EXPIRED"
    # TUF 1.0 §5.3.8 and §5.3.10: kept first, judged afterwards.
    assert client.versions() == {**ALL_ONE, "root": 2}


def test_an_expired_root_on_the_way_is_no_obstacle(client: Client, repo: Simulator) -> None:
    trusting(client)
    repo.root.expires = in_days(-1)
    repo.publish("root")
    repo.root.expires = in_days(30)
    repo.publish("root")
    assert client.refresh() == OK
    assert client.versions()["root"] == 3


def test_an_expired_first_root_still_leads_to_the_newest(client: Client, repo: Simulator) -> None:
    assert client.init(repo.content("root")) == OK
    repo.root.expires = in_days(60)
    for draft in repo.drafts.values():
        draft.expires = in_days(60)
    repo.publish("root")
    repo.update("targets")
    assert client.refresh(days=45) == OK
    assert client.versions()["root"] == 2


def test_an_expired_local_timestamp_serves_to_fetch_a_newer_one(client: Client, repo: Simulator) -> None:
    repo.timestamp.expires = in_days(7)
    repo.update()
    trusting(client)
    repo.timestamp.expires = in_days(21)
    repo.update("targets")
    assert client.refresh(days=18) == OK
    assert client.versions() == {"root": 1, "snapshot": 3, "targets": 2, "timestamp": 3}


def test_an_expired_local_timestamp_still_protects_from_an_older_one(client: Client, repo: Simulator) -> None:
    repo.timestamp.expires = in_days(21)
    repo.update_timestamp()
    older = repo.content("timestamp")
    repo.timestamp.expires = in_days(7)
    repo.update_timestamp()
    trusting(client)
    repo.files[repo.place("timestamp")] = older
    assert client.refresh(days=18) == "METADATA_ROLLBACK"
    assert client.versions()["timestamp"] == 3


def test_a_repository_that_stands_still_is_refused_once_it_expired(client: Client) -> None:
    before = trusting(client).state()
    assert client.refresh(days=29) == OK
    assert client.refresh(days=31) == "METADATA_EXPIRED"
    assert client.state() == before


@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
def test_the_clock_is_the_one_that_faketime_shows(client: Client) -> None:
    trusting(client)
    program = [sys.executable, "-m", "scripts.tuf_conformance", *client.refresh_words()]
    for day, code in ((29, 0), (31, 1)):
        shown = in_days(day).astimezone(timezone.utc)
        ran = subprocess.run(["faketime", f"{shown}", *program], capture_output=True, text=True, check=False, cwd=ROOT)
        assert (ran.returncode, "METADATA_EXPIRED" in ran.stderr) == (code, bool(code)), ran.stderr
    assert shown > datetime.now(timezone.utc)


# mix and match, endless data, arbitrary content


@with_and_without_hashes
@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_an_older_role_in_the_place_of_the_named_one_is_refused(
    client: Client, repo: Simulator, role: str, hashes: bool
) -> None:
    repo.with_hashes = hashes
    trusted = trusting(client).content(role)
    older = repo.content(role)
    repo.update("targets")
    repo.files[repo.place(role)] = older
    assert client.refresh() == ("SIGNATURE_INVALID" if hashes else "METADATA_ROLLBACK")
    assert client.content(role) == trusted


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_a_role_that_is_signed_but_not_the_one_that_was_hashed_is_refused(
    client: Client, repo: Simulator, role: str
) -> None:
    repo.with_hashes = True
    repo.update("targets")
    repo.drafts[role].unrecognized_fields["other"] = True
    repo.files[repo.place(role)] = repo.sign(repo.drafts[role], repo.signers[role])
    assert client.init() == OK
    assert client.refresh() in {"SIGNATURE_INVALID", "TRANSFER_FAILED"}
    assert role not in client.versions()


@pytest.mark.parametrize("length", [0, 1, -1, 10], ids=["same", "shorter", "longer", "far"])
@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_lengths_are_judged_without_hashes_too(client: Client, repo: Simulator, role: str, length: int) -> None:
    meta = repo.timestamp.snapshot_meta if role == "snapshot" else repo.snapshot.meta["targets.json"]
    meta.length = len(repo.content(role)) + length
    if role == "targets":
        repo.update()
    else:
        repo.publish("timestamp")
    assert client.init() == OK
    assert (client.refresh() == OK) is (length == 0)
    assert (role in client.versions()) is (length == 0)


@pytest.mark.parametrize("role", ["root", *BELOW_ROOT])
def test_a_role_without_end_is_bounded(client: Client, repo: Simulator, role: str) -> None:
    before = trusting(client).state()
    repo.publish("root")
    repo.update("targets")
    repo.endless.add(repo.place(role))
    assert client.refresh() == "TRANSFER_FAILED"
    assert client.content(role) == before[f"{role}.json"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b"[" * 10_000, b'{"signatures": [], "signed": {}}'],
    ids=lambda c: repr(c[:12]),
)
@pytest.mark.parametrize("role", ["root", *BELOW_ROOT])
def test_what_is_no_metadata_is_refused(client: Client, repo: Simulator, role: str, content: bytes) -> None:
    trusted = trusting(client).content(role)
    repo.publish("root")
    repo.update("targets")
    repo.files[repo.place(role)] = content
    assert client.refresh() == "SIGNATURE_INVALID"
    assert client.content(role) == trusted


@pytest.mark.parametrize("role", BELOW_ROOT)
def test_a_role_in_the_place_of_another_is_refused(client: Client, repo: Simulator, role: str) -> None:
    other = "targets" if role != "targets" else "snapshot"
    metadata = Metadata.from_bytes(repo.content(other))
    repo.files[repo.place(role)] = repo.sign(metadata.signed, repo.signers[role])
    assert client.init() == OK
    assert client.refresh() == "SIGNATURE_INVALID"
    assert role not in client.versions()


@pytest.mark.parametrize("role", BELOW_ROOT)
def test_a_role_that_is_missing_on_the_server_fails_the_refresh(client: Client, repo: Simulator, role: str) -> None:
    trusted = trusting(client).content(role)
    repo.update("targets")
    del repo.files[repo.place(role)]
    assert client.refresh() == "OBJECT_MISSING"
    assert client.content(role) == trusted


def test_a_server_that_is_not_there_changes_nothing(client: Client) -> None:
    before = trusting(client).state()
    words = ["--metadata-dir", str(client.metadata), "--metadata-url", "http://127.0.0.1:1/metadata", "refresh"]
    assert client.run(*words) == "TRANSFER_FAILED"
    assert client.state() == before


# recovery from versions that were raised too far


def test_after_timestamp_keys_changed_its_versions_may_begin_anew(client: Client, repo: Simulator) -> None:
    repo.timestamp.version = 99_999
    repo.update_timestamp()
    trusting(client)
    repo.rotate("timestamp")
    repo.timestamp.version = 1
    repo.publish("timestamp", bump=False)
    assert client.refresh() == OK
    assert client.versions()["timestamp"] == 1


def test_after_snapshot_and_timestamp_keys_changed_the_snapshots_versions_may_begin_anew(
    client: Client, repo: Simulator
) -> None:
    repo.snapshot.version = 99_999
    repo.update()
    trusting(client)
    repo.rotate("snapshot", "timestamp")
    repo.snapshot.version = 0
    repo.update()
    assert client.refresh() == OK
    assert client.versions()["snapshot"] == 1


def test_after_snapshot_keys_changed_the_versions_of_targets_may_begin_anew(client: Client, repo: Simulator) -> None:
    repo.targets.version = 99_999
    repo.update("targets")
    trusting(client)
    repo.rotate("snapshot")
    repo.targets.version = 0
    repo.update("targets")
    assert client.refresh() == OK
    assert client.versions()["targets"] == 1


def test_state_of_an_unclean_end_is_no_obstacle_and_is_tidied(client: Client, repo: Simulator) -> None:
    trusting(client)
    leftover: Path = client.metadata / ".refreshing"
    leftover.mkdir()
    (leftover / "targets.json").write_bytes(b"torn")
    (client.metadata / ".root.json.00.staged").write_bytes(b"torn")
    repo.update("targets")
    assert client.refresh() == OK
    assert sorted(path.name for path in client.metadata.iterdir()) == sorted(
        ["root_history", *(f"{role}.json" for role in ALL_ONE)]
    )
