"""Pictures out of multipart answers: whatever comes, in whatever pieces."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import CameraError, Code
from edge_agent.station.multipart import PartReader

LIMIT_BYTES = 500


def reader(content: bytes, sizes: list[int]) -> PartReader:
    """A reader of this content in pieces of these sizes, the last of which goes on."""

    def pieces() -> Iterator[bytes]:
        at, step = 0, 0
        while at < len(content):
            size = sizes[min(step, len(sizes) - 1)]
            yield content[at : at + size]
            at, step = at + size, step + 1

    coming = pieces()

    def more() -> bytes:
        piece = next(coming, b"")
        if not piece:
            raise CameraError(Code.CAMERA_FAILED, "ended")
        return piece

    return PartReader(b"--frame", more, LIMIT_BYTES)


def take_all(taken: PartReader, limit_bytes: int) -> None:
    while True:
        assert 0 < len(taken.next()) <= limit_bytes


SIZES = st.lists(st.integers(1, 200), min_size=1, max_size=8)
PICTURES = st.lists(st.tuples(st.binary(min_size=1, max_size=200), st.booleans()), min_size=1, max_size=5)


@given(pictures=PICTURES, sizes=SIZES)
def test_every_picture_comes_out_as_it_was_sent(pictures: list[tuple[bytes, bool]], sizes: list[int]) -> None:
    content, expected = b"", []
    for picture, with_length in pictures:
        # Without a length a picture must not hold what ends it.
        clean = picture if with_length else picture.replace(b"\n", b"-").replace(b"\r", b"-")
        head = b"Content-Length: %d\r\n" % len(clean) if with_length else b""
        content += b"\r\n--frame\r\n" + head + b"\r\n" + clean
        expected.append(clean)
    taken = reader(content + b"\r\n--frame\r\n", sizes)
    assert [taken.next() for _ in expected] == expected


@given(
    pieces=st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.sampled_from([b"--frame", b"\r\n", b"\r\n\r\n", b"\n\n", b"Content-Length: 5", b"Content-Length:"]),
        ),
        max_size=20,
    ),
    sizes=SIZES,
)
def test_whatever_comes_ends_in_parts_within_bounds_or_a_fault(pieces: list[bytes], sizes: list[int]) -> None:
    with pytest.raises(CameraError, match=r"^CAMERA_FAILED: (expected|ended)"):
        take_all(reader(b"".join(pieces), sizes), LIMIT_BYTES + max(sizes))
