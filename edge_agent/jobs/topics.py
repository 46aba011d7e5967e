"""The device-side topics of AWS IoT Jobs, both ways.

Requests go out on a topic; the answer to it arrives on the same topic with
``/accepted`` or ``/rejected`` behind it.
"""

from typing import Literal, NamedTuple

Verb = Literal["notify", "notify-next", "get", "start-next", "describe", "update"]
Answer = Literal["", "accepted", "rejected"]

_BY_WORD: dict[str, Verb] = {"get": "get", "start-next": "start-next"}
_BY_WORD_OF_JOB: dict[str, Verb] = {"get": "describe", "update": "update"}
_NOTICES: dict[str, Verb] = {"notify": "notify", "notify-next": "notify-next"}
_ANSWERS: dict[str, Answer] = {"accepted": "accepted", "rejected": "rejected"}


class Arrival(NamedTuple):
    """What a topic says about the message on it."""

    verb: Verb
    job_id: str
    """The job that the topic names, or empty."""
    answer: Answer
    """Empty for notifications."""


class Topics:
    """The topics of one thing."""

    def __init__(self, thing: str) -> None:
        self._prefix = f"$aws/things/{thing}/jobs/"

    def subscriptions(self) -> tuple[str, ...]:
        """Return the filters for everything that the service may tell this thing."""
        # AWS IoT: at most 8 filters in one SUBSCRIBE.
        words = ("notify", "notify-next", "get/+", "start-next/+", "+/get/+", "+/update/+")
        return tuple(self._prefix + word for word in words)

    def request(self, verb: Verb, job_id: str) -> str:
        """Return the topic on which ``verb`` is asked for; ``job_id`` is empty for get and start-next."""
        words = {"get": "get", "start-next": "start-next", "describe": f"{job_id}/get", "update": f"{job_id}/update"}
        return self._prefix + words[verb]

    def read(self, topic: str) -> Arrival | None:
        """Return what ``topic`` says, or None when it is not one of this thing's."""
        if not topic.startswith(self._prefix):
            return None
        match topic[len(self._prefix) :].split("/"):
            case [word] if word in _NOTICES:
                return Arrival(_NOTICES[word], "", "")
            case [word, answer] if word in _BY_WORD and answer in _ANSWERS:
                return Arrival(_BY_WORD[word], "", _ANSWERS[answer])
            case [job_id, word, answer] if word in _BY_WORD_OF_JOB and answer in _ANSWERS:
                return Arrival(_BY_WORD_OF_JOB[word], job_id, _ANSWERS[answer])
            case _:
                return None
