"""The engine cache: what was compiled once for this machine, by what it was compiled from.

An engine is as good as native code, so it is believed only where this device itself made it:
an entry is a file and, beside it, its HMAC-SHA256 with the device's key. The entry's name
covers the digests and paths of what it is made of, the runtime's version, the processor and the flags, and the MAC
covers the name, so an engine of another model, machine or library fits nowhere. What does
not fit is never loaded; it is built again.

A reader gets the very bytes that were judged: they are read once, and the runtime loads
them from memory, so nobody can change the file in between.

Some libraries keep further files of their own (TensorRT's engines and timings below ONNX
Runtime), and only take a directory of them. It lies beside the engine, closed to other users,
is written by the builder alone, and is covered by the same MAC: one file more, less or
changed, and neither it nor the engine is loaded.
"""

import hashlib
import hmac
import platform
import shutil
import stat
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from edge_agent.errors import ActivationError
from edge_agent.formats import BESIDE_THE_MODEL, Manifest
from edge_agent.inference.runtimes.table import engine_suffix, require_runtime
from edge_agent.storage import durable
from edge_agent.storage.device_key import device_key

# Raise it when the way of building changes.
_RECIPE = "3"
PRIVATE_MODE = 0o700


@dataclass(frozen=True)
class EngineFile:
    """Where an engine lies, or will."""

    path: Path
    key: bytes = field(repr=False)

    @property
    def mac_path(self) -> Path:
        """Return the file that holds its MAC."""
        return self.path.with_name(self.path.name + ".mac")

    @property
    def caches(self) -> Path:
        """Return the directory of what the library keeps beside its engine; most keep nothing."""
        return self.path.with_name(self.path.name + ".caches")

    def read(self) -> bytes | None:
        """Return the engine's bytes as this device made them; None where they, or its caches, are not that."""
        try:
            content = self.path.read_bytes()
            mac = self.mac_path.read_bytes()
            expected = self._mac(content, self.caches)
        except OSError:
            return None
        return content if hmac.compare_digest(mac, expected) else None

    @property
    def is_there(self) -> bool:
        """Tell whether there is an engine, sound or not."""
        return self.path.is_file() and self.mac_path.is_file()

    def is_sound(self) -> bool:
        """Tell whether it is there, as it was built."""
        return self.read() is not None

    def seal(self, staged: Path) -> None:
        """Put a built file in place. A power cut in between leaves a pair that does not fit, and is built again."""
        caches = staged_caches(staged)
        mac = self._mac(staged.read_bytes(), caches)
        self.mac_path.unlink(missing_ok=True)
        shutil.rmtree(self.caches, ignore_errors=True)
        if caches.is_dir():
            caches.replace(self.caches)
        staged.replace(self.path)
        self.mac_path.write_bytes(mac)

    def discard(self) -> None:
        """Delete it."""
        for path in (self.mac_path, self.path, self.caches):
            _delete(path)

    def _mac(self, content: bytes, caches: Path) -> bytes:
        mac = hmac.new(self.key, f"engine {self.path.name} {len(content)}\n".encode(), hashlib.sha256)
        mac.update(content)
        for line in _listing(caches):
            mac.update(line.encode())
        return mac.hexdigest().encode() + b"\n"


def staged_caches(staged: Path) -> Path:
    """Return where the caches lie while the engine is built to ``staged``."""
    return staged.with_name(f"{staged.name.removesuffix('.staged')}.caches.staged")


def _listing(caches: Path) -> list[str]:
    """Return one line for each file, with its digest.

    Raises:
        PermissionError: the directory, or what is in it, could be another user's.
    """
    if not caches.is_symlink() and not caches.exists():
        return []
    told = caches.lstat()
    if not stat.S_ISDIR(told.st_mode) or stat.S_IMODE(told.st_mode) != PRIVATE_MODE:
        raise PermissionError(f"{caches}: expected a directory of mode 0700")
    return [_line(path) for path in sorted(caches.iterdir())]


def _line(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        raise PermissionError(f"{path}: expected a file")
    return f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def engine_file(manifest: Manifest, engines: Path, providers: tuple[str, ...] = ()) -> EngineFile:
    """Return where the engine of this model belongs on this machine.

    Args:
        manifest: of the model.
        engines: the cache's directory; the device's key lies beside it, in the state directory.
        providers: what is to execute it, as configured.

    Raises:
        ActivationError: LOAD_FAILED: the runtime is not usable here.
        StorageError: there is no key, and none can be made.
    """
    runtime = manifest.runtime
    parts = (
        _RECIPE,
        *_made_of(manifest),
        require_runtime(runtime.name),
        runtime.precision,
        ",".join(providers),
        _processor(),
    )
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return EngineFile(engines / f"{key}.{engine_suffix(runtime.name)}", device_key(engines.parent))


def _made_of(manifest: Manifest) -> list[str]:
    """Return what goes into an engine: the model, and the files beside it that may hold its weights.

    Their names too: a graph tells by them which file holds which weights.
    """
    parts = [artefact for artefact in manifest.artefacts if artefact.role not in BESIDE_THE_MODEL]
    return sorted(f"{artefact.role.value} {artefact.sha256} {artefact.path}" for artefact in parts)


def prune_engines(engines: Path, keep: list[Manifest], providers: tuple[str, ...] = ()) -> int:
    """Delete what belongs to none of these models and return how many files and directories went.

    What a builder is at work on stays: a client may just load a model that is not installed.
    """
    kept = {stem for manifest in keep if (stem := _stem(manifest, engines, providers))}
    # What a runtime keeps for all its models is called after it.
    kept |= {manifest.runtime.name for manifest in keep}
    built = (path for path in engines.glob("*") if path.suffix != ".staged")
    stale = [path for path in built if path.name.split(".")[0] not in kept]
    for path in stale:
        _delete(path)
    return len(stale)


def sweep_engines(engines: Path) -> None:
    """Delete what builders that were killed left behind; for the start, when no builder is at work.

    Raises:
        StorageError: STORAGE_FAILED.
    """
    with durable.translated(engines):
        for path in engines.glob("*.staged"):
            _delete(path)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _stem(manifest: Manifest, engines: Path, providers: tuple[str, ...]) -> str:
    """Return what its files are called; empty where its runtime is not usable here, so that it has none."""
    try:
        return engine_file(manifest, engines, providers).path.stem
    except ActivationError:
        return ""


@lru_cache(maxsize=1)
def _processor() -> str:
    """Return what an optimised graph depends on: the layout of its weights follows the vector width, or the GPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    told = {line.split(":")[0].strip(): line for line in lines}
    return "\n".join(
        [platform.machine(), *(told[key] for key in ("model name", "flags", "Features") if key in told), *_gpus()]
    )


def _gpus() -> list[str]:
    """Return the driver and the models of the GPUs, as NVIDIA's driver tells them; none elsewhere."""
    driver = Path("/proc/driver/nvidia")
    files = [driver / "version", *sorted(driver.glob("gpus/*/information"))]
    lines = [line for path in files if path.is_file() for line in path.read_text(errors="replace").splitlines()]
    # A Jetson's driver tells nothing there, but which board it is and which release of its system.
    board = (Path("/proc/device-tree/model"), Path("/etc/nv_tegra_release"))
    told = [path.read_text(errors="replace") for path in board if path.is_file()]
    return [*told, *(line for line in lines if line.startswith(("NVRM", "Model")))]
