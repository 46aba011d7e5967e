"""`scripts/test` itself: its status is what its two halves found, whichever of them ran what was asked for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

COLLECT = ("--collect-only", "-q", "-p", "no:cacheprovider")


def status(*arguments: str) -> int:
    """What `scripts/test` with these arguments exits with."""
    done = subprocess.run([ROOT / "scripts/test", *arguments], cwd=ROOT, capture_output=True, timeout=240, check=False)
    return done.returncode


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(("--version",), 0, id="both halves succeed"),
        pytest.param((*COLLECT, "-k", "test_one_agent"), 0, id="only one half has such a test"),
        pytest.param(("--no-such-option",), 1, id="both halves fail"),
        pytest.param(("--version", "unit"), 0, id="one part"),
    ],
)
def test_the_status_of_the_whole_is_that_of_its_halves(arguments: tuple[str, ...], expected: int) -> None:
    assert status(*arguments) == expected
