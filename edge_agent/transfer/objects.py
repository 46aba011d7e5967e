"""The door to obstore: S3, HTTPS, loopback HTTP and directories behind one class.

A call is tried once: retries are the caller's, bounded by its deadline. The one
exception is a refusal by credentials that have meanwhile been renewed. Requests run
on asyncio inside the call, since only so can one that hangs be given up at once.
"""

import asyncio
import re
import threading
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import SplitResult, unquote

import obstore
from obstore.exceptions import (
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import HTTPStore, LocalStore, S3Store

from edge_agent import __version__
from edge_agent.errors import Code, TransferError
from edge_agent.transfer.addresses import Timeouts, check_key, parse_endpoint, parse_url
from edge_agent.transfer.credentials import AwsCredentials, CredentialProvider, credential_provider

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ClientConfig, RetryConfig, S3Credential

T = TypeVar("T")
_POLL_S = 0.05
# Small, so that a very slow link hands over some bytes before the request's time-out; 4 MiB pass as fast as with more.
_CHUNK_BYTES = 16 << 10
_MULTIPART_BYTES = 8 << 20
_SHOWN = 300


class Head(NamedTuple):
    """What is known of an object before its bytes."""

    size: int  # bytes, of the whole object
    etag: str | None


class ObjectChangedError(TransferError):
    """The object is no longer the one whose first bytes were read."""

    def __init__(self, message: str) -> None:
        """Another try can help, from the beginning."""
        super().__init__(Code.TRANSFER_FAILED, message)


def nothing() -> None:
    """Check nothing."""


class ObjectStore:
    """Objects under one URL. Thread-safe.

    Keys are relative paths with ``/``. Every method raises TransferError: OBJECT_MISSING
    and ACCESS_DENIED (both permanent), or TRANSFER_FAILED (permanent when the object itself
    is wrong). ``check`` is asked about twenty times a second; what it raises ends the request.
    """

    def __init__(
        self, open_store: Callable[[AwsCredentials | None], Any], provider: CredentialProvider | None = None
    ) -> None:
        """Keep how to connect; nothing is opened yet, a USB stick may come later."""
        self._open_store = open_store
        self._provider = provider
        self._lock = threading.Lock()
        self._store: Any = None
        self._credentials: AwsCredentials | None = None

    def read(self, key: str, *, limit_bytes: int, check: Callable[[], None] = nothing) -> bytes:
        """Return a whole object of at most ``limit_bytes``; not a byte more is kept.

        Raises:
            TransferError: also TRANSFER_FAILED, permanent, when it is larger.
        """
        received = bytearray()

        def take(chunk: bytes) -> None:
            if len(received) + len(chunk) > limit_bytes:
                message = f"{key}: expected at most {limit_bytes} bytes, came more"
                raise TransferError(Code.TRANSFER_FAILED, message, permanent=True)
            received.extend(chunk)

        self._call(key, lambda store: _receive(store, key, {}, lambda _: take(b""), take), check)
        return bytes(received)

    def read_range(
        self, key: str, start: int, end: int, *, etag: str | None = None, check: Callable[[], None] = nothing
    ) -> bytes:
        """Return the bytes ``start`` to ``end`` (exclusive), exactly so many.

        Raises:
            TransferError: also ObjectChangedError when the object has another ETag.
        """
        received = bytearray()
        self.stream(key, start, end, etag=etag, accept=lambda _: None, sink=received.extend, check=check)
        return bytes(received)

    def stream(
        self,
        key: str,
        start: int,
        end: int,
        *,
        etag: str | None,
        accept: Callable[[Head], None],
        sink: Callable[[bytes], None],
        check: Callable[[], None] = nothing,
    ) -> Head:
        """Hand the bytes ``start`` to ``end`` to ``sink`` as they arrive, after ``accept`` saw the head.

        What ``sink`` got before an error is what the object holds from ``start`` on.

        Raises:
            TransferError: also ObjectChangedError when the object has another ETag.
        """
        if not 0 <= start < end:
            raise ValueError(f"expected a range of at least one byte, came {start}..{end}")
        options: GetOptions = {"range": (start, end)}
        if etag is not None:
            options["if_match"] = etag
        left = end - start

        def vet(head: Head) -> None:
            if etag is not None and head.etag != etag:
                raise ObjectChangedError(f"{key}: expected ETag {etag}, came {head.etag}")
            accept(head)

        def take(chunk: bytes) -> None:
            nonlocal left
            if len(chunk) > left:
                raise _failed(key, f"expected {end - start} bytes, came more")
            left -= len(chunk)
            sink(chunk)

        head = self._call(key, lambda store: _receive(store, key, options, vet, take), check)
        if left:
            raise _failed(key, f"expected {end - start} bytes, came {end - start - left}")
        return head

    def head(self, key: str, *, check: Callable[[], None] = nothing) -> Head:
        """Return size and ETag of an object."""

        async def ask(store: Any) -> Head:
            return _head(await obstore.head_async(store, key))

        return self._call(key, ask, check)

    def put(self, key: str, content: bytes | Path, *, check: Callable[[], None] = nothing) -> None:
        """Store an object, replacing one of that name; others see all of it or nothing.

        A file of more than 8 MiB goes in parts, so that memory stays bounded.
        """
        large = isinstance(content, Path) and content.stat().st_size > _MULTIPART_BYTES

        async def send(store: Any) -> None:
            await obstore.put_async(store, key, content, use_multipart=large, max_concurrency=2)

        self._call(key, send, check)

    def list(self, prefix: str = "", *, check: Callable[[], None] = nothing) -> list[str]:
        """Return the keys under the folder ``prefix``, sorted."""

        async def ask(store: Any) -> list[str]:
            found = await obstore.list(store, prefix or None).collect_async()
            return sorted(str(entry["path"]) for entry in found)

        return self._call(prefix, ask, check)

    def _call(self, key: str, request: Callable[[Any], Coroutine[Any, Any, T]], check: Callable[[], None]) -> T:
        check_key(key)
        store = self._connected()
        try:
            return _run(key, request(store), check)
        except TransferError as exc:
            if exc.code is not Code.ACCESS_DENIED or not self._renewed(store):
                raise
        return _run(key, request(self._connected()), check)

    def _connected(self) -> Any:
        with self._lock:
            if self._store is None:
                self._credentials = self._provider() if self._provider else None
                self._store = _opened(self._open_store, self._credentials)
            return self._store

    def _renewed(self, refused: Any) -> bool:
        """Fetch the credentials again; tell whether there is something new to try."""
        if self._provider is None:
            return False
        with self._lock:
            if self._store is not refused:
                return True
            fresh = self._provider()
            if fresh[:3] == (self._credentials or ())[:3]:
                return False
            self._credentials, self._store = fresh, _opened(self._open_store, fresh)
            return True


def open_objects(
    url: str,
    credentials: str = "none",
    *,
    aws_iot: CredentialProvider | None = None,
    timeouts: Timeouts = Timeouts(),  # noqa: B008  (immutable)
) -> ObjectStore:
    """Return the objects under ``url``; nothing is asked of the network yet.

    Args:
        url: s3://bucket/prefix, https://host/path, http:// on loopback, or file:///directory.
        credentials: none, environment, file:PATH or aws-iot; they sign requests to S3.
        aws_iot: what fetches credentials through the device's certificate.
        timeouts: of each request.

    Raises:
        ConfigError: the URL or the credentials are not of these forms.
    """
    parts = parse_url(url)
    client: ClientConfig = {
        "connect_timeout": timedelta(seconds=timeouts.connect_s),
        "read_timeout": timedelta(seconds=timeouts.silence_s),
        "timeout": timedelta(seconds=timeouts.request_s),
        "user_agent": f"edge-agent/{__version__}",
    }
    if parts.scheme == "s3":
        provider = credential_provider(credentials, aws_iot=aws_iot)
        return ObjectStore(lambda keys: _open_s3(parts, keys, provider, client), provider)
    if parts.scheme == "file":
        return ObjectStore(lambda _: LocalStore(unquote(parts.path)))
    client["allow_http"] = parts.scheme == "http"
    return ObjectStore(lambda _: HTTPStore(url, client_options=client, retry_config=_no_retries()))


def _no_retries() -> "RetryConfig":
    return {"max_retries": 0, "retry_timeout": timedelta(seconds=0)}


def _open_s3(
    parts: SplitResult, keys: AwsCredentials | None, provider: CredentialProvider | None, client: "ClientConfig"
) -> Any:
    config: dict[str, Any] = {"region": (keys and keys.region) or "us-east-1"}
    options: ClientConfig = {**client}
    if keys is None:
        config["skip_signature"] = True
    if keys is not None and keys.endpoint:
        config["endpoint"] = keys.endpoint
        options["allow_http"] = parse_endpoint(keys.endpoint).scheme == "http"
    signing = _signing(keys, provider) if keys is not None and provider is not None else None
    return S3Store(
        parts.netloc,
        prefix=parts.path.strip("/") or None,
        config=config,  # type: ignore[arg-type]
        client_options=options,
        retry_config=_no_retries(),
        credential_provider=signing,
    )


def _signing(first: AwsCredentials, provider: CredentialProvider) -> "Callable[[], S3Credential]":
    """Return obstore's view of the provider: ``first`` until it expires, then a fresh one."""
    unused = [first]

    def fetch() -> "S3Credential":
        keys = unused.pop() if unused else provider()
        expires = None if keys.expires_at is None else datetime.fromtimestamp(keys.expires_at, tz=timezone.utc)
        return {
            "access_key_id": keys.access_key_id,
            "secret_access_key": keys.secret_access_key,
            "token": keys.session_token,
            "expires_at": expires,
        }

    return fetch


def _opened(open_store: Callable[[AwsCredentials | None], Any], credentials: AwsCredentials | None) -> Any:
    try:
        return open_store(credentials)
    except (BaseError, OSError, ValueError) as exc:
        raise TransferError(Code.TRANSFER_FAILED, f"the repository cannot be opened: {_told(exc)}") from exc


def _run(key: str, request: Coroutine[Any, Any, T], check: Callable[[], None]) -> T:
    try:
        return asyncio.run(_watched(request, check))
    except FileNotFoundError as exc:
        raise TransferError(Code.OBJECT_MISSING, f"{key} is not in the repository", permanent=True) from exc
    except (PermissionDeniedError, UnauthenticatedError, PermissionError) as exc:
        raise TransferError(Code.ACCESS_DENIED, f"{key}: {_told(exc)}", permanent=True) from exc
    except PreconditionError as exc:
        raise ObjectChangedError(f"{key}: the object has changed") from exc
    except (BaseError, OSError, ValueError) as exc:
        raise _failed(key, _told(exc), permanent=_is_beyond_the_end(exc)) from exc


async def _watched(request: Coroutine[Any, Any, T], check: Callable[[], None]) -> T:
    task = asyncio.ensure_future(request)
    try:
        while not task.done():
            check()
            await asyncio.wait({task}, timeout=_POLL_S)
        return task.result()
    finally:
        task.cancel()


async def _receive(
    store: Any,
    key: str,
    options: "GetOptions",
    accept: Callable[[Head], None],
    sink: Callable[[bytes], None],
) -> Head:
    result = await obstore.get_async(store, key, options=options)
    head = _head(result.meta)
    accept(head)
    async for chunk in result.stream(min_chunk_size=_CHUNK_BYTES):
        sink(bytes(chunk))
    return head


def _head(meta: Any) -> Head:
    return Head(int(meta["size"]), meta["e_tag"])


def _is_beyond_the_end(exc: Exception) -> bool:
    # obstore has no class for it; both texts are pinned by tests.
    return "status code: 416" in str(exc) or "StartTooLarge" in str(exc)


def _failed(key: str, message: str, *, permanent: bool = False) -> TransferError:
    return TransferError(Code.TRANSFER_FAILED, f"{key}: {message}", permanent=permanent)


def _told(exc: Exception) -> str:
    """Return the first sentence of an obstore error, without what may be a secret."""
    text = str(exc).split("Debug source")[0].strip().replace("\n", " ")
    return re.sub(r"\?\S*", "?…", text)[:_SHOWN]
