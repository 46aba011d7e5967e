"""What rooms are made of: their base, and the values that several of them take."""

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from edge_agent.config.tokens import KeyPlace, key_place

# AWS IoT: what a thing may be called.
THING_PATTERN = r"^[a-zA-Z0-9:_-]{1,128}$"
CREDENTIALS_PATTERN = r"^(none|aws-iot|environment|file:.+)$"
HOUR = r"([01][0-9]|2[0-3]):[0-5][0-9]"
MAX_PORT = 65_535
_ADDRESS_PATTERN = r"^[^\s]+:[0-9]{1,5}$"
_OPTIONAL_ADDRESS_PATTERN = r"^(|[^\s]+:[0-9]{1,5})$"


class Room(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


def _port_that_exists(value: str) -> str:
    # gRPC takes a larger one without a word and listens somewhere else.
    if value and int(value.rpartition(":")[2]) > MAX_PORT:
        raise ValueError(f"expected a port up to {MAX_PORT}")
    return value


def is_loopback(host: str) -> bool:
    """Tell whether a host of an address is this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


Address = Annotated[str, Field(pattern=_ADDRESS_PATTERN), AfterValidator(_port_that_exists)]
OptionalAddress = Annotated[str, Field(pattern=_OPTIONAL_ADDRESS_PATTERN), AfterValidator(_port_that_exists)]
OptionalPath = Annotated[Path | None, BeforeValidator(_none_if_empty)]
OptionalKey = Annotated[KeyPlace | None, BeforeValidator(lambda value: key_place(_none_if_empty(value)))]
