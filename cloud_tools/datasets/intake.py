"""What a person gives to ``data prepare``: a data set, several, or videos."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from cloud_tools.datasets.layouts.files import is_normal
from cloud_tools.datasets.preparing import Prepared, PrepareOptions, made_whole, prepare
from cloud_tools.datasets.reading import categories
from cloud_tools.datasets.video import Video, videos_in, write_frames_of
from edge_agent.formats import Kind


class VideoOptions(NamedTuple):
    """How videos become pictures."""

    label: str = ""
    """What all frames show, where no folder says so."""
    every: int = 10
    """Each so many-th frame is taken."""


def prepare_any(data: Path, out: Path, options: PrepareOptions, video: VideoOptions) -> dict[str, Prepared]:
    """Prepare whatever ``data`` is: of one category ``out`` is the data set, of several each gets a folder in it.

    Raises:
        CloudError: as ``prepare``; of several categories all are made, or none.
        DatasetError: no known layout, or videos of which nobody says what they show.
    """
    videos = videos_in(data, video.label)
    if videos:
        return {data.stem: _of_videos(videos, data.name, out, options, video.every)}
    found = categories(data)
    if list(found.values()) == [data]:
        return {name: prepare(path, out, options) for name, path in found.items()}
    with made_whole(out) as staged:
        return {name: prepare(path, staged / name, options) for name, path in found.items()}


def _of_videos(videos: list[Video], origin: str, out: Path, options: PrepareOptions, every: int) -> Prepared:
    good = all(is_normal(video.label) for video in videos)
    kind = options.kind or (Kind.ANOMALY if good else Kind.CLASSIFICATION)
    with TemporaryDirectory(prefix="edge-frames-") as folder:
        write_frames_of(videos, Path(folder), every=every)
        return prepare(Path(folder), out, options._replace(kind=kind), origin)
