"""Pictures out of multipart/x-mixed-replace, as cameras send it: bounded, and patient with their habits. Pure."""

from collections.abc import Callable
from email.message import Message

from edge_agent.errors import CameraError, Code

# A camera's largest picture, as JPEG.
LIMIT_PART_BYTES = 32 << 20
_LIMIT_HEAD_BYTES = 16 << 10
_LIMIT_BETWEEN_BYTES = 64 << 10
_LIMIT_BOUNDARY = 200

More = Callable[[], bytes]


def boundary_of(content_type: str) -> bytes:
    """Return what separates the parts, with its leading dashes.

    Raises:
        CameraError: it is another type of content, or says no boundary.
    """
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_boundary()
    if message.get_content_maintype() != "multipart" or not boundary or len(boundary) > _LIMIT_BOUNDARY:
        kind = content_type[:100] or "nothing"
        raise _failed(f"expected Content-Type multipart/x-mixed-replace with a boundary, came {kind}")
    # Some cameras count the dashes as the boundary's own.
    return b"--" + boundary.encode("latin-1", "replace").lstrip(b"-")


class PartReader:
    """Takes one part after the other out of bytes that come.

    Args:
        boundary: as ``boundary_of`` returns it.
        more: returns bytes that came, at least one; raises CameraError at the end.
        limit_bytes: of one part.
    """

    def __init__(self, boundary: bytes, more: More, limit_bytes: int = LIMIT_PART_BYTES) -> None:
        self._boundary = boundary
        self._more = more
        self._limit_bytes = limit_bytes
        self._buffer = bytearray()

    def next(self) -> bytes:
        """Return the next part's content.

        Raises:
            CameraError: it is too large, empty, or no part at all.
        """
        self._skip_to(self._boundary, _LIMIT_BETWEEN_BYTES, "a boundary")
        self._skip_to(b"\n", _LIMIT_HEAD_BYTES, "the end of a boundary's line")
        length = self._length()
        content = self._exactly(length) if length is not None else self._up_to_boundary()
        if not content:
            raise _failed("expected a picture, came an empty part")
        return content

    def has_begun(self) -> bool:
        """Tell whether bytes of another part are here already; its boundary alone is none."""
        return bool(bytes(self._buffer[:_LIMIT_BOUNDARY]).strip().removeprefix(self._boundary).strip())

    def feed(self, content: bytes) -> None:
        """Take bytes that came, before they are asked for."""
        self._buffer += content

    def _length(self) -> int | None:
        """Read a part's head; return the Content-Length that it tells."""
        read, length = 0, None
        while line := self._line().strip():
            read += len(line)
            if read > _LIMIT_HEAD_BYTES:
                raise _failed(f"expected a part's head of at most {_LIMIT_HEAD_BYTES} bytes, came more")
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length":
                length = self._checked(value.strip())
        return length

    def _checked(self, value: bytes) -> int:
        # Digits of ASCII, and few: int() takes more than HTTP does.
        if not value.isdigit() or len(value) > len(str(self._limit_bytes)) or int(value) > self._limit_bytes:
            told = value[:40].decode("latin-1")
            raise _failed(f"expected a Content-Length of at most {self._limit_bytes} bytes, came {told!r}")
        return int(value)

    def _line(self) -> bytes:
        end = self._find(b"\n", _LIMIT_HEAD_BYTES, "the end of a header")
        return self._take(end + 1)

    def _exactly(self, length: int) -> bytes:
        while len(self._buffer) < length:
            self._buffer += self._more()
        return self._take(length)

    def _up_to_boundary(self) -> bytes:
        """Return what stands before the next boundary, which stays."""
        end = self._find(b"\n" + self._boundary, self._limit_bytes, "a boundary after the picture")
        content = self._take(end)
        return content.removesuffix(b"\r")

    def _skip_to(self, wanted: bytes, limit: int, what: str) -> None:
        self._take(self._find(wanted, limit, what) + len(wanted))

    def _find(self, wanted: bytes, limit: int, what: str) -> int:
        looked = 0
        while (at := self._buffer.find(wanted, looked)) < 0:
            # What was looked at is not looked at again: an endless part costs no more than its bytes.
            looked = max(0, len(self._buffer) - len(wanted) + 1)
            if len(self._buffer) > limit:
                raise _failed(f"expected {what} within {limit} bytes, came none")
            self._buffer += self._more()
        return at

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def _failed(what: str) -> CameraError:
    return CameraError(Code.CAMERA_FAILED, what)
