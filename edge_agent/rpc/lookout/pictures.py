"""Bitmaps of Lookout's clients: pictures in, masks out, in the message or in POSIX shared memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent._proto.lookoutvision import edge_agent_pb2 as pb
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import RawPicture
from edge_agent.rpc.shared_memory import PosixTarget, posix_target, read_posix

SMALLEST, LARGEST = 64, 4096
# What a gRPC client receives unless it was told otherwise; it never tells the server.
CLIENT_RECEIVES_BYTES = 4 << 20
# Of an answer, everything but the mask: a few names, colours and numbers.
_REST_BYTES = 4096
_CHANNELS = 3


class Colour(NamedTuple):
    """One colour of the palette."""

    rgb: tuple[int, int, int]

    @property
    def hex(self) -> str:
        """Return it as clients compare it."""
        return "#{:02X}{:02X}{:02X}".format(*self.rgb)


BACKGROUND, ANOMALY = Colour((0xFF, 0xFF, 0xFF)), Colour((0x23, 0xA4, 0x36))


def picture_of(bitmap: pb.Bitmap) -> RawPicture:
    """Return the picture, wherever its pixels are.

    Raises:
        InferenceError: INVALID_ARGUMENT (its sizes, its bytes, its segment), PERMISSION_DENIED.
    """
    expected = _size_bytes(bitmap)
    form = bitmap.WhichOneof("data")
    if form is None:
        raise _invalid("bitmap", "byte_data or shared_memory_handle", "neither")
    if form == "byte_data":
        if len(bitmap.byte_data) != expected:
            sizes = f"{bitmap.width} x {bitmap.height} x {_CHANNELS} = {expected} bytes"
            raise _invalid("bitmap.byte_data", sizes, str(len(bitmap.byte_data)))
        return RawPicture(bitmap.byte_data, bitmap.width, bitmap.height)
    handle = bitmap.shared_memory_handle
    _check_handle("bitmap", handle, expected)
    return RawPicture(read_posix(handle.name, handle.offset, expected), bitmap.width, bitmap.height)


@contextmanager
def mask_target(request: pb.DetectAnomaliesRequest) -> Iterator[PosixTarget | None]:
    """Open the segment that is to take the mask, before any work is done; None: the client named none.

    Raises:
        InferenceError: INVALID_ARGUMENT: the mask does not fit there, or nothing is there. PERMISSION_DENIED.
    """
    if not request.anomaly_mask_params.HasField("shared_memory_handle"):
        yield None
        return
    handle = request.anomaly_mask_params.shared_memory_handle
    expected = _size_bytes(request.bitmap)
    _check_handle("anomaly_mask_params", handle, expected)
    with posix_target(handle.name, handle.offset, expected) as target:
        yield target


def is_sent(width: int, height: int, target: PosixTarget | None) -> bool:
    """Tell whether a mask of this size reaches the client: in its segment, or in an answer that it can receive."""
    return target is not None or width * height * _CHANNELS + _REST_BYTES <= CLIENT_RECEIVES_BYTES


def mask_bitmap(defective: NDArray[np.bool_], target: PosixTarget | None) -> pb.Bitmap:
    """Return the mask in colours, put where the client wants it.

    Args:
        defective: [height, width].
        target: the client's segment; None: the answer itself.

    Raises:
        InferenceError: INVALID_ARGUMENT: the segment became too small meanwhile.
    """
    height, width = defective.shape
    pixels = coloured(defective)
    if target is None:
        return pb.Bitmap(width=width, height=height, byte_data=pixels.tobytes())
    target.write(pixels.reshape(-1).data)
    handle = pb.SharedMemoryHandle(name=target.name, size=pixels.nbytes, offset=target.offset)
    return pb.Bitmap(width=width, height=height, shared_memory_handle=handle)


def coloured(defective: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return a mask [height, width] as RGB [height, width, 3]."""
    pixels = np.full((*defective.shape, _CHANNELS), BACKGROUND.rgb[0], np.uint8)
    pixels[defective] = ANOMALY.rgb
    return pixels


def _size_bytes(bitmap: pb.Bitmap) -> int:
    if not all(SMALLEST <= size <= LARGEST for size in (bitmap.width, bitmap.height)):
        limits = f"{SMALLEST} x {SMALLEST} to {LARGEST} x {LARGEST} pixels"
        raise _invalid("bitmap", limits, f"{bitmap.width} x {bitmap.height}")
    return int(bitmap.width * bitmap.height * _CHANNELS)


def _check_handle(what: str, handle: pb.SharedMemoryHandle, expected: int) -> None:
    # Some clients tell the size of their whole segment, some tell none.
    if handle.size and handle.size < expected:
        raise _invalid(f"{what}.shared_memory_handle.size", f"at least {expected} bytes", str(handle.size))


def _invalid(what: str, expected: str, came: str) -> InferenceError:
    return InferenceError(Code.INVALID_ARGUMENT, f"{what}: expected {expected}, came {came}")
