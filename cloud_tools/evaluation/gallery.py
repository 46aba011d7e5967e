"""The pictures beside a report: a thumbnail each, what is marked as defective, and each model's heat map."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from cloud_tools.datasets import Sample
from cloud_tools.evaluation.judging import Witness, shares
from edge_agent import vision
from edge_agent.formats import AnomalyMap
from edge_agent.vision import RGB

FOLDER = "pictures"
_SIDE = 320
_MISTAKE_SIDE = 200
"""Of pictures inside the report, which is one file."""
_HEAT_SIDE = 128
_QUALITY = 80
_HIGHEST_ALPHA = 200
_WHITE = 255


class Shown(NamedTuple):
    """One picture of the gallery; files are relative to the report's folder."""

    number: int
    sample: Sample
    category: str
    thumbnail: str
    truth: str
    """Drawn from its mask; empty: it has none."""


class Gallery:
    """Thumbnails of every picture that a model was shown, as files.

    Args:
        out: the report's folder.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._shown: dict[tuple[str, Path], Shown] = {}
        self._heat: set[str] = set()
        (out / FOLDER).mkdir(parents=True)

    @property
    def pictures(self) -> tuple[Shown, ...]:
        """Return all, in the order in which they came."""
        return tuple(self._shown.values())

    def of(self, category: str, sample: Sample) -> Shown:
        """Return a picture that was shown.

        Raises:
            KeyError: it was not.
        """
        return self._shown[category, sample.path]

    def heat(self, picture: Shown, method: str) -> str:
        """Return the file of a method's heat map; empty: it draws none."""
        name = _heat_name(picture.number, method)
        return name if name in self._heat else ""

    def witness(self, method: str, category: str) -> Witness:
        """Return what keeps the pictures that this method is shown."""

        def keep(sample: Sample, picture: RGB, anomalies: AnomalyMap | None) -> None:
            shown = self._shown.get((category, sample.path)) or self._new(sample, category, picture)
            if anomalies is not None:
                name = _heat_name(shown.number, method)
                (self._out / name).write_bytes(_encoded(_heat_layer(anomalies)))
                self._heat.add(name)

        return keep

    def blended(self, picture: Shown, method: str) -> tuple[bytes, bytes]:
        """Return a picture, and the same under the method's heat map (empty: it draws none), as small JPEGs."""
        image = vision.decode((self._out / picture.thumbnail).read_bytes())
        name = self.heat(picture, method)
        plain = vision.small_jpeg(image, _MISTAKE_SIDE, _QUALITY)
        if not name:
            return plain, b""
        layer = cv2.imdecode(np.frombuffer((self._out / name).read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
        laid = _laid_over(image, np.asarray(layer, np.uint8))
        return plain, vision.small_jpeg(laid, _MISTAKE_SIDE, _QUALITY)

    def _new(self, sample: Sample, category: str, picture: RGB) -> Shown:
        number = len(self._shown)
        shown = Shown(number, sample, category, f"{FOLDER}/{number:05d}.jpg", "")
        (self._out / shown.thumbnail).write_bytes(vision.small_jpeg(picture, _SIDE, _QUALITY))
        if sample.mask is not None:
            shown = shown._replace(truth=f"{FOLDER}/{number:05d}-truth.png")
            truth = _shrunk(sample.truth(*picture.shape[:2]).astype(np.uint8) * np.uint8(255), _SIDE)
            (self._out / shown.truth).write_bytes(_outline(truth))
        self._shown[category, sample.path] = shown
        return shown


def _heat_name(number: int, method: str) -> str:
    return f"{FOLDER}/{number:05d}-{method}.webp"


def _heat_layer(anomalies: AnomalyMap) -> NDArray[np.uint8]:
    """Return the map in the picture's proportions, small: blue, green, red, alpha; clear where nothing is found."""
    share = min(1.0, _HEAT_SIDE / max(anomalies.width, anomalies.height))
    size = (max(1, round(anomalies.width * share)), max(1, round(anomalies.height * share)))
    heat = np.asarray(cv2.resize(shares(anomalies), size), np.float32)
    # The root lets through what stays below the threshold: where a missed defect was nearly found.
    alpha = np.sqrt(heat) * _HIGHEST_ALPHA
    return np.dstack([vision.heat_colours(heat)[..., ::-1], alpha.astype(np.uint8)])


def _encoded(layer: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".webp", layer, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])[1].tobytes()


def _laid_over(picture: RGB, layer: NDArray[np.uint8]) -> RGB:
    enlarged = np.asarray(cv2.resize(layer, picture.shape[1::-1]), np.float32)
    share = enlarged[..., 3:] / _WHITE
    return np.asarray(picture * (1 - share) + enlarged[..., 2::-1] * share, np.uint8)


def _outline(mask: NDArray[np.uint8]) -> bytes:
    """Return a see-through PNG with a white line around what is marked, so that heat inside stays in sight."""
    line = cv2.dilate(mask, np.ones((5, 5), np.uint8)) - mask
    return cv2.imencode(".png", np.dstack([np.full((*mask.shape, 3), _WHITE, np.uint8), line]))[1].tobytes()


def _shrunk(mask: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return a mask whose longer side has at most ``side`` pixels, and in which no speck is lost."""
    share = side / max(mask.shape)
    if share >= 1:
        return mask
    size = (max(1, round(mask.shape[1] * share)), max(1, round(mask.shape[0] * share)))
    return np.where(cv2.resize(mask, size, interpolation=cv2.INTER_AREA) > 0, np.uint8(255), np.uint8(0))
