"""What a station tells the line's controller, and by which way."""

import ipaddress
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import Self

from edge_agent.config.fields import OptionalAddress, OptionalPath, Room, is_loopback

_ENDPOINT_PATTERN = r"^(|opc\.tcp://[^\s/:]+:[0-9]{1,5}(/[^\s]*)?|opc\.tcp://\[[^\s\]]+\]:[0-9]{1,5}(/[^\s]*)?)$"
_LINES = ("ok", "ng", "no_result", "reject")


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            network = ipaddress.ip_network(value)
        except ValueError as exc:
            raise ValueError(
                f"expected addresses or networks as 192.168.0.10 or 192.168.0.0/28, came {value!r}"
            ) from exc
        if network.prefixlen == 0:
            raise ValueError(f"expected the addresses of PLCs, came everybody's ({value})")
    return values


Line = Annotated[int, Field(ge=-1, le=65_535)]


class Modbus(Room):
    """Modbus TCP. It knows no login and no encryption: whoever reaches the port may trigger."""

    listen: OptionalAddress = ""
    """Address of the server, as 127.0.0.1:502; empty: none."""
    clients: Annotated[tuple[str, ...], AfterValidator(_networks)] = ()
    """Addresses or networks that may connect; needed beyond loopback, where others are turned away."""
    connections: int = Field(8, ge=1, le=256)
    """Open connections; a further one is closed at once."""
    idle_s: float = Field(60.0, gt=0, le=86_400)
    """A connection that asks nothing for so long is closed."""

    @model_validator(mode="after")
    def _named_clients_beyond_loopback(self) -> Self:
        if self.listen and not is_loopback(self.listen.rpartition(":")[0]) and not self.clients:
            raise ValueError("expected clients with an address beyond loopback, since Modbus asks for no login")
        return self


class Opcua(Room):
    """OPC UA, with the same values."""

    endpoint: str = Field("", pattern=_ENDPOINT_PATTERN)
    """Address of the server, as opc.tcp://127.0.0.1:4840; empty: none."""
    certificate: OptionalPath = None
    """The server's certificate, PEM or DER: connections must be signed and encrypted. Needed beyond loopback."""
    private_key: OptionalPath = None
    """The server's key, PEM or DER."""
    trusted: OptionalPath = None
    """Directory of certificates, of clients or of their authorities, that may connect; needed with certificate."""

    @model_validator(mode="after")
    def _certificate_with_key_and_clients(self) -> Self:
        given = [self.certificate, self.private_key, self.trusted]
        if any(given) and not all(given):
            raise ValueError("expected certificate, private_key and trusted together, or none of them")
        if not all(given) and self.endpoint and not is_loopback(urlsplit(self.endpoint).hostname or ""):
            raise ValueError("expected certificate, private_key and trusted with an endpoint beyond loopback")
        return self


class Outputs(Room):
    """Digital outputs by the kernel's GPIO character device. Untested on hardware."""

    chip: str = ""
    """The chip, as /dev/gpiochip0; empty: no outputs."""
    ok: Line = -1
    """Line on while the last verdict is OK; -1: none."""
    ng: Line = -1
    """Line on while the last verdict is NG; -1: none."""
    no_result: Line = -1
    """Line on while there is no verdict: at the start, on any doubt, after silence, at the end; -1: none."""
    reject: Line = -1
    """Line of the reject gate, pulsed for each part that is to leave the line; -1: none."""
    reject_on: Literal["not_ok", "ng"] = "not_ok"
    """Reject whatever is not OK, or only NG."""
    active_low: bool = False
    """On means a low level."""
    delay_ms: float = Field(0.0, ge=0, le=600_000)
    """From the trigger, or else from the picture, to the pulse; 0: when the verdict comes."""
    pulse_ms: float = Field(100.0, ge=1, le=60_000)
    """Length of the pulse; pulses that overlap are one longer pulse."""
    silence_s: float = Field(10.0, gt=0, le=86_400)
    """After so long without a verdict the outputs, and a free-running station's registers, say NO RESULT."""

    @model_validator(mode="after")
    def _lines_of_their_own(self) -> Self:
        used = [number for number in (getattr(self, name) for name in _LINES) if number >= 0]
        if len(used) != len(set(used)):
            raise ValueError(f"expected a line of its own for each output, came {used}")
        if self.chip and not used:
            raise ValueError("expected at least one of ok, ng, no_result and reject with a chip, came none")
        return self
