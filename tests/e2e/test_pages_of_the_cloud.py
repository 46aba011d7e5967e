"""Blocks that need the local AWS, and a device that is there before they begin."""

from pathlib import Path

import pytest

from tests.e2e.shell import ROOT, blocks, run_blocks

TIMEOUT_S = 300
pytestmark = pytest.mark.timeout(TIMEOUT_S + 60)
_CLOUD = 'edge-cloud local up --dir cloud >/dev/null && eval "$(edge-cloud local env --dir cloud)"'
_DEVICES = """
python -m tests.fakes.small_fleet hall unet/1 img-classification/1 -- press-4 press-5
python - <<'EOF'
from cloud_tools.aws import Aws

Aws().call("iot", "create_thing_group", thingGroupName="line-2")
Aws().call("iot", "add_thing_to_thing_group", thingGroupName="line-2", thingName="press-5")
EOF
mkdir -p press-4/state
echo '{"mappings": {"image-segmentation-app": "unet"}, "models": []}' > press-4/state/models_config.json
export EDGE_AGENT__RPC__TCP="" EDGE_AGENT__TELEMETRY__METRICS="" EDGE_AGENT__DEPLOYMENT__RESERVE_BYTES=0
export EDGE_AGENT_CONFIG=$PWD/press-4/config.toml EDGE_AGENT_STATE_DIR=$PWD/press-4/state
export EDGE_AGENT_RUNTIME_DIR=$PWD/press-4/run
edge-agent run >press-4/log 2>&1 &
export EDGE_CLOUD_REPO=s3://line/releases
edge-cloud deploy unet 1 img-classification 1 --to thing/press-4 --watch --timeout 120
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
