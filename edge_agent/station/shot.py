"""One picture on its way from a camera to the agent."""

from typing import NamedTuple

from edge_agent.formats import RawPicture

Content = bytes | RawPicture


class Shot(NamedTuple):
    """One picture as its camera gave it.

    Attributes:
        content: JPEG or PNG, not looked at yet; or packed RGB, which nobody has to decode again.
        name: file name or the camera's own count, for people.
        at: when it came from the camera, by ``time.monotonic``; None: it is handed out as it comes.
    """

    content: Content
    name: str
    at: float | None = None
