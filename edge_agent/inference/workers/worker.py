"""The process that executes one model version, or that builds its engine and ends.

``python -m edge_agent.inference.workers.worker serve FD`` or ``… build``; started by the agent
and by nobody else. A crash, a hang or a leak stays in here. It ends when the agent does:
the kernel sends SIGKILL when the thread that started it ends, and a closed socket ends it
too, whatever came first.
"""

import contextlib
import ctypes
import errno
import gc
import json
import os
import resource
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from edge_agent.errors import ActivationError, AgentError, Code, InferenceError
from edge_agent.formats import EncodedPicture, Manifest, Picture, RawPicture, parse
from edge_agent.inference.allocation import raise_thresholds
from edge_agent.inference.batching import Batching
from edge_agent.inference.engines.cache import EngineFile, staged_caches
from edge_agent.inference.engines.source import check_others, choose, read_model
from edge_agent.inference.execution import Execution, load
from edge_agent.inference.runtimes.table import Tuning, import_runtime, write_engine
from edge_agent.inference.tensors import form_of
from edge_agent.inference.workers.lent import Place, write_outputs
from edge_agent.inference.workers.process import Limits, check_processors
from edge_agent.inference.workers.segments import COMPUTED, Blob, Endpoint, Parcel, encoded

_PR_SET_PDEATHSIG = 1
_NICENESS = 19
# oom_score_adj, -1000..1000: a builder goes before a worker, a worker before the agent.
_BUILDERS_OOM_SCORE, _WORKERS_OOM_SCORE = 1000, 500
_SOFTWARE_FAULT = 70  # EX_SOFTWARE
_MESSAGE_CHARACTERS = 2000
_LANES_LIMIT = 64
_LOAD_BYTES = 2 << 20

Reply = tuple[dict[str, Any], list[Blob]]


def main(arguments: list[str]) -> int:
    """Serve or build, as the first argument says, and return the exit code."""
    _end_with_parent(int(arguments[1]))
    raise_thresholds()
    if arguments[0] == "build":
        _be_ended_first(_BUILDERS_OOM_SCORE)
        return _build(int(arguments[2]))
    _import_ahead(arguments[3:])
    return _serve(socket.socket(fileno=int(arguments[2])))


def _import_ahead(runtimes: list[str]) -> None:
    """Import what an order will need; until it comes, nobody would miss this process."""
    _be_ended_first(_BUILDERS_OOM_SCORE if runtimes else _WORKERS_OOM_SCORE)
    for name in runtimes:
        with contextlib.suppress(ImportError, ActivationError):
            import_runtime(name)


def _end_with_parent(parent: int) -> None:
    # A terminal's Ctrl-C and a supervisor's SIGTERM reach the whole group: the agent decides when workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def _be_ended_first(score: int) -> None:
    """Have the kernel end this process before the agent when memory runs out, whoever took it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(score), encoding="ascii")


def _build(memory_bytes: int) -> int:
    """Compile one engine, niced; the order comes as JSON on stdin, the result goes to stdout."""
    os.nice(_NICENESS)
    if memory_bytes:
        # Private data only: libraries are mapped, and reserved addresses cost nothing.
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    order = json.load(sys.stdin)
    target = EngineFile(Path(order["target"]), bytes.fromhex(order["key"]))
    directory, manifest = Path(order["directory"]), parse(Manifest, order["manifest"], what="manifest")
    staged = target.path.with_name(f"{target.path.name}.{os.getpid()}.staged")
    try:
        source = read_model(directory, manifest)
        check_others(directory, manifest, source)
        tuning = Tuning(1, manifest.runtime.precision, tuple(order["providers"]))
        write_engine(manifest.runtime.name, source._replace(caches=staged_caches(staged)), staged, tuning)
        target.seal(staged)
        answer: dict[str, str] = {}
    except AgentError as exc:
        answer = _failure(exc.code, exc.message)
    except ImportError as exc:
        answer = _failure(Code.BUILD_FAILED, str(exc)[:_MESSAGE_CHARACTERS])
    except MemoryError:
        answer = _failure(Code.BUILD_FAILED, "memory ran out")
    except OSError as exc:
        full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
        answer = _failure(Code.NO_SPACE if full else Code.BUILD_FAILED, str(exc))
    finally:
        # What cannot be deleted now is deleted at the agent's next start.
        with contextlib.suppress(OSError):
            staged.unlink(missing_ok=True)
        shutil.rmtree(staged_caches(staged), ignore_errors=True)
    print(json.dumps(answer))  # noqa: T201 - whoever ordered it reads it there
    return 0


def _failure(code: Code, message: str) -> dict[str, str]:
    return {"code": code.value, "message": message}


def _serve(control: socket.socket) -> int:
    """Load, tell so, and answer every lane until the agent closes the control socket."""
    threading.excepthook = _end_on_fault
    # Each client's memory is a descriptor for each lane.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # The order carries the manifest, and so may be larger than a message: it is announced by its size.
    content, descriptors, _flags, _ = socket.recv_fds(control, 64, _LANES_LIMIT)
    order = json.loads(_receive_all(control, int(content)))
    _be_ended_first(_WORKERS_OOM_SCORE)
    limits = Limits(*order["limits"])
    try:
        _limit(limits)
        execution = _load(order)
    except (AgentError, ImportError, MemoryError) as exc:
        control.send(json.dumps({"code": Code.LOAD_FAILED.value, "message": _why_not(exc, limits)}).encode())
        return 0
    # What is loaded stays for life: the collector need not look through it in the middle of a request.
    gc.collect()
    gc.freeze()
    for number, descriptor in enumerate(descriptors):
        lane = Endpoint(socket.socket(fileno=descriptor), borrows=True)
        arguments = (lane, execution, limits.shadow_nice)
        threading.Thread(target=_answer_lane, args=arguments, name=f"lane-{number}", daemon=True).start()
    control.send(json.dumps({"provider": execution.provider, "fallback": execution.fallback}).encode())
    control.recv(1)
    os._exit(0)  # a lane may be deep inside the runtime; nothing here needs to be put in order


def _limit(limits: Limits) -> None:
    """Take no more of the machine than allowed.

    Raises:
        ConfigError: the machine lacks a processor.
    """
    if limits.memory_bytes:
        # Private data only: libraries are mapped, and reserved addresses cost nothing.
        resource.setrlimit(resource.RLIMIT_DATA, (limits.memory_bytes, limits.memory_bytes))
    if limits.cpus:
        check_processors(limits.cpus)
        os.sched_setaffinity(0, limits.cpus)


def _why_not(fault: AgentError | ImportError | MemoryError, limits: Limits) -> str:
    if isinstance(fault, MemoryError):
        return f"memory ran out{limits}"
    message = fault.message if isinstance(fault, AgentError) else str(fault)
    return f"{message[:_MESSAGE_CHARACTERS]}{limits}"


def _receive_all(control: socket.socket, size_bytes: int) -> bytes:
    parts: list[bytes] = []
    while sum(map(len, parts)) < size_bytes:
        part = control.recv(_LOAD_BYTES)
        if not part:
            os._exit(0)
        parts.append(part)
    return b"".join(parts)


def _load(order: dict[str, Any]) -> Execution:
    manifest = parse(Manifest, order["manifest"], what="manifest")
    engine = EngineFile(Path(order["engine"]), bytes.fromhex(order["key"]))
    directory = Path(order["directory"])
    source = choose(engine, directory, manifest)
    return load(
        manifest,
        source,
        threads=order["threads"],
        providers=tuple(order["providers"]),
        batching=Batching(*order["batching"]),
        instead=partial(read_model, directory, manifest),
    )


def _answer_lane(lane: Endpoint, execution: Execution, shadow_nice: int) -> None:
    # Threads have a niceness of their own, and without privileges there is no way back from it.
    quiet = ThreadPoolExecutor(1, initializer=_be_nice, initargs=(shadow_nice,))
    with contextlib.suppress(ConnectionError):
        while True:
            parcel = lane.receive()
            if parcel.message.get("quiet"):
                quiet.submit(_answer, lane, execution, parcel).result()
            else:
                _answer(lane, execution, parcel)
    # The agent gave the lane up. A worker with fewer lanes than it should have makes room for another.
    os._exit(0)


def _be_nice(niceness: int) -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)


def _answer(lane: Endpoint, execution: Execution, parcel: Parcel) -> None:
    try:
        if parcel.message["do"] == "infer":
            began = time.monotonic()
            outputs = execution.infer(parcel.tensors)
            outputs[COMPUTED] = np.array([began, time.monotonic()])
            lane.send_tensors(form_of(outputs), outputs)
        elif parcel.message["do"] == "lent":
            _infer_lent(lane, execution, parcel.message)
        else:
            lane.send(*_inspect(execution, parcel))
    except InferenceError as exc:
        if exc.code is Code.UNAVAILABLE:
            # A GPU that failed is lost to this process; the agent starts another one.
            traceback.print_exception(exc)
            os._exit(_SOFTWARE_FAULT)
        lane.send({"error": [exc.code.value, exc.message[:_MESSAGE_CHARACTERS]]})


def _inspect(execution: Execution, parcel: Parcel) -> Reply:
    asked = parcel.message
    inspected = execution.inspect(
        _picture(asked, parcel.blobs[0]),
        with_mask=asked["with_mask"],
        threshold=asked["threshold"],
        keep_decoded=asked["keep_decoded"],
        keep_map=asked["keep_map"],
    )
    outcome, anomalies = inspected.outcome, inspected.anomalies
    reply = {
        "verdict": outcome.verdict.value,
        "numbers": [outcome.score, outcome.threshold, outcome.area],
        "milliseconds": [inspected.decode_ms, inspected.preprocess_ms, inspected.compute_ms],
        "label": outcome.label,
        "size": [inspected.width, inspected.height],
        "map": None if anomalies is None else anomalies[1:],
    }
    decoded = inspected.decoded.rgb if inspected.decoded is not None else b""
    blobs: list[Blob] = [inspected.mask_png, decoded, b"" if anomalies is None else anomalies.logits]
    return reply, [*blobs, inspected.embedding] if inspected.embedding else blobs


def _infer_lent(lane: Endpoint, execution: Execution, asked: dict[str, Any]) -> None:
    """Answer tensors in a client's memory: read once, and written when the outputs are known to be sound."""
    segment = lane.borrowed(asked["segment"])
    tensors = {place[0]: segment.read_array(Place(*place)) for place in asked["tensors"]}
    began = time.monotonic()
    outputs = execution.infer(tensors)
    ended = time.monotonic()
    lane.send_timed(_told(write_outputs(segment, outputs, tuple(asked["room"]))), began, ended)


@lru_cache(64)
def _told(places: tuple[Place, ...]) -> bytes:
    return encoded({"placed": places})


def _picture(asked: dict[str, Any], blob: memoryview) -> Picture:
    if asked["size"] is None:
        return EncodedPicture(bytes(blob))
    return RawPicture(blob, *asked["size"])


def _end_on_fault(fault: threading.ExceptHookArgs) -> NoReturn:
    """A programmer's error ends the process, and the agent starts another."""
    traceback.print_exception(fault.exc_value)
    os._exit(_SOFTWARE_FAULT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
