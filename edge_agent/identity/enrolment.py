"""Enrolment by claim (AWS IoT fleet provisioning), decided without I/O: what comes next, and what answers mean. Pure.

https://docs.aws.amazon.com/iot/latest/developerguide/fleet-provision-api.html. Each stage is durable before the step
that leaves it; whoever was cut off goes on where he stood, and asks for no second certificate where the first can
still be had.
"""

import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import Field

from edge_agent.config.fragment import AUTHORITY, CERTIFICATE, KEY, ROOT
from edge_agent.errors import Code, IdentityError
from edge_agent.formats import Document

CLAIMING: Final = "claim-"
"""How the names begin under which a claim connects: the policy of claims lets it have no other."""
CREATE_TOPIC: Final = "$aws/certificates/create-from-csr/json"
# AWS IoT: the token that proves whose a certificate is expires after an hour; a slow answer has its time too.
_TOKEN_LIFE_S: Final = 3300.0
_CREDENTIALS = "aws-iot"


class Stage(str, Enum):
    """How far an enrolment came."""

    NEW = "NEW"
    CREATED = "CREATED"
    REGISTERING = "REGISTERING"
    REGISTERED = "REGISTERED"
    PROVEN = "PROVEN"


class Step(Enum):
    """What is to be done next."""

    CREATE = "ask for a certificate by signing request"
    REGISTER = "have the thing made and the certificate activated"
    PROVE = "connect with it"
    INSTALL = "write what the settings name, the settings last"


# Found in REGISTERING: the answer was lost, and the certificate may be good already.
NEXT: Final[Mapping[Stage, Step]] = {
    Stage.NEW: Step.CREATE,
    Stage.CREATED: Step.REGISTER,
    Stage.REGISTERING: Step.PROVE,
    Stage.REGISTERED: Step.PROVE,
    Stage.PROVEN: Step.INSTALL,
}


class Progress(Document):
    """What must survive an interruption."""

    asked: str = Field(description="the thing's name, as it was asked for")
    stage: Stage = Stage.NEW
    thing: str = Field("", description="as AWS answered")
    certificate: str = Field("", description="PEM")
    token: str = Field("", description="proves that the certificate is ours; worth nothing after an hour")
    created_at: float = Field(0.0, description="epoch seconds")
    told: dict[str, str] = Field(default_factory=dict, description="what the template tells of the device's settings")


class Pack(NamedTuple):
    """What comes with an identity."""

    rooms: Mapping[str, Mapping[str, Any]]
    """Settings that name the files."""
    root: str = ""
    """The text of the first root.json."""
    authority: str = ""
    """PEM of the endpoint's authority."""

    @property
    def allow_demo_root(self) -> bool:
        """Tell whether the settings let the device trust a demo's root."""
        return self.rooms.get("trust", {}).get("allow_demo_root") is True


class Wanted(NamedTuple):
    """The device's settings, as far as they are known; empty: not told."""

    thing: str
    host: str = ""
    port: int = 8883
    fleet: str = ""
    repository: str = ""
    captures: str = ""
    credentials_endpoint: str = ""
    role_alias: str = ""
    root: str = ""
    """The text of the first root.json."""
    authority: str = ""
    """PEM of the endpoint's authority."""
    allow_demo_root: bool = False
    private_key: str = ""
    """The URI of a key in a token; empty: a file beside the certificate."""

    def filled(self, thing: str, told: Mapping[str, str]) -> "Wanted":
        """Return it with what the template tells where nothing else was said."""
        words = ("fleet", "repository", "captures", "credentials_endpoint", "role_alias")
        news: dict[str, Any] = {word: told[word] for word in words if not getattr(self, word) and told.get(word)}
        return self._replace(thing=thing or self.thing, **news)

    def least(self, directory: Path) -> Pack:
        """Return what is sure before anybody was asked: who this is, and whom it trusts."""
        return self._replace(repository="", captures="").pack(directory)

    def pack(self, directory: Path) -> Pack:
        """Return what a device gets whose files lie in ``directory``.

        Raises:
            IdentityError: as ``rooms``.
        """
        return Pack(self.rooms(directory), self.root, self.authority)

    def rooms(self, directory: Path) -> dict[str, dict[str, Any]]:
        """Return the rooms of config.toml for a device whose files lie in ``directory``.

        Raises:
            IdentityError: a bucket is named, and not where to get credentials for it.
        """
        lent = [_CREDENTIALS if url.startswith("s3:") else "" for url in (self.repository, self.captures)]
        if any(lent) and not (self.credentials_endpoint and self.role_alias):
            raise IdentityError(
                Code.INVALID_ARGUMENT,
                "a bucket: expected --credentials-endpoint and --role-alias, which lend the device its credentials "
                "(aws iot describe-endpoint --endpoint-type iot:CredentialProvider)",
            )
        return {
            "device": {"thing": self.thing, "fleet": self.fleet},
            "mqtt": {
                "endpoint": self.host,
                "port": self.port,
                "certificate": str(directory / CERTIFICATE),
                "private_key": self.private_key or str(directory / KEY),
                "ca": str(directory / AUTHORITY) if self.authority else "",
            },
            "repository": {
                "url": self.repository,
                "credentials": lent[0],
                "credentials_endpoint": self.credentials_endpoint if any(lent) else "",
                "role_alias": self.role_alias if any(lent) else "",
            },
            "trust": {
                "root": str(directory / ROOT) if self.root else "",
                "allow_demo_root": True if self.allow_demo_root else "",
            },
            "capture": {"url": self.captures, "credentials": lent[1]},
        }


def next_step(progress: Progress) -> Step:
    """Return what is to be done next."""
    return NEXT[progress.stage]


def without_answer(progress: Progress, now: float) -> Progress:
    """Return where an enrolment goes on whose certificate does not connect: registered again, or made anew."""
    fresh = 0 <= now - progress.created_at < _TOKEN_LIFE_S
    return progress.model_copy(update={"stage": Stage.CREATED}) if fresh else Progress(asked=progress.asked)


def resumed(progress: Progress, now: float) -> Progress:
    """Return where an interrupted enrolment goes on: a token that is too old is worth nothing."""
    return without_answer(progress, now) if progress.stage is Stage.CREATED else progress


def create_request(request: str) -> bytes:
    """Return the payload that asks for a certificate."""
    return json.dumps({"certificateSigningRequest": request}).encode()


def created(progress: Progress, payload: bytes, now: float) -> Progress:
    """Return the progress after AWS made a certificate.

    Raises:
        IdentityError: the answer is not understood.
    """
    answer = _read(payload)
    pem, token = answer.get("certificatePem"), answer.get("certificateOwnershipToken")
    if not (isinstance(pem, str) and isinstance(token, str) and pem and token):
        raise _odd("certificatePem and certificateOwnershipToken", answer)
    news = {"stage": Stage.CREATED, "certificate": pem, "token": token, "created_at": now}
    return progress.model_copy(update=news)


def register_topic(template: str) -> str:
    """Return the topic on which a thing is registered."""
    return f"$aws/provisioning-templates/{template}/provision/json"


def register_request(progress: Progress, parameters: Mapping[str, str]) -> bytes:
    """Return the payload that registers the thing."""
    words = {"ThingName": progress.asked, **parameters}
    return json.dumps({"certificateOwnershipToken": progress.token, "parameters": words}).encode()


def registered(progress: Progress, payload: bytes) -> Progress:
    """Return the progress after the thing was registered.

    Raises:
        IdentityError: the answer is not understood.
    """
    answer = _read(payload)
    thing, told = answer.get("thingName") or progress.asked, answer.get("deviceConfiguration") or {}
    if not isinstance(thing, str) or not isinstance(told, dict):
        raise _odd("thingName and deviceConfiguration", answer)
    words = {str(name): str(value) for name, value in told.items()}
    return progress.model_copy(update={"stage": Stage.REGISTERED, "thing": thing, "told": words})


def refusal(payload: bytes) -> str:
    """Return in words why AWS refused."""
    answer = _read(payload)
    return f"{answer.get('errorCode', 'no code')}: {answer.get('errorMessage', 'no reason')}"


def check_root(text: str, *, allow_demo: bool) -> None:
    """Refuse a root of trust that the agent would refuse.

    Raises:
        IdentityError: it is no root metadata, or a demo's and that is not allowed.
    """
    try:
        signed = json.loads(text)["signed"]
        kind, demo = signed["_type"], bool(signed.get("demo"))
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise IdentityError(Code.INVALID_ARGUMENT, "root: expected a TUF root.json, came something else") from exc
    if kind != "root":
        raise IdentityError(Code.INVALID_ARGUMENT, f"root: expected a TUF root.json, came metadata of type {kind!r}")
    if demo and not allow_demo:
        message = "root: a demo's, whose keys lie open; --allow-demo-root if the device may trust it"
        raise IdentityError(Code.FAILED_PRECONDITION, message)


def _read(payload: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(payload)
    except (ValueError, RecursionError) as exc:
        raise IdentityError(Code.FAILED_PRECONDITION, f"AWS IoT's answer: expected JSON, {exc}") from exc
    return answer if isinstance(answer, dict) else {}


def _odd(expected: str, answer: Mapping[str, Any]) -> IdentityError:
    # Without values: a token is among them.
    came = ", ".join(sorted(answer)) or "nothing"
    return IdentityError(Code.FAILED_PRECONDITION, f"AWS IoT's answer: expected {expected}, came {came}")
