"""``python -m scripts.benchlib.models``: train on real products by the product's own command; figures beside goals.

Each training is one ``edge-cloud train`` in a process of its own. Seeds are the outer loop, so
that when the time is up every row has the same number of them, give or take one, and says so.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from scripts.benchlib.calls import ROOT
from scripts.benchlib.lessons import ANOMALY, QUICK, SUPERVISED, Row

PARITY = 1e-4
SEEDS = 3
MINUTES = 90.0
_PARTS = {"all": (ANOMALY, SUPERVISED), "anomaly": (ANOMALY,), "supervised": (SUPERVISED,)}


class Seen(NamedTuple):
    """One training: what ``edge-cloud train`` printed and wrote."""

    row: str
    seed: int
    metrics: dict[str, Any]
    parity: float
    seconds: float
    note: str


def main() -> int:
    """Print one line for each figure; the last line is one JSON object."""
    parser = argparse.ArgumentParser(prog="scripts/bench models", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON object")
    parser.add_argument("--part", choices=_PARTS, default="all", help="what is trained")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of each training")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="no training begins after these")
    parser.add_argument("--quick", action="store_true", help="one small training: does the bench itself work?")
    given = parser.parse_args()
    data = Path(os.environ.get("EDGE_TEST_DATA", ROOT / "../shared/data")).resolve()
    if not data.is_dir():
        sys.stderr.write(f"bench: expected real images in {data} (EDGE_TEST_DATA), there are none\n")
        return 1
    parts, seeds = ((QUICK,), 1) if given.quick else (_PARTS[given.part], given.seeds)
    seen = measure(parts, data, seeds, time.monotonic() + 60 * given.minutes)
    lines = [line for part in parts for row in part for line in lines_of(row, seen)]
    speed = {} if given.quick or given.part == "supervised" else _speed()
    if not given.json:
        print(table(lines, speed))
    print(json.dumps(summary(lines, seen, speed)))
    return 0


def measure(parts: Sequence[Sequence[Row]], data: Path, seeds: int, deadline: float) -> list[Seen]:
    """Return every training that began before ``deadline`` (monotonic), part by part, seed by seed."""
    seen = []
    for part in parts:
        for seed in range(seeds):
            for row in part:
                for folder in row.sets:
                    if time.monotonic() < deadline:
                        seen.append(_train(row, data / folder, seed))
                        sys.stderr.write(f"{row.name} on {folder}, seed {seed}: {seen[-1].seconds:.0f} s\n")
    return seen


def _train(row: Row, data: Path, seed: int) -> Seen:
    with tempfile.TemporaryDirectory(prefix="bench-models-") as work:
        run = Path(work) / "run"
        command = [str(Path(sys.executable).with_name("edge-cloud")), "train", row.method, "--data", str(data)]
        command += ["--out", str(run), "--seed", str(seed), *row.options, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not (run / "report.json").is_file():
            raise RuntimeError(f"expected a report of {' '.join(command)}, came {done.stderr[-2000:]}")
        report = json.loads((run / "report.json").read_text())
    if "parity" not in report:
        raise RuntimeError(f"expected a model of {row.name} on {data.name}, came {report['message']}")
    note = str((report.get("random_control") or {}).get("note", ""))
    parity = float(report["parity"]["max_difference"])
    return Seen(row.name, seed, report["metrics"], parity, float(report["seconds"]), note)


class Line(NamedTuple):
    """One figure of a row, over all its trainings."""

    row: str
    figure: str
    goal: float | None
    value: float | None
    """None: nothing was trained."""
    least: float | None
    greatest: float | None
    trainings: int
    seeds: int
    ok: bool | None
    """Whether the goal is reached; None where there is none, or nothing was measured."""


def lines_of(row: Row, seen: Sequence[Seen]) -> list[Line]:
    """Return one line for each figure of the row, and one for its parity."""
    own = [one for one in seen if one.row == row.name]
    seeds = len({one.seed for one in own})
    lines = []
    for figure, goal in row.goals:
        values = [float(one.metrics[figure]) for one in own if one.metrics.get(figure) is not None]
        value = mean(values) if values else None
        ok = value >= goal if goal and value is not None else None
        least, greatest = (min(values), max(values)) if values else (None, None)
        lines.append(Line(row.name, figure, goal or None, value, least, greatest, len(values), seeds, ok))
    worst = max((one.parity for one in own), default=None)
    fits = None if worst is None else worst <= PARITY
    lines.append(Line(row.name, "parity", PARITY, worst, None, worst, len(own), seeds, fits))
    return lines


def table(lines: Sequence[Line], speed: dict[str, Any]) -> str:
    """Return what a person reads: each goal beside what was seen."""
    rows = [("row", "figure", "goal", "seen", "least..greatest", "trainings", "")]
    for line in lines:
        spread = "" if line.least is None or line.greatest is None else f"{line.least:.3f}..{line.greatest:.3f}"
        bound = "<=" if line.figure == "parity" else ">="
        goal = "" if line.goal is None else f"{bound} {line.goal:g}"
        verdict = {True: "ok", False: "MISSED", None: ""}[line.ok]
        count = f"{line.trainings} of {line.seeds} seeds"
        rows.append((line.row, line.figure, goal, _short(line.value), spread, count, verdict))
    rows += [(name, "", "", _short(value), "", "", "") for name, value in speed.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def summary(lines: Sequence[Line], seen: Sequence[Seen], speed: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON object: the lines, seconds, what reports say of data that does not suit a method."""
    notes = {one.row: one.note for one in seen if one.note}
    seconds = round(sum(one.seconds for one in seen), 1)
    missed = [f"{line.row} {line.figure}" for line in lines if line.ok is False]
    return {"lines": [line._asdict() for line in lines], "missed": missed, "notes": notes, "seconds": seconds, **speed}


def _short(value: Any) -> str:
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:.4f}" if value >= PARITY else f"{value:.1e}"


def _speed() -> dict[str, Any]:
    command = [sys.executable, "-m", "scripts.benchlib.patchcore_speed"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    speed: dict[str, Any] = json.loads(done.stdout)
    return speed


if __name__ == "__main__":
    sys.exit(main())
