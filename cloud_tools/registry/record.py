"""What a training's run, or what somebody else's graph came with, tells a tracker."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from cloud_tools.errors import CloudError
from cloud_tools.packaging.parts import FILE, MODEL
from cloud_tools.training.report import REPORT
from edge_agent.errors import Code

_FILES = (MODEL, FILE, REPORT)


class RunRecord(NamedTuple):
    """One run, as a tracker keeps it.

    Attributes:
        directory: the run's files; all of them are kept.
        sha256: of the graph: the same graph is not kept twice.
        params: what the training was told.
        metrics: figures; those that could not be measured are left out.
        tags: what it was made of.
        shortfall: why the training's gates stopped it; empty: they did not.
    """

    directory: Path
    sha256: str
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    shortfall: str


def read_run(run: Path) -> RunRecord:
    """Return what a training left in a folder.

    Raises:
        CloudError: NOT_FOUND: it is no run, or one that was stopped before it had a model; DOCUMENT_INVALID.
    """
    lacking = [name for name in _FILES if not (run / name).is_file()]
    if lacking:
        raise CloudError(Code.NOT_FOUND, f"{run}: expected a training's run, {', '.join(lacking)} is not there")
    report = _read_report(run / REPORT)
    gate = report.get("gate") or {}
    tags = {
        "method": report.get("method"),
        "kind": report.get("kind"),
        "data_sha256": (report.get("data") or {}).get("sha256"),
        "code_version": report.get("code_version"),
        "gate_override": gate.get("override"),
    }
    return RunRecord(
        run,
        hashlib.sha256((run / MODEL).read_bytes()).hexdigest(),
        {name: str(value) for name, value in (report.get("options") or {}).items()},
        {name: float(value) for name, value in (report.get("metrics") or {}).items() if _is_figure(value)},
        {name: str(value) for name, value in tags.items() if value},
        "" if report.get("ok") else str(report.get("message") or "its report does not say that it is good"),
    )


def _read_report(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(path.read_bytes())
    except ValueError as exc:
        raise CloudError(Code.DOCUMENT_INVALID, f"{path}: expected JSON, {exc}") from exc
    if not isinstance(report, dict):
        raise CloudError(Code.DOCUMENT_INVALID, f"{path}: expected a JSON object, came {type(report).__name__}")
    return report


def _is_figure(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
