"""Does a release fit this device: its machine, memory, disk and time of day? Pure decisions.

What does not fit is refused before a byte is downloaded.
"""

from collections.abc import Mapping, Sequence
from datetime import time
from pathlib import PurePosixPath
from typing import NamedTuple

from edge_agent.errors import ActivationError, Code, RefusedError, StorageError
from edge_agent.formats import BESIDE_THE_MODEL, Manifest, version_key

# What packaging takes, too: a worker before it has loaded anything, and what a graph takes as a multiple of its file.
WORKER_BYTES = 120 << 20
PER_GRAPH_BYTE = 6
_NATIVE_RUNTIME, _NATIVE_LIBRARY = "dlr", "libdlr.so"
# Their engines go on reading the files beside the model; those of the others hold all weights.
_KEEP_WEIGHTS_ASIDE = ("onnxruntime", "dlr")


class Machine(NamedTuple):
    """What this device is."""

    agent_version: str
    architecture: str
    runtimes: frozenset[str]
    memory_bytes: int = 0
    """For all loaded versions together; 0: not known, so nothing is refused for it."""
    native_code: bool = False
    """Signed releases may bring native code."""


def check_machine(manifest: Manifest, machine: Machine, *, signed: bool = True) -> None:
    """Check what a release needs of the device, before a byte is downloaded.

    Args:
        manifest: of the release.
        machine: what this device is.
        signed: by keys that this device trusts; what nobody signed may bring no native code.

    Raises:
        RefusedError: the hardware, runtime or agent is not what it needs, or it brings what may not come.
    """
    needs, what = manifest.requires, str(manifest.model_version)
    if version_key(needs.agent) > version_key(machine.agent_version):
        raise RefusedError(Code.AGENT_TOO_OLD, f"{what} needs agent {needs.agent}, this is {machine.agent_version}")
    if machine.architecture not in needs.machines:
        raise RefusedError(
            Code.WRONG_HARDWARE, f"{what} is made for {', '.join(needs.machines)}, this is {machine.architecture}"
        )
    if manifest.runtime.name not in machine.runtimes:
        usable = ", ".join(sorted(machine.runtimes)) or "none"
        raise RefusedError(Code.RUNTIME_MISSING, f"{what} needs the runtime {manifest.runtime.name}, usable: {usable}")
    _check_native_code(manifest, machine, signed=signed)


def _check_native_code(manifest: Manifest, machine: Machine, *, signed: bool) -> None:
    if manifest.runtime.name == _NATIVE_RUNTIME and not any(
        PurePosixPath(library.path).name == _NATIVE_LIBRARY for library in manifest.libraries
    ):
        message = f"{manifest.model_version} needs {_NATIVE_LIBRARY} beside its model, and does not bring it"
        raise RefusedError(Code.RUNTIME_MISSING, message)
    if manifest.libraries and not (machine.native_code and signed):
        why = "inference.allow_native_code is false" if signed else "nobody signed it"
        message = f"{manifest.model_version} brings native code ({manifest.libraries[0].path}), and {why}"
        raise RefusedError(Code.FORMAT_FORBIDDEN, message)


def memory_need(manifest: Manifest) -> int:
    """Return the bytes that a loaded worker of the release will take: as signed, else an estimate from its graph."""
    return manifest.requires.memory_bytes or WORKER_BYTES + PER_GRAPH_BYTE * graph_bytes(manifest)


def graph_bytes(manifest: Manifest) -> int:
    """Return the bytes of the model with the files beside it: weights of its own, or what Neo compiled."""
    return sum(artefact.size_bytes for artefact in manifest.artefacts if artefact.role not in BESIDE_THE_MODEL)


def engine_bytes(manifest: Manifest) -> int:
    """Return what an engine will take on disk: about as much as what it is made of and holds."""
    aside = manifest.runtime.name in _KEEP_WEIGHTS_ASIDE
    return manifest.model_artefact.size_bytes if aside else graph_bytes(manifest)


class MemoryChoice(NamedTuple):
    """How the versions get into memory."""

    needed_bytes: int
    unload_first: bool
    """The versions that answer must go before the new ones can be loaded."""
    reason: str
    """Of the choice, for people; empty where both fit."""


def choose_memory(
    manifests: Sequence[Manifest], loaded: Mapping[str, int], budget_bytes: int, *, strict: bool
) -> MemoryChoice:
    """Choose whether new and old versions are in memory together.

    Args:
        manifests: what is to be loaded.
        loaded: bytes that the loaded versions take, by model.
        budget_bytes: for all of them; 0: no limit is known.
        strict: refuse what can never fit; else it is at least tried.

    Raises:
        RefusedError: MEMORY_EXCEEDED, even in place of the old versions there is no room.
    """
    needed = sum(map(memory_need, manifests))
    names = {manifest.model for manifest in manifests}
    old = sum(size for name, size in loaded.items() if name in names)
    others = sum(size for name, size in loaded.items() if name not in names)
    if not budget_bytes or others + old + needed <= budget_bytes:
        return MemoryChoice(needed, unload_first=False, reason="")
    what = ", ".join(str(manifest.model_version) for manifest in manifests)
    told = f"{what} needs {needed} bytes of memory, {budget_bytes} are for models, other models take {others}"
    if strict and others + needed > budget_bytes:
        raise RefusedError(Code.MEMORY_EXCEEDED, told)
    if not old:
        return MemoryChoice(needed, unload_first=False, reason="")
    reason = f"unload first: {told}, what answers takes {old}; no shadow, no warm way back, requests wait meanwhile"
    return MemoryChoice(needed, unload_first=True, reason=reason)


def check_memory(taken_bytes: int, budget_bytes: int) -> None:
    """Check what the loaded versions and the tried candidates really take.

    Raises:
        ActivationError: MEMORY_EXCEEDED, the manifest promised less.
    """
    if budget_bytes and taken_bytes > budget_bytes:
        message = (
            f"expected all loaded versions within {budget_bytes} bytes, with the candidate they take {taken_bytes}"
        )
        raise ActivationError(Code.MEMORY_EXCEEDED, message)


def check_space(missing_bytes: int, engine_bytes: int, reserve_bytes: int, free_bytes: int) -> None:
    """Check that the disk holds the missing blobs, the engines and the reserve.

    Raises:
        StorageError: it does not; the message tells each figure.
    """
    needed = missing_bytes + engine_bytes + reserve_bytes
    if needed > free_bytes:
        raise StorageError(
            Code.NO_SPACE,
            f"expected {needed} bytes free ({missing_bytes} to download, {engine_bytes} for engines, "
            f"{reserve_bytes} in reserve), there are {free_bytes}",
        )


def in_window(window: str, now: time) -> bool:
    """Tell whether local time ``now`` lies in ``window`` (``22:00-05:00``; empty: always)."""
    if not window:
        return True
    start, end = (time.fromisoformat(part) for part in window.split("-"))
    if start == end:
        return True  # from one hour to the same again: the whole day
    if start < end:
        return start <= now < end
    return now >= start or now < end
