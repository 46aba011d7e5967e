"""What a data set is here: samples with a class, a part and a split; and its digest."""

import hashlib
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from cloud_tools.datasets.marks import Marks
from cloud_tools.errors import CloudError
from edge_agent import vision
from edge_agent.errors import Code, InferenceError


class DatasetError(CloudError):
    """The folder is not a data set that can be read; the message says what was expected and what came."""

    def __init__(self, message: str) -> None:
        """Keep the message; wrong input is a usage error."""
        super().__init__(Code.INVALID_ARGUMENT, message)


class Split(str, Enum):
    """What a sample is used for; validation picks thresholds and stops training, test only judges."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class Sample(NamedTuple):
    """One labelled picture."""

    file: str
    """Relative to the data set's root, with slashes."""
    path: Path
    label: str
    """Name of the class."""
    anomalous: bool
    part: str
    """What must stay together when splitting: one physical part, or the file itself."""
    split: Split
    mask: Path | None = None
    marks: Marks = Marks()
    """How the mask is read."""

    def content(self) -> bytes:
        """Return the file's bytes.

        Raises:
            InferenceError: it cannot be read.
        """
        return _content(self.path)

    def picture(self) -> vision.RGB:
        """Return the picture as the device would decode it.

        Raises:
            InferenceError: it cannot be read, or is not a picture that the device takes.
        """
        return vision.decode(self.content())

    def is_readable(self) -> bool:
        """Tell whether the device would decode it, and its mask if it has one."""
        try:
            self.truth(*self.picture().shape[:2])
        except InferenceError:
            return False
        return True

    def is_drawn(self) -> bool:
        """Tell whether each pixel's truth is known: a defective part without a mask has defects somewhere."""
        return self.mask is not None or not self.anomalous

    def truth(self, height: int, width: int) -> NDArray[np.bool_]:
        """Return the mask [height, width]; all False for a sample without one.

        Raises:
            InferenceError: it cannot be read, or decoded.
        """
        if self.mask is None:
            return np.zeros((height, width), np.bool_)
        mask = self.marks.of(vision.decode(_content(self.mask)))
        if mask.shape == (height, width):
            return mask
        resized = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        return np.asarray(resized, np.bool_)


class Dataset(NamedTuple):
    """All samples of one folder, in a stable order."""

    root: Path
    classes: tuple[str, ...]
    """The classes that mean OK first."""
    normal_classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    good_only: bool = False
    """Only good parts are learnt from: defects are there to judge, if at all."""
    labels_from_masks: bool = False
    """A picture is anomalous if its mask is not empty: without a mask nobody knows."""
    loose_masks: tuple[str, ...] = ()
    """Masks that belong to no picture, relative to the root."""

    def of(self, *splits: Split) -> tuple[Sample, ...]:
        """Return the samples of these splits."""
        return tuple(sample for sample in self.samples if sample.split in splits)

    def digest(self) -> str:
        """Return a SHA-256 over names, labels, splits, pictures and masks."""
        total = hashlib.sha256()
        for line in self._lines():
            total.update(line.encode())
        return total.hexdigest()

    def _lines(self) -> Iterator[str]:
        for sample in sorted(self.samples, key=lambda s: s.file):
            picture = _digest(sample.path)
            mask = _digest(sample.mask) if sample.mask else ""
            if sample.marks != Marks():
                mask += repr(tuple(sample.marks))
            yield f"{sample.file}\t{sample.label}\t{sample.split.value}\t{sample.part}\t{picture}\t{mask}\n"


def _digest(path: Path) -> str:
    """Return a file's SHA-256; a word for one that cannot be read, which the hygiene gate reports."""
    try:
        return hashlib.sha256(_content(path)).hexdigest()
    except InferenceError:
        return "unreadable"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise InferenceError(Code.INVALID_ARGUMENT, f"{path}: {exc.strerror or 'it cannot be read'}") from exc
