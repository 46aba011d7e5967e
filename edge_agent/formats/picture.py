"""A picture as it comes in, before anyone looked into it, and a model's map of it, before anyone drew it."""

from typing import NamedTuple

from edge_agent.formats.model_version import ModelVersion


class EncodedPicture(NamedTuple):
    """A JPEG or PNG file's content."""

    content: bytes


class RawPicture(NamedTuple):
    """Packed RGB, 8 bit, row after row, without padding."""

    rgb: bytes | memoryview
    width: int
    height: int


Picture = EncodedPicture | RawPicture


class AnomalyMap(NamedTuple):
    """How defective a model finds each place of a picture, in the model's own resolution: masks are drawn from it."""

    logits: bytes
    """float32, row after row, without the padding of the model's input."""
    rows: int
    columns: int
    pixel_threshold: float
    """From this share on (the logit's sigmoid) a pixel is defective."""
    width: int
    """Of the picture."""
    height: int
    """Of the picture."""


class Embedded(NamedTuple):
    """Where a model finds a picture among others."""

    version: ModelVersion
    """Which model told: places of different versions cannot be compared."""
    embedding: bytes
    """float32 [D], of length 1."""
