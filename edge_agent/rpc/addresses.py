"""Where the servers listen: unix sockets that nobody takes over silently, and TCP."""

import errno
import grp
import logging
import os
import socket
import ssl
import stat
from pathlib import Path

import grpc

from edge_agent.config import Rpc, RpcTls, is_loopback
from edge_agent.errors import Code, ConfigError

_LOG = logging.getLogger(__name__)
_MODE = 0o660
# sockaddr_un holds 108 bytes with the zero at the end.
_PATH_LIMIT = 107
_PROBE_S = 2.0


def prepare_socket(path: Path) -> None:
    """Make way for a socket: a stale one is removed.

    Raises:
        ConfigError: somebody answers there, something else lies there, or it cannot be made.
    """
    if len(os.fsencode(path)) > _PATH_LIMIT:
        raise _refusal(path, f"expected a path of at most {_PATH_LIMIT} bytes, came {len(os.fsencode(path))}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(path):
            return
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise _refusal(path, "expected a socket or nothing, something else lies there")
        if _answers(path):
            raise _refusal(path, "another process answers on it; is an agent running?")
        path.unlink(missing_ok=True)
    except OSError as exc:
        raise _refusal(path, f"cannot listen there, {exc.strerror}") from exc


def open_to_group(path: Path, group: str) -> None:
    """Let a group use the socket, and nobody else; without such a group only ours may."""
    path.chmod(_MODE)
    try:
        os.chown(path, -1, grp.getgrnam(group).gr_gid)
    except (KeyError, PermissionError) as exc:
        extra = {"action": "socket_group_kept", "socket": str(path), "group": group, "reason": str(exc)}
        _LOG.info("the socket keeps its group", extra=extra)


def bind_tcp(server: grpc.Server, rpc: Rpc) -> int:
    """Listen on ``rpc.tcp``; return the port.

    Raises:
        ConfigError: the address is in use, or is not loopback and has no certificates.
    """
    credentials = tls_credentials(rpc)
    try:
        if credentials is None:
            return server.add_insecure_port(rpc.tcp)
        return server.add_secure_port(rpc.tcp, credentials)
    except RuntimeError as exc:
        message = f"rpc.tcp: cannot listen on {rpc.tcp}; another process may use it"
        raise ConfigError(Code.CONFIG_INVALID, message) from exc


def tls_credentials(rpc: Rpc) -> grpc.ServerCredentials | None:
    """Return the server's certificates; None: plain TCP, which is for loopback only.

    Raises:
        ConfigError: they are incomplete, unreadable, or needed and missing.
    """
    tls = rpc.tls
    wanted = {name: getattr(tls, name) for name in RpcTls.model_fields}
    missing = [name for name, value in wanted.items() if not value]
    if len(missing) == len(wanted):
        if not is_loopback(rpc.tcp.rpartition(":")[0]):
            message = f"rpc.tcp: {rpc.tcp} is not loopback, expected rpc.tls with {', '.join(wanted)}"
            raise ConfigError(Code.CONFIG_INVALID, message)
        return None
    if missing:
        raise ConfigError(
            Code.CONFIG_INVALID, f"rpc.tls: expected all of {', '.join(wanted)}, no {', '.join(missing)} came"
        )
    if not all(name.strip() for name in tls.clients):
        raise ConfigError(Code.CONFIG_INVALID, "rpc.tls: expected clients to be common names, came an empty one")
    pairs = [(_read(tls.private_key), _read(tls.certificate))]
    authority = _read(tls.client_ca)
    _check_usable(tls)
    return grpc.ssl_server_credentials(pairs, authority, require_client_auth=True)


def _check_usable(tls: RpcTls) -> None:
    """Refuse files that gRPC would take without a word, and then answer nobody.

    Raises:
        ConfigError: the certificate and the key do not belong together, or something is not PEM.
    """
    assert tls.certificate is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certificate, tls.private_key, password="")
    except (ssl.SSLError, ValueError) as exc:
        message = f"rpc.tls: expected a certificate in {tls.certificate} and its key in {tls.private_key}, PEM: {exc}"
        raise ConfigError(Code.CONFIG_INVALID, message) from exc
    try:
        context.load_verify_locations(tls.client_ca)
    except (ssl.SSLError, ValueError) as exc:
        message = f"rpc.tls: expected an authority's certificate in {tls.client_ca}, PEM: {exc}"
        raise ConfigError(Code.CONFIG_INVALID, message) from exc


def _read(path: Path | None) -> bytes:
    assert path is not None
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ConfigError(Code.CONFIG_INVALID, f"rpc.tls: cannot read {path}, {exc.strerror}") from exc


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(_PROBE_S)
        # A full backlog and a refusal of rights both mean that somebody lives there.
        return probe.connect_ex(str(path)) not in (errno.ECONNREFUSED, errno.ENOENT)


def _refusal(path: Path, reason: str) -> ConfigError:
    return ConfigError(Code.CONFIG_INVALID, f"socket {path}: {reason}")
