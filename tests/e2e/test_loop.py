"""The loop as the README shows it: every line works as it stands, in an empty directory."""

from pathlib import Path

import pytest

from tests.e2e.shell import ROOT, blocks, run_blocks

TIMEOUT_S = 800


@pytest.mark.timeout(TIMEOUT_S + 60)
def test_the_readmes_loop_trains_signs_deploys_and_rolls_back(tmp_path: Path) -> None:
    said = run_blocks(blocks(ROOT / "README.md", "The loop"), tmp_path, timeout_s=TIMEOUT_S)
    assert "model unet: 3 READY, before it 1" in said
    assert said.count("SUCCEEDED") == 3, "two installs and a rollback"
