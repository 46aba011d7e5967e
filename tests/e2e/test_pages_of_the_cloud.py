"""Blocks that need the local AWS, and a device that is there before they begin."""

import json
from pathlib import Path

import pytest

from tests.e2e.shell import ROOT, blocks, run_blocks
from tests.fakes import layouts

TIMEOUT_S = 400
pytestmark = pytest.mark.timeout(TIMEOUT_S + 60)
_CLOUD = 'edge-cloud local up --dir cloud >/dev/null && eval "$(edge-cloud local env --dir cloud)"'
_PRESS_4 = """
export EDGE_AGENT__RPC__TCP="" EDGE_AGENT__TELEMETRY__METRICS="" EDGE_AGENT__DEPLOYMENT__RESERVE_BYTES=0
export EDGE_AGENT_CONFIG=$PWD/press-4/config.toml EDGE_AGENT_STATE_DIR=$PWD/press-4/state
export EDGE_AGENT_RUNTIME_DIR=$PWD/press-4/run EDGE_CLOUD_REPO=s3://line/releases
edge-agent run >press-4/log 2>&1 &
"""
_DEVICES = f"""
python -m tests.fakes.small_fleet hall unet/1 img-classification/1 -- press-4 press-5
python - <<'EOF'
from cloud_tools.aws import Aws

Aws().call("iot", "create_thing_group", thingGroupName="line-2")
Aws().call("iot", "add_thing_to_thing_group", thingGroupName="line-2", thingName="press-5")
EOF
mkdir -p press-4/state
echo '{{"mappings": {{"image-segmentation-app": "unet"}}, "models": []}}' > press-4/state/models_config.json
{_PRESS_4}
edge-cloud deploy unet 1 img-classification 1 --to thing/press-4 --watch --timeout 120
"""
# A part that the model learnt from comes down the line, is captured, and a person says what it is.
_BRICKS = f"""
python -m tests.fakes.small_fleet hall "$PWD/bundle" -- press-4
mkdir -p press-4/state
echo '{{"mappings": {{"line": "brick"}}, "models": []}}' > press-4/state/models_config.json
export EDGE_AGENT__CAPTURE__POLICY=all
{_PRESS_4}
edge-cloud deploy brick 1 --to thing/press-4 --watch --timeout 120
cp "data/$(grep -m 1 ',train$' run/predictions.csv | cut -d , -f 1)" picture.png
PART=$(python - <<'EOF'
import os
from pathlib import Path
from edge_agent.client import AgentClient
from edge_agent.formats import EncodedPicture
from tests.fakes.device import eventually

with AgentClient.at(Path(os.environ["EDGE_AGENT_RUNTIME_DIR"])) as client:
    part = client.inspect(EncodedPicture(Path("picture.png").read_bytes()), applications=["line"], timeout_s=60).id
    eventually(lambda: next((True for capture in client.captures() if capture.id == part), None))
    client.label_capture(part, "OK", actor="test")
print(part)
EOF
)
"""
_ARRIVED = """
until edge-cloud captures list --from s3://line/captures --label OK --json | grep "$PART" >/dev/null; do sleep 0.2; done
"""
_TOLD = "edge-agent models --json; edge-agent deployments --json"


def test_the_operations_of_the_readme_are_asked_by_job_and_by_hand(tmp_path: Path) -> None:
    commands = [_CLOUD, _DEVICES, *blocks(ROOT / "README.md", "What a job may ask"), _TOLD]
    said = run_blocks(commands, tmp_path, timeout_s=TIMEOUT_S, PYTHONPATH=str(ROOT))
    assert '"threshold": 0.62' in said
    assert "scratches that pass" in said
    assert "replaced by unet" in said


def test_an_account_gets_its_stack_and_a_device_as_the_page_says(tmp_path: Path) -> None:
    sticks = " ".join(f"--root-keys stick-{number}" for number in range(3))
    repository = f"EDGE_CLOUD_PASSPHRASE='a long one' edge-cloud repo init repo --keys keys {sticks} >/dev/null"
    commands = [_CLOUD, repository, *blocks(ROOT / "docs" / "cloud.md")]
    said = run_blocks(commands, tmp_path, timeout_s=TIMEOUT_S)
    assert "stack edge-agent: to create" in said
    assert "stack edge-agent: UPDATE_COMPLETE" in said
    assert "press-4 of fleet default is ready" in said


def test_what_a_part_looks_like_is_asked_on_the_device_and_in_the_cloud(open_folder: Path) -> None:
    for extra, module in {"train": "torch", "pg": "psycopg"}.items():
        pytest.importorskip(module, reason=f"the extra {extra} is not installed")
    layouts.mvtec(open_folder / "data", good=24)
    commands = [_CLOUD, *blocks(ROOT / "docs" / "similar.md", "Where a picture lies"), _BRICKS]
    commands += [*blocks(ROOT / "docs" / "similar.md", "On the device"), _ARRIVED]
    commands += blocks(ROOT / "docs" / "similar.md", "In the cloud")
    said = run_blocks(commands, open_folder, timeout_s=TIMEOUT_S, PYTHONPATH=str(ROOT))
    device, cloud = [json.loads(line) for line in said.splitlines() if line.startswith("{") and '"parts"' in line]
    learnt = device["parts"][0]["id"]
    assert (device["model"], device["far"], device["parts"][0]["similarity"]) == ("brick", False, pytest.approx(1))
    assert cloud["verdict"] == "known"
    first = {part["source"]: part["part"] for part in cloud["parts"][:2]}
    assert first["training"] == learnt
    assert first["capture"].startswith("press-4/")
    assert said.rstrip().splitlines()[-1].startswith("parts like it were seen (1.0000")
