"""What docs/data.md shows runs."""

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cloud_tools.cli import build_app
from tests.fakes.tree import ROOT
from tests.pages import blocks


def test_the_commands_of_the_page_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = blocks(ROOT / "docs" / "data.md")
    for line in block.splitlines():
        result = CliRunner().invoke(build_app(), shlex.split(line)[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}"
    assert (tmp_path / "look.html").is_file()
    assert (tmp_path / "parts" / "dataset.json").is_file()
