"""Credentials for S3, by the words of the configuration.

``none`` · ``environment`` (AWS_ACCESS_KEY_ID, …) · ``file:PATH`` (JSON, readable by its
owner only) · ``aws-iot`` (a provider made from the device's certificate).
"""

import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from edge_agent.errors import Code, ConfigError
from edge_agent.transfer.addresses import parse_endpoint

_REQUIRED = ("access_key_id", "secret_access_key")
_OPTIONAL = ("endpoint", "region", "session_token")
_LIMIT_BYTES = 1 << 16


class AwsCredentials(NamedTuple):
    """What a signature needs. Never printed: ``repr`` shows no secret."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None
    region: str | None = None
    endpoint: str | None = None
    expires_at: float | None = None  # epoch seconds

    def __repr__(self) -> str:
        """Return what may stand in a log."""
        return f"AwsCredentials({self.access_key_id[:4]}…)"


CredentialProvider = Callable[[], AwsCredentials]


def credential_provider(
    credentials: str, *, aws_iot: CredentialProvider | None, environment: Mapping[str, str] = os.environ
) -> CredentialProvider | None:
    """Return what fetches the credentials anew at each call; None for unsigned requests.

    Args:
        credentials: none, environment, file:PATH or aws-iot.
        aws_iot: what ``aws-iot`` means on this device.
        environment: the process's environment.

    Raises:
        ConfigError: the word is unknown, or what it asks for is not there (looked at now).
    """
    kind, _, path = credentials.partition(":")
    if credentials == "none":
        return None
    if credentials == "environment":
        provider: CredentialProvider = lambda: _from_environment(environment)  # noqa: E731
    elif kind == "file" and path:
        provider = lambda: read_credentials(Path(path))  # noqa: E731
    elif credentials == "aws-iot":
        if aws_iot is None:
            message = (
                "credentials aws-iot: expected repository.credentials_endpoint and repository.role_alias to be set"
            )
            raise ConfigError(Code.CONFIG_INVALID, message)
        # It asks the network, so it is not tried while the configuration is read.
        return aws_iot
    else:
        message = f"credentials: expected none, environment, file:PATH or aws-iot, came {kind!r}"
        raise ConfigError(Code.CONFIG_INVALID, message)
    provider()
    return provider


def read_credentials(path: Path) -> AwsCredentials:
    """Return the credentials in a JSON file of mode 0600.

    Raises:
        ConfigError: it cannot be read, others may read it, or a field is wrong. No value is shown.
    """
    content = _read_private(path)
    try:
        fields = json.loads(content)
    except ValueError as exc:
        # Without "from exc": the JSON error holds the document and with it the secret.
        raise _bad(path, f"expected JSON ({type(exc).__name__})") from None
    if not isinstance(fields, dict) or not all(isinstance(value, str) and value for value in fields.values()):
        raise _bad(path, "expected one object of non-empty strings")
    missing = [name for name in _REQUIRED if name not in fields]
    unknown = sorted(set(fields) - {*_REQUIRED, *_OPTIONAL})
    if missing or unknown:
        raise _bad(path, f"missing {missing}, unknown {unknown}; expected {[*_REQUIRED, *_OPTIONAL]}")
    if "endpoint" in fields:
        parse_endpoint(fields["endpoint"])
    return AwsCredentials(**fields)


def _read_private(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as reader:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode) or mode & 0o077:
                raise _bad(path, f"expected a file of mode 0600, came {stat.S_IMODE(mode):04o}")
            return reader.read(_LIMIT_BYTES)
    except OSError as exc:
        raise _bad(path, f"expected a readable file, {exc.strerror}") from exc


def _from_environment(environment: Mapping[str, str]) -> AwsCredentials:
    try:
        key, secret = environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
    except KeyError as exc:
        message = f"credentials environment: expected {exc.args[0]} to be set"
        raise ConfigError(Code.CONFIG_INVALID, message) from exc
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    if endpoint:
        parse_endpoint(endpoint)
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    return AwsCredentials(key, secret, environment.get("AWS_SESSION_TOKEN"), region, endpoint)


def _bad(path: Path, message: str) -> ConfigError:
    return ConfigError(Code.CONFIG_INVALID, f"credentials file {path}: {message}")
