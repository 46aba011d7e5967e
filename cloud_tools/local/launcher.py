"""Starts the emulator with every socket on loopback; run as a process of its own.

The emulator's MQTT listener binds every interface whatever ``BIND_HOST`` says. Here
both listening sockets come from the parent, bound already, and an audit hook refuses
any other bind that leaves loopback, so a new release of the emulator cannot open a
door unnoticed. This is the one module that imports ministack.
"""

import asyncio
import ipaddress
import socket
import sys
from pathlib import Path
from typing import Any

from cloud_tools.local import process


class LoopbackLoop(asyncio.SelectorEventLoop):
    """An event loop whose MQTT server listens on the socket that was handed over."""

    def __init__(self, mqtt: socket.socket) -> None:
        """Keep the socket: the emulator binds again when its state is reset."""
        super().__init__()
        self._mqtt = mqtt

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        """Listen on loopback only, on our socket when the port is MQTT's."""
        if port == self._mqtt.getsockname()[1]:
            return await super().create_server(protocol_factory, sock=self._mqtt.dup(), **options)
        if port is not None:
            host = "127.0.0.1"
        return await super().create_server(protocol_factory, host, port, **options)


def refuse_other_interfaces(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise for a bind that is not to loopback; an audit hook (PEP 578).

    Raises:
        PermissionError: the address is not a loopback one.
    """
    if event != "socket.bind" or not isinstance(arguments[1], tuple):
        return
    host = arguments[1][0]
    if host != "localhost" and not _is_loopback(host):
        raise PermissionError(f"expected to bind loopback only, came {host!r}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def main(arguments: list[str]) -> None:
    """Serve until SIGTERM; the record file goes only after the state was saved."""
    gateway, mqtt = (socket.socket(fileno=int(word)) for word in arguments[1:3])
    record = Path(arguments[0])
    process.write_own(record, gateway.getsockname()[1], mqtt.getsockname()[1])
    sys.addaudithook(refuse_other_interfaces)
    loop = LoopbackLoop(mqtt)
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(_serve(gateway.detach()))
    finally:
        loop.close()
    record.unlink()


async def _serve(gateway: int) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack.app import app

    config = Config()
    config.bind = [f"fd://{gateway}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1
    config.loglevel = "WARNING"
    await serve(app, config)


if __name__ == "__main__":
    main(sys.argv[1:])
