"""Triton's Python client, which lives in an environment of its own, as a test asks it."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.tree import ROOT


class TritonError(Exception):
    """What tritonclient raised: gRPC's status and the server's message."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status.removeprefix("StatusCode.")
        self.message = message


class Triton:
    """One client process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, do: str, /, **arguments: Any) -> Any:
        """Have the driver do something and return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, "with": arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the driver ended while it should {do}"
        told = json.loads(line)
        if "error" in told:
            raise TritonError(*told["error"])
        return told["answer"]

    def call(self, method: str, /, **arguments: Any) -> Any:
        """Call the client's method of this name."""
        return self.ask("call", method=method, **arguments)

    def refusal(self, do: str, /, **arguments: Any) -> TritonError:
        """Return how something was refused."""
        with pytest.raises(TritonError) as caught:
            self.ask(do, **arguments)
        return caught.value


def made(client: str) -> Path:
    """Return what ``scripts/setup-clients`` makes; where it cannot, the test is skipped and says why."""
    command = [ROOT / "scripts" / "setup-clients", client]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode == 0:
        return Path(ran.stdout.strip())
    if os.environ.get("CI") == "true" and client == "triton":
        pytest.fail(ran.stderr)
    pytest.skip(ran.stderr.strip())


@contextmanager
def triton(address: str) -> Iterator[Triton]:
    """Triton's client, connected; its process ends with the block."""
    command = [made("triton"), ROOT / "tests" / "fakes" / "triton_driver.py", address]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield Triton(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)
