"""The ceremonies of docs/trust.md, run as they stand there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.repository import PASSPHRASE, write_bundle
from tests.fakes.tree import ROOT
from tests.pages import blocks

CEREMONIES = blocks(ROOT / "docs/trust.md")
OUTSIDE = ("EDGE_CLOUD_REPO", "EDGE_CLOUD_KEYS", "EDGE_CLOUD_PASSPHRASE", "EDGE_CLOUD_PASSPHRASE_FILE")


def test_the_page_has_its_ceremonies() -> None:
    assert len(CEREMONIES) == 2


@pytest.mark.parametrize("number", range(len(CEREMONIES)))
def test_a_ceremony_works_as_it_stands(tmp_path: Path, number: int) -> None:
    write_bundle(tmp_path / "bundle", "unet", "1")
    (tmp_path / "phrase").write_text(PASSPHRASE)
    command = f'edge-cloud() {{ "{sys.executable}" -m cloud_tools.cli "$@"; }}\n'
    environment = {name: value for name, value in os.environ.items() if name not in OUTSIDE}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command + CEREMONIES[number]],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    last = "all good: 1 releases" if number == 0 else "fresh for 30 days"
    assert last in done.stdout
    assert not list((tmp_path / "office").glob("pending*"))
    assert not list((tmp_path / "office").glob("root-*.pem"))
