"""What every part of the tests may ask for."""

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from cloud_tools.evaluation.bench import BenchModel
    from tests.fakes.evaluated import Evaluated

# A shell that starts the tests in the background has them ignore SIGINT, and so would every process they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How quickly examples are made and tried says how busy the machine is, and nothing about the product.
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

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


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter: as root PostgreSQL is run by another user, and pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="edge-pg-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def paper_models(real_images: Path, tmp_path_factory: pytest.TempPathFactory) -> "tuple[BenchModel, BenchModel]":
    """Return a classifier and a U-Net trained on two real paper types: minutes, so once for all tests."""
    pytest.importorskip("torch", reason="the extra train is not installed")
    from cloud_tools.evaluation.bench import train_paper  # noqa: PLC0415 - heavy, and not for every part of the tests

    return train_paper(real_images, tmp_path_factory.mktemp("paper"), epochs=8)


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> "Evaluated":
    """Return what ``edge-cloud evaluate`` leaves of two methods on two small categories."""
    pytest.importorskip("torch", reason="the extra train is not installed")
    from typer.testing import CliRunner  # noqa: PLC0415 - not for every part of the tests

    from cloud_tools.cli import build_app  # noqa: PLC0415
    from tests.fakes.evaluated import Evaluated, write_categories  # noqa: PLC0415

    root = tmp_path_factory.mktemp("evaluated")
    data, out = write_categories(root / "parts"), root / "report"
    small = ("--depth", "4", "--size", "64", "--threads", "1", "--seeds", "1", "--json")
    result = CliRunner().invoke(
        build_app(), ["evaluate", "--methods", "padim,dfm", "--data", str(data), "--out", str(out), *small]
    )
    assert result.exit_code == 0, result.output
    return Evaluated(data, out, json.loads(result.stdout.strip().splitlines()[-1]))
