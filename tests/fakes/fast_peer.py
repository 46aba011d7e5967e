"""A client of the fast path that says what it is told to, byte for byte, and the memory that it lends."""

import fcntl
import mmap
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from edge_agent.wire.fast import frames
from edge_agent.wire.fast.frames import HEAD, Fault, Kind
from tests.fakes.closable import Closable

SHRINK = fcntl.F_SEAL_SHRINK
PATIENCE_S = 60


def memfd(size_bytes: int, seals: int = SHRINK, flags: int = 0) -> int:
    """Return a segment's descriptor."""
    descriptor = os.memfd_create("fast-peer", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | flags)
    os.ftruncate(descriptor, size_bytes)
    if seals:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


class FastPeer(Closable):
    """One connection; says hello at once unless told otherwise."""

    def __init__(self, path: Path, *, greet: bool = True) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(str(path))
        self.memory: mmap.mmap | None = None
        if greet:
            frames.read_welcome(self.ask(frames.hello()))

    def ask(self, message: bytes, descriptors: Sequence[int] = ()) -> bytes:
        """Send a message and return the reply; empty: the connection ended."""
        socket.send_fds(self.socket, [message], list(descriptors))
        return self.socket.recv(frames.REPLY_LIMIT_BYTES)

    def lend(self, size_bytes: int = 1 << 16) -> mmap.mmap:
        """Lend memory and return it."""
        descriptor = memfd(size_bytes)
        try:
            reply = self.ask(frames.segment(1), [descriptor])
            if self.memory is not None:
                self.memory.close()
            self.memory = mmap.mmap(descriptor, size_bytes)
        finally:
            os.close(descriptor)
        assert HEAD.unpack_from(reply)[0] == Kind.SEGMENT | frames.REPLY, frames.read_error(reply)
        return self.memory

    def offer(self, descriptor: int) -> str:
        """Offer a descriptor, which is closed; return the word of the refusal, empty: it was taken."""
        try:
            reply = self.ask(frames.segment(1), [descriptor])
        finally:
            os.close(descriptor)
        fault = error_of(reply)
        return f"{fault.word}: {fault.message}" if fault else ""

    def close(self) -> None:
        self.socket.close()
        if self.memory is not None:
            # Else its descriptor stays until the garbage collector happens to come by, and looks like a leak to others.
            self.memory.close()


def error_of(reply: bytes) -> Fault | None:
    """Return what an error reply tells; None: it is none."""
    return frames.read_error(reply) if HEAD.unpack_from(reply)[0] == Kind.ERROR else None


def flags_of(reply: bytes) -> int:
    flags: int = HEAD.unpack_from(reply)[1]
    return flags


def infer(
    model: str,
    tensors: Sequence[tuple[str, int, Sequence[int], int, int]],
    room: tuple[int, int],
    *,
    version: str = "",
    timeout_us: int = 0,
    priority: int = 0,
    number: int = 7,
) -> bytes:
    """Return an infer request written by hand from the specification; a tensor is name, type, shape, offset, size."""
    fixed = struct.pack("<HHIQQQ", 3, 0, number, timeout_us, *room)
    fixed += struct.pack("<HHBBH", len(model.encode()), len(version.encode()), priority, len(tensors), 0)
    for name, dtype, shape, offset, size in tensors:
        fixed += struct.pack("<BBHIQQ", dtype, len(shape), len(name.encode()), 0, offset, size)
        fixed += struct.pack(f"<{len(shape)}q", *shape)
    return fixed + "".join([model, version, *(tensor[0] for tensor in tensors)]).encode()
