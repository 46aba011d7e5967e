"""A run's folder from its begin to its end: new, going on where a training was interrupted, or ended.

While ``checkpoint/`` lies in it the run has not ended. What an interrupted training is
resumed with, data, code and options, must be what it began with: anything else would be
neither the one run nor the other.
"""

import json
import shutil
from pathlib import Path

from cloud_tools.errors import CloudError
from cloud_tools.packaging.parts import FILE, GOLDEN, MODEL
from cloud_tools.training.options import TrainingOptions
from cloud_tools.training.report import PREDICTIONS, REPORT, code_version
from cloud_tools.training.runfile import RUN, read_run, told, write_run
from edge_agent.errors import Code

CHECKPOINT = "checkpoint"
_ABOUT = "about.json"


def began(run: Path) -> bool:
    """Return whether an interrupted training lies there that can go on."""
    return (run / CHECKPOINT / _ABOUT).is_file() and (run / RUN).is_file()


def begin(run: Path, name: str, data: Path, options: TrainingOptions, digest: str, *, resume: bool) -> Path:
    """Return the folder of checkpoints of a run that now may learn.

    Args:
        run: new or empty; with ``resume`` also that of an interrupted training.
        name: of the method.
        data: root of the data set.
        options: the effective ones.
        digest: of the data set.
        resume: go on where there is something to go on from.

    Raises:
        CloudError: ALREADY_EXISTS: something else lies there; FAILED_PRECONDITION: the interrupted
            training was another one.
    """
    about = {"data_sha256": digest, "code_version": code_version()}
    folder = run / CHECKPOINT
    if resume and began(run):
        _check_same(run, told(name, data, options), about)
        _clear(run)
        return folder
    if run.exists() and (not run.is_dir() or any(path.name != CHECKPOINT for path in run.iterdir())):
        hint = ": an interrupted training, which --resume goes on with" if began(run) else ""
        hint = ": its training has ended, there is nothing to go on with" if resume and (run / RUN).is_file() else hint
        raise CloudError(Code.ALREADY_EXISTS, f"expected a new or empty folder for the run, came {run}{hint}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _ABOUT).write_text(json.dumps(about))
    write_run(run, name, data, options)
    return folder


def end(run: Path) -> None:
    """Say that the run has ended: nothing is left to go on from."""
    shutil.rmtree(run / CHECKPOINT)


def _check_same(run: Path, now: dict[str, object], about: dict[str, str]) -> None:
    then = read_run(run / RUN) | json.loads((run / CHECKPOINT / _ABOUT).read_text())
    both = {**now, **about}
    other = [key for key in sorted({*then, *both}) if str(then.get(key)) != str(both.get(key))]
    if other:
        shown = "; ".join(f"{key} was {then.get(key)}, came {both.get(key)}" for key in other)
        raise CloudError(Code.FAILED_PRECONDITION, f"{run}: expected to go on with the training that began: {shown}")


def _clear(run: Path) -> None:
    """Remove what was written after learning, all of which is written again."""
    for name in (MODEL, REPORT, PREDICTIONS, FILE):
        (run / name).unlink(missing_ok=True)
    if (run / GOLDEN).exists():
        shutil.rmtree(run / GOLDEN)
