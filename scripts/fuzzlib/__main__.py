"""The time of a run, shared out to the targets, each in a process of its own, and what came of it."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scripts.fuzzlib.corpus import CORPUS, keep
from scripts.fuzzlib.seeds import ROOT
from scripts.fuzzlib.targets import TARGETS

_LEAST_S = 2.0
_GRACE_S = 60.0


def main() -> int:
    """Fuzz and print; 0: nothing was found."""
    options = _options()
    targets = options.target or list(TARGETS)
    started = time.monotonic()
    reports = [_fuzz(target, options.seconds / len(targets)) for target in targets]
    executions, found = sum(r["executions"] for r in reports), sum(len(r["findings"]) for r in reports)
    told = {
        "seconds": round(time.monotonic() - started, 1),
        "executions": executions,
        "findings": found,
        "targets": dict(zip(targets, reports, strict=True)),
    }
    for target, report in zip(targets, reports, strict=True):
        print(f"{target:14} {report['executions']:>10} executions  {len(report['findings'])} findings", file=sys.stderr)
    print(json.dumps(told) if options.json else f"{executions} executions, {found} findings")
    return 1 if found else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="of all targets together")
    parser.add_argument("--target", action="append", choices=[*TARGETS], help="only these")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser.parse_args()


def _fuzz(target: str, seconds: float) -> dict[str, Any]:
    """Fuzz one target; a finding ends its process, and another goes on with the time that is left."""
    deadline, executions, findings = time.monotonic() + seconds, 0, []
    with tempfile.TemporaryDirectory() as name:
        while (left := deadline - time.monotonic()) > _LEAST_S:
            found = Path(name) / "found"
            found.mkdir(exist_ok=True)
            executions += _run(target, Path(name), left)
            new = [keep(target, path.read_bytes()) for path in sorted(found.iterdir())]
            for path in found.iterdir():
                path.unlink()
            if not new:
                break
            findings += [str(path.relative_to(ROOT)) for path in new]
    return {"executions": executions, "findings": sorted(set(findings)), "kept": _kept(target)}


def _run(target: str, directory: Path, seconds: float) -> int:
    counted = directory / "executions"
    counted.write_text("0")
    command = [sys.executable, "-m", "scripts.fuzzlib.guided", target, str(directory), str(int(seconds))]
    log = directory / "log"
    with log.open("wb") as output:
        ran = subprocess.run(
            command, cwd=ROOT, stdout=output, stderr=output, timeout=seconds + _GRACE_S, check=False
        ).returncode
    executions = int(counted.read_text())
    if ran and not any((directory / "found").iterdir()):
        raise SystemExit(f"{target}: the fuzzer ended with {ran}\n{log.read_text(errors='replace')[-3000:]}")
    if ran:
        print(log.read_text(errors="replace")[-3000:], file=sys.stderr)
    return executions


def _kept(target: str) -> int:
    directory = CORPUS / target
    return len(list(directory.iterdir())) if directory.is_dir() else 0


if __name__ == "__main__":
    sys.exit(main())
