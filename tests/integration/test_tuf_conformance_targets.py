"""Targets and delegations as the conformance suite asks for them (TUF 1.0 §5.6.7 and §5.7)."""

import hashlib
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from tuf.api.metadata import TargetFile

from tests.fakes.tree import ROOT
from tests.fakes.tuf_client import OK, Client
from tests.fakes.tuf_simulator import Simulator, in_days

on_and_off = pytest.mark.parametrize("repo", [True, False], indirect=True, ids=["consistent", "plain"])
PATHS = [
    "file.txt",
    "path/to/a/file.txt",
    "with space",
    "a?b",
    "a#b",
    "100%",
    "a%2Fb",
    "ü/ß.onnx",
    "a+b&c=d;e",
    "../up",
    "/top",
]


def asked_targets(repo: Simulator) -> list[str]:
    return [path for path in repo.asked if path.startswith("/targets/")]


# downloads


@on_and_off
@pytest.mark.parametrize("path", PATHS)
def test_a_signed_target_is_downloaded(client: Client, repo: Simulator, path: str) -> None:
    repo.add_target(path, b"content")
    repo.update("targets")
    assert client.init() == OK
    assert client.download(path) == OK
    assert client.downloaded() == [b"content"]
    assert len(asked_targets(repo)) == 1


@pytest.mark.parametrize("path", ["../../up", "/top", ".", "..", "a/../../b", "x" * 200])
def test_no_name_leads_out_of_the_target_directory(client: Client, repo: Simulator, path: str) -> None:
    repo.add_target(path, b"content")
    repo.update("targets")
    assert client.init() == OK
    assert client.download(path) == OK
    assert [file.read_bytes() for file in client.artefacts.iterdir()] == [b"content"]
    assert path == "x" * 200 or not (client.artefacts / path).is_file()


def test_a_download_refreshes_first_and_an_unknown_target_is_refused(client: Client, repo: Simulator) -> None:
    assert client.init() == OK
    assert client.download("nobody signed this") == "RELEASE_UNKNOWN"
    assert repo.asked_roles() == ["2.root", "timestamp", "1.snapshot", "1.targets"]
    assert client.versions() == {"root": 1, "snapshot": 1, "targets": 1, "timestamp": 1}
    assert client.downloaded() == []


def test_a_refresh_downloads_no_target(client: Client, repo: Simulator) -> None:
    repo.add_target("file", b"content")
    repo.update("targets")
    assert client.init() == OK
    assert client.refresh() == OK
    assert (client.downloaded(), asked_targets(repo)) == ([], [])


def test_what_is_already_there_is_not_asked_for_again(client: Client, repo: Simulator) -> None:
    repo.add_target("a/file", b"content")
    repo.update("targets")
    assert client.init() == OK
    assert client.download("a/file") == OK
    repo.update("targets")
    assert client.download("a/file") == OK
    assert len(asked_targets(repo)) == 1
    assert client.downloaded() == [b"content"]


def test_new_content_takes_the_place_of_the_old(client: Client, repo: Simulator) -> None:
    assert client.init() == OK
    for number in range(3):
        repo.add_target("file", f"content {number}".encode())
        repo.update("targets")
        assert client.download("file") == OK
        assert client.downloaded() == [f"content {number}".encode()]


def test_a_target_that_changes_again_and_again_is_never_taken_from_a_forger(client: Client, repo: Simulator) -> None:
    assert client.init() == OK
    for round_ in range(6):
        genuine = f"genuine {round_}".encode()
        repo.add_target("file", genuine)
        repo.update("targets")
        # The client sees every second change.
        if round_ % 2:
            continue
        assert client.download("file") == OK
        repo.serve_target("file", f"forged! {round_}".encode())
        repo.update("targets")
        client.download("file")
        assert client.downloaded() == [genuine]


def test_a_damaged_copy_is_downloaded_again(client: Client, repo: Simulator) -> None:
    repo.add_target("file", b"content")
    repo.update("targets")
    assert client.init() == OK
    assert client.download("file") == OK
    next(client.artefacts.iterdir()).write_bytes(b"cOntent")
    assert client.download("file") == OK
    assert client.downloaded() == [b"content"]


@on_and_off
@pytest.mark.parametrize(
    ("served", "word"),
    [
        (b"cOntent", "DIGEST_MISMATCH"),
        (b"content"[:-1], "DIGEST_MISMATCH"),
        (b"", "DIGEST_MISMATCH"),
        (b"content+", "TRANSFER_FAILED"),
    ],
)
def test_other_bytes_than_were_signed_are_refused_and_the_old_file_stays(
    client: Client, repo: Simulator, served: bytes, word: str
) -> None:
    repo.add_target("file", b"before")
    repo.update("targets")
    assert client.init() == OK
    assert client.download("file") == OK
    repo.add_target("file", b"content")
    repo.update("targets")
    repo.serve_target("file", served)
    assert client.download("file") == word
    assert client.downloaded() == [b"before"]


def test_bytes_swapped_behind_an_unchanged_signature_reach_nobody(client: Client, repo: Simulator) -> None:
    repo.add_target("one", b"first")
    repo.add_target("two", b"second")
    repo.update("targets")
    assert client.init() == OK
    assert client.download("one") == OK
    for name in ("one", "two"):
        repo.serve_target(name, b"malice")
    assert client.download("one") == OK
    assert client.download("two") == "DIGEST_MISMATCH"
    assert client.downloaded() == [b"first"]


def test_a_target_without_end_is_bounded(client: Client, repo: Simulator) -> None:
    repo.add_target("file", b"content")
    repo.update("targets")
    repo.endless.add(repo.target_place("file"))
    assert client.init() == OK
    assert client.download("file") == "TRANSFER_FAILED"
    assert client.downloaded() == []


def test_a_target_that_is_missing_on_the_server_fails(client: Client, repo: Simulator) -> None:
    repo.add_target("file", b"content")
    repo.update("targets")
    del repo.files[repo.target_place("file")]
    assert client.init() == OK
    assert client.download("file") == "OBJECT_MISSING"
    assert client.downloaded() == []


def test_several_targets_come_in_the_order_they_are_named(client: Client, repo: Simulator) -> None:
    for name in ("a", "b", "c"):
        repo.add_target(name, name.encode())
    repo.update("targets")
    assert client.init() == OK
    assert client.download("c", "a", "b") == OK
    assert [path[-1] for path in asked_targets(repo)] == ["c", "a", "b"]
    assert repo.asked_roles().count("timestamp") == 1


def test_the_first_target_that_fails_ends_the_download_and_those_before_stay(client: Client, repo: Simulator) -> None:
    for name in ("a", "b", "c"):
        repo.add_target(name, name.encode())
    repo.update("targets")
    repo.serve_target("b", b"x")
    assert client.init() == OK
    assert client.download("a", "b", "c") == "DIGEST_MISMATCH"
    assert client.downloaded() == [b"a"]


def test_every_hash_that_is_signed_must_match(client: Client, repo: Simulator) -> None:
    repo.add_target("file", b"content")
    signed = repo.targets.targets["file"]
    signed.hashes["sha512"] = hashlib.sha512(b"other").hexdigest()
    repo.update("targets")
    assert client.init() == OK
    assert client.download("file") == "DIGEST_MISMATCH"


def test_another_hash_than_sha256_will_do(client: Client, repo: Simulator) -> None:
    signed = TargetFile.from_data("file", b"content", ["sha512"])
    repo.targets.targets["file"] = signed
    repo.files[f"/targets/{signed.hashes['sha512']}.file"] = b"content"
    repo.update("targets")
    assert client.init() == OK
    assert client.download("file") == OK
    assert client.downloaded() == [b"content"]


def test_a_copy_is_no_excuse_for_expired_metadata(client: Client, repo: Simulator) -> None:
    repo.add_target("file", b"content")
    repo.update("targets")
    assert client.init() == OK
    assert client.download("file") == OK
    assert client.download("file", days=31) == "METADATA_EXPIRED"


def test_the_target_directory_is_made(client: Client, repo: Simulator) -> None:
    repo.add_target("file", b"content")
    repo.update("targets")
    client.artefacts.rmdir()
    assert client.init() == OK
    assert client.download("file") == OK
    assert client.downloaded() == [b"content"]


def test_the_script_itself_does_all_three(client: Client, repo: Simulator, tmp_path: Path) -> None:
    repo.add_target("file", b"content")
    repo.update("targets")
    root = tmp_path / "given.json"
    root.write_bytes(repo.content("root"))
    init = ["--metadata-dir", str(client.metadata), "init", str(root)]
    for words in (init, client.refresh_words(), client.download_words("file")):
        subprocess.run([ROOT / "scripts" / "tuf-client", *words], check=True, cwd=tmp_path)
    assert client.downloaded() == [b"content"]
    ran = subprocess.run([ROOT / "scripts" / "tuf-client", *client.download_words("none")], check=False, cwd=tmp_path)
    assert ran.returncode == 1


# delegations


class Graph(NamedTuple):
    """Edges as "parent>role", "!" ends the search behind it, "=pattern" narrows it; the roles a search visits."""

    edges: str
    visited: str


GRAPHS = {
    "one": Graph("targets>A", "A"),
    "two in order": Graph("targets>A targets>B", "A B"),
    "two levels": Graph("targets>A targets>B B>C", "A B C"),
    "depth before breadth": Graph("targets>A targets>B A>C A>D", "A C D B"),
    "three levels deep first": Graph("targets>A targets>B A>C C>D", "A C D B"),
    "a terminating role hides all that follows": Graph("targets>A targets>B A>C! A>D", "A C"),
    "a terminating role keeps its own delegations": Graph("targets>A targets>B A>C! C>D", "A C D"),
    "a terminating role whose paths do not match hides nothing": Graph("targets>A!=*.py targets>B", "B"),
    "paths that do not match are not followed": Graph("targets>A=*.py targets>B A>C", "B"),
    "paths that do not match deeper": Graph("targets>A targets>B A>C=*.py C>D", "A B"),
    "a circle": Graph("targets>A targets>B B>C C>D D>B", "A B C D"),
    "a role by two ways is visited once": Graph("targets>A targets>B B>C A>C", "A C B"),
    "a role by the way that matches": Graph("targets>A targets>B B>C A>C=*.py", "A B C"),
    "itself": Graph("targets>A A>A", "A"),
}


def build(repo: Simulator, edges: str) -> list[str]:
    """Delegate as the edges say and publish; return the roles."""
    for edge in edges.split():
        way, _, pattern = edge.partition("=")
        parent, _, name = way.rstrip("!").partition(">")
        repo.delegate(name, [pattern or "*"], parent=parent, terminating="!" in way)
    roles = [role for role in repo.drafts if role not in {"root", "timestamp", "snapshot"}]
    repo.update(*roles)
    return roles


@on_and_off
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_delegations_are_searched_in_their_order(client: Client, repo: Simulator, graph: Graph) -> None:
    build(repo, graph.edges)
    assert client.init() == OK
    assert client.download("missing") == "RELEASE_UNKNOWN"
    version = "1." if repo.root.consistent_snapshot else ""
    assert repo.asked_roles()[4:] == [f"{version}{role}" for role in graph.visited.split()]


@pytest.mark.parametrize(
    ("path", "owner", "visited"),
    [
        ("file", "targets", []),
        ("README.md", "A", ["A"]),
        ("releases/x/x_v1", "C", ["B", "C"]),
        ("releases/y/y_v1.zip", "D", ["B", "D"]),
        ("releases/z/z_v1.zip", "", ["B"]),
        ("deep/README.md", "", []),
    ],
)
def test_a_target_is_found_where_all_delegations_above_it_match(
    client: Client, repo: Simulator, path: str, owner: str, visited: list[str]
) -> None:
    repo.delegate("A", ["*.doc", "*.md"])
    repo.delegate("B", ["releases/*/*"])
    repo.delegate("C", ["releases/x/*"], parent="B")
    repo.delegate("D", ["releases/y/*.zip"], parent="B")
    # Where it does not belong it is signed too, and must not be found there.
    repo.add_target(path, path.encode(), owner or "D")
    repo.update("targets", "A", "B", "C", "D")
    assert client.init() == OK
    assert client.download(path) == (OK if owner else "RELEASE_UNKNOWN")
    assert client.downloaded() == ([path.encode()] if owner else [])
    assert repo.asked_roles()[4:] == [f"1.{role}" for role in visited]


def test_the_first_role_that_signed_a_target_has_the_say(client: Client, repo: Simulator) -> None:
    for role in ("B", "A"):
        repo.delegate(role)
        repo.add_target("file", role.encode(), role)
    repo.update("targets", "A", "B")
    assert client.init() == OK
    assert client.download("file") == OK
    assert client.downloaded() == [b"B"]


def test_delegated_roles_are_fetched_when_needed_and_kept(client: Client, repo: Simulator) -> None:
    repo.delegate("A")
    repo.add_target("file", b"content", "A")
    repo.update("targets", "A")
    assert client.init() == OK
    assert client.refresh() == OK
    assert "A" not in client.versions()
    assert client.download("file") == OK
    assert client.content("A") == repo.content("A")
    repo.asked.clear()
    assert client.download("file") == OK
    assert "1.A" not in repo.asked_roles()


@pytest.mark.parametrize("inside", [True, False])
def test_a_role_may_be_given_paths_by_the_beginning_of_their_hash(
    client: Client, repo: Simulator, inside: bool
) -> None:
    digest = hashlib.sha256(b"some/file").hexdigest()
    prefix = digest[:3] if inside else f"{(int(digest[:3], 16) + 1) % 4096:03x}"
    repo.delegate("A", None, path_hash_prefixes=["zzz", prefix])
    repo.add_target("some/file", b"content", "A")
    repo.update("targets", "A")
    assert client.init() == OK
    assert client.download("some/file") == (OK if inside else "RELEASE_UNKNOWN")
    assert client.downloaded() == ([b"content"] if inside else [])


def test_targets_in_hashed_bins_are_found_in_their_bin_only(client: Client, repo: Simulator) -> None:
    names = repo.delegate_to_bins(3, "bin")
    paths = [f"file-{number}" for number in range(6)]
    for path in paths:
        # The first three bits of the path's hash name the bin.
        repo.add_target(path, path.encode(), names[hashlib.sha256(path.encode()).digest()[0] >> 5])
    repo.update("targets", *names)
    assert client.init() == OK
    assert client.download(*paths) == OK
    assert client.downloaded() == [path.encode() for path in paths]
    right = hashlib.sha256(b"elsewhere").digest()[0] >> 5
    repo.add_target("elsewhere", b"x", names[(right + 1) % 8])
    repo.update(*names)
    assert client.download("elsewhere") == "RELEASE_UNKNOWN"


@pytest.mark.parametrize("fault", ["unsigned", "another key", "parent's key", "threshold"])
def test_a_delegated_role_that_its_keys_did_not_sign_is_refused(client: Client, repo: Simulator, fault: str) -> None:
    repo.delegate("A")
    repo.delegate("B")
    repo.add_target("file", b"content", "A")
    assert repo.targets.delegations is not None
    assert repo.targets.delegations.roles is not None
    if fault == "threshold":
        repo.targets.delegations.roles["A"].threshold = 2
    signers = {"unsigned": [], "another key": repo.signers["B"], "parent's key": repo.signers["targets"]}
    repo.signers["A"] = signers.get(fault, repo.signers["A"])
    repo.update("targets", "A", "B")
    assert client.init() == OK
    assert client.download("file") == "SIGNATURE_INVALID"
    assert (client.downloaded(), "A" in client.versions()) == ([], False)


def test_a_role_that_two_delegate_to_must_satisfy_the_one_that_was_asked(client: Client, repo: Simulator) -> None:
    """Verified for one delegator is not verified for the other, in one run as in two."""
    build(repo, "targets>A=a/* targets>B=b/* A>C=a/*")
    by_a = list(repo.signers["C"])
    repo.delegate("C", ["b/*"], parent="B")
    repo.signers["C"] = by_a
    for path in ("a/file", "b/file"):
        repo.add_target(path, path.encode(), "C")
    repo.update("A", "B", "C")
    assert client.init() == OK
    assert client.download("a/file", "b/file") == "SIGNATURE_INVALID"
    assert client.downloaded() == [b"a/file"]
    assert client.download("b/file") == "SIGNATURE_INVALID"
    assert client.downloaded() == [b"a/file"]


def test_a_delegated_role_that_the_snapshot_does_not_name_is_refused(client: Client, repo: Simulator) -> None:
    repo.delegate("A")
    repo.add_target("file", b"content", "A")
    repo.publish("A")
    repo.update("targets")
    assert client.init() == OK
    assert client.download("file") == "SIGNATURE_INVALID"
    assert client.downloaded() == []


def test_a_delegated_role_does_not_sink(client: Client, repo: Simulator) -> None:
    build(repo, "targets>A")
    repo.add_target("file", b"content", "A")
    repo.update("A")
    assert client.init() == OK
    assert client.download("file") == OK
    repo.drafts["A"].version = 1
    repo.publish("A", bump=False)
    repo.update()
    repo.snapshot.meta["A.json"].version = 1
    repo.publish("snapshot")
    repo.update_timestamp()
    assert client.download("file") == "METADATA_ROLLBACK"
    assert client.versions()["A"] == 2


def test_a_delegated_role_that_expired_is_not_used(client: Client, repo: Simulator) -> None:
    repo.delegate("A")
    repo.drafts["A"].expires = in_days(-1)
    repo.add_target("file", b"content", "A")
    repo.update("targets", "A")
    assert client.init() == OK
    assert client.refresh() == OK
    assert client.download("file") == "METADATA_EXPIRED"
    assert (client.downloaded(), "A" in client.versions()) == ([], False)


@pytest.mark.parametrize("renewed", [True, False])
def test_a_kept_delegated_role_that_expired_serves_only_once_renewed(
    client: Client, repo: Simulator, renewed: bool
) -> None:
    repo.delegate("A")
    repo.drafts["A"].expires = in_days(7)
    repo.add_target("one", b"1", "A")
    repo.add_target("two", b"2", "A")
    repo.update("targets", "A")
    assert client.init() == OK
    assert client.download("one") == OK
    repo.drafts["A"].expires = in_days(21)
    if renewed:
        repo.update("A")
    assert client.download("two", days=18) == (OK if renewed else "METADATA_EXPIRED")
    assert client.downloaded() == ([b"1", b"2"] if renewed else [b"1"])


@on_and_off
@pytest.mark.parametrize(
    "role", ["?", "#", "/delegated", "../delegated", ".", "..", "a b", "ü", "9.root", "100%", "a%2Fb"]
)
def test_a_role_may_have_any_name_and_harms_nothing(client: Client, repo: Simulator, role: str) -> None:
    repo.delegate(role)
    repo.add_target("file", b"content", role)
    repo.update("targets", role)
    assert client.init() == OK
    assert client.download("file") == OK
    assert repo.place(role) in repo.asked
    assert len(client.versions()) == len(list(client.metadata.glob("*.json"))) == 5
    assert client.versions()["root"] == 1


def test_a_role_cannot_be_delegated_a_top_roles_name(client: Client, repo: Simulator) -> None:
    repo.delegate("A")
    repo.update("targets", "A")
    assert repo.targets.delegations is not None
    assert repo.targets.delegations.roles is not None
    repo.targets.delegations.roles["A"].name = "timestamp"
    repo.publish("targets", bump=False)
    assert client.init() == OK
    assert client.download("file") == "SIGNATURE_INVALID"
    assert "targets" not in client.versions()


def test_a_search_visits_a_bounded_number_of_roles(client: Client, repo: Simulator) -> None:
    build(repo, " ".join(f"targets>r{number:02}" for number in range(40)))
    repo.add_target("file", b"content", "r39")
    repo.update("r39")
    assert client.init() == OK
    assert client.download("file") == "RELEASE_UNKNOWN"
    assert len(repo.asked_roles()[4:]) == 32
