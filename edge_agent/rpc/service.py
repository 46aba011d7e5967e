"""One protocol on a server: what it is called and how it gets there."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import grpc


class Service(NamedTuple):
    """One protocol: its full name and how it gets onto a server."""

    name: str
    add: Callable[[grpc.Server], None]

    def reading(self, readers: Mapping[str, Callable[[bytes], Any]]) -> "Service":
        """Return it with other ways to read the requests of some calls than protobuf's."""
        return self._replace(add=lambda server: self.add(_Reading(server, readers)))  # type: ignore[arg-type]


class _Reading:
    """A server as generated code sees it, with other readers of requests in place."""

    def __init__(self, server: grpc.Server, readers: Mapping[str, Callable[[bytes], Any]]) -> None:
        self._server: Any = server
        self._readers = readers

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Leave it to ``add_registered_method_handlers``: what is registered comes first, and is all there is."""

    def add_registered_method_handlers(self, name: str, handlers: Mapping[str, Any]) -> None:
        """Register the calls of a service."""
        replaced = {call: handlers[call]._replace(request_deserializer=read) for call, read in self._readers.items()}
        self._server.add_registered_method_handlers(name, {**handlers, **replaced})


def service(module: Any, name: str, add: Callable[[Any, grpc.Server], None], servicer: object) -> Service:
    """Return a servicer as a service of the generated module that declares it."""
    return Service(module.DESCRIPTOR.services_by_name[name].full_name, lambda server: add(servicer, server))
