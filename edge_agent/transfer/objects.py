"""Objects under one URL, wherever that leads: what the rest of the agent sees of a repository.

A call is tried once: retries are the caller's, bounded by its deadline. The one
exception is a refusal by credentials that have meanwhile been renewed.
"""

import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, unquote

from edge_agent.errors import Code, ConfigError, TransferError
from edge_agent.transfer import faults, stores, watched
from edge_agent.transfer.addresses import Timeouts, check_key, parse_url
from edge_agent.transfer.credentials import AwsCredentials, CredentialProvider, credential_provider
from edge_agent.transfer.ranges import Head, Range, Whole
from edge_agent.transfer.watched import nothing

T = TypeVar("T")
_LIMIT_CA_BYTES = 1 << 20


class ObjectStore:
    """Objects under one URL. Thread-safe.

    Keys are relative paths with ``/``. Every method raises TransferError: OBJECT_MISSING
    (permanent), ACCESS_DENIED (permanent unless the credentials have only expired), or
    TRANSFER_FAILED (permanent when the object itself is wrong). ``check`` is asked about twenty
    times a second; what it raises ends the request.

    Args:
        open_store: connects, with credentials or without; may be called again.
        provider: fetches the credentials anew.
        is_there: tells whether the place of the objects is; a USB stick may be pulled out.
    """

    def __init__(
        self,
        open_store: Callable[[AwsCredentials | None], Any],
        provider: CredentialProvider | None = None,
        *,
        is_there: Callable[[], bool] = lambda: True,
    ) -> None:
        """Keep how to connect; nothing is opened yet, a USB stick may come later."""
        self._open_store = open_store
        self._provider = provider
        self._is_there = is_there
        self._lock = threading.Lock()
        self._store: Any = None
        self._credentials: AwsCredentials | None = None

    def read(self, key: str, *, limit_bytes: int, check: Callable[[], None] = nothing) -> bytes:
        """Return a whole object of at most ``limit_bytes``; not a byte more is kept.

        Raises:
            TransferError: also TRANSFER_FAILED, permanent, when it is larger.
        """

        async def ask(store: Any) -> bytes:
            whole = Whole(key, limit_bytes)
            await stores.receive(store, key, whole, span=None, etag=None)
            return bytes(whole.received)

        return self._call(key, ask, check)

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
        wanted = Range(key, start, end, etag=etag, accept=accept, sink=sink)
        head = self._call(key, lambda store: stores.receive(store, key, wanted, span=(start, end), etag=etag), check)
        wanted.finish()
        return head

    def head(self, key: str, *, check: Callable[[], None] = nothing) -> Head:
        """Return size and ETag of an object."""
        return self._call(key, lambda store: stores.look(store, key), check)

    def put(self, key: str, content: bytes | Path, *, check: Callable[[], None] = nothing) -> None:
        """Store an object, replacing one of that name; others see all of it or nothing.

        More than 8 MiB go in parts: of a file memory holds only those under way, and over a slow
        connection no single request has to carry all of it in its time.
        """
        large = stores.is_large(content)
        self._call(key, lambda store: stores.send(store, key, content, large=large), check)

    def list(self, prefix: str = "", *, check: Callable[[], None] = nothing) -> list[str]:
        """Return the keys under the folder ``prefix``, sorted."""
        return self._call(prefix, lambda store: stores.keys_under(store, prefix), check)

    def _call(self, key: str, request: Callable[[Any], Coroutine[Any, Any, T]], check: Callable[[], None]) -> T:
        check_key(key)
        store = self._connected()
        try:
            return self._ask(key, request(store), check)
        except TransferError as exc:
            if exc.code is not Code.ACCESS_DENIED or not self._renewed(store):
                raise
        return self._ask(key, request(self._connected()), check)

    def _ask(self, key: str, request: Coroutine[Any, Any, T], check: Callable[[], None]) -> T:
        try:
            return watched.run(request, check)
        except stores.FOREIGN as exc:
            fault = stores.translate(key, exc)
            if fault.code is Code.OBJECT_MISSING and not self._is_there():
                raise TransferError(Code.TRANSFER_FAILED, f"{key}: its directory is not there (any more)") from exc
            raise fault from exc

    def _connected(self) -> Any:
        with self._lock:
            if self._store is None:
                self._open(self._fresh_credentials())
            return self._store

    def _renewed(self, refused: Any) -> bool:
        """Fetch the credentials again; tell whether there is something new to try."""
        if self._provider is None:
            return False
        with self._lock:
            if self._store is not refused:
                return True
            fresh = self._fresh_credentials()
            if (fresh or ())[:3] == (self._credentials or ())[:3]:
                return False
            self._open(fresh)
            return True

    def _fresh_credentials(self) -> AwsCredentials | None:
        if self._provider is None:
            return None
        try:
            return self._provider()
        except ConfigError as exc:
            # They were sound when the agent started, so somebody is just writing new ones.
            raise TransferError(Code.ACCESS_DENIED, exc.message) from exc

    def _open(self, credentials: AwsCredentials | None) -> None:
        try:
            self._store = self._open_store(credentials)
        except stores.FOREIGN as exc:
            message = f"the repository cannot be opened: {faults.told(exc)}"
            raise TransferError(Code.TRANSFER_FAILED, message) from exc
        self._credentials = credentials


def open_objects(
    url: str,
    credentials: str = "none",
    *,
    aws_iot: CredentialProvider | None = None,
    timeouts: Timeouts = Timeouts(),  # noqa: B008  (immutable)
    ca: Path | None = None,
    proxy: str = "",
) -> ObjectStore:
    """Return the objects under ``url``; nothing is asked of the network yet.

    Args:
        url: s3://bucket/prefix, https://host/path, http:// on loopback, or file:///directory.
        credentials: none, environment, file:PATH or aws-iot; they sign requests to S3.
        aws_iot: what fetches credentials through the device's certificate.
        timeouts: of each request.
        ca: PEM file of authorities that are trusted beside the system's.
        proxy: URL of the proxy; empty: none, whatever the environment says.

    Raises:
        ConfigError: the URL, the credentials, the authorities or the proxy are not of these forms.
    """
    parts = parse_url(url)
    if parts.scheme == "file":
        return _open_directory(parts)
    connection = stores.Connection(timeouts, _read_ca(ca), proxy)
    if connection.ca is not None or connection.proxy:
        stores.check_connection(connection)  # else there is nothing to be wrong, and a client takes a while to make
    if parts.scheme == "s3":
        provider = credential_provider(credentials, aws_iot=aws_iot)
        return ObjectStore(lambda keys: stores.open_s3(parts, keys, provider, connection), provider)
    return ObjectStore(lambda _: stores.open_http(url, connection))


def _open_directory(parts: SplitResult) -> ObjectStore:
    directory = Path(unquote(parts.path))
    return ObjectStore(lambda _: stores.open_directory(directory), is_there=lambda: _holds_something(directory))


def _holds_something(directory: Path) -> bool:
    """Tell a repository from the empty directory that a stick was mounted on."""
    try:
        return any(directory.iterdir())
    except OSError:
        return False


def _read_ca(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        with path.open("rb") as reader:
            return reader.read(_LIMIT_CA_BYTES)
    except OSError as exc:
        raise ConfigError(Code.CONFIG_INVALID, f"ca: expected a PEM file at {path}, {exc.strerror}") from exc
