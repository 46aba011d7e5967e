"""The units as systemd itself judges them: nothing unknown, little exposed, and the promises kept."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_agent.cli.app import EXITS
from edge_agent.errors import Code
from edge_agent.formats import ModelsConfig, parse

ROOT = Path(__file__).parents[2]
DIRECTORY = ROOT / "systemd"
UNITS = sorted(DIRECTORY.glob("*.service"))
EXPOSURE_LIMIT = 2.0


@pytest.fixture(scope="module", autouse=True)
def systemd() -> None:
    if shutil.which("systemd-analyze") is None:
        message = "systemd-analyze is not installed (Debian package systemd): units are not checked"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


def analyse(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0", "LC_ALL": "C.UTF-8"}
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False, env=environment)


def complaints(unit: Path) -> list[str]:
    return [line for line in analyse("verify", str(unit)).stderr.splitlines() if "is not executable" not in line]


def read(unit: Path) -> dict[str, list[str]]:
    """Return the [Service] table; a key may stand more than once."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", unit.read_text().partition("[Service]")[2], re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def test_there_are_three_units() -> None:
    assert [unit.name for unit in UNITS] == [
        "edge-agent-dashboard.service",
        "edge-agent-station.service",
        "edge-agent.service",
    ]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_has_nothing_to_say_against_a_unit(unit: Path) -> None:
    assert complaints(unit) == []


def test_an_unknown_key_would_be_noticed(tmp_path: Path) -> None:
    broken = tmp_path / "edge-agent.service"
    broken.write_text((DIRECTORY / "edge-agent.service").read_text().replace("WatchdogSec=", "WatchdogSek="))
    assert any("WatchdogSek" in line for line in complaints(broken))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_exposes_little(unit: Path) -> None:
    answer = analyse("security", "--offline=true", "--no-pager", str(unit))
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", answer.stdout)
    assert found is not None, answer.stdout + answer.stderr
    assert float(found[1]) <= EXPOSURE_LIMIT


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_notifies_is_watched_and_does_not_loop_on_a_wrong_configuration(unit: Path) -> None:
    keys = read(unit)
    assert keys["Type"] == ["notify"]
    assert int(keys["WatchdogSec"][0]) > 0
    assert keys["Restart"] == ["always"]
    assert "78" in keys["RestartPreventExitStatus"][0].split()


def test_a_second_agent_on_the_same_directory_is_not_started_every_second() -> None:
    codes = read(DIRECTORY / "edge-agent.service")["RestartPreventExitStatus"][0].split()
    assert str(EXITS[Code.STORE_LOCKED]) in codes


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_runtimes_may_compile_and_devices_stay_reachable(unit: Path) -> None:
    keys = read(unit)
    assert keys.get("MemoryDenyWriteExecute", ["no"]) == ["no"]
    assert keys.get("PrivateDevices", ["no"]) == ["no"]


def test_a_worker_out_of_memory_does_not_stop_the_agent() -> None:
    assert read(DIRECTORY / "edge-agent.service")["OOMPolicy"] == ["continue"]


def test_agent_and_station_keep_their_devices_open() -> None:
    for name in ("edge-agent", "edge-agent-station"):
        # It implies DeviceAllow= for the clock, which closes every other device.
        assert "ProtectClock" not in read(DIRECTORY / f"{name}.service")


def test_the_station_reaches_cameras_of_the_machine_and_of_the_network() -> None:
    keys = read(DIRECTORY / "edge-agent-station.service")
    assert keys["SupplementaryGroups"] == ["video"]
    assert {"AF_INET", "AF_INET6", "AF_NETLINK"} <= set(keys["RestrictAddressFamilies"][0].split())
    # The rule gives USB3 Vision cameras to that group.
    assert 'GROUP="video"' in (DIRECTORY / "edge-agent-cameras.rules").read_text()


def test_only_who_operates_belongs_to_the_admin_group() -> None:
    groups = {unit.stem: read(unit) for unit in UNITS}
    assert {name: keys["Group"] for name, keys in groups.items()} == {name: ["edge-agent"] for name in groups}
    admin = [name for name, keys in groups.items() if "edge-agent-admin" in keys.get("SupplementaryGroups", [])]
    assert admin == ["edge-agent-dashboard", "edge-agent"]


def test_the_package_tries_new_versions_by_a_drop_in_that_fits_the_unit(tmp_path: Path) -> None:
    shutil.copy(DIRECTORY / "edge-agent.service", tmp_path)
    drop_in = tmp_path / "edge-agent.service.d" / "upgrade.conf"
    drop_in.parent.mkdir()
    shutil.copy(ROOT / "packaging/deb/upgrade.conf", drop_in)
    assert complaints(tmp_path / "edge-agent.service") == []
    drop_in.write_text(drop_in.read_text().replace("ExecStopPost", "ExecStopPast"))
    assert any("ExecStopPast" in line for line in complaints(tmp_path / "edge-agent.service"))


@pytest.mark.skipif(os.geteuid() != 0, reason="systemd-sysusers makes users for root only")
def test_users_and_groups_of_all_units_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    users = DIRECTORY / "edge-agent.sysusers"
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", str(users)], capture_output=True, check=True)
    passwd = {line.split(":")[0] for line in (tmp_path / "etc/passwd").read_text().splitlines()}
    group = {line.split(":")[0] for line in (tmp_path / "etc/group").read_text().splitlines()}
    for unit in UNITS:
        keys = read(unit)
        assert keys["User"][0] in passwd
        assert {keys["Group"][0], *keys.get("SupplementaryGroups", [])} <= group


def test_the_models_config_at_the_top_is_the_one_that_agents_start_from() -> None:
    config = parse(ModelsConfig, (ROOT / "models_config.json").read_bytes(), what="models_config.json")
    assert config.mappings == {
        "image-classification-app": "img-classification",
        "image-segmentation-app": "unet",
        "anomaly-detection-app": "anomaly",
    }
    assert config.models == ()
    assert config.unknown_keys == ()
