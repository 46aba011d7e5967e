"""Where the bytes of a repository or of captures lie: a directory, or a bucket.

Keys are relative, with slashes. A directory is written file by file through a
temporary name, so a reader never sees half a file. ``swap`` is a compare-and-swap:
of two publishers one fails, and neither undoes the other. Endpoint, region and
credentials of a bucket come from the ordinary configuration of ``cloud_tools.aws``. Not done here:
deciding what is written in which order.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from cloud_tools.aws import Aws
from cloud_tools.errors import CloudError
from cloud_tools.places import place_of
from edge_agent.errors import Code

_BLOCK_BYTES = 1 << 20


class Storage(Protocol):
    """Objects under one URL."""

    @property
    def url(self) -> str:
        """Return the URL as a device's configuration names it."""

    def keys(self) -> Iterator[str]:
        """Yield all keys, sorted."""

    def blocks(self, key: str) -> Iterator[bytes]:
        """Yield an object's bytes; CloudError NOT_FOUND, or as the store says."""

    def size(self, key: str) -> int | None:
        """Return an object's size in bytes, None when there is none."""

    def write(self, key: str, content: bytes | Path) -> None:
        """Put an object there whole, or leave what was there."""

    def tag(self, key: str) -> str | None:
        """Return what stands for an object's present content, None when there is none."""

    def swap(self, key: str, content: bytes, tag: str | None) -> None:
        """Put an object there if its content still has ``tag`` (None: if there is none); FAILED_PRECONDITION if not."""


def open_storage(url: str) -> Storage:
    """Return the storage that ``url`` names.

    Args:
        url: ``s3://bucket/prefix``, ``file:///directory`` or a directory's path.

    Raises:
        CloudError: the URL is of another kind.
    """
    place = place_of(url)
    return DirectoryStorage(place) if isinstance(place, Path) else BucketStorage(*place, Aws())


def read(storage: Storage, key: str, *, limit_bytes: int, too_large: Code = Code.DIGEST_MISMATCH) -> bytes:
    """Return an object of at most ``limit_bytes``; not a block more is read.

    Args:
        storage: where it lies.
        key: which.
        limit_bytes: how large it may be.
        too_large: what a larger one means: a bound that comes from what was signed is broken by other bytes.

    Raises:
        CloudError: ``too_large``; or as the storage says.
    """
    content = bytearray()
    for block in storage.blocks(key):
        content += block
        if len(content) > limit_bytes:
            raise CloudError(too_large, f"{key}: expected at most {limit_bytes} bytes, came more")
    return bytes(content)


class DirectoryStorage:
    """Objects as files under ``root``."""

    def __init__(self, root: Path) -> None:
        """Only remember the directory; it is made by the first write."""
        self.root = root.absolute()

    @property
    def url(self) -> str:
        """Return the URL as a device's configuration names it."""
        return self.root.as_uri()

    def keys(self) -> Iterator[str]:
        """Yield the paths below the directory, sorted.

        Raises:
            CloudError: NOT_FOUND, there is no such directory.
        """
        if not self.root.is_dir():
            raise CloudError(Code.NOT_FOUND, f"expected a directory {self.root}, there is none")
        yield from sorted(path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())

    def blocks(self, key: str) -> Iterator[bytes]:
        """Yield an object's bytes.

        Raises:
            CloudError: NOT_FOUND, STORAGE_FAILED.
        """
        path = self._path(key)
        try:
            with path.open("rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    yield block
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as exc:
            raise CloudError(Code.NOT_FOUND, f"{self.url}: expected {key}, there is none") from exc
        except OSError as exc:
            raise CloudError(Code.STORAGE_FAILED, f"{self.url}/{key}: {exc.strerror}") from exc

    def size(self, key: str) -> int | None:
        """Return an object's size in bytes, None when there is none."""
        path = self._path(key)
        return path.stat().st_size if path.is_file() else None

    def write(self, key: str, content: bytes | Path) -> None:
        """Put an object there whole, or leave what was there.

        Raises:
            CloudError: STORAGE_FAILED.
        """
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, content)
        except OSError as exc:
            raise CloudError(Code.STORAGE_FAILED, f"{path}: {exc.strerror}") from exc

    def tag(self, key: str) -> str | None:
        """Return what stands for an object's present content, None when there is none.

        Raises:
            CloudError: STORAGE_FAILED.
        """
        try:
            return sha256(self._path(key).read_bytes()).hexdigest()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            raise CloudError(Code.STORAGE_FAILED, f"{self.url}/{key}: {exc.strerror}") from exc

    def swap(self, key: str, content: bytes, tag: str | None) -> None:
        """Put an object there if its content still has ``tag`` (None: if there is none).

        Publishers on one machine, and on file systems that carry locks, exclude each other here.

        Raises:
            CloudError: FAILED_PRECONDITION, STORAGE_FAILED.
        """
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(path.parent):
                if self.tag(key) != tag:
                    raise _overtaken(f"{self.url}/{key}")
                _replace(path, content)
        except OSError as exc:
            raise CloudError(Code.STORAGE_FAILED, f"{path}: {exc.strerror}") from exc

    def _path(self, key: str) -> Path:
        names = key.split("/")
        # Keys also come from records that anybody may have written.
        if not {"", ".", ".."}.isdisjoint(names):
            raise CloudError(Code.NOT_FOUND, f"{self.url}: expected {key}, there is none")
        return self.root.joinpath(*names)


class BucketStorage:
    """Objects under ``prefix`` of an S3 bucket."""

    def __init__(self, bucket: str, prefix: str, aws: Aws) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._aws = aws

    @property
    def url(self) -> str:
        """Return the URL as a device's configuration names it."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def keys(self) -> Iterator[str]:
        """Yield the keys below the prefix, sorted.

        Raises:
            CloudError: as ``Aws`` says.
        """
        for item in self._aws.pages("s3", "list_objects_v2", "Contents", Bucket=self._bucket, Prefix=self._prefix):
            yield str(item["Key"]).removeprefix(self._prefix)

    def blocks(self, key: str) -> Iterator[bytes]:
        """Yield an object's bytes.

        Raises:
            CloudError: NOT_FOUND, or as ``Aws`` says.
        """
        yield from self._aws.stream_object(self._bucket, self._prefix + key)

    def size(self, key: str) -> int | None:
        """Return an object's size in bytes, None when there is none.

        Raises:
            CloudError: as ``Aws`` says.
        """
        head = self._head(key)
        return None if head is None else int(head["ContentLength"])

    def write(self, key: str, content: bytes | Path) -> None:
        """Put an object there whole, or leave what was there.

        Raises:
            CloudError: NOT_FOUND (the bucket), or as ``Aws`` says.
        """
        where = {"Bucket": self._bucket, "Key": self._prefix + key}
        if isinstance(content, Path):
            self._aws.call("s3", "upload_file", Filename=str(content), **where)
        else:
            self._aws.call("s3", "put_object", Body=content, **where)

    def tag(self, key: str) -> str | None:
        """Return an object's ETag, None when there is none.

        Raises:
            CloudError: as ``Aws`` says.
        """
        head = self._head(key)
        return None if head is None else str(head["ETag"])

    def swap(self, key: str, content: bytes, tag: str | None) -> None:
        """Put an object there if it still has the ETag ``tag`` (None: if there is none).

        Raises:
            CloudError: FAILED_PRECONDITION, NOT_FOUND (the bucket), or as ``Aws`` says.
        """
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        where = {"Bucket": self._bucket, "Key": self._prefix + key}
        try:
            self._aws.call("s3", "put_object", Body=content, **where, **condition)
        except CloudError as exc:
            if exc.code is Code.FAILED_PRECONDITION:
                raise _overtaken(f"{self.url}/{key}") from exc
            raise

    def _head(self, key: str) -> dict[str, Any] | None:
        try:
            return self._aws.call("s3", "head_object", Bucket=self._bucket, Key=self._prefix + key)
        except CloudError as exc:
            if exc.code is Code.NOT_FOUND:
                return None
            raise


def _overtaken(what: str) -> CloudError:
    return CloudError(
        Code.FAILED_PRECONDITION, f"{what}: another publisher was first; nothing of this is visible, run it again"
    )


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, content: bytes | Path) -> None:
    handle, name = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            _fill(file, content)
            os.fchmod(file.fileno(), 0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _fill(file: BinaryIO, content: bytes | Path) -> None:
    if isinstance(content, bytes):
        file.write(content)
        return
    with content.open("rb") as source:
        while block := source.read(_BLOCK_BYTES):
            file.write(block)
