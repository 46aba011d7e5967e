"""One training of ``bench models``: begun, gone on with, or read where it has ended."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from cloud_tools.training.report import REPORT, code_version
from scripts.benchlib.lessons import Row

_CHECKPOINT = "checkpoint"


class Seen(NamedTuple):
    """One training: what ``edge-cloud train`` printed and wrote."""

    row: str
    seed: int
    metrics: dict[str, Any]
    parity: float
    seconds: float
    note: str


def place_of(keep: Path, row: Row, data: str, seed: int) -> Path:
    """Return the run's folder below ``keep``."""
    return keep / row.name.replace(" ", "-") / data.replace("/", "-") / f"seed-{seed}"


def seen_in(row: Row, data: Path, seed: int, run: Path) -> Seen:
    """Return what came of the training in ``run``, which is begun, or gone on with, unless it has ended.

    Raises:
        RuntimeError: no model came of it, or another version of the learning code made it.
    """
    if not ended(run):
        _train(row, data, seed, run)
    report = json.loads((run / REPORT).read_text())
    if report["code_version"] != code_version():
        hint = "remove it, or name another folder with --keep"
        raise RuntimeError(f"{run}: expected a run of {code_version()}, came one of {report['code_version']}: {hint}")
    if "parity" not in report:
        raise RuntimeError(f"expected a model of {row.name} on {data.name}, came {report['message']}")
    note = str((report.get("random_control") or {}).get("note", ""))
    parity = float(report["parity"]["max_difference"])
    return Seen(row.name, seed, report["metrics"], parity, float(report["seconds"]), note)


def ended(run: Path) -> bool:
    """Return whether there is nothing left to go on with."""
    return (run / REPORT).is_file() and not (run / _CHECKPOINT).exists()


def _train(row: Row, data: Path, seed: int, run: Path) -> None:
    command = [str(Path(sys.executable).with_name("edge-cloud")), "train", row.method, "--data", str(data)]
    command += ["--out", str(run), "--seed", str(seed), *row.options, "--resume", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not ended(run):
        raise RuntimeError(f"expected a report of {' '.join(command)}, came {done.stderr[-2000:]}")
