"""Shared memory that clients registered: POSIX, by name.

A region is a name for a part of a segment; nothing is mapped and nothing is held, so a client
that dies leaves nothing behind, and one that truncates its segment hurts nobody.
"""

import re
import threading
from typing import NamedTuple

from edge_agent.errors import Code, InferenceError
from edge_agent.rpc.shared_memory import LIMIT_BYTES, check_posix, posix_target, read_posix
from edge_agent.wire.oip.tensors import shown

_LIMIT = 1024
_NAME = re.compile(r"[^\x00]{1,256}")


class Region(NamedTuple):
    """A part of a POSIX segment under a client's name."""

    name: str
    key: str
    offset: int
    byte_size: int


class Place(NamedTuple):
    """Bytes within a region."""

    region: Region
    offset: int
    byte_size: int

    def read(self) -> memoryview:
        """Return the bytes.

        Raises:
            InferenceError: INVALID_ARGUMENT (the segment is gone or holds less), PERMISSION_DENIED.
        """
        return read_posix(self.region.key, self.region.offset + self.offset, self.byte_size)

    def write(self, content: bytes) -> None:
        """Fill the first bytes of the place.

        Raises:
            InferenceError: INVALID_ARGUMENT (the segment is gone or holds less), PERMISSION_DENIED.
        """
        with posix_target(self.region.key, self.region.offset + self.offset, len(content)) as target:
            target.write(content)


class Regions:
    """The regions of one server, by name."""

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._regions: dict[str, Region] = {}

    def register(self, region: Region) -> None:
        """Know a region from now on.

        Raises:
            InferenceError: ALREADY_EXISTS; RESOURCE_EXHAUSTED; INVALID_ARGUMENT: there is no such segment,
                or it does not hold so many bytes there; PERMISSION_DENIED.
        """
        if not _NAME.fullmatch(region.name):
            message = f"shared memory region: expected a name of 1 to 256 characters, came {shown(region.name)}"
            raise InferenceError(Code.INVALID_ARGUMENT, message)
        if not region.byte_size:
            message = f"shared memory region {shown(region.name)}: expected a byte_size of 1 or more, came 0"
            raise InferenceError(Code.INVALID_ARGUMENT, message)
        check_posix(region.key, region.offset, region.byte_size)
        with self._lock:
            if region.name in self._regions:
                message = f"shared memory region {shown(region.name)} already in manager"
                raise InferenceError(Code.ALREADY_EXISTS, message)
            if len(self._regions) >= self._limit:
                message = f"{self._limit} shared memory regions are registered, expected some to be unregistered first"
                raise InferenceError(Code.RESOURCE_EXHAUSTED, message)
            self._regions[region.name] = region

    def unregister(self, name: str) -> None:
        """Forget a region; an empty name: all. One that nobody knows is no error."""
        with self._lock:
            if name:
                self._regions.pop(name, None)
            else:
                self._regions.clear()

    def known(self, name: str) -> list[Region]:
        """Return one region; an empty name: all.

        Raises:
            InferenceError: NOT_FOUND.
        """
        if name:
            return [self._named(name, Code.NOT_FOUND)]
        with self._lock:
            return [*self._regions.values()]

    def place(self, name: str, offset: int, byte_size: int) -> Place:
        """Return a part of a region.

        Raises:
            InferenceError: INVALID_ARGUMENT: no such region, or it does not lie within it.
        """
        region = self._named(name, Code.INVALID_ARGUMENT)
        if min(offset, byte_size) < 0 or offset + byte_size > region.byte_size or byte_size > LIMIT_BYTES:
            message = (
                f"Invalid offset + byte size for shared memory region {shown(name)}: expected at most "
                f"{LIMIT_BYTES} bytes within {region.byte_size}, came {byte_size} from {offset} on"
            )
            raise InferenceError(Code.INVALID_ARGUMENT, message)
        return Place(region, offset, byte_size)

    def _named(self, name: str, code: Code) -> Region:
        with self._lock:
            region = self._regions.get(name)
        if region is None:
            raise InferenceError(code, f"Unable to find system shared memory region: {shown(name)}")
        return region
