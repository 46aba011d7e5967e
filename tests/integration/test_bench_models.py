"""``scripts/bench models --quick``: one real training by the real command, and its last line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.benchlib.calls import ROOT

PATIENCE_S = 300.0


def _bench(data: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "scripts.benchlib.models", "--quick"],
        cwd=ROOT, env={**os.environ, "EDGE_TEST_DATA": str(data)},
        capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip


def test_it_prints_a_table_and_one_json_object(real_images: Path) -> None:
    pytest.importorskip("torch", reason="the extra train is not installed")
    done = _bench(real_images)
    assert done.returncode == 0, done.stderr
    *shown, last = done.stdout.strip().splitlines()
    told: dict[str, Any] = json.loads(last)
    figures = {line["figure"]: line["value"] for line in told["lines"]}
    assert len(shown) == 1 + len(told["lines"])
    assert figures["image_auroc"] > figures["random_control_auroc"] > 0
    assert figures["parity"] <= 1e-4
    assert told["missed"] == []


def test_without_real_images_it_says_so(tmp_path: Path) -> None:
    done = _bench(tmp_path / "nothing")
    assert done.returncode == 1
    assert done.stderr == f"bench: expected real images in {tmp_path / 'nothing'} (EDGE_TEST_DATA), there are none\n"
