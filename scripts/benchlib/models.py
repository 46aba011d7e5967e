"""``python -m scripts.benchlib.models``: train on real products by the product's own command; figures beside goals.

Each training is one ``edge-cloud train`` in a process of its own. Seeds are the outer loop, so
that when the time is up every row has the same number of them, give or take one, and says so.
With ``--keep`` a bench that was ended goes on where it was: no training that has ended is done
twice, and one that was interrupted goes on after its last epoch. ``--minutes 0`` trains nothing and
prints what lies there.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from threading import Event
from typing import Any, NamedTuple

from scripts.benchlib.calls import ROOT
from scripts.benchlib.lessons import PARTS, QUICK, Part, Row
from scripts.benchlib.trainings import Seen, ended, place_of, seen_in

PARITY = 1e-4
SEEDS = 3
MINUTES = 90.0


def main() -> int:
    """Print one line for each figure; the last line is one JSON object."""
    parser = argparse.ArgumentParser(prog="scripts/bench models", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON object")
    parser.add_argument("--part", choices=PARTS, default="all", help="what is trained")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of each training")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="no training begins after these")
    parser.add_argument("--keep", type=Path, help="folder of the runs; what lies there is not trained again")
    parser.add_argument("--quick", action="store_true", help="one small training: does the bench itself work?")
    given = parser.parse_args()
    data = Path(os.environ.get("EDGE_TEST_DATA", ROOT / "../shared/data")).resolve()
    if not data.is_dir():
        sys.stderr.write(f"bench: expected real images in {data} (EDGE_TEST_DATA), there are none\n")
        return 1
    parts, seeds = ((Part(QUICK),), 1) if given.quick else (PARTS[given.part], given.seeds)
    try:
        with _folder(given.keep) as keep:
            seen = measure(parts, data, seeds, time.monotonic() + 60 * given.minutes, keep)
    except RuntimeError as exc:
        sys.stderr.write(f"bench: {exc}\n")
        return 1
    lines = [line for part in parts for row in part.rows for line in lines_of(row, seen)]
    speed = {} if given.quick or given.part == "supervised" else _speed()
    if not given.json:
        print(table(lines, speed))
    print(json.dumps(summary(lines, seen, speed)))
    return 0


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="bench-models-") as work:
        yield Path(work)


def measure(parts: Sequence[Part], data: Path, seeds: int, deadline: float, keep: Path) -> list[Seen]:
    """Return every training that has ended in ``keep`` or began before ``deadline`` (monotonic), seed by seed."""
    return [one for part in parts for one in _measure(part, data, seeds, deadline, keep)]


def _measure(part: Part, data: Path, seeds: int, deadline: float, keep: Path) -> list[Seen]:
    failed = Event()

    def see(row: Row, folder: str, seed: int) -> Seen | None:
        run = place_of(keep, row, folder, seed)
        if failed.is_set() or not (ended(run) or time.monotonic() < deadline):
            return None
        try:
            seen = seen_in(row, data / folder, seed, run)
        except RuntimeError:
            failed.set()
            raise
        sys.stderr.write(f"{row.name} on {folder}, seed {seed}: {seen.seconds:.0f} s\n")
        return seen

    with ThreadPoolExecutor(part.at_once) as pool:
        jobs = [(row, folder, seed) for seed in range(seeds) for row in part.rows for folder in row.sets]
        futures = [pool.submit(see, *job) for job in jobs]
    return [seen for seen in (future.result() for future in futures) if seen is not None]


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
