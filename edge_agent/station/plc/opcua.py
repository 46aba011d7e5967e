"""The door of asyncua: the table as an OPC UA server, in one watched thread with a loop of its own.

On loopback anybody on this machine may connect. Beyond it connections are signed and encrypted, and
only clients whose certificates are trusted get in; there are no passwords.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from asyncua import ua
from asyncua.common.callback import Callback, CallbackService, CallbackType, ServerItemCallback
from asyncua.common.connection import TransportLimits
from asyncua.common.node import Node
from asyncua.crypto.truststore import TrustStore
from asyncua.crypto.validator import CertificateValidator, CertificateValidatorOptions
from asyncua.server.server import Server

from edge_agent.config import Opcua
from edge_agent.errors import Code, ConfigError
from edge_agent.station.plc.exchange import Exchange
from edge_agent.station.plc.table import BY_NAME, ROWS, Kind, Row, Space, Value

NAMESPACE = "urn:edge-agent:plc"
_APPLICATION = "urn:edge-agent:station"
_TURN_S = 0.1
_TYPES = {
    Kind.BIT: ua.VariantType.Boolean,
    Kind.UINT16: ua.VariantType.UInt16,
    Kind.UINT32: ua.VariantType.UInt32,
    Kind.FLOAT32: ua.VariantType.Float,
    Kind.TEXT: ua.VariantType.String,
}
_FOLDERS = {
    Space.COIL: "Commands",
    Space.HOLDING: "Commands",
    Space.DISCRETE: "Status",
    Space.INPUT: "Registers",
}
_UINT32_LIMIT = 1 << 32
_CONNECTIONS = 16
_LIMITS = TransportLimits(max_recv_buffer=65_535, max_send_buffer=65_535, max_chunk_count=16, max_message_size=1 << 20)


def check_files(station: str, options: Opcua) -> None:
    """Look for the files of a server.

    Raises:
        ConfigError: one is missing.
    """
    for path in (options.certificate, options.private_key, options.trusted):
        if path is not None and not path.exists():
            raise ConfigError(Code.CONFIG_INVALID, f"station.{station}: expected {path} of opcua, there is none")


class _Board:
    """The table's nodes, kept as the exchange says.

    Args:
        server: where they stand.
        exchange: the station.
        nodes: a node for each row, by name.
    """

    def __init__(self, server: Server, exchange: Exchange, nodes: dict[str, Node]) -> None:
        self._server = server
        self._exchange = exchange
        self._nodes = nodes
        self._rows = {node.nodeid: row for row in ROWS for node in [nodes[row.name]] if row.written_by_plc}
        self._shown: dict[str, Value] = {}
        self._whole = asyncio.Lock()

    async def show(self) -> None:
        """Write what has changed; nobody reads half of it."""
        async with self._whole:
            await self._show()

    async def _show(self) -> None:
        for name, value in self._exchange.values().items():
            if self._shown.get(name) != value or name not in self._shown:
                self._shown[name] = value
                shown = ua.DataValue(ua.Variant(value, _TYPES[BY_NAME[name].kind]))
                await self._server.write_attribute_value(self._nodes[name].nodeid, shown)

    async def before_read(self, event: Callback, _service: CallbackService) -> None:
        """Show a client the moment in which it asks."""
        if isinstance(event, ServerItemCallback) and event.is_external:
            await self.show()

    async def after_write(self, event: Callback, _service: CallbackService) -> None:
        """Take what a client wrote in one go."""
        if not isinstance(event, ServerItemCallback) or not event.is_external:
            return
        written: dict[str, Value] = {}
        for wish, status in zip(event.request_params.NodesToWrite, event.response_params, strict=True):
            row = self._rows.get(wish.NodeId)
            if row is None or not status.is_good():
                continue
            # What was written stands in the node now, good or not, until it is shown anew.
            self._shown.pop(row.name, None)
            value = _fitting(row, wish.Value.Value.Value if wish.Value.Value else None)
            if value is not None:
                written[row.name] = value
        if written:
            self._exchange.write(written)
        await self.show()


def _fitting(row: Row, value: object) -> Value | None:
    """Return what a client wrote if it is of the row's kind."""
    if row.kind is Kind.BIT:
        return value if isinstance(value, bool) else None
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _UINT32_LIMIT
    return value if fits and isinstance(value, int) else None


async def _nodes(server: Server, station: str) -> dict[str, Node]:
    index = await server.register_namespace(NAMESPACE)
    home = await server.nodes.objects.add_object(f"ns={index};s={station}", f"{index}:{station}")
    folders = {
        name: await home.add_folder(f"ns={index};s={station}.{name}", f"{index}:{name}")
        for name in dict.fromkeys(_FOLDERS.values())
    }
    nodes = {}
    for row in ROWS:
        folder = _FOLDERS[row.space]
        empty = {Kind.BIT: False, Kind.FLOAT32: 0.0, Kind.TEXT: ""}.get(row.kind, 0)
        node = await folders[folder].add_variable(
            f"ns={index};s={station}.{folder}.{row.node}", f"{index}:{row.node}", empty, _TYPES[row.kind]
        )
        if row.written_by_plc:
            await node.set_writable()
        nodes[row.name] = node
    return nodes


def _format(content: bytes) -> str:
    return "pem" if content.lstrip().startswith(b"-----BEGIN") else "der"


async def _secured(server: Server, options: Opcua) -> None:
    if options.certificate is None or options.private_key is None or options.trusted is None:
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        server.set_identity_tokens([ua.AnonymousIdentityToken])
        return
    certificate, private_key = options.certificate.read_bytes(), options.private_key.read_bytes()
    await server.load_certificate(certificate, _format(certificate))
    try:
        await server.load_private_key(private_key, None, _format(private_key))
    except TypeError as exc:
        # So the library says that a key is locked: a fault of the files like any other.
        raise ValueError(f"expected opcua.private_key without a password, {exc}") from exc
    server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
    server.set_identity_tokens([ua.AnonymousIdentityToken])
    store = TrustStore([Path(options.trusted)], [])
    await store.load()
    checks = CertificateValidatorOptions.TIME_RANGE | CertificateValidatorOptions.TRUSTED
    server.set_certificate_validator(CertificateValidator(checks | CertificateValidatorOptions.PEER_CLIENT, store))


async def serve_opcua(
    station: str, exchange: Exchange, options: Opcua, stop: Callable[[], bool], listening: Callable[[int], None]
) -> None:
    """Answer OPC UA until told to stop.

    Args:
        station: the name of its object below Objects.
        exchange: the station.
        options: endpoint and certificates.
        stop: asked a few times a second.
        listening: hears the port.

    Raises:
        OSError: the endpoint cannot be listened on.
        ValueError: a certificate or key cannot be read.
    """
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    server = Server()
    server.limits = _LIMITS
    server.iserver.max_connections = _CONNECTIONS
    await server.init()
    await server.set_application_uri(_APPLICATION)
    server.set_server_name("edge-agent")
    server.set_endpoint(options.endpoint)
    await _secured(server, options)
    board = _Board(server, exchange, await _nodes(server, station))
    server.subscribe_server_callback(CallbackType.PreRead, board.before_read)
    server.subscribe_server_callback(CallbackType.PostWrite, board.after_write)
    await board.show()
    async with server:
        listening(server.bserver.port if server.bserver else 0)
        while not stop():
            await asyncio.sleep(_TURN_S)
            await board.show()
