"""A picture as it comes in, before anyone looked into it."""

from typing import NamedTuple


class EncodedPicture(NamedTuple):
    """A JPEG or PNG file's content."""

    content: bytes


class RawPicture(NamedTuple):
    """Packed RGB, 8 bit, row after row, without padding."""

    rgb: bytes | memoryview
    width: int
    height: int


Picture = EncodedPicture | RawPicture
