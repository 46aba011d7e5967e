"""One picture on its way from a camera to the agent."""

from typing import NamedTuple


class Shot(NamedTuple):
    """One picture as its camera gave it.

    Attributes:
        content: JPEG or PNG, not looked at yet.
        name: file name or the camera's own count, for people.
    """

    content: bytes
    name: str
