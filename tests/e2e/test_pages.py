"""Blocks of the pages, each run as it stands where it says that it works; the loop's own are in test_loop."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from cloud_tools.datasets.sample_line import write_dataset
from cloud_tools.local import Endpoints
from cloud_tools.training.run import TrainingOptions, train
from tests.e2e.shell import ROOT, blocks, run_blocks
from tests.fakes import layouts
from tests.fakes.cloud_operator import CloudOperator
from tests.fakes.device import AgentDevice
from tests.fakes.foreign_graphs import write_graph
from tests.integration.test_package_import import STAGE, lookout_package

pytest.importorskip("torch", reason="the extra train is not installed")
TIMEOUT_S = 400
_QUICK = TrainingOptions(depth=4, size=96, epochs=2, threads=1)
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


def _quiet(_line: str) -> None:
    """Say nothing."""


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


def test_a_run_is_a_file_and_is_done_again_from_its_own(tmp_path: Path, sample: Path) -> None:
    told = {"kind": "segmentation", "data": str(sample / "segmentation"), "out": "run", "depth": 4, "size": 64}
    (tmp_path / "part.yaml").write_text(json.dumps({**told, "epochs": 1, "override-gate": "a test needs no quality"}))
    run_blocks(blocks(ROOT / "docs" / "runs.md", "A run as a file"), tmp_path, timeout_s=TIMEOUT_S)
    again = [(tmp_path / name / "model.onnx").read_bytes() for name in ("run-1", "again")]
    assert again[0] == again[1]


def test_a_training_that_was_ended_by_hand_goes_on_where_it_was(tmp_path: Path) -> None:
    def ended_by_hand(line: str) -> None:
        if line.startswith("epoch 2"):
            raise KeyboardInterrupt

    layouts.lookout(tmp_path / "data", plain=True)
    with pytest.raises(KeyboardInterrupt):
        train("classification", tmp_path / "data", tmp_path / "run", _QUICK._replace(epochs=3), ended_by_hand)
    said = run_blocks(blocks(ROOT / "docs" / "runs.md", "Interrupted"), tmp_path, timeout_s=TIMEOUT_S)
    assert re.findall(r"^epoch \d", said, re.MULTILINE) == ["epoch 2", "epoch 3"]
    assert (tmp_path / "run" / "model.onnx").is_file()
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_methods_are_compared_and_the_best_ones_bundle_is_judged(tmp_path: Path) -> None:
    good_parts(tmp_path / "data")
    run_blocks(blocks(ROOT / "docs" / "evaluation.md"), tmp_path, timeout_s=TIMEOUT_S)
    compared, judged = (json.loads((tmp_path / out / "report.json").read_text()) for out in ("first", "report"))
    assert [row["method"] for row in compared["methods"]] == ["patchcore", "padim", "dfm"]
    (row,) = judged["methods"]
    assert row["method"] == "part-check-1"
    assert row["image_auroc"] == pytest.approx(compared["methods"][1]["image_auroc"])
    for out in ("first", "report"):
        assert (tmp_path / out / "report.html").is_file()


def mochi_package(directory: Path) -> None:
    side = STAGE["image_width"]
    lookout_package(
        directory / "model.zip", write_graph(directory / "mochi.onnx", shape=(1, 3, side, side)).read_bytes()
    )


def test_graphs_from_elsewhere_become_bundles_and_a_run_becomes_one_in_other_forms(tmp_path: Path) -> None:
    pytest.importorskip("nncf", reason="the extra nncf is not installed")
    write_graph(tmp_path / "model.onnx", "softmax")
    mochi_package(tmp_path)
    (tmp_path / "pictures").mkdir()
    for level in range(0, 256, 8):
        cv2.imwrite(str(tmp_path / "pictures" / f"{level:03}.png"), np.full((20, 30, 3), level, np.uint8))
    layouts.lookout(tmp_path / "data", plain=True)
    assert train("classification", tmp_path / "data", tmp_path / "run", _QUICK, _quiet).ok
    run_blocks(blocks(ROOT / "docs" / "models-from-elsewhere.md"), tmp_path, timeout_s=TIMEOUT_S)
    for bundle, model, precision in (
        ("bundle", "scratch", "fp32"),
        ("imported", "mochi", "fp32"),
        ("bundle-int8", "part-check", "int8"),
    ):
        manifest = json.loads((tmp_path / bundle / "manifest.json").read_text())
        assert (manifest["model"], manifest["runtime"]["precision"]) == (model, precision)
    graphs = [(tmp_path / name / "model.xml").read_bytes() for name in ("run-int8-ir", "run-ir")]
    assert [b"FakeQuantize" in graph for graph in graphs] == [True, False]


def test_what_is_left_of_lookout_for_vision_a_package_and_a_data_set_becomes_bundles(tmp_path: Path) -> None:
    mochi_package(tmp_path)
    layouts.lookout(tmp_path / "data", plain=True)
    run_blocks(blocks(ROOT / "docs" / "migrating-lookout.md"), tmp_path, timeout_s=TIMEOUT_S)
    for bundle, version in (("bundle", "1"), ("bundle-2", "2")):
        manifest = json.loads((tmp_path / bundle / "manifest.json").read_text())
        assert (manifest["model"], manifest["version"]) == ("mochi", version)
    (trial,) = json.loads((tmp_path / "report" / "report.json").read_text())["trials"]
    assert trial["method"] == "mochi-2"
