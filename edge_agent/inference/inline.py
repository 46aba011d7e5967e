"""A session inside the agent, for very small devices: the same protocol, no isolation.

A crash of the runtime here is a crash of the agent, and a hang holds its lane for ever.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

from edge_agent.errors import Code, InferenceError
from edge_agent.formats import Manifest, Picture
from edge_agent.inference.batching import batching_of
from edge_agent.inference.engines.cache import EngineFile
from edge_agent.inference.engines.source import choose, read_model
from edge_agent.inference.session import Inspected, Outputs, Priority, SessionState, Tensors, Times
from edge_agent.inference.tensors import check_inputs
from edge_agent.inference.workers.lanes import Lanes

if TYPE_CHECKING:
    from edge_agent.config import Inference
    from edge_agent.inference.execution import Execution

T = TypeVar("T")


class InlineSession:
    """One loaded version in this process.

    Args:
        directory: the installed version.
        manifest: of that version.
        options: of inference.
        engine: its engine in the cache.

    Raises:
        ActivationError: LOAD_FAILED.
    """

    restarts = 0

    def __init__(self, directory: Path, manifest: Manifest, options: "Inference", *, engine: EngineFile) -> None:
        # Imported with the first model, as it brings the runtime along.
        from edge_agent.inference.execution import load  # noqa: PLC0415

        self._manifest = manifest
        source = choose(engine, directory, manifest)
        batching = batching_of(manifest, options)
        self._execution: Execution | None = load(
            manifest,
            source,
            threads=options.threads,
            providers=options.providers,
            batching=batching,
            instead=partial(read_model, directory, manifest),
        )
        self._provider = self._execution.provider
        self._fallback = self._execution.fallback
        self._memory_bytes = len(source.content)
        self._lanes = Lanes[int](options.queue)
        self._lanes.add([*range(batching.callers)])

    @property
    def manifest(self) -> Manifest:
        """Return what was released."""
        return self._manifest

    @property
    def provider(self) -> str:
        """Return what executes it, as the runtime names it."""
        return self._provider

    @property
    def fallback(self) -> str:
        """Return what should have executed it instead; empty where all is as wanted."""
        return self._fallback

    @property
    def memory_bytes(self) -> int:
        """Return the size of the graph's file: within one process more cannot be told apart."""
        return self._memory_bytes if self._execution is not None else 0

    @property
    def state(self) -> SessionState:
        """Return READY or CLOSED."""
        return "CLOSED" if self._execution is None else "READY"

    def infer(
        self, tensors: Tensors, *, timeout_s: float, priority: Priority = Priority.LINE
    ) -> dict[str, NDArray[Any]]:
        """Return the graph's outputs; see ``Session``."""
        check_inputs(self._manifest.inputs, tensors)

        def compute(execution: "Execution") -> tuple[Outputs, float]:
            began = time.monotonic()
            return Outputs(execution.infer(tensors)), time.monotonic() - began

        (outputs, compute_s), queue_s = self._run(compute, timeout_s, priority)
        outputs.times = Times(queue_s=queue_s, compute_s=compute_s)
        return outputs

    def inspect(
        self,
        picture: Picture,
        *,
        timeout_s: float,
        with_mask: bool,
        threshold: float | None = None,
        priority: Priority = Priority.LINE,
        keep_decoded: bool = False,
        keep_map: bool = False,
    ) -> Inspected:
        """Return what the model says of one picture; see ``Session``."""
        inspected, queue_s = self._run(
            lambda execution: execution.inspect(
                picture, with_mask=with_mask, threshold=threshold, keep_decoded=keep_decoded, keep_map=keep_map
            ),
            timeout_s,
            priority,
        )
        return inspected._replace(queue_ms=queue_s * 1000)

    def close(self) -> None:
        """Free the graph when its last request has ended. Closing twice does nothing."""
        self._lanes.close()
        self._execution = None

    def _run(self, do: "Callable[[Execution], T]", timeout_s: float, priority: Priority) -> tuple[T, float]:
        started = time.monotonic()
        deadline = started + timeout_s
        lane = self._lanes.take(deadline=deadline, priority=priority)
        waited_s = time.monotonic() - started
        try:
            execution = self._execution
            if execution is None:
                raise InferenceError(Code.UNAVAILABLE, "the model version was closed")
            answer = do(execution)
        finally:
            self._lanes.give(lane)
        if time.monotonic() > deadline:
            raise InferenceError(Code.DEADLINE_EXCEEDED, "the answer was not ready before the request's deadline")
        return answer, waited_s
