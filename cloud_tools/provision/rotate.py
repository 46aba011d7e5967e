"""Exchanges a device's certificate together with the device, one step at each call.

The device asks with a signing request; it is signed; the device tries the new certificate, uses it and reports it;
only then is the old one deactivated. It is not deleted: a device that comes back from an old copy of its disk is let
in again by one call. So is a certificate that was offered and that the device no longer waits for: it asks with another
key by now, or with none, as after a new enrolment. Each step may be the last: the next call finds out where it stands.
"""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from cloud_tools.aws import Aws
from cloud_tools.provision import identity, policy, renewal_shadow
from cloud_tools.provision.renewal_shadow import Exchange
from cloud_tools.provision.retire import things_of
from edge_agent.formats.renewal import CertificateReport

_ACTIVE, _INACTIVE = "ACTIVE", "INACTIVE"
_OFFERED = "what was offered"


class Step(Enum):
    """What comes next, in the words of the answer."""

    SILENT = "silent"
    STRANGE = "strange"
    CURRENT = "current"
    ASK = "asked"
    AWAIT_REQUEST = "waits for the device's request"
    SIGN = "signed"
    AWAIT_DEVICE = "waits for the device to use it"
    REFUSED = "refused"
    END_OLD = "rotated"
    END_OFFER = "lapsed"


MEANINGS: Mapping[Step, str] = {
    Step.SILENT: "the device has not reported its certificate: an older agent, or it was never connected",
    Step.STRANGE: "the device reports a certificate that this thing does not have, or that is not active",
    Step.CURRENT: "nothing to do",
    Step.ASK: "the device is asked for a signing request",
    Step.AWAIT_REQUEST: "the device was asked and has not answered yet",
    Step.SIGN: "its request is signed and the certificate is offered to it",
    Step.AWAIT_DEVICE: "it has not reported the new certificate yet; the old one stays",
    Step.REFUSED: "the device could not use the new certificate and goes on with the old one; it tries again each hour",
    Step.END_OLD: "it uses the new certificate, the old one is deactivated, or let go where another thing uses it too",
    Step.END_OFFER: "what was offered before was never used and is no longer waited for: it is deactivated",
}
# What only the device can bring on.
WAITING = frozenset({Step.ASK, Step.AWAIT_REQUEST, Step.SIGN, Step.AWAIT_DEVICE})
_ACTS = frozenset({Step.ASK, Step.SIGN, Step.END_OLD, Step.END_OFFER})
FAILED = frozenset({Step.SILENT, Step.STRANGE, Step.REFUSED})


class Standing(NamedTuple):
    """Where an exchange stands; ``held`` are the thing's certificates, ids and statuses."""

    thing: str
    exchange: Exchange
    held: Mapping[str, str]

    @property
    def ends(self) -> int | None:
        """Return when the certificate in use ends, epoch seconds; None: nobody knows."""
        return self.exchange.reported.ends if self.exchange.reported else None

    @property
    def open(self) -> str:
        """Return the certificate, PEM, that is offered and that the device waits for; empty: none.

        Raises:
            CloudError: the device's request, or what was offered to it, is not understood.
        """
        told, offered = self.exchange.reported, self.exchange.certificate
        return offered if told and told.request and _is_for(offered, self.thing, told) else ""

    @property
    def lapsed(self) -> str:
        """Return the id of an active certificate that was offered, was never used and can be no more; empty: none.

        Raises:
            CloudError: the device's request, or what was offered to it, is not understood.
        """
        told, offered = self.exchange.reported, self.exchange.certificate
        if told is None or not offered or self.open:
            return ""
        found = identity.id_of(offered, _OFFERED)
        return found if found not in _past(told) and self.held.get(found) == _ACTIVE else ""


def tell(standing: Standing, step: Step) -> str:
    """Return what a person is told of a step.

    Raises:
        CloudError: as ``Standing.lapsed``.
    """
    told, said = standing.exchange.reported, MEANINGS[step]
    if step is Step.REFUSED and told and told.fault:
        return f"{said}: {told.fault}"
    besides = step in _ACTS and step is not Step.END_OFFER and standing.lapsed
    return f"{said}; {MEANINGS[Step.END_OFFER]}" if besides else said


def look(aws: Aws, thing: str) -> Standing:
    """Return where the exchange stands.

    Raises:
        CloudError: NOT_FOUND, or as ``Aws.call``.
        DocumentError: the device's report is not understood.
    """
    aws.call("iot", "describe_thing", thingName=thing)
    arns = aws.pages("iot", "list_thing_principals", "principals", thingName=thing)
    held = {_id(arn): _describe(aws, _id(arn))["status"] for arn in arns}
    return Standing(thing, renewal_shadow.read(aws, thing), held)


def next_step(standing: Standing, *, wanted: bool) -> Step:
    """Return what comes next; ``wanted``: a new exchange is to begin where none is under way.

    Raises:
        CloudError: the device's request, or what was offered to it, is not understood.
    """
    thing, exchange, held = standing
    told = exchange.reported
    if told is None:
        return Step.SILENT
    if held.get(told.id) != _ACTIVE:
        return Step.STRANGE
    # Before the next one: after that nobody knows any more which one came before this.
    if held.get(told.before) == _ACTIVE:
        return Step.END_OLD
    if told.request:
        return _answer(thing, told, exchange.certificate)
    if exchange.renew == told.id:
        return Step.AWAIT_REQUEST
    rest = Step.END_OFFER if standing.lapsed else Step.CURRENT
    return Step.ASK if wanted else rest


def _answer(thing: str, told: CertificateReport, offered: str) -> Step:
    if not _is_for(offered, thing, told):
        return Step.SIGN
    return Step.REFUSED if told.fault else Step.AWAIT_DEVICE


def _is_for(offered: str, thing: str, told: CertificateReport) -> bool:
    """Tell whether what was offered is the certificate that the device's request waits for."""
    key = identity.read_request(told.request, thing, "the device's request")
    if not offered or identity.key_of(offered, _OFFERED) != key:
        return False
    # A key in a token stays: an offer for it may be the certificate that is in use by now.
    return identity.id_of(offered, _OFFERED) not in _past(told)


def _past(told: CertificateReport) -> frozenset[str]:
    return frozenset({told.id, told.before})


def carry_out(aws: Aws, standing: Standing, step: Step) -> None:
    """Do what comes next.

    Raises:
        CloudError: as ``Aws.call``; what was done stays done.
    """
    told = standing.exchange.reported
    if told is None or step not in _ACTS:
        return
    # First: what is desired says what was offered, and is written anew by each of these.
    if lapsed := standing.lapsed:
        _end(aws, standing.thing, lapsed)
    if step is Step.ASK:
        renewal_shadow.desire(aws, standing.thing, renew=told.id)
    elif step is Step.SIGN:
        pem = _certificate(aws, standing, told)
        renewal_shadow.desire(aws, standing.thing, certificate=pem)
    elif step is Step.END_OLD:
        _end(aws, standing.thing, told.before)
        # What it waits for by now, if it does, stays offered.
        renewal_shadow.desire(aws, standing.thing, certificate=standing.open)
    elif step is Step.END_OFFER:
        renewal_shadow.desire(aws, standing.thing)


def _certificate(aws: Aws, standing: Standing, told: CertificateReport) -> str:
    """Return the certificate for a request, with the rights of the old one; what a cut left is used."""
    request, old = told.request, _describe(aws, told.id)
    key = identity.read_request(request, standing.thing, "the device's request")
    found = None
    left = (held for held, status in standing.held.items() if status in (_ACTIVE, _INACTIVE))
    for one in (_describe(aws, held) for held in left if held not in _past(told)):
        if _follows(one, old, key):
            found = one
    # Cut off before the thing has it, nobody finds it again: so it opens nothing until then.
    made = found or aws.call("iot", "create_certificate_from_csr", certificateSigningRequest=request, setAsActive=False)
    arn = str(made["certificateArn"])
    rights = aws.pages("iot", "list_attached_policies", "policies", target=str(old["certificateArn"]))
    # The thing first: by it the next call finds a certificate that was cut off here.
    aws.call("iot", "attach_thing_principal", thingName=standing.thing, principal=arn)
    for name in [str(right["policyName"]) for right in rights] or [policy.NAME]:
        aws.call("iot", "attach_policy", policyName=name, target=arn)
    aws.call("iot", "update_certificate", certificateId=made["certificateId"], newStatus=_ACTIVE)
    return str(made["certificatePem"])


def _follows(one: Mapping[str, str], old: Mapping[str, str], key: object) -> bool:
    """Tell whether a certificate was made for this exchange, whose request is of this key."""
    named = [(each["certificatePem"], each["certificateId"]) for each in (one, old)]
    its, before = (identity.key_of(*each) for each in named)
    if its != key:
        return False
    # Of a key in a token there may be older ones, as of an enrolment before; a new key has none.
    return before != key or identity.start_of(*named[0]) > identity.start_of(*named[1])


def _end(aws: Aws, thing: str, old: str) -> None:
    """Deactivate a certificate; one that another thing uses as well only lets this thing go."""
    arn = str(_describe(aws, old)["certificateArn"])
    if things_of(aws, arn) == [thing]:
        aws.call("iot", "update_certificate", certificateId=old, newStatus=_INACTIVE)
    else:
        aws.call("iot", "detach_thing_principal", thingName=thing, principal=arn)


def _describe(aws: Aws, certificate_id: str) -> Mapping[str, str]:
    found: Mapping[str, str] = aws.call("iot", "describe_certificate", certificateId=certificate_id)[
        "certificateDescription"
    ]
    return found


def _id(arn: str) -> str:
    return arn.rpartition("/")[2]
