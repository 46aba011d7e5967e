"""The shadow by which a device and the cloud exchange the next certificate; ``formats.renewal`` says what is in it.

Who may write it may have a certificate made for a device: the stack gives that to the registrar alone.
"""

import json
from typing import Any, NamedTuple

from cloud_tools.aws import Aws, if_there
from edge_agent.formats import parse
from edge_agent.formats.renewal import CERTIFICATE_SHADOW, CertificateReport


class Exchange(NamedTuple):
    """Both halves: what the device reports, and what it is to do."""

    reported: CertificateReport | None = None
    renew: str = ""
    certificate: str = ""


def read(aws: Aws, thing: str) -> Exchange:
    """Return how far it is; empty where the device never spoke of its certificate.

    Raises:
        CloudError: as ``Aws.call``.
        DocumentError: the device's report is not understood.
    """
    state = _state(aws, thing)
    reported, desired = state.get("reported"), state.get("desired") or {}
    told = parse(CertificateReport, reported, what=f"{thing}'s report of its certificate") if reported else None
    return Exchange(told, str(desired.get("renew") or ""), str(desired.get("certificate") or ""))


def desire(aws: Aws, thing: str, *, renew: str = "", certificate: str = "") -> None:
    """Have the device replace the certificate ``renew``, or try ``certificate`` (PEM); neither: nothing any more.

    Raises:
        CloudError: as ``Aws.call``.
    """
    _write(aws, thing, {"desired": {"renew": renew or None, "certificate": certificate or None}})


def clear(aws: Aws, thing: str) -> None:
    """Forget both halves, where there are any.

    Raises:
        CloudError: as ``Aws.call``.
    """
    # Whatever it is: who reports what nobody understands is let go as well.
    if _state(aws, thing):
        _write(aws, thing, {"desired": None, "reported": None})


def _state(aws: Aws, thing: str) -> dict[str, Any]:
    """Return both halves as they are; empty where the device never spoke of its certificate."""
    answer = if_there(aws, "iot-data", "get_thing_shadow", thingName=thing, shadowName=CERTIFICATE_SHADOW)
    if answer is None:
        return {}
    state: dict[str, Any] = json.loads(answer["payload"].read()).get("state", {})
    return state


def _write(aws: Aws, thing: str, state: dict[str, Any]) -> None:
    payload = json.dumps({"state": state}).encode()
    aws.call("iot-data", "update_thing_shadow", thingName=thing, shadowName=CERTIFICATE_SHADOW, payload=payload)
