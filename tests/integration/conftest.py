"""One local AWS for all integration tests, one broker for those of a file; each test takes names of its own in them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_tools.aws import Aws
from cloud_tools.local import Endpoints, LocalCloud, aws_environment
from tests.fakes.jobs_clouds import MosquittoCloud
from tests.fakes.tuf_client import Client, Runner, runner
from tests.fakes.tuf_simulator import Simulator, served


@pytest.fixture(scope="session")
def local_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    """Where a local AWS answers; it ends with the session."""
    cloud = LocalCloud(tmp_path_factory.mktemp("local-cloud"))
    try:
        yield cloud.start()
    finally:
        cloud.stop()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MosquittoCloud]:
    """A broker with our job service, for the tests of one file."""
    cloud = MosquittoCloud(tmp_path_factory.mktemp("broker"))
    yield cloud
    cloud.stop()


@pytest.fixture
def aws_settings(local_cloud: Endpoints, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """The environment of a person who works with the local AWS, set for this test."""
    settings = aws_environment(local_cloud)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    # A profile of the machine's owner has no part in a test.
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    return settings


@pytest.fixture
def aws(aws_settings: dict[str, str]) -> Aws:
    """The door to the local AWS."""
    return Aws()


@pytest.fixture(scope="session")
def tuf_runner() -> Iterator[Runner]:
    """What runs ``tuf-client``, one process for each call."""
    with runner() as running:
        yield running


@pytest.fixture
def repo(request: pytest.FixtureRequest) -> Simulator:
    """A TUF repository in memory; a parameter tells whether its names carry versions (they do)."""
    return Simulator(consistent=getattr(request, "param", True))


@pytest.fixture
def client(repo: Simulator, tuf_runner: Runner, tmp_path: Path) -> Iterator[Client]:
    """A client of it that has not been initialised."""
    with served(repo) as url:
        yield Client(tmp_path, repo, url, tuf_runner)
