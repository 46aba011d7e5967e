"""The page of rollouts, as it stands: two real agents and the local AWS."""

from pathlib import Path

import pytest

from tests.e2e.shell import ROOT, blocks, run_blocks

TIMEOUT_S = 300
pytestmark = pytest.mark.timeout(TIMEOUT_S + 60)
_CLOUD = """
edge-cloud local up --dir cloud >/dev/null && eval "$(edge-cloud local env --dir cloud)"
export EDGE_AGENT__RPC__TCP="" EDGE_AGENT__TELEMETRY__METRICS="" EDGE_AGENT__DEPLOYMENT__RESERVE_BYTES=0
"""
_DEVICES = """
python -m tests.fakes.small_fleet hall unet/2 -- press-1 press-2
python - <<'EOF'
from cloud_tools.aws import Aws

aws = Aws()
aws.call("iot", "create_thing_group", thingGroupName="canary")
aws.call("iot", "add_thing_to_thing_group", thingGroupName="canary", thingName="press-1")
EOF
for thing in press-1 press-2; do
  edge-agent --config $thing/config.toml --state-dir $thing/state --runtime-dir $thing/run run >$thing/log 2>&1 &
done
"""
_AFTER = "edge-agent --runtime-dir press-1/run models; edge-agent --runtime-dir press-2/run models"


def test_a_release_goes_to_two_agents_in_stages_as_the_page_says(tmp_path: Path) -> None:
    commands = [_CLOUD, _DEVICES, *blocks(ROOT / "docs" / "rollouts.md"), _AFTER]
    said = run_blocks(commands, tmp_path, timeout_s=TIMEOUT_S, PYTHONPATH=str(ROOT))
    assert "unet-2: COMPLETED; canary 1/1; 100% 1/1" in said
    assert "unet-2-again: PAUSED, change of shifts" in said
    assert "unet-2-again: ABORTED, wrong hall" in said
