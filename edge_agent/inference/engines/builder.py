"""Engines made in a process of their own, at the lowest priority, which then ends.

Loading beside live traffic at equal priority made the active model's median grow from 8.8 to
14.3 ms; with a niced loader it stayed. An unprivileged process cannot leave niceness again,
so the worker that serves starts afterwards and finds the result in the cache.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from edge_agent.errors import ActivationError, BundleError, CancelledError, Code, DeploymentError, StorageError
from edge_agent.formats import Manifest
from edge_agent.inference.engines.cache import EngineFile, engine_file, staged_caches
from edge_agent.inference.runtimes.table import PACKAGE_ROOT
from edge_agent.storage import durable

if TYPE_CHECKING:
    from edge_agent.config import Inference

_LOOK_S = 0.05
_KINDS: Final[Mapping[Code, type[DeploymentError]]] = {
    Code.FORMAT_FORBIDDEN: BundleError,
    Code.NO_SPACE: StorageError,
    Code.STORAGE_FAILED: StorageError,
}


class BuildReport(NamedTuple):
    """What a build took."""

    seconds: float
    cached: bool


def build_engine(
    directory: Path,
    manifest: Manifest,
    options: "Inference",
    *,
    engines: Path,
    timeout_s: float,
    memory_bytes: int = 0,
    ahead: "Builder | None" = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> BuildReport:
    """Compile the model for this machine into the engine cache, unless a sound one is there.

    Args:
        directory: the installed version.
        manifest: of that version.
        options: of inference.
        engines: the cache's directory; made when absent.
        timeout_s: the builder is ended after it.
        memory_bytes: what the builder may take for itself (RLIMIT_DATA); 0: no limit.
        ahead: a builder that was started before, to be used if it still waits.
        cancelled: asked many times a second.

    Raises:
        ActivationError: BUILD_FAILED; LOAD_FAILED where the runtime is missing.
        BundleError: FORMAT_FORBIDDEN, a file of the version is none that a runtime may be given.
        CancelledError: CANCELLED.
        StorageError: the cache's directory cannot be made; NO_SPACE, the disk holds no engine.
    """
    started = time.monotonic()
    check_allowed(manifest, options)
    target = engine_file(manifest, engines.absolute(), options.providers)
    if target.is_sound():
        return BuildReport(time.monotonic() - started, cached=True)
    durable.make_directory(engines)
    builder = ahead if ahead is not None and ahead.waits else Builder(memory_bytes)
    try:
        _order(builder.process, manifest, directory, target, options)
        answer = _await(builder.process, started + timeout_s, timeout_s, cancelled)
    finally:
        builder.end()
        _forget_staged(builder.process, target)
    _check(builder.process.returncode, answer, memory_bytes)
    return BuildReport(time.monotonic() - started, cached=False)


def check_allowed(manifest: Manifest, options: "Inference") -> None:
    """Check that the settings let the model's runtime be used, and the native code that it brings.

    Raises:
        ActivationError: LOAD_FAILED.
    """
    if manifest.runtime.name not in options.runtimes:
        message = f"expected one of {', '.join(options.runtimes)} as configured, came {manifest.runtime.name}"
        raise ActivationError(Code.LOAD_FAILED, message)
    if manifest.libraries and not options.allow_native_code:
        message = f"{manifest.libraries[0].path} is native code, and inference.allow_native_code is false"
        raise ActivationError(Code.LOAD_FAILED, message)


class Builder:
    """A builder's process: it imports what it needs at once, and waits for its order.

    It ends with the thread that started it.

    Args:
        memory_bytes: what it may take for itself; 0: no limit.

    Raises:
        ActivationError: BUILD_FAILED, no process can be started.
    """

    def __init__(self, memory_bytes: int = 0) -> None:
        command = [
            sys.executable,
            "-m",
            "edge_agent.inference.workers.worker",
            "build",
            str(os.getpid()),
            str(memory_bytes),
        ]
        try:
            self.process = subprocess.Popen(command, cwd=PACKAGE_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as exc:
            raise ActivationError(Code.BUILD_FAILED, f"expected a builder's process, {exc.strerror}") from exc

    @property
    def waits(self) -> bool:
        """Tell whether it is still there; when memory runs out, it is the first that the kernel ends."""
        return self.process.poll() is None

    def end(self) -> None:
        """Kill it, wait for it, and close its pipes."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None and not pipe.closed:
                with suppress(OSError):
                    pipe.close()


def _order(
    process: "subprocess.Popen[bytes]", manifest: Manifest, directory: Path, target: EngineFile, options: "Inference"
) -> None:
    order = {
        "directory": str(directory.absolute()),
        "manifest": manifest.model_dump(mode="json", by_alias=True),
        "target": str(target.path),
        "key": target.key.hex(),
        "providers": options.providers,
    }
    if process.stdin is None:
        raise ActivationError(Code.BUILD_FAILED, "expected a pipe to the builder, came none")
    try:
        process.stdin.write(json.dumps(order).encode())
        process.stdin.close()
    except BrokenPipeError as exc:
        raise ActivationError(Code.BUILD_FAILED, "the builder ended before it was told what to do") from exc


def _await(
    process: "subprocess.Popen[bytes]", deadline: float, timeout_s: float, cancelled: Callable[[], bool]
) -> bytes:
    while True:
        if cancelled():
            raise CancelledError(Code.CANCELLED, "the deployment was cancelled while its engine was built")
        if time.monotonic() > deadline:
            raise ActivationError(Code.BUILD_FAILED, f"expected an engine within {timeout_s:g} s, came none")
        try:
            process.wait(_LOOK_S)
        except subprocess.TimeoutExpired:
            continue
        # One short line: it fits the pipe, so the builder never waits for a reader.
        return process.stdout.read() if process.stdout is not None else b""


def _forget_staged(process: "subprocess.Popen[bytes]", target: EngineFile) -> None:
    # On a disk that refuses even this the build still ended as it did; the next start deletes it.
    staged = target.path.with_name(f"{target.path.name}.{process.pid}.staged")
    with suppress(OSError):
        staged.unlink(missing_ok=True)
    shutil.rmtree(staged_caches(staged), ignore_errors=True)


def _check(status: int, answer: bytes, memory_bytes: int) -> None:
    limit = f" (it may take {memory_bytes} bytes for itself)" if memory_bytes else ""
    if status != 0:
        how = f"was ended by signal {-status}" if status < 0 else f"ended with {status}"
        raise ActivationError(Code.BUILD_FAILED, f"the builder {how}{limit}")
    try:
        fault = json.loads(answer)
    except ValueError as exc:
        raise ActivationError(Code.BUILD_FAILED, f"expected the builder's answer, {exc}") from exc
    if fault:
        code = Code[fault["code"]]
        raise _KINDS.get(code, ActivationError)(code, fault["message"] + (limit if code is Code.BUILD_FAILED else ""))
