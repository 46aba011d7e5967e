"""What a camera is to the station, and the one place where a source becomes one.

A camera hands out its newest picture and nothing older: a part that has left is
nobody's business. Streaming cameras keep a reader of their own that overwrites
what nobody took; a directory of images has nothing to lose.
Not done here: looking at the picture. Whether it is one, the agent says.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from edge_agent.config import Station
from edge_agent.errors import Code, ConfigError
from edge_agent.station.directory import DirectoryCamera
from edge_agent.station.shot import Shot
from edge_agent.station.source import shown
from edge_agent.station.stream import Rules, Stream
from edge_agent.station.streaming import StreamingCamera

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
    """Return the camera that ``options.source`` names, as ``directory:/srv/frames`` or ``rtsp://camera/1``.

    A camera that is away is no error here: ``newest`` tells, and is asked again.

    Args:
        station: the station's name, for messages.
        options: its settings.

    Raises:
        ConfigError: the source has no scheme or one that is not known, or does not take a setting.
    """
    source = _Source(*options.source.partition(":")[::2])
    opener = _SCHEMES.get(source.scheme)
    if opener is None or not source.rest.strip("/"):
        known = ", ".join(f"{scheme}:…" for scheme in _SCHEMES)
        raise ConfigError(
            Code.CONFIG_INVALID, f"station.{station}.source: expected one of {known}, came {shown(options.source)!r}"
        )
    _check_settings(station, source.scheme, options)
    return opener(source.rest, options)


def kind_of(options: Station) -> str:
    """Return which kind of camera a source names: directory, file, rtsp, http, v4l2 or genicam."""
    scheme = options.source.partition(":")[0]
    return _KINDS.get(scheme, scheme)


def _check_settings(station: str, scheme: str, options: Station) -> None:
    for key, takers in _TAKERS.items():
        if getattr(options, key) != Station.model_fields[key].default and scheme not in takers:
            message = f"station.{station}.{key}: expected with {', '.join(takers)} only, came with {scheme}"
            raise ConfigError(Code.CONFIG_INVALID, message)
    if options.mode == "trigger" and options.deadline_s <= _latency_s(options):
        message = f"expected more than latency_s ({options.latency_s:g}), within which no picture can be the trigger's"
        raise ConfigError(Code.CONFIG_INVALID, f"station.{station}.deadline_s: {message}, came {options.deadline_s:g}")


def _latency_s(options: Station) -> float:
    return options.latency_s if options.source.partition(":")[0] in _TAKERS["latency_s"] else 0.0


def _directory(rest: str, options: Station) -> Camera:
    return DirectoryCamera(Path(rest), loop=options.loop)


# Each imports its library when the first stream is opened: who has no such camera does without.


def _file(rest: str, options: Station) -> Camera:
    def opens() -> Stream:
        from edge_agent.station.video import FileStream  # noqa: PLC0415

        return FileStream(rest, loop=options.loop, stall_s=options.stall_s, region=options.roi)

    return _streaming(f"file:{rest}", opens, options)


def _rtsp(scheme: str, rest: str, options: Station) -> Camera:
    def opens() -> Stream:
        from edge_agent.station.video import open_url  # noqa: PLC0415

        return open_url(f"{scheme}:{rest}", options.stall_s, options.roi)

    return _streaming(f"{scheme}:{rest}", opens, options)


def _http(scheme: str, rest: str, options: Station) -> Camera:
    def opens() -> Stream:
        from edge_agent.station.http import HttpStream  # noqa: PLC0415

        return HttpStream(f"{scheme}:{rest}", options.stall_s)

    return _streaming(f"{scheme}:{rest}", opens, options)


def _v4l2(rest: str, options: Station) -> Camera:
    def opens() -> Stream:
        from edge_agent.station.video import open_device  # noqa: PLC0415

        return open_device(rest, options.stall_s, options.roi)

    return _streaming(f"v4l2:{rest}", opens, options)


def _genicam(rest: str, options: Station) -> Camera:
    def opens() -> Stream:
        from edge_agent.station.genicam import GenicamStream  # noqa: PLC0415

        return GenicamStream(rest, options)

    return _streaming(f"genicam:{rest}", opens, options)


def _streaming(source: str, opens: Callable[[], Stream], options: Station) -> Camera:
    return StreamingCamera(shown(source), opens, rules_of(options))


def rules_of(options: Station) -> Rules:
    """Return how a station's stream is watched."""
    # A picture that is older than an answer may take belongs to a part that has left.
    return Rules(
        options.stall_s,
        options.deadline_s,
        quiet=options.has_input,
        asked=options.trigger == "software",
        latency_s=_latency_s(options),
        # Where a PLC asks, its triggers are the parts.
        counted=options.has_input and options.mode == "free-running",
    )


# A new kind of camera is one line here.
_SCHEMES: Mapping[str, Callable[[str, Station], Camera]] = {
    "directory": _directory,
    "file": _file,
    "rtsp": partial(_rtsp, "rtsp"),
    "rtsps": partial(_rtsp, "rtsps"),
    "http": partial(_http, "http"),
    "https": partial(_http, "https"),
    "v4l2": _v4l2,
    "genicam": _genicam,
}
_KINDS = {"rtsps": "rtsp", "https": "http"}
# Settings that say something to some kinds of cameras only.
_TAKERS: Mapping[str, tuple[str, ...]] = {
    "loop": ("directory", "file"),
    "latency_s": ("rtsp", "rtsps", "http", "https"),
    "roi": ("file", "rtsp", "rtsps", "v4l2", "genicam"),
    "exposure_us": ("genicam",),
    "gain": ("genicam",),
    "trigger": ("genicam",),
}
