"""Real agents in the middle of a download: killed, lied to, robbed of their stick."""

import hashlib
import json
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloud_tools.release.publish import publish, read_bundle
from edge_agent.formats import DeploymentReport, ModelVersion
from tests.fakes.device import AgentDevice, eventually
from tests.fakes.repository import SignedRepository
from tests.fakes.tiny_models import GREY, grey_picture, write_version
from tests.fakes.transfer_peer import Fault, TransferPeer, transfer_peer

MODEL = "img-classification"
MIB = 1 << 20
BALLAST = random.Random(7).randbytes(9 * MIB + 5)
BALLAST_SHA256 = hashlib.sha256(BALLAST).hexdigest()
BLOB = f"/blobs/sha256/{BALLAST_SHA256}"


@pytest.fixture
def repository(tmp_path: Path) -> SignedRepository:
    """Version 1, small, and version 2, with a file of several ranges."""
    repository = SignedRepository(tmp_path / "cloud", now=time.time())
    bundles = []
    for version in ("1", "2"):
        bundle = repository.home / "bundles" / version
        write_version(bundle, name=MODEL, version=version, bias=0.25 * int(version))
        if version == "2":
            _add_ballast(bundle)
        bundles.append(read_bundle(bundle))
    publish(repository.open(), bundles)
    return repository


def _add_ballast(bundle: Path) -> None:
    (bundle / "notes.txt").write_bytes(BALLAST)
    manifest = json.loads((bundle / "manifest.json").read_text())
    entry = {"path": "notes.txt", "role": "extra", "size_bytes": len(BALLAST), "sha256": BALLAST_SHA256}
    manifest["artefacts"].append(entry)
    (bundle / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def peer(repository: SignedRepository) -> Iterator[TransferPeer]:
    with transfer_peer() as peer:
        peer.offer_directory(repository.directory)
        yield peer


@contextmanager
def _running(directory: Path, repository: SignedRepository, url: str, **limits: object) -> Iterator[AgentDevice]:
    """Yield a device with version 1 committed."""
    rooms = {
        "repository": {"url": url},
        "trust": {"root": repository.root, "allow_demo_root": True},
        "deployment": {"reserve_bytes": 0, **limits},
    }
    device = AgentDevice(directory / "device", rooms)
    try:
        device.start()
        report = device.install((MODEL, "1"))
        assert report.state == "COMMITTED", f"{report.code}: {report.message}"
        yield device
        assert device.stop() == 0
    finally:
        if device.process is not None:  # a failed test leaves nobody behind
            device.kill()


@pytest.fixture
def device(tmp_path: Path, repository: SignedRepository, peer: TransferPeer) -> Iterator[AgentDevice]:
    with _running(tmp_path, repository, peer.url) as device:
        yield device


def _begin(device: AgentDevice) -> str:
    with device.client() as client:
        return client.install([ModelVersion(MODEL, "2")])


def _end(device: AgentDevice, identity: str) -> DeploymentReport:
    return device.wait_for_deployment(lambda report: report.id == identity and report.ended is not None)


def _partial(device: AgentDevice) -> Path:
    return device.state_dir / "partial" / BALLAST_SHA256


def test_killed_twice_in_the_middle_of_a_blob_only_the_missing_bytes_are_fetched(
    device: AgentDevice, peer: TransferPeer
) -> None:
    kept = 0
    identity = ""
    for _ in range(2):
        peer.stalled.clear()
        peer.misbehave_at(BLOB, Fault(), Fault(stall=MIB))
        if identity:
            device.start()
        else:
            identity = _begin(device)
        assert peer.stalled.wait(60)
        process = device.process
        assert process is not None
        device.kill()
        assert process.returncode == -signal.SIGKILL
        asked = peer.fetched(BLOB)
        assert _partial(device).stat().st_size >= kept + 4 * MIB
        assert BALLAST.startswith(_partial(device).read_bytes())
        kept = _partial(device).stat().st_size
    device.start()
    assert _end(device, identity).state == "COMMITTED"
    assert peer.faults_left == 0
    later = peer.fetched(BLOB)[len(asked) :]
    assert min(start for start, _ in later) == kept
    assert sum(end - start for start, end in later) == len(BALLAST) - kept
    others = [asked.path for asked in peer.requests if asked.path.startswith("/blobs/") and asked.path != BLOB]
    assert len(others) == len(set(others)), "a blob that was in the store was fetched again"
    assert device.inspect(grey_picture(GREY)).results[0].version == "2"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(flip=True), "DIGEST_MISMATCH"),
        (Fault(status=403), "ACCESS_DENIED"),
        (Fault(status=404), "OBJECT_MISSING"),
    ],
    ids=["flipped byte", "403", "404"],
)
def test_bytes_that_are_wrong_or_refused_fail_the_deployment_and_the_line_goes_on(
    device: AgentDevice, peer: TransferPeer, fault: Fault, code: str
) -> None:
    peer.misbehave_at(BLOB, *[fault] * 3)
    report = _end(device, _begin(device))
    assert peer.faults_left < 3
    assert (report.state, report.code) == ("FAILED", code)
    assert device.generation() == {MODEL: "1"}
    assert device.inspect(grey_picture(GREY)).results[0].version == "1"
    if code == "DIGEST_MISMATCH":
        assert not _partial(device).exists()
        assert not (device.state_dir / "blobs" / BALLAST_SHA256).exists()


def test_a_stick_pulled_out_in_the_middle_and_put_back_installs_the_same_verified_bytes(
    tmp_path: Path, repository: SignedRepository
) -> None:
    stick, pocket = repository.directory, tmp_path / "pocket"
    with _running(tmp_path, repository, stick.as_uri(), bandwidth_bytes_per_s=MIB) as device:
        identity = _begin(device)
        eventually(lambda: (_partial(device).exists() and _partial(device).stat().st_size > MIB) or None)
        stick.rename(pocket)
        eventually(lambda: ("is not there" in device.log.read_text()) or None, lambda: device.log.read_text()[-2000:])
        assert 0 < _partial(device).stat().st_size < len(BALLAST)
        pocket.rename(stick)
        assert _end(device, identity).state == "COMMITTED"
        assert (device.state_dir / "blobs" / BALLAST_SHA256).read_bytes() == BALLAST


def test_a_storm_that_outlasts_the_deadline_fails_the_deployment_and_says_why(
    device: AgentDevice, peer: TransferPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert device.stop() == 0
    monkeypatch.setenv("EDGE_AGENT__DEPLOYMENT__DEADLINE_S", "12")
    device.start()
    storm = [Fault(status=503)] * 10_000
    peer.misbehave_at(BLOB, *storm)
    report = _end(device, _begin(device))
    assert peer.faults_left < len(storm)
    assert (report.state, report.code) == ("FAILED", "DEADLINE_EXCEEDED")
    assert "503" in report.message
    assert device.inspect(grey_picture(GREY)).results[0].version == "1"


def test_a_server_that_trickles_is_dropped_by_the_floor_of_the_settings_and_the_release_still_comes(
    device: AgentDevice, peer: TransferPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert device.stop() == 0
    monkeypatch.setenv("EDGE_AGENT__DEPLOYMENT__SLOWEST_BYTES_PER_S", "10000")
    monkeypatch.setenv("EDGE_AGENT__DEPLOYMENT__SLOWEST_WINDOW_S", "1")
    device.start()
    peer.misbehave_at(BLOB, Fault(trickle_s=0.05))
    assert _end(device, _begin(device)).state == "COMMITTED"
    assert peer.faults_left == 0
    assert "expected at least 10000 bytes/s" in device.log.read_text()
