"""The door to obstore: S3, HTTPS, loopback HTTP and directories, each told all it needs.

obstore reads the environment (AWS_ENDPOINT_URL_S3, AWS_ALLOW_INVALID_CERTIFICATES, HTTPS_PROXY …)
wherever it is not told otherwise, and some of these win over what it was told under another name. A
stray variable must not lead a device elsewhere, so everything that decides where bytes come from is
said here, and a proxy comes from the settings alone. Its own retries are off.
"""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import SplitResult

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, PreconditionError, UnauthenticatedError
from obstore.store import HTTPStore, LocalStore, S3Store

from edge_agent import __version__
from edge_agent.errors import Code, ConfigError, TransferError
from edge_agent.transfer import faults
from edge_agent.transfer.addresses import Timeouts, parse_endpoint
from edge_agent.transfer.credentials import AwsCredentials, CredentialProvider
from edge_agent.transfer.ranges import Head, ObjectChangedError

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ClientConfig, RetryConfig, S3Credential

# Small, so that a very slow link hands over some bytes before the request's time-out; 4 MiB pass as fast as with more.
_CHUNK_BYTES = 16 << 10
_MULTIPART_BYTES = 8 << 20
_DEFAULT_REGION = "us-east-1"
# A proxy that is passed by for every host keeps the client from looking for one in the environment.
_NO_PROXY = {"proxy_url": "http://127.0.0.1:9", "proxy_excludes": "0.0.0.0/0,::/0,*"}
FOREIGN = (BaseError, OSError, ValueError)


class Connection(NamedTuple):
    """How servers are reached."""

    timeouts: Timeouts = Timeouts()
    ca: bytes | None = None  # PEM, trusted beside the system's authorities
    proxy: str = ""


class Taker(Protocol):
    """Who gets an object's bytes."""

    def vet(self, head: Head) -> None:
        """See the head first; what this raises ends the request."""

    def take(self, chunk: bytes) -> None:
        """Get the bytes as they arrive."""


def open_http(url: str, connection: Connection) -> Any:
    """Return the objects under an https:// URL, or http:// on loopback."""
    client = _client(connection)
    client["allow_http"] = url.startswith("http://")
    return HTTPStore(url, client_options=client, retry_config=_no_retries())


def open_directory(directory: Path) -> Any:
    """Return the objects in a directory."""
    return LocalStore(directory)


def open_s3(
    parts: SplitResult, keys: AwsCredentials | None, provider: CredentialProvider | None, connection: Connection
) -> Any:
    """Return the objects of a bucket, asked for with ``keys`` until they expire; None: without a signature."""
    region = (keys and keys.region) or _DEFAULT_REGION
    endpoint = (keys and keys.endpoint) or f"https://s3.{region}.amazonaws.com"
    config: dict[str, Any] = {
        "region": region,
        "endpoint": endpoint,
        "aws_endpoint_url_s3": endpoint,
        "virtual_hosted_style_request": False,
        "s3_express": False,
        "request_payer": False,
        "skip_signature": keys is None,
    }
    client = _client(connection)
    client["allow_http"] = parse_endpoint(endpoint).scheme == "http"
    return S3Store(
        parts.netloc,
        prefix=parts.path.strip("/") or None,
        config=config,  # type: ignore[arg-type]
        client_options=client,
        retry_config=_no_retries(),
        credential_provider=_signing(keys, provider) if keys is not None and provider is not None else None,
    )


def check_connection(connection: Connection) -> None:
    """Check what can be checked before anything is asked.

    Raises:
        ConfigError: the authorities are not PEM, or the proxy is no URL.
    """
    try:
        open_http("https://localhost", connection)
    except FOREIGN as exc:
        what = "ca: expected certificates in PEM, or proxy: expected a URL"
        raise ConfigError(Code.CONFIG_INVALID, f"{what}; {faults.told(exc)}") from exc


async def receive(store: Any, key: str, taker: Taker, *, span: tuple[int, int] | None, etag: str | None) -> Head:
    """Hand an object, or a span of it on condition of its ETag, to ``taker``."""
    options: GetOptions = {}
    if span is not None:
        options["range"] = span
    if etag is not None:
        options["if_match"] = etag
    result = await obstore.get_async(store, key, options=options)
    head = _head(result.meta)
    taker.vet(head)
    async for chunk in result.stream(min_chunk_size=_CHUNK_BYTES):
        taker.take(bytes(chunk))
    return head


async def look(store: Any, key: str) -> Head:
    """Return size and ETag of an object."""
    return _head(await obstore.head_async(store, key))


def is_large(content: bytes | Path) -> bool:
    """Tell whether this goes in parts: memory stays bounded, and each part has a request's whole time."""
    size_bytes = content.stat().st_size if isinstance(content, Path) else len(content)
    return size_bytes > _MULTIPART_BYTES


async def send(store: Any, key: str, content: bytes | Path, *, large: bool) -> None:
    """Store an object, whole or in parts."""
    await obstore.put_async(store, key, content, use_multipart=large, max_concurrency=2)


async def keys_under(store: Any, prefix: str) -> list[str]:
    """Return the keys under a folder, sorted."""
    found = await obstore.list(store, prefix or None).collect_async()
    return sorted(str(entry["path"]) for entry in found)


def translate(key: str, exc: Exception) -> TransferError:
    """Return what to raise for a foreign error."""
    if isinstance(exc, FileNotFoundError):
        return TransferError(Code.OBJECT_MISSING, f"{key} is not in the repository", permanent=True)
    if isinstance(exc, PermissionDeniedError | UnauthenticatedError | PermissionError):
        return faults.denied(key, exc)
    if isinstance(exc, PreconditionError):
        return ObjectChangedError(f"{key}: the object has changed")
    return faults.failed(key, exc)


def _client(connection: Connection) -> "ClientConfig":
    timeouts = connection.timeouts
    client: ClientConfig = {
        "connect_timeout": timedelta(seconds=timeouts.connect_s),
        "read_timeout": timedelta(seconds=timeouts.silence_s),
        "timeout": timedelta(seconds=timeouts.request_s),
        "user_agent": f"edge-agent/{__version__}",
        "allow_invalid_certificates": False,
        **({"proxy_url": connection.proxy} if connection.proxy else _NO_PROXY),  # type: ignore[typeddict-item]
    }
    if connection.ca is not None:
        client["root_certificate"] = connection.ca
    return client


def _no_retries() -> "RetryConfig":
    return {"max_retries": 0, "retry_timeout": timedelta(seconds=0)}


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


def _head(meta: Any) -> Head:
    return Head(int(meta["size"]), meta["e_tag"])
