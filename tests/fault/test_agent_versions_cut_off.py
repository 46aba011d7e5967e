"""edge-agent-version killed before each command that changes something: a whole version runs, and none is lost."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.test_agent_versions import SCRIPT, Home

CHANGING = ("cp", "ln", "mv", "rm", "sync", "touch")
# Counts the commands that change something; the one that is asked for kills the script before it does anything.
WRAPPER = """#!/bin/sh
number=$(($(cat "$COUNT") + 1))
echo $number >"$COUNT"
if [ $number -eq "$AT" ]; then kill -9 $PPID; exit 1; fi
exec {program} "$@"
"""
VERSIONS = ("1-a", "2-b")


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory of commands to be put before the real ones."""
    directory = tmp_path_factory.mktemp("commands")
    for name in CHANGING:
        path = directory / name
        path.write_text(WRAPPER.format(program=shutil.which(name)))
        path.chmod(0o755)
    return directory


def cut_off(commands: Path, home: Home, verb: str, at: int, environment: dict[str, str]) -> int:
    """Run a verb that is killed before its ``at``-th change (0: never); return how many it came to."""
    count = home.path.parent / "count"
    count.write_text("0")
    wrapped = {"PATH": f"{commands}:{os.environ['PATH']}", "COUNT": str(count), "AT": str(at)}
    told = os.environ | {"EDGE_AGENT_HOME": str(home.path)} | wrapped | environment
    subprocess.run([str(SCRIPT), verb], capture_output=True, check=False, env=told)
    return int(count.read_text())


def begin(directory: Path, verb: str) -> Home:
    """Return a home in which version 2 is unpacked, is tried, or stays."""
    directory.mkdir(parents=True)
    home = Home(directory / "home")
    home.path.mkdir()
    home.take("1-a")
    if verb == "take":
        home.unpack("2-b")
        return home
    home.take("2-b")
    home.do("attempt")
    if verb == "attempt":
        home.do("attempt")
        home.do("attempt")
    if verb == "back":
        home.do("confirm")
    return home


def copied(home: Home, directory: Path) -> Home:
    directory.mkdir()
    shutil.copytree(home.path, directory / "home", symlinks=True)
    return Home(directory / "home")


@pytest.mark.parametrize("verb", ["take", "attempt", "failed", "confirm", "back"])
def test_a_verb_that_is_killed_anywhere_leaves_a_version_that_runs_and_is_done_by_the_next_try(
    commands: Path, tmp_path: Path, verb: str
) -> None:
    environment = {"SERVICE_RESULT": "exit-code"} if verb == "failed" else {}
    begun = begin(tmp_path / "begun", verb)
    whole = copied(begun, tmp_path / "whole")
    steps = cut_off(commands, whole, verb, 0, environment)
    assert steps > 0
    ended = whole.runs()
    for at in range(1, steps + 1):
        home = copied(begun, tmp_path / str(at))
        assert cut_off(commands, home, verb, at, environment) == at
        told = f"{verb} killed before change {at} of {steps}"
        if verb in ("failed", "back"):
            # Else the version before would be refused by a state directory that the newer one has migrated.
            assert home.runs() == "2-b" or (home.path / "went-back").exists(), told
        # What the next start does.
        assert home.do("attempt").returncode == 0, told
        assert home.runs() in VERSIONS, told
        if verb == "back" and (home.path / "went-back").exists():
            assert home.runs() == ended, told
        # What a person, or dpkg --configure, does.
        if verb != "attempt":
            home.do(verb, **environment)
            if verb == "back" and home.runs() != ended:
                home.do(verb)
        assert home.runs() == ended or verb == "attempt", told
        assert sorted(path.name for path in (home.path / "versions").iterdir()) == sorted(VERSIONS), told
        # Both ways stay open.
        for _ in range(2):
            before = home.runs()
            if verb in ("back", "confirm"):
                assert home.do("back").returncode == 0, told
                assert home.runs() != before, told
