"""One real agent for everything that sends it what nobody means."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.device import AgentDevice
from tests.fakes.served_device import served_device
from tests.fakes.tiny_models import write_version


@pytest.fixture(scope="session")
def local_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory from which clients may load models of their own, one that is one and one that is a trap."""
    directory = tmp_path_factory.mktemp("models")
    write_version(directory / "mine", name="mine")
    (directory / "trap").mkdir()
    os.mkfifo(directory / "trap" / "manifest.json")
    return directory


@pytest.fixture(scope="session")
def bombarded_device(tmp_path_factory: pytest.TempPathFactory, local_models: Path) -> Iterator[AgentDevice]:
    """An agent with a model of each kind; it must live through everything and end in good order."""
    settings: dict[str, dict[str, object]] = {
        "trust": {"local_model_roots": [str(local_models)]},
        "capture": {"policy": "none", "quota_bytes": 32 << 20},
        # It comes when the agent has time for it, which would look like a leak.
        "inference": {"spare_worker": False},
    }
    with served_device(tmp_path_factory.mktemp("bombarded"), settings) as device:
        yield device
