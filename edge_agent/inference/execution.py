"""One model version being executed: an engine, and what stands before and after it.

The same code answers inside a worker process and, with ``isolation = "inline"``, inside
the agent. It decodes once, letterboxes, runs the graph, and ``vision`` forms the outcome.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ActivationError, Code, InferenceError
from edge_agent.formats import EncodedPicture, Manifest, Picture, RawPicture, TensorSpec
from edge_agent.formats.bank import EMBEDDING, place_of
from edge_agent.inference.batching import ALONE, Batcher, Batching, Run
from edge_agent.inference.engines.source import Source
from edge_agent.inference.runtimes.table import Engine, Tuning, load_engine
from edge_agent.inference.session import Inspected, Tensors
from edge_agent.inference.tensors import check_outputs
from edge_agent.vision import RGB, anomaly_map, decode, encode_png, form_outcome, from_raw, prepare

IMAGE = "image"
_IMAGE_DIMENSIONS = 4  # batch, height, width, channels


class Execution:
    """A loaded graph that answers tensors and pictures; several threads may ask at a time."""

    def __init__(self, engine: Engine, manifest: Manifest, batching: Batching = ALONE) -> None:
        """Compare the graph with its manifest and run it once.

        Raises:
            ActivationError: LOAD_FAILED: they contradict each other, or the graph cannot be run.
        """
        _compare("input", manifest.inputs, engine.inputs)
        _compare("output", manifest.outputs, engine.outputs)
        self._engine = engine
        self._manifest = manifest
        self._run: Run = engine.run
        if batching.size > 1:
            self._run = Batcher(engine.run, batching)
        self._warm_up()

    @property
    def provider(self) -> str:
        """Return what executes it."""
        return self._engine.provider

    @property
    def fallback(self) -> str:
        """Return what should have executed it instead, and why it does not; empty where all is as wanted."""
        return self._engine.fallback

    def infer(self, tensors: Tensors) -> dict[str, NDArray[Any]]:
        """Return the graph's outputs; the inputs were checked where they came in.

        Raises:
            InferenceError: INTERNAL.
        """
        outputs = self._run(tensors)
        check_outputs(self._manifest.outputs, outputs)
        return {spec.name: outputs[spec.name] for spec in self._manifest.outputs}

    def inspect(
        self,
        picture: Picture,
        *,
        with_mask: bool,
        threshold: float | None = None,
        keep_decoded: bool = False,
        keep_map: bool = False,
    ) -> Inspected:
        """Return what the model says of one picture.

        Raises:
            InferenceError: INVALID_ARGUMENT, OUT_OF_RANGE, INTERNAL.
        """
        started = time.perf_counter()
        rgb = _decoded(picture)
        decoded = time.perf_counter()
        image, placement = prepare(rgb, self._manifest.preprocess)
        prepared = time.perf_counter()
        outputs = self.infer({IMAGE: image[np.newaxis]})
        computed = time.perf_counter()
        outcome = form_outcome(self._manifest, outputs, placement, threshold=threshold, with_mask=with_mask)
        return Inspected(
            outcome=outcome._replace(mask=None),
            mask_png=b"" if outcome.mask is None else encode_png(outcome.mask),
            width=rgb.shape[1],
            height=rgb.shape[0],
            decode_ms=(decoded - started) * 1000,
            compute_ms=(computed - prepared) * 1000,
            decoded=RawPicture(rgb.reshape(-1).data, rgb.shape[1], rgb.shape[0]) if keep_decoded else None,
            preprocess_ms=(prepared - decoded) * 1000,
            anomalies=anomaly_map(self._manifest, outputs, placement) if keep_map else None,
            embedding=place_of(outputs[EMBEDDING]) if EMBEDDING in outputs else b"",
        )

    def _warm_up(self) -> None:
        """Run once on zeros, so that the first request does not pay for the runtime's lazy work."""
        try:
            self._engine.run({spec.name: self._zeros(spec) for spec in self._manifest.inputs})
        except InferenceError as exc:
            raise ActivationError(Code.LOAD_FAILED, f"the graph cannot be run: {exc.message}") from exc

    def _zeros(self, spec: TensorSpec) -> NDArray[Any]:
        shape = [1 if size == -1 else size for size in spec.shape]
        if spec.name == IMAGE and len(shape) == _IMAGE_DIMENSIONS:
            rule = self._manifest.preprocess
            sizes = (1, rule.height, rule.width, 3)
            shape = [fits if size == -1 else size for size, fits in zip(spec.shape, sizes, strict=True)]
        return np.zeros(shape, spec.dtype.value)


def load(
    manifest: Manifest,
    source: Source,
    *,
    threads: int,
    providers: tuple[str, ...] = (),
    batching: Batching = ALONE,
    instead: Callable[[], Source] | None = None,
) -> Execution:
    """Load a graph, check it against its manifest and warm it up.

    Args:
        manifest: what it says of itself.
        source: the graph.
        threads: inside one inference.
        providers: what is to execute it, the preferred first.
        batching: of requests that meet, where the graph allows it.
        instead: returns the model, which is loaded where the library refuses the engine made of it.

    Raises:
        ActivationError: LOAD_FAILED.
        BundleError: FORMAT_FORBIDDEN, from ``instead``.
    """
    name, tuning = manifest.runtime.name, Tuning(threads, manifest.runtime.precision, providers)
    try:
        engine = load_engine(name, source, tuning)
    except ActivationError:
        # Made for a GPU that is away now, say: what is committed answers all the same.
        if instead is None or not source.optimised:
            raise
        engine = load_engine(name, instead(), tuning)
    return Execution(engine, manifest, batching)


def _decoded(picture: Picture) -> RGB:
    if isinstance(picture, EncodedPicture):
        return decode(picture.content)
    return from_raw(picture.rgb, picture.width, picture.height)


def _compare(what: str, told: tuple[TensorSpec, ...], real: tuple[TensorSpec, ...]) -> None:
    """Refuse a graph that cannot be what the manifest says; a free dimension fits any."""
    graph = {spec.name: spec for spec in real}
    for spec in told:
        found = graph.get(spec.name)
        if found is None or found.dtype is not spec.dtype or not _compatible(spec.shape, found.shape):
            came = str(found) if found is not None else f"a graph with {sorted(graph)}"
            raise ActivationError(Code.LOAD_FAILED, f"{what} {spec.name}: the manifest tells {spec}, came {came}")
    unknown = sorted(set(graph) - {spec.name for spec in told})
    if what == "input" and unknown:
        raise ActivationError(Code.LOAD_FAILED, f"input {unknown[0]} of the graph is not in the manifest")


def _compatible(told: tuple[int, ...], real: tuple[int, ...]) -> bool:
    return len(told) == len(real) and all(-1 in (a, b) or a == b for a, b in zip(told, real, strict=True))
