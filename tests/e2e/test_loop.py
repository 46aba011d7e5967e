"""Commands as the README and the tutorial show them: every line works as it stands, in an empty directory."""

import re
from pathlib import Path

import pytest

from tests.e2e.shell import ROOT, blocks, run_blocks
from tests.fakes import layouts

TIMEOUT_S = 800


def completed(said: str) -> int:
    """How many jobs were followed to a good end.

    Each is told once to be COMPLETED, and what comes of it decides the command's exit code. Its device is told to have
    SUCCEEDED at each change from then on: also before, if the job was looked at between the two.
    """
    return len(re.findall(r"^\S+ COMPLETED$", said, re.MULTILINE))


@pytest.mark.timeout(TIMEOUT_S + 60)
def test_the_readmes_loop_trains_signs_deploys_and_rolls_back(tmp_path: Path) -> None:
    said = run_blocks(blocks(ROOT / "README.md", "The loop"), tmp_path, timeout_s=TIMEOUT_S)
    assert "model unet: 3 READY, before it 1" in said
    assert completed(said) == 3, "two installs and a rollback"


@pytest.mark.timeout(TIMEOUT_S + 60)
def test_the_tutorial_goes_from_a_folder_to_a_device_and_then_the_same_with_a_published_layout(tmp_path: Path) -> None:
    published = layouts.kolektor(tmp_path / "KolektorSDD2")
    directory = tmp_path / "empty"
    directory.mkdir()
    commands = blocks(ROOT / "docs" / "tutorial.md")
    said = run_blocks(commands, directory, timeout_s=TIMEOUT_S, KSDD2=str(published))
    assert completed(said) == 2, "the sample line's release and the other"
    for report in ("report", "report-2"):
        assert (directory / report / "explorer.html").is_file()
    assert (directory / "look.html").is_file()
