"""Where captures lie: a bucket or a directory, read only."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from cloud_tools.aws import Aws
from cloud_tools.errors import CloudError
from cloud_tools.places import place_of
from edge_agent.errors import Code

# A picture of the largest size that a device takes, raw.
LIMIT_BYTES = 256 << 20


class Source(Protocol):
    """Objects under one URL."""

    @property
    def url(self) -> str:
        """Return the URL as references in records begin."""

    def keys(self) -> Iterator[str]:
        """Yield the keys below the URL, sorted."""

    def read(self, key: str) -> bytes:
        """Return an object; CloudError NOT_FOUND, or as the store says."""


def open_source(url: str) -> Source:
    """Return what lies under ``s3://bucket/prefix``, ``file:///directory`` or a directory's path.

    Raises:
        CloudError: the URL is of another kind.
    """
    place = place_of(url)
    return Directory(place) if isinstance(place, Path) else Bucket(*place, Aws())


class Bucket:
    """Objects under a prefix of a bucket."""

    def __init__(self, bucket: str, prefix: str, aws: Aws) -> None:
        """Only remember them; nothing is asked yet."""
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._aws = aws

    @property
    def url(self) -> str:
        """Return the URL as references in records begin."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def keys(self) -> Iterator[str]:
        """Yield the keys below the prefix, sorted.

        Raises:
            CloudError: as the service says.
        """
        for item in self._aws.pages("s3", "list_objects_v2", "Contents", Bucket=self._bucket, Prefix=self._prefix):
            yield str(item["Key"]).removeprefix(self._prefix)

    def read(self, key: str) -> bytes:
        """Return an object.

        Raises:
            CloudError: NOT_FOUND, OUT_OF_RANGE when it is too large, or as the service says.
        """
        content = bytearray()
        for block in self._aws.stream_object(self._bucket, f"{self._prefix}{key}"):
            content += block
            if len(content) > LIMIT_BYTES:
                raise CloudError(Code.OUT_OF_RANGE, f"{key}: expected at most {LIMIT_BYTES} bytes, came more")
        return bytes(content)


class Directory:
    """Objects as files."""

    def __init__(self, root: Path) -> None:
        """Only remember the directory."""
        self._root = root.absolute()

    @property
    def url(self) -> str:
        """Return the URL as references in records begin."""
        return self._root.as_uri()

    def keys(self) -> Iterator[str]:
        """Yield the paths below the directory, sorted.

        Raises:
            CloudError: NOT_FOUND, there is no such directory.
        """
        if not self._root.is_dir():
            raise CloudError(Code.NOT_FOUND, f"expected a directory {self._root}, there is none")
        yield from sorted(path.relative_to(self._root).as_posix() for path in self._root.rglob("*") if path.is_file())

    def read(self, key: str) -> bytes:
        """Return a file.

        Raises:
            CloudError: NOT_FOUND, OUT_OF_RANGE when it is too large, STORAGE_FAILED.
        """
        path = (self._root / key).resolve()
        if not path.is_relative_to(self._root.resolve()) or not path.is_file():
            raise CloudError(Code.NOT_FOUND, f"{self.url}: expected {key}, there is none")
        try:
            if path.stat().st_size > LIMIT_BYTES:
                raise CloudError(Code.OUT_OF_RANGE, f"{key}: expected at most {LIMIT_BYTES} bytes, came more")
            return path.read_bytes()
        except OSError as exc:
            raise CloudError(Code.STORAGE_FAILED, f"{path}: {exc.strerror}") from exc
