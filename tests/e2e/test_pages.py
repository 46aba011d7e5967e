"""Blocks of the pages, each run as it stands where it says that it works; the loop's own are in test_loop."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from cloud_tools.datasets.sample_line import write_dataset
from cloud_tools.local import Endpoints
from tests.e2e.shell import ROOT, blocks, run_blocks
from tests.fakes import layouts
from tests.fakes.cloud_operator import CloudOperator
from tests.fakes.device import AgentDevice
from tests.fakes.foreign_graphs import write_graph
from tests.integration.test_package_import import STAGE, lookout_package

pytest.importorskip("torch", reason="the extra train is not installed")
TIMEOUT_S = 400
pytestmark = pytest.mark.timeout(TIMEOUT_S + 60)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the sample line's data sets, drawn once."""
    return write_sample(tmp_path_factory.mktemp("sample"))


def write_sample(root: Path) -> Path:
    write_dataset(root, count=60, seed=11)
    return root


@pytest.fixture(scope="module")
def device(local_cloud: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentDevice]:
    """A device that has had two versions of a model, and has captured a part."""
    operator = CloudOperator(local_cloud, tmp_path_factory.mktemp("operator"), "pages")
    directory = tmp_path_factory.mktemp("pages")
    config = operator.provision("pages-press", directory / "provisioned")
    operator.publish(ROOT / "samples/bundles/unet/1", ROOT / "samples/bundles/unet/2")
    device = AgentDevice(directory, {"capture": {"policy": "all"}}, provisioned=config)
    device.start()
    for version in ("1", "2"):
        assert device.install(("unet", version)).state == "COMMITTED"
    device.inspect(next((ROOT / "samples/frames").glob("*.jpg")).read_bytes(), "image-segmentation-app")
    yield device
    assert device.stop() == 0


def beside(device: AgentDevice) -> dict[str, str]:
    """Return the variables that stand for the flags of a device whose files lie elsewhere."""
    return {
        "EDGE_AGENT_CONFIG": str(device.config),
        "EDGE_AGENT_STATE_DIR": str(device.state_dir),
        "EDGE_AGENT_RUNTIME_DIR": str(device.runtime_dir),
    }


def good_parts(root: Path) -> Path:
    """Write a data set for methods that learn from good parts."""
    return layouts.mvtec(root, good=24)


def test_the_wheel_of_the_page_of_installation_is_made(tmp_path: Path) -> None:
    # In a network of its own pip can fetch no build backend, and takes the one that is here.
    run_blocks(blocks(ROOT / "docs" / "install.md"), tmp_path, timeout_s=TIMEOUT_S, PIP_NO_BUILD_ISOLATION="0")
    assert len(list((tmp_path / "dist").glob("edge_agent-*.whl"))) == 1


def test_an_operator_looks_at_a_device_sets_a_threshold_and_goes_back(tmp_path: Path, device: AgentDevice) -> None:
    said = run_blocks(blocks(ROOT / "docs" / "operate.md"), tmp_path, timeout_s=TIMEOUT_S, **beside(device))
    assert "unet" in said
    assert device.generation() == {"unet": "1"}


def test_users_of_the_page_come_and_go(tmp_path: Path) -> None:
    users = tmp_path / "users.json"
    config = tmp_path / "config.toml"
    config.write_text(f'[dashboard]\nusers = "{users}"\n')
    commands = ["exec < password\n", *blocks(ROOT / "docs" / "page.md")]
    (tmp_path / "password").write_text("a long enough password\n")
    said = run_blocks(commands, tmp_path, timeout_s=TIMEOUT_S, EDGE_AGENT_CONFIG=str(config))
    assert "anna" in said
    assert "anna" not in users.read_text()


def test_a_method_learns_from_good_parts_and_is_packaged(tmp_path: Path) -> None:
    good_parts(tmp_path / "data")
    run_blocks(blocks(ROOT / "docs" / "methods.md"), tmp_path, timeout_s=TIMEOUT_S)
    assert json.loads((tmp_path / "bundle" / "manifest.json").read_text())["model"] == "part-check"


def test_bundles_are_made_with_a_memory_without_thumbnails_and_without_one(tmp_path: Path) -> None:
    good_parts(tmp_path / "data")
    run_blocks(blocks(ROOT / "docs" / "similar.md", "Where a picture lies"), tmp_path, timeout_s=TIMEOUT_S)
    assert [(tmp_path / name / "bank.safetensors").exists() for name in ("bundle", "unseen", "bare")] == [
        True,
        True,
        False,
    ]


def test_a_run_is_a_file_and_is_done_again_from_its_own(tmp_path: Path, sample: Path) -> None:
    told = {"kind": "segmentation", "data": str(sample / "segmentation"), "out": "run", "depth": 4, "size": 64}
    (tmp_path / "part.yaml").write_text(json.dumps({**told, "epochs": 1, "override-gate": "a test needs no quality"}))
    run_blocks(blocks(ROOT / "docs" / "runs.md", "A run as a file"), tmp_path, timeout_s=TIMEOUT_S)
    again = [(tmp_path / name / "model.onnx").read_bytes() for name in ("run-1", "again")]
    assert again[0] == again[1]


def mochi_package(directory: Path) -> None:
    side = STAGE["image_width"]
    lookout_package(
        directory / "model.zip", write_graph(directory / "mochi.onnx", shape=(1, 3, side, side)).read_bytes()
    )


def test_a_graph_and_a_package_from_elsewhere_become_bundles(tmp_path: Path) -> None:
    write_graph(tmp_path / "model.onnx", "softmax")
    mochi_package(tmp_path)
    (tmp_path / "pictures").mkdir()
    for level in range(0, 256, 8):
        cv2.imwrite(str(tmp_path / "pictures" / f"{level:03}.png"), np.full((20, 30, 3), level, np.uint8))
    run_blocks(blocks(ROOT / "docs" / "models-from-elsewhere.md"), tmp_path, timeout_s=TIMEOUT_S)
    for bundle, model in (("bundle", "scratch"), ("imported", "mochi")):
        assert json.loads((tmp_path / bundle / "manifest.json").read_text())["model"] == model


def test_what_is_left_of_lookout_for_vision_a_package_and_a_data_set_becomes_bundles(tmp_path: Path) -> None:
    mochi_package(tmp_path)
    layouts.lookout(tmp_path / "data", plain=True)
    run_blocks(blocks(ROOT / "docs" / "migrating-lookout.md"), tmp_path, timeout_s=TIMEOUT_S)
    for bundle, version in (("bundle", "1"), ("bundle-2", "2")):
        manifest = json.loads((tmp_path / bundle / "manifest.json").read_text())
        assert (manifest["model"], manifest["version"]) == ("mochi", version)
    (trial,) = json.loads((tmp_path / "report" / "report.json").read_text())["trials"]
    assert trial["method"] == "mochi-2"
