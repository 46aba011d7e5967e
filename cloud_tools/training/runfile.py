"""A run as a file: YAML in, checked; the run that came of it out."""

import difflib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from cloud_tools.errors import CloudError
from cloud_tools.training.methods import METHODS
from cloud_tools.training.options import Device, Scope, TrainingOptions, Tune
from cloud_tools.yaml_door import read_yaml, yaml_text
from edge_agent.errors import Code
from edge_agent.formats.document import Document, describe

RUN = "run.yaml"
_HEAD = "# The run as it was done. Once more: edge-cloud train --config run.yaml --out NEW\n"
_FLAG = {"override": "override_gate"}
"""Of the options, those that the command calls otherwise."""


class RunFile(Document):
    """What a run's file may say: the command's flags by their names, with underscores."""

    kind: str = ""
    data: Path | None = None
    """Relative to the file."""
    out: Path | None = None
    """Relative to the file."""
    depth: int = Field(default=0, ge=0)
    seed: int = Field(default=0, ge=0)
    override_gate: str = ""
    part_regex: str = ""
    only: str = ""
    size: int = Field(default=0, ge=0)
    epochs: int = Field(default=0, ge=0)
    threads: int = Field(default=0, ge=0)
    device: Device = "auto"
    width: float = Field(default=0.0, ge=0, le=1)
    scope: Scope = "both"
    tune: Tune = "none"


def read_run(path: Path) -> dict[str, Any]:
    """Return what a file says, by the names of the command's flags; paths are relative to its folder.

    Raises:
        CloudError: NOT_FOUND: there is no such file; DOCUMENT_INVALID: it is not YAML, or a key or
            value is wrong; an unknown key is told its nearest.
    """
    said = _yaml(path)
    try:
        given = RunFile.model_validate(said).model_dump(exclude_unset=True)
    except ValidationError as exc:
        hints = "".join(_nearest(str(fault["loc"][0])) for fault in exc.errors() if fault["type"] == "extra_forbidden")
        raise CloudError(Code.DOCUMENT_INVALID, f"{path}: {describe(exc)}{hints}") from exc
    if "kind" in given and given["kind"] not in METHODS:
        hint = f"kind: expected one of {', '.join(METHODS)}, came {given['kind']}{_near(given['kind'], list(METHODS))}"
        raise CloudError(Code.DOCUMENT_INVALID, f"{path}: {hint}")
    return {name: path.parent / value if isinstance(value, Path) else value for name, value in given.items()}


def write_run(run: Path, name: str, data: Path, options: TrainingOptions) -> None:
    """Write the effective run into its folder, whole or not at all."""
    staged = run / f".{RUN}.staged"
    staged.write_text(_HEAD + yaml_text(told(name, data, options)), encoding="utf-8")
    staged.replace(run / RUN)


def told(name: str, data: Path, options: TrainingOptions) -> dict[str, Any]:
    """Return a run as its file tells it, without what says nothing."""
    said = {_FLAG.get(option, option): value for option, value in options._asdict().items() if value not in ("", 0.0)}
    return {"kind": name, "data": str(data.resolve()), "seed": options.seed, "depth": options.depth} | said


def _yaml(path: Path) -> dict[str, Any]:
    return {key.replace("-", "_"): value for key, value in read_yaml(path, "a run's file").items()}


def _nearest(wrong: str) -> str:
    return _near(wrong, list(RunFile.model_fields))


def _near(wrong: str, known: list[str]) -> str:
    near = difflib.get_close_matches(wrong, known, n=1, cutoff=0.0)
    return f"; {wrong} is nearest to {near[0]}" if near else ""
