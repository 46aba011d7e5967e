"""What a file is, by its content and never by its name: the allow-list of formats.

A runtime is given ONNX (a protobuf message, read here field by field as the format's
own definition lays it out), OpenVINO's IR (XML) or what SageMaker Neo tells of a model that
it compiled (JSON). Formats that execute what they carry when they are read (pickle, and
PyTorch's archives around it, NumPy's object arrays), archives, and programs are refused in
any role; only in the role of a library may native code come. Nothing is unpacked or
executed to tell; a file is only walked over.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from edge_agent.errors import BundleError, Code

Buffer = bytes | memoryview

_HEAD_BYTES: Final = 512
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_LIMIT_VARINT_BYTES: Final = 10
_LIMIT_DEPTH: Final = 64

# onnx.proto3: which fields lead to tensors, and of what type their messages are.
_BELOW: Final[Mapping[str, Mapping[int, str]]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "tensor": {13: "entry"},
}
# onnx.proto3, ModelProto: every field that it has, with its type on the wire.
_MODEL_FIELDS: Final = {
    1: _VARINT, 2: _LENGTH, 3: _LENGTH, 4: _LENGTH, 5: _VARINT, 6: _LENGTH, 7: _LENGTH, 8: _LENGTH,
    14: _LENGTH, 20: _LENGTH, 25: _LENGTH, 26: _LENGTH,
}  # fmt: skip
_IR_VERSION, _GRAPH = 1, 7
# elf(5): e_type, two bytes in the machine's order; ET_DYN is 3.
_ELF: Final = b"\x7fELF"
_ELF_TYPE: Final = slice(16, 18)
_SHARED_LITTLE, _SHARED_BIG = b"\x03\x00", b"\x00\x03"
_LIMIT_TOLD_BYTES: Final = 1 << 20
_ENTRY_KEY, _ENTRY_VALUE = 1, 2


class _Field(NamedTuple):
    number: int
    kind: int
    content: memoryview


def check_model(content: Buffer, runtime: str) -> None:
    """Check that a model file is of a format that ``runtime`` may be given.

    Raises:
        BundleError: FORMAT_FORBIDDEN; the message says what it is instead, where that can be told.
    """
    view = memoryview(content)
    head = bytes(view[:_HEAD_BYTES])
    wanted, fits = _MODELS.get(runtime, ("a format that this agent knows", lambda _view: False))
    if not fits(view):
        came = forbidden(head) or "something else"
        raise BundleError(Code.FORMAT_FORBIDDEN, f"expected {wanted} for {runtime}, came {came}")


def check_other(content: Buffer, what: str) -> None:
    """Check that a file beside the model is none that executes what it carries, and no archive.

    Raises:
        BundleError: FORMAT_FORBIDDEN.
    """
    came = forbidden(bytes(memoryview(content)[:_HEAD_BYTES]))
    if came:
        raise BundleError(Code.FORMAT_FORBIDDEN, f"{what}: expected data, came {came}")


def check_library(content: Buffer, what: str) -> None:
    """Check that a file of native code is a shared library of Linux, and no program.

    Raises:
        BundleError: FORMAT_FORBIDDEN.
    """
    head = bytes(memoryview(content)[:_HEAD_BYTES])
    if head[:4] != _ELF or head[_ELF_TYPE] not in (_SHARED_LITTLE, _SHARED_BIG):
        raise BundleError(Code.FORMAT_FORBIDDEN, f"{what}: expected a shared library, came something else")


def forbidden(head: bytes) -> str:
    """Return what a file is that begins so, if it may not be in a release; empty when it may.

    Args:
        head: the file's first 512 bytes.
    """
    return next((name for name, pattern in _FORBIDDEN.items() if re.match(pattern, head, re.DOTALL)), "")


def external_files(content: Buffer, model_path: str) -> frozenset[str]:
    """Return the files beside an ONNX model that its tensors lie in, as paths of the release.

    Args:
        content: the ONNX file.
        model_path: where it stands in the release.

    Raises:
        BundleError: FORMAT_FORBIDDEN, it is no ONNX file, or a tensor lies outside the model's own directory.
    """
    found: set[str] = set()
    waiting = [("model", memoryview(content), 0)]
    while waiting:
        kind, message, depth = waiting.pop()
        if depth > _LIMIT_DEPTH:
            raise BundleError(Code.FORMAT_FORBIDDEN, f"{model_path}: expected at most {_LIMIT_DEPTH} graphs in graphs")
        for field in _walk(message, model_path):
            below = _BELOW[kind].get(field.number)
            if below == "entry":
                found |= _location(field.content, model_path)
            elif below is not None and field.kind == _LENGTH:
                waiting.append((below, field.content, depth + (below == "graph")))
    directory = PurePosixPath(model_path).parent
    return frozenset(str(directory / _inner(location, model_path)) for location in found)


def _location(entry: memoryview, what: str) -> set[str]:
    fields = {field.number: bytes(field.content) for field in _walk(entry, what)}
    if fields.get(_ENTRY_KEY) != b"location":
        return set()
    return {fields.get(_ENTRY_VALUE, b"").decode("utf-8", "replace")}


def _inner(location: str, what: str) -> PurePosixPath:
    path = PurePosixPath(location)
    plain = location == str(path) and not path.is_absolute() and location.isprintable() and "\\" not in location
    if not plain or any(part in ("", ".", "..") for part in path.parts) or not path.parts:
        message = f"{what}: expected external data in a file of the release, came {location[:200]!r}"
        raise BundleError(Code.FORMAT_FORBIDDEN, message)
    return path


def _is_onnx(content: memoryview) -> bool:
    try:
        fields = list(_walk(content, "model"))
    except BundleError:
        return False
    known = all(_MODEL_FIELDS.get(field.number) == field.kind for field in fields)
    return known and {_IR_VERSION, _GRAPH} <= {field.number for field in fields}


def is_ir(content: Buffer) -> bool:
    """Tell whether it is the graph of an OpenVINO IR."""
    return re.match(rb"\s*(<\?xml[^>]{0,200}\?>\s*)?<net[\s>]", bytes(memoryview(content)[:_HEAD_BYTES])) is not None


def _is_told_by_neo(content: memoryview) -> bool:
    if len(content) > _LIMIT_TOLD_BYTES:
        return False
    try:
        told = json.loads(bytes(content))
    except (ValueError, RecursionError):
        return False
    return isinstance(told, dict) and isinstance(told.get("Model"), dict)


def _walk(message: memoryview, what: str) -> Iterator[_Field]:
    """Yield the fields of a protobuf message.

    Raises:
        BundleError: FORMAT_FORBIDDEN, it is none.
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at, what)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _, end = _varint(message, at, what)
        elif kind in (_FIXED32, _FIXED64):
            end = at + (4 if kind == _FIXED32 else 8)
        elif kind == _LENGTH:
            size, at = _varint(message, at, what)
            end = at + size
        else:
            raise _no_protobuf(what)
        if number == 0 or end > len(message):
            raise _no_protobuf(what)
        yield _Field(number, kind, message[at:end])
        at = end


def _varint(message: memoryview, at: int, what: str) -> tuple[int, int]:
    value = 0
    for position, byte in enumerate(message[at : at + _LIMIT_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follows
            return value, at + position + 1
    raise _no_protobuf(what)


def _no_protobuf(what: str) -> BundleError:
    return BundleError(Code.FORMAT_FORBIDDEN, f"{what}: expected an ONNX file, its fields cannot be read")


_MODELS: Final[Mapping[str, tuple[str, Callable[[memoryview], bool]]]] = {
    "onnxruntime": ("an ONNX file", _is_onnx),
    # Its engines are built here from ONNX: a finished engine is native code of another machine.
    "tensorrt": ("an ONNX file", _is_onnx),
    "dlr": ("the .meta file of a SageMaker Neo artefact", _is_told_by_neo),
    "openvino": ("OpenVINO's IR or an ONNX file", lambda view: is_ir(view) or _is_onnx(view)),
}
_FORBIDDEN: Final[Mapping[str, bytes]] = {
    "an archive (zip; PyTorch's and NumPy's files are such ones too)": rb"PK(\x03\x04|\x05\x06|\x07\x08)",
    # Protocol 2 and later begin with it; protocol 0 and 1 have no mark but these first operations.
    "a pickle": rb"\x80[\x02-\x05].|\(?(c[A-Za-z_][\w.]*\n[\w.]+\n)|\((dp|lp)\d+\n|[}\])]q.",
    "an array of objects": rb"\x93NUMPY.{4,6}.{0,480}['\"][|<>=]?O\d?['\"]",
    "a gzip archive": rb"\x1f\x8b",
    "a bzip2 archive": rb"BZh[1-9]",
    "an xz archive": rb"\xfd7zXZ\x00",
    "a 7z archive": rb"7z\xbc\xaf\x27\x1c",
    "a zstd archive": rb"\x28\xb5\x2f\xfd",
    "a tar archive": rb".{257}ustar",
    "a HDF5 file": rb"\x89HDF\r\n\x1a\n",
    "a program": rb"\x7fELF|MZ|#!",
    "a finished engine": rb"ftrt|ptrt",
}
