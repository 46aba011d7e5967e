"""Enrolment put together: what the identity room decides, asked over a connection that ends with it."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from edge_agent.config import KeyPlace, Mqtt, TokenKey, fragment
from edge_agent.errors import Code, IdentityError, JobsError
from edge_agent.identity import Folder, Pack, Progress, Stage, Step, Wanted, enrolment
from edge_agent.jobs.asking import Answer, Asking, prove
from edge_agent.storage import durable

_RECONNECT_S = 2.0
_LIMIT_CLIENT_ID = 128


class Claim(NamedTuple):
    """What a device shows before it has an identity of its own.

    Attributes:
        certificate: the claim's certificate, PEM.
        private_key: its key.
        authority: whom the endpoint's certificate must come from, PEM file; None: the system's.
        template: the provisioning template's name.
        parameters: what the template wants to know beside ThingName.
        keep: leave the claim where it lies.
    """

    certificate: Path
    private_key: Path
    authority: Path | None
    template: str
    parameters: Mapping[str, str]
    keep: bool = False


class Enrolled(NamedTuple):
    """How it ended."""

    thing: str
    certificate_id: str
    config: Path
    was_enrolled: bool = False


def enroll_by_claim(
    folder: Folder, wanted: Wanted, claim: Claim, *, timeout_s: float, now: Callable[[], float]
) -> Enrolled:
    """Make this device one of the fleet; asked again after it was cut off, it goes on.

    Args:
        folder: where the identity lies.
        wanted: the device's settings.
        claim: what is shown to be let in; deleted once the device is enrolled.
        timeout_s: for each connection and answer.
        now: epoch seconds.

    Raises:
        ConfigError, IdentityError: something here says otherwise, or AWS refused.
        JobsError: no connection, no answer.
        StorageError: the files cannot be written.
    """
    _check_place(folder, claim)
    if folder.is_enrolled(wanted.least(folder.directory)):
        _delete(claim)
        return _ended(folder, wanted.thing, was_enrolled=True)
    folder.check(wanted.least(folder.directory))
    with _Conversation(folder, wanted, claim, timeout_s, now) as conversation:
        progress = conversation.lead()
    folder.install(wanted.filled(progress.thing, progress.told).pack(folder.directory))
    _delete(claim)
    return _ended(folder, progress.thing)


def _check_place(folder: Folder, claim: Claim) -> None:
    """Refuse a claim that the identity would overwrite, and that would then be deleted in its name."""
    ours = {place.resolve() for place in (folder.private_key, folder.certificate) if isinstance(place, Path)}
    for path in (claim.private_key, claim.certificate):
        if path.resolve() in ours:
            message = f"{path}: expected a claim that lies elsewhere, the device's own will lie here"
            raise IdentityError(Code.INVALID_ARGUMENT, message)


class _Conversation(ExitStack):
    def __init__(
        self, folder: Folder, wanted: Wanted, claim: Claim, timeout_s: float, now: Callable[[], float]
    ) -> None:
        super().__init__()
        self._folder, self._wanted, self._claim = folder, wanted, claim
        self._timeout_s, self._now = timeout_s, now
        self._asking: Asking | None = None

    def lead(self) -> Progress:
        """Go through all steps; return how it ended, proven."""
        progress = enrolment.resumed(self._folder.progress(self._wanted.thing), self._now())
        if isinstance(self._folder.private_key, TokenKey) and enrolment.next_step(progress) is not Step.INSTALL:
            # A step back may need it, and from the first connection on the token is the MQTT library's.
            self._folder.request(progress.asked)
        acts = {Step.CREATE: self._create, Step.REGISTER: self._register, Step.PROVE: self._prove}
        while (step := enrolment.next_step(progress)) is not Step.INSTALL:
            progress = acts[step](progress)
            self._folder.save(progress)
        # What the template told may lack something: said before anything is written.
        self._wanted.filled(progress.thing, progress.told).rooms(self._folder.directory)
        return progress

    def _create(self, progress: Progress) -> Progress:
        request = self._folder.request(progress.asked)
        answer = self._ask(enrolment.CREATE_TOPIC, enrolment.create_request(request))
        if not answer.accepted:
            raise _refused("a certificate", answer)
        made = enrolment.created(progress, answer.payload, self._now())
        self._folder.check_certificate(made.certificate)
        return made

    def _register(self, progress: Progress) -> Progress:
        self._folder.save(progress.model_copy(update={"stage": Stage.REGISTERING}))
        payload = enrolment.register_request(progress, self._claim.parameters)
        answer = self._ask(enrolment.register_topic(self._claim.template), payload)
        if not answer.accepted:
            # Known not to be registered: the next try asks again instead of connecting in vain.
            self._folder.save(progress)
            raise _refused(f"thing {progress.asked}", answer)
        return enrolment.registered(progress, answer.payload)

    def _prove(self, progress: Progress) -> Progress:
        self._folder.put_certificate(progress.certificate, self._wanted.authority)
        thing = progress.thing or progress.asked
        settings = self._settings(self._folder.certificate, self._folder.private_key)
        try:
            prove(settings, thing, self._timeout_s)
        except JobsError as error:
            if progress.stage is Stage.REGISTERED:
                message = f"the new certificate: {error.message}; run it again, or look at the policy edge-agent-device"
                raise IdentityError(Code.PERMISSION_DENIED, message) from error
            return enrolment.without_answer(progress, self._now())
        return progress.model_copy(update={"stage": Stage.PROVEN, "thing": thing})

    def _ask(self, topic: str, payload: bytes) -> Answer:
        if self._asking is None:
            settings = self._settings(self._claim.certificate, self._claim.private_key)
            client_id = f"{enrolment.CLAIMING}{self._wanted.thing}"[:_LIMIT_CLIENT_ID]
            self._asking = self.enter_context(Asking(settings, client_id, self._timeout_s))
        return self._asking.ask(topic, payload)

    def _settings(self, certificate: Path, private_key: KeyPlace) -> Mqtt:
        return Mqtt(
            endpoint=self._wanted.host,
            port=self._wanted.port,
            certificate=certificate,
            private_key=private_key,
            ca=self._claim.authority,
            reconnect_max_s=_RECONNECT_S,
        )


def _refused(what: str, answer: Answer) -> IdentityError:
    return IdentityError(Code.PERMISSION_DENIED, f"AWS IoT refused {what}: {enrolment.refusal(answer.payload)}")


def _delete(claim: Claim) -> None:
    if not claim.keep:
        # The key first: without it the certificate opens nothing.
        durable.remove(claim.private_key)
        durable.remove(claim.certificate)


def _ended(folder: Folder, thing: str, *, was_enrolled: bool = False) -> Enrolled:
    found = folder.check_certificate(folder.certificate.read_text(encoding="utf-8"))
    return Enrolled(thing, found.id, folder.config, was_enrolled)


def install_pack(folder: Folder, texts: Mapping[str, str], what: str) -> Enrolled:
    """Install what an operator had made for this device's request; again it changes nothing.

    Args:
        folder: where the key lies already.
        texts: certificate.pem and config.toml, and ca.pem and root.json as far as they came.
        what: the pack's settings, for messages.

    Raises:
        ConfigError, IdentityError: the certificate is another key's, or something here says otherwise.
        StorageError: the files cannot be written.
    """
    if not folder.has_key:
        message = (
            f"{folder.private_key}: expected the key that the request was made with, there is none; "
            "one in a token is named by --key again"
        )
        raise IdentityError(Code.FAILED_PRECONDITION, message)
    folder.check_certificate(texts[fragment.CERTIFICATE])
    rooms = fragment.read(texts[fragment.CONFIG], what)
    mqtt, key = rooms.get("mqtt", {}), folder.directory / fragment.KEY
    named = mqtt.get("private_key")
    if named != str(key):
        message = f"{what}: expected settings that name {key}, came {named}; provision it with --installed-at"
        raise IdentityError(Code.FAILED_PRECONDITION, message)
    # Who provisions does not know where the device keeps its key.
    mqtt["private_key"] = str(folder.private_key)
    pack = Pack(rooms, texts.get(fragment.ROOT, ""), texts.get(fragment.AUTHORITY, ""))
    folder.check(pack)
    folder.put_certificate(texts[fragment.CERTIFICATE], pack.authority)
    folder.install(pack)
    return _ended(folder, str(rooms.get("device", {}).get("thing", "")))
