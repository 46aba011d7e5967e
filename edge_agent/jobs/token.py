"""TLS with a key that stays in its PKCS#11 token: the MQTT library opens it.

Python's own TLS takes keys from files alone, so AWS IoT's credentials provider is asked by HTTPS from here too.
"""

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

from awscrt import http, io
from awscrt.exceptions import AwsCrtError

from edge_agent.config import TokenFault, TokenKey, read_pin, token_fault
from edge_agent.errors import Code, ConfigError, TransferError

_TIMEOUT_S: Final = 10
_LIMIT_BYTES: Final = 1 << 16
_HTTPS_PORT: Final = 443
# The library tells its faults by name, within the text of a RuntimeError; a token's own with the standard's name.
_NAME: Final = re.compile(r"AWS_(?:IO_SHARED_LIBRARY|ERROR_PKCS11)_(?:CKR_)?(\w+)")
_OWN_FAULTS: Final = {
    "AWS_IO_SHARED_LIBRARY": TokenFault.LIBRARY,
    "AWS_ERROR_PKCS11_TOKEN_NOT_FOUND": TokenFault.TOKEN,
    "AWS_ERROR_PKCS11_KEY_NOT_FOUND": TokenFault.KEY,
}


# PINs that a token refused while this process lives, by library and token.
_refused: set[tuple[Path, str, str]] = set()


@contextmanager
def opening(key: TokenKey) -> Iterator[dict[str, Any]]:
    """Hand out what the library needs to open a token and to find its key; tell what it finds wrong with them.

    A token locks itself after some wrong PINs, so one that it refused is not shown to it again.

    Raises:
        ConfigError: the library, the token, its PIN or the key is not what the settings name.
    """
    pin = read_pin(key)
    shown = (key.library, key.token, pin)
    if shown in _refused:
        raise key.fault(TokenFault.PIN)
    try:
        words = {"pkcs11_lib": _library(key.library), "user_pin": pin}
        yield {**words, "token_label": key.token, "private_key_label": key.object}
    except RuntimeError as exc:
        answer = _NAME.search(str(exc))
        if answer is None:
            raise
        own = (fault for name, fault in _OWN_FAULTS.items() if answer[0].startswith(name))
        fault = next(own, None) or token_fault(answer[1])
        if fault is TokenFault.PIN:
            _refused.add(shown)
        raise key.fault(fault, answer[1]) from exc


def is_lost(error: BaseException) -> bool:
    """Tell whether a connection failed by its token: one that was taken out never knows the connection again."""
    return "_PKCS11_" in str(error)


def get(
    host: str, port: int, path: str, headers: Mapping[str, str], certificate: Path, key: TokenKey, ca: Path | None
) -> tuple[int, bytes]:
    """Return status and body, its first 64 KiB, of a GET by HTTPS; ``ca`` None: the system's authorities.

    Raises:
        ConfigError: as ``opening``, or the certificate or the authority cannot be used.
        TransferError: TRANSFER_FAILED, no answer in time.
    """
    wanted = _context(certificate, key, ca).new_connection_options()
    wanted.set_server_name(host)
    try:
        return _asked(host, port, wanted, http.HttpRequest("GET", path, http.HttpHeaders(_lines(host, port, headers))))
    except (AwsCrtError, NotInTime) as exc:
        reason = str(exc) or f"nothing came within {_TIMEOUT_S} s"
        raise TransferError(Code.TRANSFER_FAILED, f"{host}:{port}: expected an answer, {reason}") from exc


def _context(certificate: Path, key: TokenKey, ca: Path | None) -> Any:
    try:
        with opening(key) as words:
            options = io.TlsContextOptions.create_client_with_mtls_pkcs11(**words, cert_file_path=str(certificate))
            if ca is not None:
                options.override_default_trust_store_from_path(None, str(ca))
            return io.ClientTlsContext(options)
    except (RuntimeError, OSError) as exc:
        message = f"expected a certificate in {certificate} and an authority in {ca or 'the system'}, PEM, {exc}"
        raise ConfigError(Code.CONFIG_INVALID, message) from exc


def _asked(host: str, port: int, tls: Any, request: Any) -> tuple[int, bytes]:
    loops = io.EventLoopGroup(1)
    connecting: Future[Any] = http.HttpClientConnection.new(
        host, port, io.ClientBootstrap(loops, io.DefaultHostResolver(loops)), tls_connection_options=tls
    )
    connection = connecting.result(_TIMEOUT_S)
    body = bytearray()

    def on_body(chunk: bytes, **_: Any) -> None:
        if len(body) < _LIMIT_BYTES:
            body.extend(chunk)

    try:
        stream = connection.request(request, on_body=on_body)
        stream.activate()
        stream.completion_future.result(_TIMEOUT_S)
    finally:
        connection.close()
    return int(stream.response_status_code), bytes(body[:_LIMIT_BYTES])


def _lines(host: str, port: int, headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return [("host", host if port == _HTTPS_PORT else f"{host}:{port}"), *headers.items()]


@cache
def _library(path: Path) -> Any:
    # One for as long as the process lives, as the library asks for: its tokens stay open over connections.
    return io.Pkcs11Lib(file=str(path))
