"""A client process that asks without a pause until it is killed: ``restless_client lookout|sagemaker TARGET``.

It prints the name or id of its segment and ``asked`` after its first answer.
"""

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from tests.fakes.lookout_client import LookoutClient
from tests.fakes.posix_memory import PosixMemory
from tests.fakes.sagemaker_client import SageMakerClient, pb
from tests.fakes.system_v import SystemV
from tests.fakes.tiny_models import BRIGHT, SIDE
from tests.fakes.tree import ROOT

_SIDE = 1024


@contextmanager
def restless_client(protocol: str, target: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start one; yield it and the name of its segment once it was answered. It is killed with SIGKILL."""
    command = [sys.executable, "-m", "tests.fakes.restless_client", protocol, target]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            segment = process.stdout.readline().strip()
            assert process.stdout.readline() == "asked\n"
            yield process, segment
        finally:
            process.kill()


def _lookout(target: str) -> tuple[str, Callable[[], object]]:
    memory = PosixMemory(bytes([BRIGHT]) * _SIDE * _SIDE * 3)
    client = LookoutClient(target)
    return memory.name, lambda: client.detect_shared("anomaly", memory, _SIDE, _SIDE)


def _sagemaker(target: str) -> tuple[str, Callable[[], object]]:
    picture = np.full((1, SIDE, SIDE, 3), BRIGHT, np.uint8)
    segment = SystemV(picture.tobytes())
    tensor = pb.Tensor(shared_memory_handle=pb.SharedMemoryHandle(segment_id=segment.id))
    client = SageMakerClient(target)
    request = pb.PredictRequest(name="anomaly", tensors=[tensor])
    return str(segment.id), lambda: client.stub.Predict(request)


def main() -> None:
    protocol, target = sys.argv[1:]
    segment, ask = {"lookout": _lookout, "sagemaker": _sagemaker}[protocol](target)
    sys.stdout.write(f"{segment}\n")
    for number in itertools.count():
        ask()
        if not number:
            sys.stdout.write("asked\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
