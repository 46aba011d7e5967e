"""A cloud for real agents; warm processes to fork devices from, a repository, and a place where syncs cost nothing."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.job_line import MODEL, Line
from tests.fakes.jobs_clouds import MosquittoCloud
from tests.fakes.nursery import Nursery
from tests.fakes.repository import SignedRepository
from tests.fakes.signed import publish_versions
from tests.fakes.sweep import Places


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MosquittoCloud]:
    cloud = MosquittoCloud(tmp_path_factory.mktemp("cloud"))
    yield cloud
    cloud.stop()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> SignedRepository:
    repository = SignedRepository(tmp_path_factory.mktemp("repository"), now=time.time())
    publish_versions(repository, (MODEL, "1"), (MODEL, "2"))
    return repository


@pytest.fixture
def line(tmp_path: Path, cloud: MosquittoCloud, repository: SignedRepository) -> Iterator[Line]:
    line = Line(tmp_path, cloud, repository)
    yield line
    if line.device.process is not None:  # a failed test leaves nobody behind
        line.device.kill()


@pytest.fixture(scope="session")
def nurseries() -> Iterator[list[Nursery]]:
    """As many as the smallest machine that runs the tests has processors."""
    with Nursery() as first, Nursery() as second:
        yield [first, second]


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """In memory: killed processes leave the page cache, and that needs no disk."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="fault-", dir=memory if os.access(memory, os.W_OK) else None))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def places(home: Path, nurseries: list[Nursery]) -> Places:
    return Places(home, nurseries[0])
