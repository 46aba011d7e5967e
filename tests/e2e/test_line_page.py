"""The page beside the whole line: real agent, real station, real jobs, the sample frames and models."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from cloud_tools.local import Endpoints
from tests.e2e.browser import PATIENCE_MS, Window, browser, dashboard, window
from tests.fakes.cloud_operator import CloudOperator
from tests.fakes.device import PATIENCE_S, ROOT, AgentDevice

SAMPLES = ROOT / "samples"
THING = "page-press"

pytestmark = pytest.mark.timeout(600)
expect.set_options(timeout=PATIENCE_MS)


class Line:
    """Device, station and cloud operator."""

    def __init__(self, operator: CloudOperator, device: AgentDevice) -> None:
        self.operator = operator
        self.device = device

    def deploy(self, version: str) -> None:
        models = [("img-classification", version), ("unet", version)]
        assert self.operator.deploy(THING, *models)["status"] == "SUCCEEDED"


@pytest.fixture(scope="module")
def line(local_cloud: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    directory = tmp_path_factory.mktemp("line")
    operator = CloudOperator(local_cloud, tmp_path_factory.mktemp("operator"), "page")
    config = operator.provision(THING, directory / "provisioned")
    camera = {"source": f"directory:{SAMPLES / 'frames'}", "rate_hz": 4.0}
    device = AgentDevice(directory, {"station": {"line-1": camera}}, provisioned=config)
    device.start()
    operator.publish(*sorted((SAMPLES / "bundles").glob("*/*")))
    places = ("--config", device.config, "--state-dir", device.state_dir, "--runtime-dir", device.runtime_dir)
    with (directory / "station.log").open("wb") as log:
        station = subprocess.Popen(
            [sys.executable, "-m", "edge_agent", *map(str, places), "station"],
            cwd=ROOT,
            env=device.environment,
            stdout=log,
            stderr=log,
        )
        yield Line(operator, device)
        station.terminate()
        assert station.wait(PATIENCE_S) == 0
    assert device.stop() == 0


@pytest.fixture(scope="module")
def seen(line: Line) -> Iterator[Window]:
    with browser() as chromium, dashboard(line.device.runtime_dir) as address, window(chromium, address) as opened:
        yield opened


def test_the_page_follows_the_line_from_the_first_deployment_to_the_second(line: Line, seen: Window) -> None:
    line.deploy("1")
    seen.open()
    for model in ("img-classification", "unet"):
        expect(seen.find(f"model-{model}-version")).to_contain_text("1")
    expect(seen.find("verdict")).to_contain_text(re.compile("OK|NG"))
    expect(seen.find("frame")).to_be_visible()
    seen.until("document.querySelector('[data-testid=frame]').naturalWidth > 0")
    seen.until("[...document.querySelectorAll('[data-testid=overlay]')].some(image => image.naturalWidth > 0)")

    seen.page.evaluate("window.notReloaded = true")
    line.deploy("2")
    for model in ("img-classification", "unet"):
        expect(seen.find(f"model-{model}-version")).to_contain_text("2")
    assert seen.page.evaluate("window.notReloaded") is True
    assert seen.foreign_requests() == []
    assert seen.complaints == []


def test_both_verdicts_are_counted_and_a_swap_costs_no_result(line: Line) -> None:
    before = line.device.status().counts  # what came before the first deployment had no model to ask
    seen = line.device.wait_for(lambda status: status.counts.ok > before.ok and status.counts.ng > before.ng)
    assert seen.counts.no_result == before.no_result
    assert json.loads((line.device.state_dir / "models_config.json").read_text())["models"][0]["version"] == "2"
