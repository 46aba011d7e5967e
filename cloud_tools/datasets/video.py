"""Frames of videos as pictures of a data set: a person says what they show, and which belong together is their time."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from cloud_tools.datasets.dataset import DatasetError
from cloud_tools.datasets.layouts.files import folders_in
from cloud_tools.datasets.parts import SPLIT_FILE
from cloud_tools.datasets.splitting import write_split
from edge_agent import vision

SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg")
PART_S = 10.0
"""Frames of so many seconds count as one part: the next ones show the same thing."""


class Video(NamedTuple):
    """A file and what all of its frames show."""

    path: Path
    label: str


def videos_in(data: Path, label: str) -> list[Video]:
    """Return the videos that ``data`` is or holds: itself, its files, or those in its folders, named by class.

    Args:
        data: a file or a folder.
        label: what the frames show where no folder says so.

    Raises:
        DatasetError: there are videos, and nobody says what they show.
    """
    plain = [data] if _is_video(data) else _files(data) if data.is_dir() else []
    if plain and not label:
        raise DatasetError(f"{plain[0].name}: expected --label, normal or a class, for what it shows")
    folders = folders_in(data) if data.is_dir() else []
    return [
        *(Video(path, label) for path in plain),
        *(Video(path, folder.name) for folder in folders for path in _files(folder)),
    ]


def write_frames_of(videos: list[Video], out: Path, *, every: int) -> int:
    """Write each ``every``-th frame of the videos as ``out/CLASS/VIDEO-NUMBER.png`` and their parts.

    Returns:
        How many frames were written.

    Raises:
        DatasetError: a file is no video that can be decoded.
    """
    rows = []
    for video in videos:
        folder = out / video.label
        folder.mkdir(parents=True, exist_ok=True)
        name = video.path.name.replace(".", "-")
        for number, second, frame in frames(video.path, every=every):
            file = f"{video.label}/{name}-{number:06d}.png"
            (out / file).write_bytes(vision.encode_png(frame))
            rows.append((file, "", f"{name}@{int(second // PART_S)}"))
    write_split(out / SPLIT_FILE, rows)
    return len(rows)


def frames(path: Path, *, every: int) -> Iterator[tuple[int, float, vision.RGB]]:
    """Yield number, second and picture of each ``every``-th frame, one in memory at a time.

    Raises:
        DatasetError: no frame can be decoded.
    """
    capture = cv2.VideoCapture(str(path))
    rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
    number = 0
    try:
        while capture.grab():
            if number % every == 0:
                there, frame = capture.retrieve()
                if there:
                    yield number, number / rate, np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
            number += 1
    finally:
        capture.release()
    if not number:
        raise DatasetError(f"expected a video, came {path.name}, of which no frame can be decoded")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _is_video(path))


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()
