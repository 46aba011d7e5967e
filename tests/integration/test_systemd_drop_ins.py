"""What is added to the units for some devices, and the signing host's timer, as systemd itself judges them."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.repository import PASSPHRASE
from tests.integration.test_systemd_units import DIRECTORY, EXPOSURE_LIMIT, analyse, complaints, read
from tests.integration.test_systemd_units import systemd as systemd  # noqa: PLC0414 - a fixture, taken over

UNIT_OF = {
    "cameras.conf": "edge-agent-station",
    "gpu.conf": "edge-agent",
    "legacy-sockets.conf": "edge-agent",
    "plc.conf": "edge-agent-station",
    "tpm.conf": "edge-agent",
}
# Why stands in the file itself.
EXPOSED = {"legacy-sockets.conf": 2.4}
SIGNING_HOST = DIRECTORY / "signing-host"
REFRESH = SIGNING_HOST / "edge-cloud-refresh.service"


@pytest.fixture(params=UNIT_OF)
def drop_in(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a drop-in, installed beside its unit."""
    unit = UNIT_OF[request.param]
    shutil.copy(DIRECTORY / f"{unit}.service", tmp_path)
    installed = tmp_path / f"{unit}.service.d" / request.param
    installed.parent.mkdir()
    shutil.copy(DIRECTORY / request.param, installed)
    return installed


def unit_of(drop_in: Path) -> Path:
    return drop_in.parent.with_suffix("")


def exposure(unit: Path) -> float:
    answer = analyse("security", "--offline=true", "--no-pager", str(unit))
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", answer.stdout)
    assert found is not None, answer.stdout + answer.stderr
    return float(found[1])


def test_every_drop_in_is_known() -> None:
    assert sorted(path.name for path in DIRECTORY.glob("*.conf")) == sorted(UNIT_OF)


def test_a_drop_in_says_where_it_is_installed(drop_in: Path) -> None:
    assert f"/etc/systemd/system/{drop_in.parent.name}/{drop_in.name}" in drop_in.read_text()


def test_systemd_has_nothing_to_say_against_a_unit_with_a_drop_in(drop_in: Path) -> None:
    assert complaints(unit_of(drop_in)) == []


def test_an_unknown_key_of_a_drop_in_would_be_noticed(drop_in: Path) -> None:
    text = drop_in.read_text()
    drop_in.write_text(text.replace("[Service]\n", "[Service]\nPrivateTemp=no\n"))
    assert any("PrivateTemp" in line for line in complaints(unit_of(drop_in)))


def test_a_unit_with_a_drop_in_exposes_little(drop_in: Path, capsys: pytest.CaptureFixture[str]) -> None:
    allowed = EXPOSED.get(drop_in.name, EXPOSURE_LIMIT)
    came = exposure(unit_of(drop_in))
    with capsys.disabled():
        print(f"\n{unit_of(drop_in).name} with {drop_in.name}: exposure {came}, {allowed} is allowed")  # noqa: T201
    assert came <= allowed
    assert drop_in.name not in EXPOSED or str(allowed) in drop_in.read_text()


def test_what_would_take_exposure_back_is_as_the_drop_in_says(tmp_path: Path) -> None:
    shutil.copy(DIRECTORY / "edge-agent.service", tmp_path)
    installed = tmp_path / "edge-agent.service.d" / "legacy-sockets.conf"
    installed.parent.mkdir()
    text = (DIRECTORY / "legacy-sockets.conf").read_text()
    closed = f"{text}DevicePolicy=closed\nProtectClock=yes\n"
    installed.write_text(closed)
    assert exposure(tmp_path / "edge-agent.service") == 2.2
    installed.write_text(re.sub(r"^.*CAP_IPC_OWNER\n", "", closed, flags=re.MULTILINE))
    assert exposure(tmp_path / "edge-agent.service") == 1.9


def test_a_plc_needs_no_device_that_cameras_do_not() -> None:
    plc, cameras = (read(DIRECTORY / f"{name}.conf") for name in ("plc", "cameras"))
    assert plc["DevicePolicy"] == cameras["DevicePolicy"]
    assert plc["DeviceAllow"] == cameras["DeviceAllow"]


def test_a_fault_that_repeats_itself_does_not_fill_the_journal() -> None:
    for unit in DIRECTORY.glob("*.service"):
        keys = read(unit)
        assert keys["LogRateLimitIntervalSec"] == ["10s"]
        assert keys["LogRateLimitBurst"] == ["1000"]


@pytest.mark.parametrize("name", ["edge-cloud-refresh.service", "edge-cloud-refresh.timer"])
def test_systemd_has_nothing_to_say_against_the_signing_hosts_units(name: str) -> None:
    assert complaints(SIGNING_HOST / name) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="systemd-sysusers makes users for root only")
def test_the_user_of_the_signing_host_is_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    users = SIGNING_HOST / "edge-cloud.sysusers"
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", str(users)], capture_output=True, check=True)
    assert read(REFRESH)["User"] == ["edge-cloud"]
    assert "edge-cloud:" in (tmp_path / "etc" / "passwd").read_text()


def test_the_signing_hosts_unit_exposes_little() -> None:
    assert exposure(REFRESH) <= EXPOSURE_LIMIT


def test_the_timer_fires_each_night_and_makes_up_for_one_without_power() -> None:
    timer = (SIGNING_HOST / "edge-cloud-refresh.timer").read_text()
    (calendar,) = re.findall(r"^OnCalendar=(.+)$", timer, re.MULTILINE)
    assert "Next elapse" in analyse("calendar", calendar).stdout
    assert "Persistent=yes" in timer


def test_what_the_timer_starts_renews_a_repository_with_encrypted_keys(tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    edge_cloud = [sys.executable, "-m", "cloud_tools.cli"]
    environment = os.environ | {
        "EDGE_CLOUD_REPO": str(tmp_path / "releases"),
        "EDGE_CLOUD_KEYS": str(tmp_path / "keys"),
        "EDGE_CLOUD_PASSPHRASE_FILE": str(tmp_path / "passphrase"),
    }
    told = {name for word in read(REFRESH)["Environment"][0].split() for name in [word.partition("=")[0]]}
    assert told < set(environment), "the unit tells the program by the same names"
    sticks = ["--root-keys", str(tmp_path / "s1"), "--root-keys", str(tmp_path / "s2")]
    made = [*edge_cloud, "repo", "init", environment["EDGE_CLOUD_REPO"], *sticks, "--root-keys", str(tmp_path / "s3")]
    subprocess.run(made, env=environment, capture_output=True, check=True)
    for key in (tmp_path / "keys").glob("targets*"):
        key.unlink()
    (command,) = read(REFRESH)["ExecStart"]
    program, *rest = shlex.split(command.replace("${EDGE_CLOUD_REPO}", environment["EDGE_CLOUD_REPO"]))
    assert Path(program).name == "edge-cloud"
    done = subprocess.run([*edge_cloud, *rest], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fresh for 30 days" in done.stdout
