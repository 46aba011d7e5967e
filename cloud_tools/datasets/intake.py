"""What a person gives to ``data prepare``: a data set, several, or videos."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from cloud_tools.datasets.dataset import DatasetError
from cloud_tools.datasets.layouts.files import is_normal, pictures_in
from cloud_tools.datasets.preparing import Prepared, PrepareOptions, made_whole, prepare
from cloud_tools.datasets.reading import categories, layout_of
from cloud_tools.datasets.video import Video, videos_in, write_frames_of
from edge_agent.formats import Kind

_NAME = re.compile(r"[^\W_][\w .+-]{0,99}")
"""It becomes a folder."""


class VideoOptions(NamedTuple):
    """How videos, and pictures in no layout, become a data set."""

    label: str = ""
    """What all of them show, where no folder says so."""
    every: int = 10
    """Each so many-th frame is taken."""


def prepare_any(data: Path, out: Path, options: PrepareOptions, video: VideoOptions) -> dict[str, Prepared]:
    """Prepare whatever ``data`` is: of one category ``out`` is the data set, of several each gets a folder in it.

    Raises:
        CloudError: as ``prepare``; of several categories all are made, or none.
        DatasetError: no known layout, or videos of which nobody says what they show.
    """
    if video.label and not _NAME.fullmatch(video.label):
        raise DatasetError(f"expected --label normal or the name of a class, came {video.label!r}")
    videos = videos_in(data, video.label)
    if videos:
        return {data.stem: _of_videos(videos, data.name, out, options, video.every)}
    if video.label and data.is_dir() and layout_of(data) is None and pictures_in(data):
        return {data.resolve().name: _of_pictures(data, video.label, out, options)}
    found = categories(data)
    if list(found.values()) == [data]:
        return {name: prepare(path, out, options) for name, path in found.items()}
    with made_whole(out) as staged:
        return {name: prepare(path, staged / name, options) for name, path in found.items()}


def _of_pictures(data: Path, label: str, out: Path, options: PrepareOptions) -> Prepared:
    """Prepare a folder of pictures that all show the same."""
    kind = options.kind or (Kind.ANOMALY if is_normal(label) else Kind.CLASSIFICATION)
    with TemporaryDirectory(prefix="edge-pictures-") as folder:
        (Path(folder) / label).symlink_to(data.resolve(), target_is_directory=True)
        return prepare(Path(folder), out, options._replace(kind=kind), data.resolve().name)


def _of_videos(videos: list[Video], origin: str, out: Path, options: PrepareOptions, every: int) -> Prepared:
    good = all(is_normal(video.label) for video in videos)
    kind = options.kind or (Kind.ANOMALY if good else Kind.CLASSIFICATION)
    with TemporaryDirectory(prefix="edge-frames-") as folder:
        write_frames_of(videos, Path(folder), every=every)
        return prepare(Path(folder), out, options._replace(kind=kind), origin)
