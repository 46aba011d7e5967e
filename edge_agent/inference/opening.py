"""Opening a session: the engine from the cache, then the version in its worker or inline."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import ActivationError, Code, StorageError
from edge_agent.formats import Manifest
from edge_agent.inference.allocation import raise_thresholds
from edge_agent.inference.engines.builder import build_engine, check_allowed
from edge_agent.inference.engines.cache import engine_file
from edge_agent.inference.inline import InlineSession
from edge_agent.inference.session import Session
from edge_agent.inference.workers.isolated import IsolatedSession
from edge_agent.inference.workers.process import WorkerProcess

if TYPE_CHECKING:
    from edge_agent.config import Inference

_BUILD_TIMEOUT_S = 1800.0


def open_session(
    directory: Path,
    manifest: Manifest,
    options: "Inference",
    *,
    engines: Path,
    on_restart: Callable[[str], None] | None = None,
    spare: Callable[[], WorkerProcess | None] = lambda: None,
    build_timeout_s: float = _BUILD_TIMEOUT_S,
    build_memory_bytes: int = 0,
) -> Session:
    """Load a version and return it ready to answer; it is warm, but not tried.

    Args:
        directory: the installed version, as the store lays it out.
        manifest: of that version.
        options: of inference.
        engines: the engine cache; what is missing there is built first, and what is damaged is not used.
        on_restart: told why, each time the worker is replaced; from a thread of the session.
        spare: returns a worker's process that was started ahead, or None.
        build_timeout_s: of a builder that is needed first; it is ended after it.
        build_memory_bytes: what that builder may take for itself; 0: no limit.

    Raises:
        ActivationError: LOAD_FAILED; BUILD_FAILED where there was no engine and none could be made.
        BundleError: FORMAT_FORBIDDEN.
    """
    model = directory / manifest.model_artefact.path
    if not model.is_file():
        raise ActivationError(Code.LOAD_FAILED, f"expected the model at {model}, there is none")
    raise_thresholds()
    check_allowed(manifest, options)
    engine = engine_file(manifest, engines.absolute(), options.providers)
    # Whether it is sound the worker finds out as it loads it; reading it twice would only take time.
    if not engine.is_there:
        # Where the disk takes no engine the model is loaded without one.
        with suppress(StorageError):
            build_engine(
                directory,
                manifest,
                options,
                engines=engines,
                timeout_s=build_timeout_s,
                memory_bytes=build_memory_bytes,
            )
    if options.isolation == "inline":
        return InlineSession(directory, manifest, options, engine=engine)
    return IsolatedSession(directory, manifest, options, engine=engine, on_restart=on_restart, spare=spare)
