"""What happens on the connection to the broker, as its door tells it. Pure.

Apart from the door, so that an agent without a cloud does without the MQTT library.
"""

from typing import NamedTuple


class Connected(NamedTuple):
    """The broker took us in; nothing is subscribed yet."""

    number: int


class Disconnected(NamedTuple):
    """The connection ended or could not be made.

    Attributes:
        reason: for a person.
        reopen: it will not come back by itself, as its token lost it: another one has to be made.
    """

    reason: str
    reopen: bool = False


class Subscribed(NamedTuple):
    """The broker answered a subscription made on connection ``number``; ``fault`` is empty when it agreed."""

    number: int
    fault: str


class Received(NamedTuple):
    """A message came."""

    topic: str
    payload: bytes


Happening = Connected | Disconnected | Subscribed | Received
