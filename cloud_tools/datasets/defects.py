"""Scratches, stains and holes, drawn with soft edges; the mask is what was really changed."""

from collections.abc import Callable
from itertools import pairwise
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Picture: TypeAlias = NDArray[np.float32]
"""[height, width, 3], 0..255."""
Draw: TypeAlias = Callable[[Picture, np.random.Generator], tuple[Picture, NDArray[np.uint8]]]

_VISIBLE = 0.2
"""A pixel counts as defective where at least this share of it is the defect's."""


def scratch(picture: Picture, rng: np.random.Generator) -> tuple[Picture, NDArray[np.uint8]]:
    """Draw a thin curved line that tapers: bright where it cut, dark along one side."""
    side = picture.shape[0]
    length, steps = rng.uniform(0.35, 0.75) * side, 24
    heading, bend = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.05, steps)
    headings = heading + np.cumsum(bend)
    moves = np.stack([np.cos(headings), np.sin(headings)], 1) * length / steps
    points = np.cumsum(moves, 0)
    points += rng.uniform(0.3, 0.7, 2) * side - points.mean(0)
    cut, shade = np.zeros((side, side), np.float32), np.zeros((side, side), np.float32)
    width = rng.uniform(2.6, 4.4)
    for index, (start, stop) in enumerate(pairwise(points)):
        taper = np.sin(np.pi * (index + 1.5) / (steps + 1)) ** 0.5
        _line(cut, start, stop, width * taper)
        _line(shade, start + 1.6, stop + 1.6, width * taper * 0.8)
    cut = np.asarray(cv2.GaussianBlur(cut, (0, 0), 0.6), np.float32)
    shade = np.asarray(np.clip(cv2.GaussianBlur(shade, (0, 0), 0.8) - cut, 0, 1), np.float32)
    strength = rng.uniform(0.7, 0.95)
    drawn = _mix(picture, shade * strength * 0.8, picture * 0.45)
    bright = np.minimum(picture * 0.3 + rng.uniform(165, 215), 255).astype(np.float32)
    drawn = _mix(drawn, cut * strength, bright)
    return drawn, _mask(np.maximum(cut, shade))


def stain(picture: Picture, rng: np.random.Generator) -> tuple[Picture, NDArray[np.uint8]]:
    """Spill something: an irregular patch that lets the surface through, darker at its rim."""
    side = picture.shape[0]
    cover = _blob(side, rng, radius=rng.uniform(0.09, 0.18), roughness=0.45, soft=0.05)
    rim = np.clip(cv2.GaussianBlur(cover, (0, 0), 3.0) * (1 - cover) * 2 + cover * (1 - cover) * 2, 0, 1) * cover
    colour = np.array(_STAINS[int(rng.integers(len(_STAINS)))], np.float32)
    strength = rng.uniform(0.58, 0.8)
    wet = picture * (1 - strength) + colour * strength
    drawn = _mix(picture, cover, wet.astype(np.float32))
    return _mix(drawn, rim.astype(np.float32) * 0.6, wet.astype(np.float32) * 0.6), _mask(cover)


def hole(picture: Picture, rng: np.random.Generator) -> tuple[Picture, NDArray[np.uint8]]:
    """Break something out: nearly black inside, a lit edge opposite the light."""
    side = picture.shape[0]
    cover = _blob(side, rng, radius=rng.uniform(0.05, 0.1), roughness=0.18, soft=0.03)
    shift = np.array([[1, 0, rng.choice([-2.0, 2.0])], [0, 1, rng.choice([-2.0, 2.0])]], np.float32)
    lit = np.asarray(np.clip(cv2.warpAffine(cover, shift, (side, side)) - cover, 0, 1), np.float32)
    dark = picture * 0.06 + np.array([12, 12, 14], np.float32)
    drawn = _mix(picture, lit * 0.75, np.minimum(picture * 0.4 + 150, 255).astype(np.float32))
    return _mix(drawn, cover, dark.astype(np.float32)), _mask(np.maximum(cover, lit))


DEFECTS: dict[str, Draw] = {"scratch": scratch, "stain": stain, "hole": hole}

_STAINS = ((38.0, 26.0, 18.0), (88.0, 48.0, 14.0), (205.0, 205.0, 196.0), (24.0, 40.0, 74.0))
"""Oil, rust, paint, ink: lighter ones too, so that brightness tells nothing."""


def _blob(side: int, rng: np.random.Generator, *, radius: float, roughness: float, soft: float) -> Picture:
    """Return an irregular round cover [side, side], 0..1."""
    down, across = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    x, y = rng.uniform(0.2, 0.8, 2)
    stretch, turn = rng.uniform(0.7, 1.4), rng.uniform(0, np.pi)
    u = (across - x) * np.cos(turn) + (down - y) * np.sin(turn)
    v = (down - y) * np.cos(turn) - (across - x) * np.sin(turn)
    angle = np.arctan2(v, u)
    edge = np.ones_like(angle)
    for wave in range(2, 7):
        edge += roughness * rng.normal(0, 1 / wave) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    distance = np.sqrt((u * stretch) ** 2 + (v / stretch) ** 2) / (radius * np.clip(edge, 0.4, 1.8))
    return np.asarray(np.clip((1 - distance) / (soft * 4) + 0.5, 0, 1), np.float32)


def _line(cover: Picture, start: NDArray[np.float64], stop: NDArray[np.float64], width: float) -> None:
    scale = 16  # cv2 draws with fractions of a pixel, given as bits
    one, other = ((int(p[0] * scale), int(p[1] * scale)) for p in (start, stop))
    cv2.line(cover, one, other, 1.0, max(1, round(width)), cv2.LINE_AA, shift=4)


def _mix(picture: Picture, share: Picture, other: Picture) -> Picture:
    return np.asarray(picture + share[..., None] * (other - picture), np.float32)


def _mask(cover: Picture) -> NDArray[np.uint8]:
    return np.where(cover >= _VISIBLE, np.uint8(255), np.uint8(0))
