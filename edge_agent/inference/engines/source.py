"""A model's bytes as a runtime gets them: those that were signed, of a format that is allowed.

They are read once, compared with the manifest, and loaded from memory. Tensors in files of
their own (ONNX's external data) the runtime reads itself; their bytes are compared just
before, and none may lie outside what the manifest lists. The weights of OpenVINO's IR are
read here, from the ``.bin`` of its own name.
"""

import hashlib
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from edge_agent.errors import ActivationError, BundleError, Code
from edge_agent.formats import BESIDE_THE_MODEL, Artefact, Manifest, Role
from edge_agent.formats.contents import check_library, check_model, check_other, external_files, is_ir
from edge_agent.inference.engines.cache import EngineFile

# The engines of the others hold all their weights.
_KEEP_EXTERNAL = ("onnxruntime", "dlr")
# Of an ONNX file from memory it would look for further files in the directory that it was started in.
_READS_NOTHING = "openvino"
# It is given a directory, and takes whatever lies in it.
_READS_DIRECTORY = "dlr"


class Source(NamedTuple):
    """What a runtime loads."""

    content: bytes
    folder: Path
    """Where the files of external data lie."""
    optimised: bool = False
    """The runtime wrote it itself, for this machine: nothing is left to do."""
    weights: bytes = b""
    """What a graph of two files has in the second: OpenVINO's IR."""
    caches: Path | None = None
    """Where the library may keep what it compiled of this model in files of its own; None: nowhere."""


def read_model(directory: Path, manifest: Manifest) -> Source:
    """Return the version's model, verified.

    Args:
        directory: the installed version.
        manifest: of that version.

    Raises:
        BundleError: FORMAT_FORBIDDEN.
        ActivationError: LOAD_FAILED, a file is not there or has other bytes.
    """
    artefact = manifest.model_artefact
    content = _verified(directory, artefact)
    check_model(content, manifest.runtime.name)
    _check_external(content, directory, manifest)
    weights = _weights(manifest) if is_ir(content) else None
    second = b"" if weights is None else _verified(directory, weights)
    return Source(content, (directory / artefact.path).parent, weights=second)


def choose(engine: EngineFile, directory: Path, manifest: Manifest) -> Source:
    """Return the engine if it is the one that this device made, else the model: slower to load, the same answers.

    Raises:
        BundleError: FORMAT_FORBIDDEN.
        ActivationError: LOAD_FAILED, a file is not there or has other bytes.
    """
    content = engine.read()
    if content is None:
        return read_model(directory, manifest)
    if manifest.runtime.name in _KEEP_EXTERNAL:
        _check_external(content, directory, manifest)
    folder = (directory / manifest.model_artefact.path).parent
    return Source(content, folder, optimised=True, caches=engine.caches if engine.caches.is_dir() else None)


def check_others(directory: Path, manifest: Manifest, source: Source) -> None:
    """Check the formats of the files beside the model; what a tensor lies in may look like anything.

    Raises:
        BundleError: FORMAT_FORBIDDEN.
        ActivationError: LOAD_FAILED, a file is not there or has other bytes.
    """
    artefact = manifest.model_artefact
    tensors = frozenset[str]() if _reads_directory(manifest) else _external(source.content, manifest)
    for other in manifest.artefacts:
        if other is not artefact and other.path not in tensors:
            check = check_library if other.role is Role.LIBRARY else check_other
            check(_verified(directory, other), other.path)


def _check_external(content: bytes, directory: Path, manifest: Manifest) -> None:
    if _reads_directory(manifest):
        _check_unlisted(directory, manifest)
    # Golden samples and banks are no part of an engine's name: no weights may be called one. They may lie beside it.
    others = (Role.MODEL,) if _reads_directory(manifest) else (Role.MODEL, *BESIDE_THE_MODEL)
    files = {each.path: each for each in manifest.artefacts if each.role not in others}
    external = sorted(_external(content, manifest))
    if external and manifest.runtime.name == _READS_NOTHING and not is_ir(content):
        message = f"expected IR or an ONNX file that holds its weights, came {external[0][:200]!r} beside it"
        raise BundleError(Code.FORMAT_FORBIDDEN, f"{manifest.model_artefact.path}: {message}")
    for path in external:
        if path not in files:
            message = f"expected external data in a file that the manifest lists, came {path[:200]!r}"
            raise BundleError(Code.FORMAT_FORBIDDEN, f"{manifest.model_artefact.path}: {message}")
        _verified(directory, files[path])


def _reads_directory(manifest: Manifest) -> bool:
    return manifest.runtime.name == _READS_DIRECTORY


def _check_unlisted(directory: Path, manifest: Manifest) -> None:
    """Check that the model's own directory holds nothing that was not signed."""
    listed = {artefact.path for artefact in manifest.artefacts}
    folder = PurePosixPath(manifest.model_artefact.path).parent
    with suppress(OSError):  # that it cannot be read is found out, and told, where its files are
        strange = sorted(path.name for path in (directory / folder).iterdir() if str(folder / path.name) not in listed)
        if strange:
            message = f"{folder}: expected the files that the manifest lists, came {strange[0][:200]!r} too"
            raise BundleError(Code.FORMAT_FORBIDDEN, message)


def _external(content: bytes, manifest: Manifest) -> frozenset[str]:
    if _reads_directory(manifest):
        model = PurePosixPath(manifest.model_artefact.path)
        beside = {
            artefact.path for artefact in manifest.artefacts if PurePosixPath(artefact.path).parent == model.parent
        }
        return frozenset(beside - {str(model)})
    if not is_ir(content):
        return external_files(content, manifest.model_artefact.path)
    weights = _weights(manifest)
    return frozenset() if weights is None else frozenset({weights.path})


def _weights(manifest: Manifest) -> Artefact | None:
    """Return the file of weights beside an IR: of its own name, with another ending."""
    wanted = str(PurePosixPath(manifest.model_artefact.path).with_suffix(".bin"))
    beside = (each for each in manifest.artefacts if each.path == wanted and each.role is Role.EXTRA)
    return next(beside, None)


def _verified(directory: Path, artefact: Artefact) -> bytes:
    path = directory / artefact.path
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise ActivationError(Code.LOAD_FAILED, f"expected {artefact.path} at {path}, {exc.strerror}") from exc
    came = hashlib.sha256(content).hexdigest()
    if came != artefact.sha256:
        message = f"{artefact.path}: expected content with SHA-256 {artefact.sha256}, came {came}"
        raise ActivationError(Code.LOAD_FAILED, message)
    return content
