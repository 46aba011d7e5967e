"""What device and cloud tell each other when a certificate is renewed, and what follows from it. Pure.

They talk by a shadow of its own, which AWS IoT keeps for whoever is away. The device reports which certificate it uses
and, when the next one is due, a signing request; the cloud answers with the certificate. Only who holds the device's
key now can report for it, so a request there is the device's own.
"""

import json
from enum import Enum
from typing import NamedTuple

from edge_agent.formats.renewal import CERTIFICATE_SHADOW, CertificateReport
from edge_agent.identity.material import Certificate


class Wish(NamedTuple):
    """What the cloud desires."""

    renew: str = ""
    """The id of the certificate that is to be replaced."""
    certificate: str = ""
    """The next certificate, PEM."""


class Act(Enum):
    """What the device does next."""

    NOTHING = "go on with this certificate"
    ASK = "make a key and report a signing request"
    TRY = "connect with the next certificate"


class Topics(NamedTuple):
    """The shadow's topics."""

    update: str
    get: str
    delta: str
    got: str

    @classmethod
    def of(cls, thing: str) -> "Topics":
        """Return those of a thing."""
        shadow = f"$aws/things/{thing}/shadow/name/{CERTIFICATE_SHADOW}"
        return cls(f"{shadow}/update", f"{shadow}/get", f"{shadow}/update/delta", f"{shadow}/get/accepted")


def read_wish(payload: bytes) -> Wish:
    """Return what a message of the shadow desires; nothing where it is not understood."""
    try:
        state = json.loads(payload)["state"]
        # A delta holds what is desired itself; the whole shadow holds it under a name.
        desired = state.get("desired", {}) if {"desired", "reported"} & set(state) else state
        found = {name: value for name in Wish._fields if isinstance(value := desired.get(name), str)}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Wish()
    return Wish(**found)


def next_act(current: Certificate, wish: Wish, *, asking: bool, now: float, before_s: float) -> Act:
    """Return what follows.

    Args:
        current: the certificate in use.
        wish: what the cloud desires.
        asking: whether a key waits for its certificate.
        now: epoch seconds.
        before_s: how long before its end a certificate is to be replaced; 0: only when the cloud asks.
    """
    if asking:
        return Act.TRY if wish.certificate else Act.NOTHING
    # One that lives for less than that is not replaced by its like from its first day on.
    due = bool(before_s) and current.ends - now < min(before_s, (current.ends - current.starts) / 3)
    return Act.ASK if due or wish.renew == current.id else Act.NOTHING


def report(current: Certificate, *, before: str, request: str, fault: str) -> bytes:
    """Return the update that reports where the device stands.

    Args:
        current: the certificate in use.
        before: the id of the one that it replaced; empty: none.
        request: the signing request, PEM, while a key waits; else empty.
        fault: why the last certificate that came was not taken; empty: none was refused.
    """
    said = CertificateReport(id=current.id, ends=int(current.ends), before=before, request=request, fault=fault)
    # A null takes out what stood there.
    told = {name: None if value == "" else value for name, value in said.model_dump().items()}
    return json.dumps({"state": {"reported": told}}, separators=(",", ":")).encode()
