"""``python -m scripts.benchlib.peers.beside``: ``peers`` of ``bench serving``, from one run of all servers in turn.

Everything runs in a network namespace of its own: some of the servers insist on listening to every address, and
there none but loopback exists.
"""

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scripts.benchlib import graphs
from scripts.benchlib.calls import ROOT, Server
from scripts.benchlib.peers.environments import CLIENT, SERVERS
from scripts.benchlib.peers.servers import INSIDE, serving

Figures = dict[str, Any]
_CALLERS = (1, 2, 8)
_FIRST_PORT = 9101
_BLOCK, _ROUNDS, _READY_S = 10, 10, 120.0
_LIMIT_S = 1800.0
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
OURS, IN_PROCESS = "ours", "in_process"


def measure_peers() -> Figures:
    """Return ``peers``: what each server needs against ours, and each against executing in process; null: no reason to.

    Null as a whole where nothing is installed or this machine gives no network namespace; stderr tells why.
    """
    if not CLIENT.is_made:
        return _nothing("scripts/bench setup-peers has made no environment for the client")
    own_user = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", "--net", *own_user, sys.executable, "-m", "scripts.benchlib.peers.beside"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=_LIMIT_S, check=False)
    if done.returncode != 0:
        return _nothing(f"the run in a network of its own ended with {done.returncode}")
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return {"peers": found}


def _nothing(reason: str) -> Figures:
    sys.stderr.write(f"bench serving: peers are not measured, {reason}\n")
    return {"peers": None}


def _beside() -> Figures:
    _raise_loopback()
    # Short, as a unix socket must fit below it.
    with tempfile.TemporaryDirectory(prefix="peers-") as scratch:
        directory = Path(scratch)
        manifest = graphs.write(directory / "lite0-1", "lite0", "1")
        (directory / "lite0-1" / "manifest.json").write_bytes(manifest.to_json())
        server = Server(directory, tcp=_FIRST_PORT)
        server.order(do="load", version="lite0-1", lanes=1)
        graph = directory / "lite0-1" / "model.onnx"
        with serving(graph, directory, _FIRST_PORT + 1) as peers:
            told = _asked({OURS: f"127.0.0.1:{_FIRST_PORT}", **peers}, graph)
        server.close()
    return _compared(told["times"], told["failed"])


def _asked(targets: Mapping[str, str], graph: Path) -> Figures:
    plan = {
        "targets": dict(targets),
        "path": str(graph),
        "callers": _CALLERS,
        "block": _BLOCK,
        "rounds": _ROUNDS,
        "ready_s": _READY_S,
    }
    client = [CLIENT.python, str(INSIDE / "client.py")]
    done = subprocess.run(client, input=json.dumps(plan), stdout=subprocess.PIPE, text=True, check=True)
    answer: Figures = json.loads(done.stdout)
    return answer


def _compared(times: Mapping[str, Mapping[str, Sequence[float]]], failed: Mapping[str, str]) -> Figures:
    for name, why in failed.items():
        sys.stderr.write(f"bench serving: {name} is not measured, {why}\n")
    names = [OURS, *(name for environment in SERVERS for name in environment.serves)]
    return {name: _ratios(times, name) if name in times and OURS in times else None for name in names}


def _ratios(times: Mapping[str, Mapping[str, Sequence[float]]], name: str) -> Figures:
    found: Figures = {}
    for callers in map(str, _CALLERS):
        entry = {"ms": _rounded(np.median(times[name][callers]))}
        for suffix, share in (("", 50), ("_p10", 10)):
            ours, theirs, inside = (np.percentile(times[who][callers], share) for who in (OURS, name, IN_PROCESS))
            entry[f"served_over_in_process{suffix}"] = _rounded(theirs / inside)
            if name != OURS:
                entry[f"ours_over_theirs{suffix}"] = _rounded(ours / theirs)
        found[callers] = entry
    return found


def _rounded(value: Any) -> float:
    return round(float(value), 4)


def _raise_loopback() -> None:
    """Switch the namespace's loopback on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


if __name__ == "__main__":
    print(json.dumps(_beside()))
