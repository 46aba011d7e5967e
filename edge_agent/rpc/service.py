"""One protocol on a server: what it is called and how it gets there."""

from collections.abc import Callable
from typing import Any, NamedTuple

import grpc


class Service(NamedTuple):
    """One protocol: its full name and how it gets onto a server."""

    name: str
    add: Callable[[grpc.Server], None]


def service(module: Any, name: str, add: Callable[[Any, grpc.Server], None], servicer: object) -> Service:
    """Return a servicer as a service of the generated module that declares it."""
    return Service(module.DESCRIPTOR.services_by_name[name].full_name, lambda server: add(servicer, server))
