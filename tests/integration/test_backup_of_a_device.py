"""A device is lost, and a new one goes on where it was: the same verdicts, counts, labels and floors."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from edge_agent.capture.labels import Labels
from edge_agent.formats import InspectedFrame
from edge_agent.trust.floors import FloorFiles, Floors
from tests.fakes.device import PATIENCE_S, AgentDevice
from tests.fakes.repository import SignedRepository
from tests.fakes.signed import publish_versions
from tests.fakes.tiny_models import BRIGHT, GREY, grey_picture
from tests.pages import ROOT, blocks

MODEL = "img-classification"
# What a package brings: nothing is set.
FRESH = "# [device]\n# thing = ...\n"
GREYS = (GREY, 120, 128, 136, BRIGHT)


class Lost(NamedTuple):
    """The old device: what it said last, its backups, and its repository."""

    home: Path
    frames: tuple[InspectedFrame, ...]
    label: str
    repository: Path


def verb(device: AgentDevice, *words: object, code: int = 0) -> str:
    """Run a verb of the device as a person does; return all that it says."""
    places = ("--config", device.config, "--state-dir", device.state_dir, "--runtime-dir", device.runtime_dir)
    command = [sys.executable, "-m", "edge_agent", *map(str, (*places, *words))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=device.environment)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def said(device: AgentDevice) -> tuple[InspectedFrame, ...]:
    return tuple(device.inspect(grey_picture(value)) for value in GREYS)


def verdicts(frames: tuple[InspectedFrame, ...]) -> list[tuple[object, ...]]:
    return [(f.verdict, *((r.model, r.version, r.verdict, r.score, r.threshold) for r in f.results)) for f in frames]


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Lost:
    home = tmp_path_factory.mktemp("lost")
    repository = SignedRepository(home / "cloud", now=time.time())
    publish_versions(repository, (MODEL, "1"), (MODEL, "2"))
    settings = {
        "device": {"thing": "press-4"},
        "repository": {"url": repository.directory.as_uri()},
        "trust": {"root": repository.root, "allow_demo_root": True},
        "capture": {"policy": "all"},
        "inspection": {"ng_frames": "2/3"},
    }
    device = AgentDevice(home, settings)
    device.start()
    try:
        for version in ("1", "2"):
            assert device.install((MODEL, version)).state == "COMMITTED"
        verb(device, "configure", MODEL, "--threshold", "0.62", "--reason", "scratches that pass")
        frames = said(device)
        (capture, *_) = json.loads(verb(device, "captures", "--json"))
        verb(device, "captures", "label", capture["id"], "NG")
        # Beside an agent that runs.
        told = verb(device, "backup", home / "small.backup")
        assert "press-4" in told
    finally:
        assert device.stop() == 0
    verb(device, "backup", home / "whole.backup", "--with-models")
    return Lost(home, frames, capture["id"], repository.directory)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[AgentDevice]:
    """Return a device on which nothing was done yet."""
    device = AgentDevice(tmp_path, {})
    device.config.write_text(FRESH)
    yield device
    if device.process is not None:
        assert device.stop() == 0


def test_a_fresh_device_fetches_its_models_and_says_what_the_lost_one_said(lost: Lost, fresh: AgentDevice) -> None:
    told = verb(fresh, "restore", lost.home / "small.backup")
    assert "config.toml.before-restore" in told
    assert (fresh.config.parent / "config.toml.before-restore").read_text() == FRESH
    labels = Labels(fresh.state_dir / "captures/labels.db")
    assert labels.of([lost.label])[lost.label].label == "NG"
    labels.close()
    fresh.start()
    fresh.wait_for(lambda status: [model.state for model in status.models if model.name == MODEL] == ["READY"])
    status = fresh.status()
    assert status.agent.thing == "press-4"
    assert next(model.previous for model in status.models if model.name == MODEL) == "1"
    assert verdicts(said(fresh)) == verdicts(lost.frames)
    assert verb(fresh, "answers").count(" ok ") == 1
    (shift, *_) = json.loads(verb(fresh, "shifts", "--json"))
    assert sum(shift["counts"].values()) == 2 * len(GREYS)
    assert len(json.loads(verb(fresh, "deployments", "--json"))) == 3
    verb(fresh, "audit", "verify")
    # Without a network, as on the old one.
    assert "1" in verb(fresh, "rollback", MODEL, "--reason", "the new one is too strict")


def test_with_its_models_a_fresh_device_needs_no_repository(lost: Lost, fresh: AgentDevice, tmp_path: Path) -> None:
    aside = lost.repository.rename(lost.repository.with_name("away"))
    try:
        verb(fresh, "restore", lost.home / "whole.backup")
        fresh.start()
        assert verdicts(said(fresh)) == verdicts(lost.frames)
    finally:
        aside.rename(lost.repository)


def test_another_devices_backup_is_refused_unless_told_and_brings_no_identity(lost: Lost, fresh: AgentDevice) -> None:
    fresh.config.write_text('[device]\nthing = "press-5"\n')
    before = sorted(fresh.state_dir.rglob("*"))
    told = verb(fresh, "restore", lost.home / "small.backup", code=4)
    assert "expected a backup of press-5, which this device is, came one of press-4" in told
    assert [path for path in sorted(fresh.state_dir.rglob("*")) if path.name != "lock"] == before
    verb(fresh, "restore", lost.home / "small.backup", "--other-device")
    assert fresh.config.read_text() == '[device]\nthing = "press-5"\n'
    assert fresh.generation() == {MODEL: "2"}


def test_what_was_revoked_since_stays_revoked_and_the_configuration_as_it_was(lost: Lost, fresh: AgentDevice) -> None:
    (fresh.state_dir / "trust").mkdir()
    FloorFiles(fresh.state_dir / "trust").save(Floors(serial=1, models={MODEL: 99}))
    told = verb(fresh, "restore", lost.home / "whole.backup", code=1)
    assert "BELOW_FLOOR" in told
    assert fresh.config.read_text() == FRESH
    assert fresh.generation() == {}


def test_a_restore_waits_for_no_agent_and_a_backup_overwrites_nothing(lost: Lost, fresh: AgentDevice) -> None:
    fresh.start()
    assert "STORE_LOCKED" in verb(fresh, "restore", lost.home / "small.backup", code=4)
    kept = (lost.home / "small.backup").read_bytes()
    assert "expected the name of a new file" in verb(fresh, "backup", lost.home / "small.backup", code=4)
    assert (lost.home / "small.backup").read_bytes() == kept
    cut = fresh.config.parent / "cut.backup"
    cut.write_bytes(kept[: len(kept) // 2])
    assert fresh.stop() == 0
    assert "expected a whole backup of edge-agent: " in verb(fresh, "restore", cut, code=1)
    assert (fresh.config.read_text(), fresh.generation()) == (FRESH, {})
    # An agent that has run here and was given no model is as good as a fresh one.
    verb(fresh, "restore", lost.home / "small.backup")
    assert fresh.generation() == {MODEL: "2"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands files to others")
def test_what_root_restores_belongs_to_the_state_directorys_owner(lost: Lost, fresh: AgentDevice) -> None:
    os.chown(fresh.state_dir, 65534, 65534)
    # What root alone may read is read before.
    (lost.home / "whole.backup").chmod(0o600)
    for directory in (fresh.state_dir.parent, *fresh.state_dir.parent.parents):
        directory.chmod(directory.stat().st_mode | 0o011)
    verb(fresh, "restore", lost.home / "whole.backup")
    owners = {path.lstat().st_uid for path in fresh.state_dir.rglob("*")}
    assert owners == {65534}
    copy = fresh.config.parent / "copy.backup"
    verb(fresh, "backup", copy)
    assert copy.stat().st_uid == 0
    assert {path.lstat().st_uid for path in fresh.state_dir.rglob("*")} == {65534}


def test_the_page_tells_it_as_it_is(lost: Lost, fresh: AgentDevice, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "edge-agent"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m edge_agent "$@"\n')
    program.chmod(0o755)
    places = {
        "EDGE_AGENT_CONFIG": str(fresh.config),
        "EDGE_AGENT_STATE_DIR": str(fresh.state_dir),
        "EDGE_AGENT_RUNTIME_DIR": str(fresh.runtime_dir),
        "PATH": f"{program.parent}:/usr/bin:/bin",
    }
    shutil.copytree(lost.home / "state", fresh.state_dir, dirs_exist_ok=True, symlinks=True)
    for block in blocks(ROOT / "docs" / "backup.md"):
        done = subprocess.run(
            ["sh", "-ec", block],
            cwd=tmp_path,
            env=fresh.environment | places,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert fresh.generation() == {MODEL: "2"}
