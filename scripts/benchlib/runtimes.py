"""``python -m scripts.benchlib.runtimes [--json]``: the same graphs on every runtime that is usable here.

One process, one thread each, engines built as a device builds them, blocks of calls in turn, so that
what else the machine does meets all alike. Ratios matter; CPU time is what a busy machine leaves true.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_agent.formats import Manifest
from edge_agent.inference import available_runtimes
from edge_agent.inference.engines.source import Source, read_model
from edge_agent.inference.runtimes.table import Engine, Tuning, load_engine, write_engine
from scripts.benchlib import graphs

_RUNTIMES = ("onnxruntime", "openvino")
_GRAPHS = ("lite0", "lite0-int8", "unet")
_BLOCKS, _CALLS, _WARM_UPS = 40, 10, 10


class _Loaded(NamedTuple):
    engine: Engine
    build_s: float
    load_ms: float


class _Block(NamedTuple):
    walls_ms: list[float]
    cpu_ms: float


def measure(names: tuple[str, ...]) -> dict[str, float | None]:
    """Return the figures of these graphs."""
    usable = [info.name for info in available_runtimes() if info.usable and info.name in _RUNTIMES]
    figures: dict[str, float | None] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            directory = Path(scratch, name)
            manifest = graphs.write(directory, name, "1")
            loaded = {runtime: _load(directory, manifest, runtime) for runtime in usable}
            figures |= _compare(name, manifest, loaded)
    return figures


def _load(directory: Path, manifest: Manifest, runtime: str) -> _Loaded:
    source = read_model(directory, manifest)
    built = directory / f"{runtime}.engine"
    tuning = Tuning(1, manifest.runtime.precision)
    before = time.perf_counter()
    write_engine(runtime, source, built, tuning)
    between = time.perf_counter()
    engine = load_engine(runtime, Source(built.read_bytes(), directory, optimised=True), tuning)
    return _Loaded(engine, between - before, (time.perf_counter() - between) * 1000)


def _compare(name: str, manifest: Manifest, loaded: Mapping[str, _Loaded]) -> dict[str, float | None]:
    picture = np.random.default_rng(5).integers(0, 256, manifest.inputs[0].shape, dtype=np.uint8)
    answers = {runtime: each.engine.run({"image": picture})["score"] for runtime, each in loaded.items()}
    for each in loaded.values():
        _block(each.engine, picture, _WARM_UPS)
    blocks: dict[str, list[_Block]] = {runtime: [] for runtime in loaded}
    for number in range(_BLOCKS):
        for runtime in sorted(loaded, reverse=number % 2 == 1):
            blocks[runtime].append(_block(loaded[runtime].engine, picture, _CALLS))
    figures: dict[str, float | None] = {}
    for runtime, each in loaded.items():
        walls = sorted(wall for block in blocks[runtime] for wall in block.walls_ms)
        figures |= {
            f"{name}_{runtime}_p50_ms": round(statistics.median(walls), 2),
            f"{name}_{runtime}_p10_ms": round(walls[len(walls) // 10], 2),
            f"{name}_{runtime}_cpu_ms": round(statistics.median(block.cpu_ms for block in blocks[runtime]), 2),
            f"{name}_{runtime}_build_s": round(each.build_s, 2),
            f"{name}_{runtime}_load_ms": round(each.load_ms, 1),
        }
    if len(loaded) == len(_RUNTIMES):
        first, second = (answers[runtime] for runtime in _RUNTIMES)
        figures[f"{name}_difference"] = float(f"{np.abs(first - second).max():.2g}")
        for part in ("p50", "p10", "cpu"):
            one, other = (figures[f"{name}_{runtime}_{part}_ms"] for runtime in _RUNTIMES)
            figures[f"{name}_openvino_to_onnxruntime_{part}"] = round(other / one, 2) if one and other else None
    return figures


def _block(engine: Engine, picture: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", calls: int) -> _Block:
    walls, cpu = [], time.process_time()
    for _ in range(calls):
        before = time.perf_counter()
        engine.run({"image": picture})
        walls.append((time.perf_counter() - before) * 1000)
    return _Block(walls, (time.process_time() - cpu) * 1000 / calls)


def main() -> int:
    """Print the figures; the last line is one JSON object."""
    parser = argparse.ArgumentParser(prog="scripts/bench runtimes", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON object")
    parser.add_argument("graphs", nargs="*", default=_GRAPHS, help="which to measure")
    arguments = parser.parse_args()
    figures = measure(tuple(arguments.graphs))
    if not arguments.json:
        for name, value in figures.items():
            print(f"{name:44} {value}")
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
