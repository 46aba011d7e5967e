"""The same door to a real S3 emulator: signed requests, ranges, parts, lists."""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from edge_agent.errors import Code, ConfigError, TransferError
from edge_agent.transfer import AwsCredentials, Downloader, ObjectStore, TokenBucket, open_objects
from tests.fakes.local_s3 import local_s3, request

CONTENT = random.Random(2).randbytes((9 << 20) + 3)
KEY = "blobs/sha256/abc"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, psutil.Process]]:
    with local_s3(tmp_path_factory.mktemp("s3") / "emulator") as (url, process):
        request("PUT", f"{url}/factory")
        yield url, process


@pytest.fixture
def credentials(emulator: tuple[str, psutil.Process], tmp_path: Path) -> Path:
    file = tmp_path / "credentials.json"
    file.touch(mode=0o600)
    fields = {"endpoint": emulator[0], "region": "us-east-1", "access_key_id": "test", "secret_access_key": "test"}
    file.write_text(json.dumps(fields))
    return file


@pytest.fixture
def objects(credentials: Path) -> ObjectStore:
    return open_objects("s3://factory/repository", f"file:{credentials}")


def _fetch(objects: ObjectStore, target: Path) -> None:
    Downloader(objects, bandwidth=TokenBucket(0, clock=time.monotonic)).fetch(
        KEY, target, len(CONTENT), deadline=time.monotonic() + 60, cancelled=lambda: False, progress=lambda _: None
    )


def test_the_emulator_listens_on_loopback_only(emulator: tuple[str, psutil.Process]) -> None:
    process = emulator[1]
    listening = [
        connection.laddr.ip
        for member in (process, *process.children(recursive=True))
        for connection in member.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert set(listening) == {"127.0.0.1"}


def test_a_file_put_in_parts_is_fetched_in_ranges_and_resumed(objects: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    objects.put(KEY, tmp_path / "file")
    assert objects.head(KEY).size == len(CONTENT)
    (tmp_path / "partial").write_bytes(CONTENT[: (4 << 20) + 1])
    _fetch(objects, tmp_path / "partial")
    assert (tmp_path / "partial").read_bytes() == CONTENT


def test_an_object_that_was_replaced_is_noticed_by_its_etag(objects: ObjectStore) -> None:
    objects.put("changing", b"first bytes")
    etag = objects.head("changing").etag
    assert objects.read_range("changing", 0, 5, etag=etag) == b"first"
    objects.put("changing", b"other bytes")
    with pytest.raises(TransferError, match="changed") as told:
        objects.read_range("changing", 6, 11, etag=etag)
    assert not told.value.permanent


def test_a_range_beyond_the_end_is_permanent(objects: ObjectStore) -> None:
    objects.put("short", b"12345")
    with pytest.raises(TransferError) as told:
        objects.read_range("short", 5, 9)
    assert told.value.permanent


def test_what_is_missing_is_told_as_missing(objects: ObjectStore, credentials: Path) -> None:
    elsewhere = open_objects("s3://no-such-bucket/repository", f"file:{credentials}")
    for absent in (objects, elsewhere):
        with pytest.raises(TransferError) as told:
            absent.read("nothing", limit_bytes=9)
        assert told.value.code is Code.OBJECT_MISSING


def test_keys_are_listed_relative_to_the_url(objects: ObjectStore) -> None:
    objects.put("captures/a/1.jsonl", b"{}")
    objects.put("captures/b/2.jsonl", b"{}")
    assert objects.list("captures/a") == ["captures/a/1.jsonl"]
    assert objects.list("captures") == ["captures/a/1.jsonl", "captures/b/2.jsonl"]


def test_credentials_come_from_the_environment(
    emulator: tuple[str, psutil.Process], objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects.put("here", b"yes")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", emulator[0])
    assert open_objects("s3://factory/repository", "environment").read("here", limit_bytes=9) == b"yes"
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ConfigError, match="AWS_SECRET_ACCESS_KEY"):
        open_objects("s3://factory/repository", "environment")


def test_credentials_of_the_device_are_asked_for_again_once_they_have_expired(
    emulator: tuple[str, psutil.Process], objects: ObjectStore
) -> None:
    asked: list[float] = []

    def provider() -> AwsCredentials:
        asked.append(time.time())
        return AwsCredentials("test", "test", "token", "us-east-1", emulator[0], expires_at=time.time() - 1)

    objects.put("here", b"yes")
    device = open_objects("s3://factory/repository", "aws-iot", aws_iot=provider)
    assert asked == []
    assert device.read("here", limit_bytes=9) == b"yes"
    first = len(asked)
    assert device.read("here", limit_bytes=9) == b"yes"
    assert len(asked) > first


def test_a_provider_that_fails_is_a_temporary_error_of_the_transfer(emulator: tuple[str, psutil.Process]) -> None:
    answers = [AwsCredentials("test", "test", endpoint=emulator[0], expires_at=time.time() - 1)]

    def provider() -> AwsCredentials:
        if answers:
            return answers.pop()
        raise TransferError(Code.TRANSFER_FAILED, "the credentials provider does not answer")

    device = open_objects("s3://factory/repository", "aws-iot", aws_iot=provider)
    with pytest.raises(TransferError):
        device.read("nothing", limit_bytes=9)
    for _ in range(2):
        with pytest.raises(TransferError, match="does not answer") as told:
            device.read("nothing", limit_bytes=9)
        assert not told.value.permanent
