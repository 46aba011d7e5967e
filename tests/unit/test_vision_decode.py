"""Decoding: by content, bounded before it allocates, complete or not at all."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from edge_agent import vision
from edge_agent.errors import Code, InferenceError

_RNG = np.random.default_rng(3)
_PICTURE = _RNG.integers(0, 256, (20, 30, 3), np.uint8)
_SMOOTH = np.asarray(cv2.resize(_RNG.integers(0, 256, (4, 6, 3), np.uint8), (48, 32)), np.uint8)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png_that_claims(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 64)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _jpeg_that_claims(width: int, height: int) -> bytes:
    content = bytearray(vision.encode_jpeg(_SMOOTH))
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def _with_orientation(jpeg: bytes, orientation: int) -> bytes:
    tiff = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0) + b"\0\0\0\0"
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def _refused(content: bytes) -> str:
    with pytest.raises(InferenceError) as caught:
        vision.decode(content)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


def test_a_png_comes_back_as_it_was_with_red_first() -> None:
    assert (vision.decode(vision.encode_png(_PICTURE)) == _PICTURE).all()


def test_a_jpeg_comes_back_nearly_as_it_was_with_red_first() -> None:
    decoded = vision.decode(vision.encode_jpeg(_SMOOTH, quality=98))
    assert np.abs(decoded.astype(int) - _SMOOTH).mean() < 4


def test_a_grey_picture_gets_three_equal_channels() -> None:
    decoded = vision.decode(vision.encode_png(_PICTURE[..., 0]))
    assert (decoded == _PICTURE[..., :1]).all()
    assert decoded.shape == _PICTURE.shape


def test_sixteen_bits_become_eight() -> None:
    deep = _PICTURE.astype(np.uint16) * 257
    encoded = cv2.imencode(".png", cv2.cvtColor(deep, cv2.COLOR_RGB2BGR))[1].tobytes()
    assert (vision.decode(encoded) == _PICTURE).all()


def test_a_picture_is_turned_as_its_exif_says() -> None:
    jpeg = vision.encode_jpeg(_SMOOTH, quality=98)
    turned = vision.decode(_with_orientation(jpeg, 6))
    assert (turned == np.rot90(vision.decode(jpeg), -1)).all()
    assert vision.size_of(_with_orientation(jpeg, 6)) == (48, 32)


@pytest.mark.parametrize("bomb", [_png_that_claims(60000, 60000), _jpeg_that_claims(65000, 65000)])
def test_a_picture_bomb_is_refused_by_its_header(bomb: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded before the size was known"))
    assert "pixels" in _refused(bomb)


def test_the_pixel_limit_is_the_callers() -> None:
    content = vision.encode_png(_PICTURE)
    assert vision.decode(content, max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(InferenceError, match="at most 599 pixels, came 30 x 20"):
        vision.decode(content, max_pixels=599)


@pytest.mark.parametrize("encoded", [vision.encode_png(_PICTURE), vision.encode_jpeg(_SMOOTH)])
def test_a_picture_cut_off_anywhere_is_refused(encoded: bytes) -> None:
    for length in range(0, len(encoded) - 8, 7):
        assert "expected" in _refused(encoded[:length])


def test_bytes_behind_the_picture_do_no_harm() -> None:
    assert vision.decode(vision.encode_jpeg(_SMOOTH) + b"\0" * 100).shape == _SMOOTH.shape


def test_a_damaged_png_is_refused() -> None:
    content = bytearray(vision.encode_png(_PICTURE))
    content[len(content) // 2] ^= 0x55
    assert "cannot be decoded" in _refused(bytes(content))


@pytest.mark.parametrize("content", [b"", b"GIF89a....", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM" + b"\0" * 60])
def test_other_formats_and_bare_headers_are_refused(content: bytes) -> None:
    assert _refused(content)


def test_a_picture_without_pixels_is_refused() -> None:
    assert "0 x 5" in _refused(_png_that_claims(0, 5))


def test_raw_pixels_are_taken_without_a_copy() -> None:
    pixels = bytearray(_PICTURE.tobytes())
    picture = vision.from_raw(pixels, 30, 20)
    assert (picture == _PICTURE).all()
    pixels[0] ^= 0xFF
    assert picture[0, 0, 0] != _PICTURE[0, 0, 0]


@pytest.mark.parametrize(("width", "height"), [(30, 21), (0, 0), (-30, -20)])
def test_raw_pixels_of_another_size_are_refused(width: int, height: int) -> None:
    with pytest.raises(InferenceError, match=r"expected .* came"):
        vision.from_raw(_PICTURE.tobytes(), width, height)
