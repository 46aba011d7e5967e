"""Where objects are, and how long they may take: checked before anything is opened."""

import re
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from edge_agent.errors import Code, ConfigError, TransferError

_LOOPBACK = re.compile(r"localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|::1")
_SHOWN = 200


class Timeouts(NamedTuple):
    """When a request is given up."""

    connect_s: float = 10.0
    silence_s: float = 20.0
    request_s: float = 60.0


def parse_url(url: str) -> SplitResult:
    """Return the parts of a repository's URL.

    Raises:
        ConfigError: it is none of the forms that are taken; a secret in it is not shown.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError as exc:
        raise _bad_url(f"came one that cannot be read ({exc})") from exc
    # Secrets in a URL end up in logs.
    if parts.query or parts.fragment or parts.username or parts.password:
        raise _bad_url("without user, query or fragment")
    if parts.scheme == "file" and host in ("", "localhost") and parts.path.startswith("/"):
        return parts
    if parts.scheme in ("s3", "https") and host:
        return parts
    if parts.scheme == "http" and _LOOPBACK.fullmatch(host):
        return parts
    raise _bad_url(f"came {url[:_SHOWN]!r}")


def parse_endpoint(url: str) -> SplitResult:
    """Return the parts of an S3 endpoint's URL.

    Raises:
        ConfigError: it is neither https:// nor http:// on loopback.
    """
    parts = parse_url(url)
    if parts.scheme in ("https", "http"):
        return parts
    message = f"endpoint: expected https:// or http:// on loopback, came {parts.scheme}://"
    raise ConfigError(Code.CONFIG_INVALID, message)


def check_key(key: str) -> None:
    """Refuse a key that would leave the place it is relative to.

    Raises:
        TransferError: TRANSFER_FAILED, permanent.
    """
    if key.startswith("/") or "\\" in key or any(part in (".", "..") for part in key.split("/")):
        raise TransferError(Code.TRANSFER_FAILED, f"expected a relative key, came {key[:200]!r}", permanent=True)


def _bad_url(came: str) -> ConfigError:
    expected = "expected s3://bucket/prefix, https://host/path, http:// on loopback or file:///directory"
    return ConfigError(Code.CONFIG_INVALID, f"url: {expected}, {came}")
