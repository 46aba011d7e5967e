"""What whole-line tests share: one local AWS, one browser."""

from collections.abc import Iterator

import pytest

from cloud_tools.local import Endpoints, LocalCloud


@pytest.fixture(scope="session")
def local_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    """Where a local AWS answers; it ends with the session."""
    cloud = LocalCloud(tmp_path_factory.mktemp("local-cloud"))
    try:
        yield cloud.start()
    finally:
        cloud.stop()
