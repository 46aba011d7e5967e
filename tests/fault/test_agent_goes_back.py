"""A new version of the agent that is no good is taken back, and the one before it serves what it served."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from edge_agent.formats import Verdict
from edge_agent.trust.floors import FloorFiles
from tests.fakes.device import PATIENCE_S, ROOT, AgentDevice
from tests.fakes.repository import SignedRepository
from tests.fakes.signed import publish_versions
from tests.fakes.tiny_models import GREY, grey_picture

MODEL = "img-classification"
SCRIPT = ROOT / "packaging/deb/edge-agent-version"
PACKAGE = ROOT / "edge_agent"
Patches = dict[str, tuple[tuple[str, str], ...]]


def newer_layout(migration: str = "os.rename(root / 'generations', root / 'commits')") -> Patches:
    """Return what a later agent might do to the state directory: a layout of which an older one finds nothing."""
    rename = f"def _rename(root: Path) -> None:\n    {migration}\n\n\n"
    return {
        "store/layout.py": (
            ("LAYOUT_VERSION = 2", "import os\n\nLAYOUT_VERSION = 3"),
            ("# Agents of layout 1", f"{rename}# Agents of layout 1"),
            (
                "1: Migration(_begin_sealing)",
                "1: Migration(_begin_sealing), 2: Migration(_rename, ('generations', 'commits'))",
            ),
            ('"versions", "generations", ', '"versions", "commits", '),
        ),
        "store/store.py": (('root / "generations"', 'root / "commits"'),),
    }


def newest_layout() -> Patches:
    """Return what comes after that: one more layout, to which it migrates in two steps."""
    steps = (
        "def _rename(root: Path) -> None:\n    os.rename(root / 'generations', root / 'commits')\n\n\n"
        "def _again(root: Path) -> None:\n    os.rename(root / 'commits', root / 'truth')\n\n\n"
    )
    migrations = "2: Migration(_rename, ('generations', 'commits')), 3: Migration(_again, ('commits', 'truth'))"
    return {
        "store/layout.py": (
            ("LAYOUT_VERSION = 2", "import os\n\nLAYOUT_VERSION = 4"),
            ("# Agents of layout 1", f"{steps}# Agents of layout 1"),
            ("1: Migration(_begin_sealing)", f"1: Migration(_begin_sealing), {migrations}"),
            ('"versions", "generations", ', '"versions", "truth", '),
        ),
        "store/store.py": (('root / "generations"', 'root / "truth"'),),
    }


WRONG_ANSWERS: Patches = {"vision/outcome.py": (("score = calibrate(", "score = 0.5 * calibrate("),)}
NO_ANSWERS: Patches = {"inference/workers/worker.py": (("import ", "raise SystemExit(1)\nimport "),)}
CUT_OFF = "os.rename(root / 'generations', root / 'gone') or os._exit(9)"


class Line(NamedTuple):
    """A device whose agents lie side by side as the package lays them."""

    home: Path
    device: AgentDevice

    def do(self, verb: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run edge-agent-version as the unit's drop-in does."""
        device = self.device
        places = {
            "EDGE_AGENT_CONFIG": str(device.config),
            "EDGE_AGENT_STATE_DIR": str(device.state_dir),
            "EDGE_AGENT_RUNTIME_DIR": str(device.runtime_dir),
        }
        told = device.environment | {"EDGE_AGENT_HOME": str(self.home)} | places | environment
        return subprocess.run([str(SCRIPT), verb], capture_output=True, text=True, check=False, env=told)

    def unpack(self, build: str, patches: Patches | None = None) -> None:
        """Lay a version where dpkg unpacks one: this tree's, with some of its text replaced."""
        package = self.home / "package"
        shutil.rmtree(package, ignore_errors=True)
        shutil.copytree(PACKAGE, package / "lib/edge_agent", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "models_config.json", package / "lib")
        for name, replaced in (patches or {}).items():
            path = package / "lib/edge_agent" / name
            text = path.read_text()
            for old, new in replaced:
                assert old in text, f"{name} no longer says {old!r}"
                text = text.replace(old, new, 1)
            path.write_text(text)
        (package / "build").write_text(f"{build}\n")
        (package / "bin").mkdir()
        launcher = package / "bin/edge-agent"
        launcher.write_text(
            f'#!/bin/sh\nlib=$(dirname "$(readlink -f "$0")")/../lib\ncd "$lib" && '
            f'PYTHONPATH=$PWD exec {ROOT}/.venv/bin/python -m edge_agent "$@"\n'
        )
        launcher.chmod(0o755)

    def take(self, build: str, patches: Patches | None = None) -> None:
        self.unpack(build, patches)
        assert self.do("take").returncode == 0

    def start(self) -> None:
        """Start what is current, as the unit does, up to READY."""
        assert self.do("attempt").returncode == 0
        assert self.do("settle").returncode == 0
        self.device.start(str(self.home / "current/bin/edge-agent"))

    def fails_to_start(self) -> None:
        self.do("attempt")
        self.do("settle")
        self.device.start(str(self.home / "current/bin/edge-agent"), wait=False)
        assert self.device.process is not None
        assert self.device.process.wait(PATIENCE_S) != 0
        self.device.kill()

    def runs(self) -> str:
        return (self.home / "current/build").read_text().strip()

    def layout(self) -> str:
        return (self.device.state_dir / "layout_version").read_text().strip()

    def score(self) -> float:
        """Return what the line is told of a part."""
        frame = self.device.inspect(grey_picture(GREY), "image-classification-app")
        (result,) = frame.results
        assert (result.version, result.message) == ("1", "")
        return result.score


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a state directory in which a model is committed, and the configuration."""
    directory = tmp_path_factory.mktemp("installed")
    repository = SignedRepository(directory / "cloud", now=time.time())
    publish_versions(repository, (MODEL, "1"), (MODEL, "2"))
    settings = {
        "repository": {"url": repository.directory.as_uri()},
        "trust": {"root": repository.root, "allow_demo_root": True},
        "deployment": {"scan_interval_s": 0},
    }
    device = AgentDevice(directory, settings)
    device.start()
    assert device.install((MODEL, "1")).state == "COMMITTED"
    assert device.stop() == 0
    return directory


@pytest.fixture
def line(installed: Path, tmp_path: Path) -> Iterator[Line]:
    shutil.copytree(installed / "state", tmp_path / "state", symlinks=True)
    device = AgentDevice(tmp_path, {}, provisioned=installed / "config.toml")
    (tmp_path / "home").mkdir()
    line = Line(tmp_path / "home", device)
    line.take("1-a")
    yield line
    if device.process is not None:
        device.kill()


def test_a_new_version_that_fails_after_it_migrated_is_taken_back_to_one_that_serves(line: Line) -> None:
    line.take("2-b", newer_layout())
    line.start()
    score = line.score()
    assert (line.runs(), line.layout()) == ("2-b", "3")
    line.device.kill()
    assert line.do("failed", SERVICE_RESULT="watchdog").returncode == 0
    line.start()
    assert (line.runs(), line.layout(), line.score()) == ("1-a", "2", score)
    assert line.do("answers").returncode == 0


def test_a_version_that_was_revoked_meanwhile_keeps_no_agent_from_coming_back(line: Line) -> None:
    line.take("2-b", newer_layout())
    line.start()
    line.device.kill()
    floors = FloorFiles(line.device.state_dir / "trust")
    floors.save(floors.load().model_copy(update={"models": {MODEL: 2}}))
    assert line.do("failed", SERVICE_RESULT="watchdog").returncode == 0
    line.start()
    assert (line.runs(), line.layout()) == ("1-a", "2")
    (result,) = line.device.inspect(grey_picture(GREY), "image-classification-app").results
    assert (result.verdict, result.version) == (Verdict.NO_RESULT, "")
    assert line.do("confirm").returncode == 0
    assert line.device.install((MODEL, "2")).state == "COMMITTED"
    (result,) = line.device.inspect(grey_picture(GREY), "image-classification-app").results
    assert (result.version, result.message) == ("2", "")


def test_a_migration_that_is_cut_off_in_the_middle_leaves_the_version_before_a_directory_to_serve_from(
    line: Line,
) -> None:
    line.take("2-b", newer_layout(CUT_OFF))
    for _ in range(3):
        line.fails_to_start()
    line.start()
    assert (line.runs(), line.layout()) == ("1-a", "2")
    assert line.do("answers").returncode == 0


def test_of_two_versions_that_migrate_within_one_trial_the_second_is_taken_back_to_what_was_proven(line: Line) -> None:
    line.take("2-b", newer_layout())
    line.start()
    score = line.score()
    assert (line.runs(), line.layout()) == ("2-b", "3")
    line.take("3-c", newest_layout())
    line.device.kill()
    line.start()
    assert (line.runs(), line.layout()) == ("3-c", "4")
    line.device.kill()
    assert line.do("failed", SERVICE_RESULT="watchdog").returncode == 0
    line.start()
    assert (line.runs(), line.layout(), line.score()) == ("1-a", "2", score)


def test_who_goes_back_weeks_later_has_the_older_layout_and_may_go_forward_again(line: Line) -> None:
    line.take("2-b", newer_layout())
    line.start()
    score = line.score()
    assert line.do("answers").returncode == 0
    assert line.do("confirm").returncode == 0
    for build, layout in (("1-a", "2"), ("2-b", "3")):
        line.device.stop()
        assert line.do("back").returncode == 0
        line.start()
        assert (line.runs(), line.layout(), line.score()) == (build, layout, score)
        assert line.do("confirm").returncode == 0


@pytest.mark.parametrize(("patches", "told"), [(WRONG_ANSWERS, "expected 0."), (NO_ANSWERS, "came none")])
def test_a_new_version_that_is_ready_and_answers_wrongly_is_no_good(line: Line, patches: Patches, told: str) -> None:
    line.take("2-b", patches)
    line.start()
    answers = line.do("answers")
    assert answers.returncode == 1, answers.stdout
    assert told in answers.stdout
    line.device.kill()
    line.do("failed", SERVICE_RESULT="exit-code")
    assert line.runs() == "1-a"


def test_a_model_that_did_not_answer_before_does_not_condemn_a_new_version(line: Line) -> None:
    (blob,) = (line.device.state_dir / "versions" / MODEL / "1").glob("*.onnx")
    blob.chmod(0o644)
    blob.write_bytes(b"rotten")
    shutil.rmtree(line.device.state_dir / "engines")
    line.start()
    assert line.do("answers").returncode == 0, "nothing is tried"
    line.take("2-b")
    line.device.stop()
    line.start()
    answers = line.do("answers")
    assert answers.returncode == 0, answers.stdout
    assert "  no  " in answers.stdout
