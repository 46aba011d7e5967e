"""The agent's versions side by side: which one runs after each way in which trying a new one may go."""

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

SCRIPT = Path(__file__).parents[2] / "packaging/deb/edge-agent-version"


class Home(NamedTuple):
    """A directory of versions as the package leaves it."""

    path: Path

    def unpack(self, build: str) -> None:
        """Do what dpkg does: replace the package's files by renames."""
        package = self.path / "package"
        package.mkdir(exist_ok=True)
        (package / ".build").write_text(f"{build}\n")
        (package / ".build").rename(package / "build")

    def do(self, verb: str, **environment: str) -> subprocess.CompletedProcess[str]:
        told = os.environ | {"EDGE_AGENT_HOME": str(self.path)} | environment
        return subprocess.run([str(SCRIPT), verb], capture_output=True, text=True, check=False, env=told)

    def take(self, build: str) -> None:
        self.unpack(build)
        assert self.do("take").returncode == 0

    def runs(self) -> str:
        """Return the build that would be started, by what lies there and not by its name."""
        return (self.path / "current/build").read_text().strip()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.take("1-a")
    return home


@pytest.fixture
def trying(home: Home) -> Home:
    """Return a home in which version 2 was taken and not started yet."""
    home.take("2-b")
    return home


def test_the_first_version_is_tried_by_nobody(home: Home) -> None:
    assert home.runs() == "1-a"
    assert not (home.path / "trial").exists()
    assert home.do("came-up").returncode == 0


def test_unpacking_a_package_changes_nothing_of_what_runs(home: Home) -> None:
    home.unpack("2-b")
    assert home.runs() == "1-a"


def test_a_version_that_answers_stays(trying: Home) -> None:
    assert trying.runs() == "2-b"
    assert trying.do("attempt").returncode == 0
    assert "came up and stays" in trying.do("confirm").stdout
    assert trying.do("failed", SERVICE_RESULT="watchdog").stdout == ""
    assert trying.runs() == "2-b"


@pytest.mark.parametrize("result", ["exit-code", "timeout", "signal", "core-dump", "watchdog"])
def test_a_version_that_fails_is_taken_back_at_once_and_the_installation_says_so(trying: Home, result: str) -> None:
    trying.do("attempt")
    assert trying.do("failed", SERVICE_RESULT=result).returncode == 0
    assert trying.runs() == "1-a"
    told = trying.do("came-up")
    assert told.returncode == 1
    assert "versions/2-b did not come up and was taken back; versions/1-a serves" in told.stderr


def test_the_end_of_the_version_before_is_no_failure_of_the_new_one(trying: Home) -> None:
    trying.do("failed", SERVICE_RESULT="timeout")
    assert trying.runs() == "2-b"


def test_a_stop_by_a_person_is_no_failure(trying: Home) -> None:
    trying.do("attempt")
    trying.do("failed", SERVICE_RESULT="success")
    assert trying.runs() == "2-b"


def test_a_version_that_takes_the_machine_down_three_times_is_taken_back(trying: Home) -> None:
    for _ in range(3):
        assert trying.runs() == "2-b"
        assert trying.do("attempt").returncode == 0
    assert trying.do("attempt").returncode == 0
    assert trying.runs() == "1-a"


def test_a_power_cut_between_the_note_and_the_switch_leaves_the_version_before(home: Home) -> None:
    home.unpack("2-b")
    (home.path / "trial").write_text("0 versions/2-b versions/1-a\n")
    home.do("attempt")
    assert home.runs() == "1-a"
    assert not (home.path / "trial").exists()
    home.take("2-b")
    assert home.runs() == "2-b"


def test_a_copy_that_was_cut_off_is_made_anew(home: Home) -> None:
    home.unpack("2-b")
    (home.path / "versions/.staged-1").mkdir()
    home.do("take")
    assert sorted(path.name for path in (home.path / "versions").iterdir()) == ["1-a", "2-b"]
    assert home.runs() == "2-b"


def test_what_was_taken_back_may_be_tried_again(trying: Home) -> None:
    trying.do("attempt")
    trying.do("failed", SERVICE_RESULT="exit-code")
    trying.take("2-b")
    assert trying.runs() == "2-b"
    assert trying.do("came-up").returncode == 0


def test_a_version_that_comes_while_another_is_tried_goes_back_to_the_one_that_was_proven(trying: Home) -> None:
    trying.do("attempt")
    trying.take("3-c")
    assert trying.runs() == "3-c"
    trying.do("attempt")
    trying.do("failed", SERVICE_RESULT="exit-code")
    assert trying.runs() == "1-a"


def test_the_version_that_was_proven_ends_a_trial_when_it_is_installed_again(trying: Home) -> None:
    trying.do("attempt")
    trying.take("1-a")
    assert (trying.runs(), (trying.path / "trial").exists()) == ("1-a", False)
    # What the newer one made of the state directory is put back.
    assert (trying.path / "went-back").exists()


def test_two_versions_are_kept_and_back_goes_between_them(trying: Home) -> None:
    trying.do("attempt")
    trying.do("confirm")
    trying.take("3-c")
    assert sorted(path.name for path in (trying.path / "versions").iterdir()) == ["2-b", "3-c"]
    trying.do("back")
    assert trying.runs() == "2-b"
    trying.do("back")
    assert trying.runs() == "3-c"


def test_who_goes_back_or_is_taken_back_has_its_state_directory_put_back_first(trying: Home) -> None:
    said = trying.path / "said"
    launcher = trying.path / "versions/1-a/bin/edge-agent"
    launcher.parent.mkdir()
    launcher.write_text(f'#!/bin/sh\necho "$@" >>{said}\n')
    launcher.chmod(0o755)
    trying.do("settle")
    trying.do("attempt")
    trying.do("failed", SERVICE_RESULT="exit-code")
    assert not said.exists()
    assert trying.do("settle").returncode == 0
    assert said.read_text() == "state back\n"
    trying.do("confirm")
    trying.do("settle")
    assert said.read_text() == "state back\n"


def test_of_two_that_are_tried_one_after_the_other_the_proven_one_puts_the_state_directory_back(trying: Home) -> None:
    said = trying.path / "said"
    trying.do("attempt")
    trying.take("3-c")
    for build in ("1-a", "3-c"):
        launcher = trying.path / "versions" / build / "bin/edge-agent"
        launcher.parent.mkdir()
        launcher.write_text(f'#!/bin/sh\necho {build} "$@" >>{said}\n')
        launcher.chmod(0o755)
    for verb in ("attempt", "settle"):
        assert trying.do(verb).returncode == 0
    assert (trying.runs(), said.read_text()) == ("3-c", "1-a state back\n")


def test_an_older_version_that_cannot_put_anything_back_is_started_all_the_same(trying: Home) -> None:
    trying.do("attempt")
    trying.do("confirm")
    trying.do("back")
    told = trying.do("settle")
    assert (told.returncode, "the state directory was left as it is" in told.stdout) == (0, True)


def test_without_a_version_before_there_is_no_way_back(home: Home) -> None:
    told = home.do("back")
    assert (told.returncode, told.stderr) == (4, "edge-agent-version: there is no version to go back to\n")
    assert home.runs() == "1-a"


def test_an_unknown_word_is_refused(home: Home) -> None:
    assert home.do("forward").returncode == 2
    assert home.runs() == "1-a"
