"""What every part of the tests may ask for."""

import os
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).resolve().parents[1] / "../shared/data"


@pytest.fixture(scope="session")
def real_images() -> Path:
    """Return the folder of real defect images (``EDGE_TEST_DATA``, default ``../shared/data``).

    Absent: the test is skipped and says so; under ``CI=true`` that is an error.
    """
    folder = Path(os.environ.get("EDGE_TEST_DATA", _DEFAULT)).resolve()
    if folder.is_dir():
        return folder
    message = f"expected real images in {folder} (EDGE_TEST_DATA), there are none"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
