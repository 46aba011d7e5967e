"""A device's certificates one after the other, on the disk."""

import json
import os
import stat
from pathlib import Path

import pytest

from edge_agent.errors import IdentityError, StorageError
from edge_agent.identity import material
from edge_agent.identity.lineage import Files, Lineage, keys_in
from tests.fakes.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def first(authority: Authority) -> Files:
    return Files(*authority.issue("press-4"))


def renewed(lineage: Lineage, authority: Authority) -> str:
    """Go through one renewal; return the new certificate's id."""
    lineage.ask("press-4")
    lineage.put(authority.sign(lineage.request))
    lineage.switch()
    lineage.tidy()
    return lineage.current.id


def test_at_first_what_the_settings_name_is_in_use_and_nothing_is_written(tmp_path: Path, first: Files) -> None:
    lineage = Lineage(tmp_path / "identity", first)
    assert (lineage.files, lineage.before, lineage.request) == (first, "", "")
    assert not (tmp_path / "identity").exists()


def test_a_request_stays_the_same_until_its_certificate_is_in_use(
    tmp_path: Path, first: Files, authority: Authority
) -> None:
    lineage = Lineage(tmp_path, first)
    lineage.ask("press-4")
    request = lineage.request
    lineage.ask("press-4")
    again = Lineage(tmp_path, first)
    assert request == lineage.request == again.request
    assert again.files == first
    again.put(authority.sign(request))
    assert Lineage(tmp_path, first).files == first
    again.switch()
    after = Lineage(tmp_path, first)
    assert after.request == ""
    assert after.files.private_key.parent == tmp_path / "1"
    assert stat.S_IMODE(after.files.private_key.stat().st_mode) == 0o600
    key = material.read_key(after.files.private_key.read_bytes(), "key")
    material.check_fit(after.current, key, "certificate")
    assert after.before == material.read_certificate(first.certificate.read_bytes(), "first").id


def test_keys_of_the_past_are_deleted_but_the_one_that_the_settings_name(
    tmp_path: Path, first: Files, authority: Authority
) -> None:
    lineage = Lineage(tmp_path, first)
    one = renewed(lineage, authority)
    two = renewed(lineage, authority)
    assert lineage.before == one
    assert Lineage(tmp_path, first).current.id == two
    assert [path.parent.name for path in keys_in(tmp_path)] == ["2", "2"]
    assert first.private_key.exists()


def test_a_key_that_a_cut_left_behind_is_deleted_when_the_next_agent_starts(
    tmp_path: Path, first: Files, authority: Authority
) -> None:
    lineage = Lineage(tmp_path, first)
    renewed(lineage, authority)
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "private.key").write_text("old")
    again = Lineage(tmp_path, first)
    assert len(keys_in(tmp_path)) == 3
    again.tidy()
    assert {path.parent.name for path in keys_in(tmp_path)} == {"1"}


def test_another_keys_certificate_is_refused(tmp_path: Path, first: Files, authority: Authority) -> None:
    lineage = Lineage(tmp_path, first)
    lineage.ask("press-4")
    with pytest.raises(IdentityError, match="this device's key"):
        lineage.put(first.certificate.read_text())
    with pytest.raises(IdentityError, match="PEM certificate"):
        lineage.put("text")
    assert lineage.files == first
    assert lineage.request


def test_a_new_enrolment_ends_what_followed_the_old_one(tmp_path: Path, first: Files, authority: Authority) -> None:
    renewed(Lineage(tmp_path, first), authority)
    other = Files(*authority.issue("press-5"))
    lineage = Lineage(tmp_path, other)
    assert (lineage.files, lineage.before) == (other, "")
    renewed(lineage, authority)
    assert Lineage(tmp_path, other).current.id == lineage.current.id


@pytest.mark.parametrize("lost", ["succession.json", "1/certificate.pem", "1/private.key"])
def test_where_the_disk_lost_the_newest_the_first_is_used_and_no_key_is_deleted(
    tmp_path: Path, first: Files, authority: Authority, lost: str
) -> None:
    renewed(Lineage(tmp_path, first), authority)
    (tmp_path / lost).write_bytes(b"\x00")
    lineage = Lineage(tmp_path, first)
    lineage.tidy()
    assert lineage.files == first
    assert (tmp_path / "1" / "private.key").exists()


@pytest.mark.parametrize("lost", ["succession.json", "1/certificate.pem"])
def test_where_the_record_is_lost_no_key_is_written_over_and_none_deleted_until_another_is_in_use(
    tmp_path: Path, first: Files, authority: Authority, lost: str
) -> None:
    used = renewed(Lineage(tmp_path, first), authority)
    record, whole = tmp_path / "succession.json", (tmp_path / lost).read_bytes()
    key = (tmp_path / "1" / "private.key").read_bytes()
    (tmp_path / lost).write_bytes(b"\x00")
    lineage = Lineage(tmp_path, first)
    lineage.ask("press-4")
    lineage.tidy()
    again = Lineage(tmp_path, first)
    again.tidy()
    assert (again.files, again.request) == (first, lineage.request)
    assert (tmp_path / "1" / "private.key").read_bytes() == key
    if lost == record.name:
        # So a person who mends the record has the certificate that was in use.
        asked = record.read_bytes()
        record.write_bytes(whole)
        assert Lineage(tmp_path, first).current.id == used
        record.write_bytes(asked)
    again.put(authority.sign(again.request))
    again.switch()
    again.tidy()
    assert Lineage(tmp_path, first).current.id == again.current.id
    assert {path.parent.name for path in keys_in(tmp_path)} == {"2"}
    assert renewed(Lineage(tmp_path, first), authority) == Lineage(tmp_path, first).current.id


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_who_may_not_look_there_is_told_so(tmp_path: Path, first: Files, authority: Authority) -> None:
    renewed(Lineage(tmp_path / "identity", first), authority)
    for directory in (tmp_path, *tmp_path.parents, *first.certificate.parents):
        directory.chmod(directory.stat().st_mode | 0o011)
    os.seteuid(65534)
    try:
        with pytest.raises(StorageError, match=r"succession\.json: Permission denied"):
            Lineage(tmp_path / "identity", first)
    finally:
        os.seteuid(0)


def test_what_a_newer_agent_wrote_is_not_understood_and_left(tmp_path: Path, first: Files) -> None:
    (tmp_path / "succession.json").write_text(json.dumps({"first": "x", "other": 1}))
    assert Lineage(tmp_path, first).files == first


def test_without_a_first_certificate_there_is_no_lineage(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match=r"none\.pem"):
        Lineage(tmp_path, Files(tmp_path / "none.pem", tmp_path / "none.key"))
