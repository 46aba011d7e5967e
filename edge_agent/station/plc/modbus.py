"""The door of pymodbus: the table as a Modbus TCP server, in one watched thread with a loop of its own.

Modbus has no login: beyond loopback only named addresses get an answer. A client can have no more of the server
than one connection's buffers; what it sends out of range it hears as Modbus's own exceptions.
"""

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler
from pymodbus.simulator import DataType, SimData, SimDevice
from pymodbus.simulator.simcore import SimCore

from edge_agent.config import Modbus
from edge_agent.station.plc.exchange import Exchange
from edge_agent.station.plc.table import Space, Value, decode, registers, rows_of, size_of

_LOG = logging.getLogger(__name__)
_SPACES = {
    **dict.fromkeys((1, 5, 15), Space.COIL),
    2: Space.DISCRETE,
    **dict.fromkeys((3, 6, 16, 22, 23), Space.HOLDING),
    4: Space.INPUT,
}
# A client that reads no answers while it asks is not waited for.
_UNREAD_BYTES = 64 << 10
_TURN_S = 0.2


def split(listen: str) -> tuple[str, int]:
    """Return host and port of an address."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


class Board(SimCore):
    """The exchange as pymodbus asks for it: each request is answered from one moment.

    Args:
        exchange: the station.
    """

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(SimDevice(0, simdata=[SimData(0, datatype=DataType.REGISTERS)]))
        self._exchange = exchange

    def device_ids(self) -> list[int]:
        """Return the one unit; any unit number reaches it."""
        return [0]

    async def async_getValues(  # noqa: N802 - pymodbus's name
        self, device_id: int, func_code: int, address: int, count: int = 1
    ) -> list[int] | list[bool] | ExcCodes:
        """Return bits or registers."""
        del device_id
        space = _SPACES.get(func_code)
        if space is None or address + count > size_of(space):
            return ExcCodes.ILLEGAL_ADDRESS
        words = registers(space, self._exchange.values())[address : address + count]
        return [bool(word) for word in words] if space in (Space.COIL, Space.DISCRETE) else words

    async def async_setValues(  # noqa: N802 - pymodbus's name
        self, device_id: int, func_code: int, address: int, values: list[int] | list[bool]
    ) -> ExcCodes | None:
        """Take what the PLC wrote; only what it names is taken."""
        del device_id
        space = _SPACES.get(func_code)
        if space not in (Space.COIL, Space.HOLDING) or address + len(values) > size_of(space):
            return ExcCodes.ILLEGAL_ADDRESS
        self._exchange.write(self._written(space, address, values))
        return None

    def _written(self, space: Space, address: int, values: Sequence[int]) -> dict[str, Value]:
        words = registers(space, self._exchange.commands()._asdict())
        words[address : address + len(values)] = [int(value) for value in values]
        touched = range(address, address + len(values))
        return {
            row.name: decode(row, words[row.address : row.address + row.width])
            for row in rows_of(space)
            if any(word in touched for word in range(row.address, row.address + row.width))
        }


class _Client(ServerRequestHandler):
    """One connection, with its limits."""

    def __init__(self, server: "ModbusServer") -> None:
        super().__init__(server, None, None, None)  # type: ignore[no-untyped-call]
        self._owner = server
        self._idle: asyncio.TimerHandle | None = None

    def callback_connected(self) -> None:
        super().callback_connected()
        host = self.transport.get_extra_info("peername")[0]
        if not self._owner.welcomes(host):
            _LOG.warning("a Modbus client was turned away", extra={"action": "modbus_refused", "peer": host})
            self._abort()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        # A request has at most 260 bytes, and a client that waits for its answer sends no more than one.
        if len(self.recv_buffer) + len(data) > self.max_buffer_size:
            self._abort()
            return
        super().data_received(data)

    def callback_data(self, data: bytes, addr: tuple[Any, ...] | None = None) -> int:
        self._wait()
        if self.transport.get_write_buffer_size() > _UNREAD_BYTES:  # type: ignore[attr-defined]
            self._abort()
            return len(data)
        return super().callback_data(data, addr)

    def callback_disconnected(self, exc: Exception | None) -> None:
        if self._idle:
            self._idle.cancel()
        super().callback_disconnected(exc)

    def _wait(self) -> None:
        if self._idle:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(self._owner.options.idle_s, self._abort)

    def _abort(self) -> None:
        if self.transport:
            self.transport.abort()  # type: ignore[attr-defined]


class ModbusServer(ModbusTcpServer):
    """Listens, and lets in who is named.

    Args:
        exchange: the station.
        options: address, allow-list and limits.
    """

    def __init__(self, exchange: Exchange, options: Modbus) -> None:
        super().__init__(SimDevice(0, simdata=[SimData(0, datatype=DataType.REGISTERS)]), address=split(options.listen))
        self.context = Board(exchange)
        self.options = options
        self._networks = [ipaddress.ip_network(client) for client in options.clients]

    def callback_new_connection(self) -> _Client:
        """Return the protocol of one more connection."""
        return _Client(self)

    def welcomes(self, host: str) -> bool:
        """Tell whether one more client from there is wanted; it counts already."""
        if len(self.active_connections) > self.options.connections:
            return False
        address = ipaddress.ip_address(host.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        return address.is_loopback or any(address in network for network in self._networks)


async def serve_modbus(
    exchange: Exchange, options: Modbus, stop: Callable[[], bool], listening: Callable[[int], None]
) -> None:
    """Answer Modbus until told to stop.

    Args:
        exchange: the station.
        options: address, allow-list and limits.
        stop: asked a few times a second.
        listening: hears the port.

    Raises:
        OSError: the address cannot be listened on.
    """
    # What clients do wrong they hear themselves; a log line for each would fill the disk.
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    server = ModbusServer(exchange, options)
    if not await server.listen():
        raise OSError(f"cannot listen on {options.listen}")
    listening(server.transport.sockets[0].getsockname()[1])  # type: ignore[attr-defined]
    with suppress(asyncio.CancelledError):
        while not stop():  # noqa: ASYNC110 - the thread's event is no asyncio.Event
            await asyncio.sleep(_TURN_S)
    await server.shutdown()  # type: ignore[no-untyped-call]
