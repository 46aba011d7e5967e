"""The engine cache: what was compiled once for this machine, by what it was compiled from.

An entry is a file and its SHA-256 beside it. The key covers the model's digest, the
runtime's version, the processor and the flags, so an entry never needs to be judged: it
fits or has another name. A wrong digest means that it is built again.
"""

import hashlib
import platform
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from edge_agent.errors import ActivationError
from edge_agent.formats import Manifest
from edge_agent.inference.runtimes import require_runtime

_CHUNK_BYTES = 1 << 20
# Raise it when the way of building changes.
_RECIPE = "1"


class EngineFile(NamedTuple):
    """Where an engine lies, or will."""

    path: Path

    @property
    def digest_path(self) -> Path:
        """Return the file that holds its SHA-256."""
        return self.path.with_name(self.path.name + ".sha256")

    def is_sound(self) -> bool:
        """Tell whether it is there, as it was built."""
        try:
            return self.digest_path.read_text(encoding="ascii").strip() == sha256_of(self.path)
        except (OSError, UnicodeDecodeError):
            return False

    def seal(self, staged: Path) -> None:
        """Put a built file in place. A power cut in between leaves a pair that does not fit, and is built again."""
        digest = sha256_of(staged)
        self.digest_path.unlink(missing_ok=True)
        staged.replace(self.path)
        self.digest_path.write_text(digest + "\n", encoding="ascii")

    def discard(self) -> None:
        """Delete it."""
        self.digest_path.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def engine_file(manifest: Manifest, engines: Path) -> EngineFile:
    """Return where the engine of this model belongs on this machine.

    Raises:
        ActivationError: LOAD_FAILED: the runtime is not usable here.
    """
    runtime = manifest.runtime
    parts = (
        _RECIPE,
        manifest.model_artefact.sha256,
        require_runtime(runtime.name),
        runtime.precision,
        _processor(),
    )
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return EngineFile(engines / f"{key}.onnx")


def prune_engines(engines: Path, keep: list[Manifest]) -> int:
    """Delete what belongs to none of these models and return how many files went."""
    kept = {stem for manifest in keep if (stem := _stem(manifest, engines))}
    stale = [path for path in engines.glob("*") if path.name.split(".")[0] not in kept]
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)


def _stem(manifest: Manifest, engines: Path) -> str:
    """Return what its files are called; empty where its runtime is not usable here, so that it has none."""
    try:
        return engine_file(manifest, engines).path.stem
    except ActivationError:
        return ""


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _processor() -> str:
    """Return what an optimised graph depends on: the layout of its weights follows the vector width."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    told = {line.split(":")[0].strip(): line for line in lines}
    return "\n".join([platform.machine(), *(told[key] for key in ("model name", "flags", "Features") if key in told)])
