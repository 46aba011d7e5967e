"""Credentials for S3 by the device's certificate: AWS IoT's credentials provider.

https://docs.aws.amazon.com/iot/latest/developerguide/authorizing-direct-aws.html: a GET over mutual
TLS names the role alias, its answer holds a key that is good for an hour or so. Nothing secret is kept
on disk. Every fault is temporary: certificates, aliases and policies are mended in the cloud.
"""

import http.client
import json
import re
import ssl
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from edge_agent.config import KeyPlace, TokenKey
from edge_agent.errors import Code, ConfigError, TransferError
from edge_agent.transfer.credentials import AwsCredentials, CredentialProvider

_TIMEOUT_S = 10.0
_LIMIT_BYTES = 1 << 16
_HTTPS_PORT = 443
_OK = 200
_ENDPOINT = re.compile(r"(?P<host>[A-Za-z0-9.-]+)(:(?P<port>\d{1,5}))?")
_REGION = re.compile(r"\.credentials\.iot\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?$")


class DeviceIdentity(NamedTuple):
    """Who asks, and where."""

    endpoint: str  # host or host:port, as `aws iot describe-endpoint --endpoint-type iot:CredentialProvider` tells
    role_alias: str
    thing: str
    certificate: Path | None
    private_key: KeyPlace | None
    ca: Path | None = None  # trusted beside the system's authorities


ByToken = Callable[[str, int, str, Mapping[str, str], Path, TokenKey, Path | None], tuple[int, bytes]]
"""A GET by HTTPS with a key in a token: host, port, path, headers, certificate, key, authority; status and body."""


def device_credentials(
    identity: DeviceIdentity,
    renewed: Callable[[], tuple[Path, KeyPlace]] | None = None,
    by_token: ByToken | None = None,
) -> CredentialProvider | None:
    """Return what fetches fresh credentials at each call; None where no endpoint is set.

    Args:
        identity: who asks, and where.
        renewed: the certificate and key in use at each call; None: those of ``identity`` for good.
        by_token: asks where the key lies in a token, which Python's TLS cannot use.

    Raises:
        ConfigError: the role alias, the certificate or the key is missing or cannot be used.
    """
    if not identity.endpoint:
        return None
    address = _ENDPOINT.fullmatch(identity.endpoint)
    if address is None:
        raise _bad(f"credentials_endpoint: expected HOST or HOST:PORT, came {identity.endpoint[:200]!r}")
    if not identity.role_alias:
        raise _bad("role_alias: expected the name of a role alias, came nothing")
    host, port = address["host"], int(address["port"] or _HTTPS_PORT)
    if isinstance(identity.private_key, TokenKey):
        asked = _by_token(host, port, identity, renewed, by_token)
        return lambda: _fetch(asked, _region_of(host))
    contexts = _Contexts(identity, renewed)
    return lambda: _fetch(lambda: _ask(host, port, identity, contexts.current()), _region_of(host))


def _by_token(
    host: str,
    port: int,
    identity: DeviceIdentity,
    renewed: Callable[[], tuple[Path, KeyPlace]] | None,
    get: ByToken | None,
) -> Callable[[], tuple[int, bytes]]:
    first = identity.certificate
    if first is None or get is None:
        raise _bad("credentials aws-iot: expected mqtt.certificate with the key in a token, came nothing")

    def ask() -> tuple[int, bytes]:
        certificate, key = renewed() if renewed is not None else (first, identity.private_key)
        assert isinstance(key, TokenKey)
        try:
            return get(host, port, _path(identity), _headers(identity), certificate, key, identity.ca)
        except ConfigError as exc:
            # At work already: whoever took the token away may bring it back.
            raise TransferError(Code.ACCESS_DENIED, exc.message) from exc

    return ask


class _Contexts:
    """The TLS context of the certificate in use; made anew when that is another."""

    def __init__(self, identity: DeviceIdentity, renewed: Callable[[], tuple[Path, KeyPlace]] | None) -> None:
        self._renewed = renewed
        self._identity = self._now(identity)
        self._context = _context(self._identity)

    def current(self) -> ssl.SSLContext:
        now = self._now(self._identity)
        if now != self._identity:
            self._context, self._identity = _context(now), now
        return self._context

    def _now(self, identity: DeviceIdentity) -> DeviceIdentity:
        if self._renewed is None:
            return identity
        certificate, private_key = self._renewed()
        return identity._replace(certificate=certificate, private_key=private_key)


def _context(identity: DeviceIdentity) -> ssl.SSLContext:
    if identity.certificate is None or identity.private_key is None:
        raise _bad("credentials aws-iot: expected mqtt.certificate and mqtt.private_key to be set")
    assert isinstance(identity.private_key, Path), "asked by its token"
    try:
        context = ssl.create_default_context()
        if identity.ca is not None:
            context.load_verify_locations(identity.ca)
        context.load_cert_chain(identity.certificate, identity.private_key)
    except (OSError, ssl.SSLError) as exc:
        raise _bad(f"credentials aws-iot: expected a certificate, its key and an authority in PEM, {exc}") from exc
    return context


def _ask(host: str, port: int, identity: DeviceIdentity, context: ssl.SSLContext) -> tuple[int, bytes]:
    connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=context)
    try:
        connection.request("GET", _path(identity), headers=_headers(identity))
        answer = connection.getresponse()
        return answer.status, answer.read(_LIMIT_BYTES)
    finally:
        connection.close()


def _path(identity: DeviceIdentity) -> str:
    return f"/role-aliases/{quote(identity.role_alias, safe='')}/credentials"


def _headers(identity: DeviceIdentity) -> dict[str, str]:
    return {"x-amzn-iot-thingname": identity.thing}


def _fetch(ask: Callable[[], tuple[int, bytes]], region: str | None) -> AwsCredentials:
    try:
        status, content = ask()
    except (OSError, http.client.HTTPException) as exc:
        raise TransferError(Code.TRANSFER_FAILED, f"the credentials provider does not answer: {exc}") from exc
    if status != _OK:
        raise TransferError(Code.ACCESS_DENIED, f"the credentials provider answered {status}")
    try:
        return _read(json.loads(content)["credentials"], region)
    except (ValueError, KeyError, TypeError) as exc:
        # Without "from exc": the JSON error holds the document and with it the secret.
        message = f"expected credentials of the credentials provider, came something else ({type(exc).__name__})"
        raise TransferError(Code.TRANSFER_FAILED, message) from None


def _read(fields: dict[str, Any], region: str | None) -> AwsCredentials:
    words = [fields[name] for name in ("accessKeyId", "secretAccessKey", "sessionToken", "expiration")]
    if not all(isinstance(word, str) and word for word in words):
        raise TypeError("expected non-empty strings")
    expires_at = datetime.fromisoformat(words[3].replace("Z", "+00:00")).timestamp()
    return AwsCredentials(words[0], words[1], words[2], region, expires_at=expires_at)


def _region_of(host: str) -> str | None:
    found = _REGION.search(host)
    return found[1] if found else None


def _bad(message: str) -> ConfigError:
    return ConfigError(Code.CONFIG_INVALID, message)
