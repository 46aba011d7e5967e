"""What a camera is to the station, and the one place where a source becomes one.

A camera hands out its newest picture and nothing older: a part that has left is
nobody's business. Streaming cameras keep a reader of their own that overwrites
what nobody took; here is only the directory of images, which has nothing to lose.
Not done here: looking at the picture. Whether it is one, the agent says.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from edge_agent.config import Station
from edge_agent.errors import Code, ConfigError
from edge_agent.station.directory import DirectoryCamera
from edge_agent.station.shot import Shot

__all__ = ["Camera", "Shot", "open_camera"]


class Camera(Protocol):
    """A source of pictures."""

    def newest(self, timeout_s: float) -> Shot | None:
        """Return the newest picture that was not taken yet; None: there was no new one in time.

        Raises:
            CameraError: the camera is away; the same object may be asked again later.
        """

    def close(self) -> None:
        """Let the device go."""


class _Source(NamedTuple):
    scheme: str
    rest: str


def open_camera(station: str, options: Station) -> Camera:
    """Return the camera that ``options.source`` names, as ``directory:/srv/frames``.

    A camera that is away is no error here: ``newest`` tells, and is asked again.

    Args:
        station: the station's name, for messages.
        options: its settings.

    Raises:
        ConfigError: the source has no scheme, or one that is not known.
    """
    source = _Source(*options.source.partition(":")[::2])
    opener = _SCHEMES.get(source.scheme)
    if opener is None or not source.rest:
        known = ", ".join(f"{scheme}:…" for scheme in _SCHEMES)
        raise ConfigError(
            Code.CONFIG_INVALID, f"station.{station}.source: expected one of {known}, came {options.source!r}"
        )
    return opener(source.rest, options)


def _directory(rest: str, options: Station) -> Camera:
    return DirectoryCamera(Path(rest), loop=options.loop)


# A new kind of camera is one line here.
_SCHEMES: Mapping[str, Callable[[str, Station], Camera]] = {"directory": _directory}
