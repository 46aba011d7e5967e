"""The local AWS: on loopback only, keeps its state, says when it lost it, ends no stranger."""

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cloud_tools.aws import Aws
from cloud_tools.errors import CloudError
from cloud_tools.local import Endpoints, LocalCloud, aws_environment, process
from cloud_tools.local.launcher import refuse_other_interfaces
from cloud_tools.provision.bucket import create_bucket
from cloud_tools.provision.device import provision_device
from cloud_tools.provision.fragment import Mqtt, Wishes
from cloud_tools.provision.listing import show_device
from edge_agent.errors import Code

IDLE = [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"]


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    cloud = LocalCloud(tmp_path / "cloud")
    yield cloud
    cloud.stop()


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(IDLE, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as idle:
        assert idle.stdout is not None
        assert idle.stdout.readline() == b"up\n"
        yield idle


def kill(cloud: LocalCloud) -> None:
    pid = cloud.status().pid
    assert pid is not None
    ended = psutil.Process(pid)
    os.kill(pid, signal.SIGKILL)
    ended.wait(30)


def listening(pid: int) -> set[tuple[str, int]]:
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    found = [connection for one in family for connection in one.net_connections(kind="inet")]
    return {tuple(one.laddr) for one in found if one.status == psutil.CONN_LISTEN or one.type == socket.SOCK_DGRAM}


def provision(endpoints: Endpoints, thing: str, directory: Path) -> str:
    wishes = Wishes(Mqtt(endpoints.mqtt_host, endpoints.mqtt_port, endpoints.ca_pem.read_text()))
    return provision_device(Aws(aws_environment(endpoints)), thing, directory, wishes=wishes).certificate_id


def test_every_socket_is_on_loopback_and_the_ports_are_those_that_were_told(cloud: LocalCloud) -> None:
    endpoints = cloud.start()
    status = cloud.status()
    assert status.running
    assert status.pid is not None
    gateway = int(endpoints.gateway_url.rpartition(":")[2])
    assert listening(status.pid) == {("127.0.0.1", gateway), ("127.0.0.1", endpoints.mqtt_port)}


def test_after_a_reset_mqtt_listens_on_loopback_again(cloud: LocalCloud) -> None:
    endpoints = cloud.start()
    request = urllib.request.Request(f"{endpoints.gateway_url}/_ministack/reset", method="POST")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30).close()
    with socket.create_connection((endpoints.mqtt_host, endpoints.mqtt_port), timeout=30):
        pid = cloud.status().pid
    assert pid is not None
    assert {host for host, _port in listening(pid)} == {"127.0.0.1"}


@pytest.mark.parametrize("address", [("0.0.0.0", 1), ("", 1), ("::", 1), ("192.0.2.1", 1), ("example.org", 1)])
def test_a_bind_beyond_loopback_is_refused(address: tuple[str, int]) -> None:
    with pytest.raises(PermissionError, match="loopback"):
        refuse_other_interfaces("socket.bind", (None, address))


@pytest.mark.parametrize("address", [("127.0.0.1", 1), ("::1", 1, 0, 0), ("localhost", 1), "/run/some.sock"])
def test_a_bind_to_loopback_or_a_unix_socket_is_not(address: object) -> None:
    refuse_other_interfaces("socket.bind", (None, address))


def test_state_objects_and_ports_survive_a_graceful_stop(cloud: LocalCloud, tmp_path: Path) -> None:
    first = cloud.start()
    assert first.fresh
    aws = Aws(aws_environment(first))
    certificate = provision(first, "line-1", tmp_path / "device")
    create_bucket(aws, "releases")
    aws.call("s3", "put_object", Bucket="releases", Key="a/b", Body=b"content")
    assert cloud.stop()
    assert not cloud.status().running
    second = cloud.start()
    assert second == first._replace(fresh=False, message="")
    aws = Aws(aws_environment(second))
    assert show_device(aws, "line-1")["certificates"] == [{"id": certificate, "status": "ACTIVE"}]
    assert aws.call("s3", "get_object", Bucket="releases", Key="a/b")["Body"].read() == b"content"


def test_a_killed_run_is_reported_and_a_device_can_be_provisioned_again_with_its_key(
    cloud: LocalCloud, tmp_path: Path
) -> None:
    first = cloud.start()
    lost = provision(first, "line-1", tmp_path / "device")
    key = (tmp_path / "device" / "private.key").read_bytes()
    kill(cloud)
    assert "killed" in cloud.status().message
    second = cloud.start()
    assert second.fresh
    assert "lost" in second.message
    with pytest.raises(CloudError) as caught:
        show_device(Aws(aws_environment(second)), "line-1")
    assert caught.value.code is Code.NOT_FOUND
    assert provision(second, "line-1", tmp_path / "device") != lost
    assert (tmp_path / "device" / "private.key").read_bytes() == key
    assert (tmp_path / "device" / "ca.pem").read_bytes() == second.ca_pem.read_bytes()


def test_a_run_that_was_killed_after_an_earlier_save_is_still_reported(cloud: LocalCloud) -> None:
    cloud.start()
    cloud.stop()
    assert not cloud.start().fresh
    kill(cloud)
    assert cloud.start().fresh
    cloud.stop()
    assert not cloud.start().fresh


def test_a_start_that_fails_does_not_hide_that_the_last_run_was_killed(cloud: LocalCloud) -> None:
    cloud.start()
    cloud.stop()
    cloud.start()
    kill(cloud)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(CloudError):
            cloud.start(mqtt_port=taken.getsockname()[1])
    assert cloud.start().fresh


def test_starting_what_runs_answers_where_it_runs(cloud: LocalCloud) -> None:
    first = cloud.start()
    pid = cloud.status().pid
    again = LocalCloud(cloud.directory).start()
    assert again == first._replace(fresh=False, message="")
    assert cloud.status().pid == pid
    with pytest.raises(CloudError) as caught:
        cloud.start(mqtt_port=1)
    assert caught.value.code is Code.ALREADY_EXISTS
    assert cloud.status().pid == pid


def test_two_starters_at_once_start_one(cloud: LocalCloud) -> None:
    answers: list[Endpoints] = []
    others = [LocalCloud(cloud.directory) for _ in range(2)]
    threads = [threading.Thread(target=lambda one=one: answers.append(one.start())) for one in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(answers) == 2
    assert len({(one.gateway_url, one.mqtt_port) for one in answers}) == 1
    starter = next(one for one in others if one._child is not None)
    assert starter.stop()


def test_stop_and_start_never_touch_a_stranger_with_the_same_process_id(
    cloud: LocalCloud, stranger: subprocess.Popen[bytes]
) -> None:
    cloud.start()
    record = process.read(cloud.directory / "process.json")
    assert record is not None
    kill(cloud)
    mistaken = record._replace(pid=stranger.pid)
    (cloud.directory / "process.json").write_text(process.to_json(mistaken))
    assert not cloud.status().running
    assert not cloud.stop()
    assert cloud.start().fresh
    assert stranger.poll() is None
    assert process.terminate(mistaken, 5)
    assert stranger.poll() is None


def test_terminate_ends_exactly_the_process_that_was_recorded(stranger: subprocess.Popen[bytes]) -> None:
    started = process.started_at(stranger.pid)
    assert started is not None
    assert process.terminate(process.ProcessRecord(stranger.pid, started, process.boot_id(), 1, 2), 30)
    assert stranger.wait(30) == -signal.SIGTERM
    assert process.started_at(stranger.pid) is None


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"pid": 1}', '"text"', '{"pid":"x","started":1,"boot":"","a":1}'])
def test_a_torn_process_file_reads_as_not_running_and_killed(cloud: LocalCloud, torn: str) -> None:
    cloud.directory.mkdir()
    (cloud.directory / "process.json").write_text(torn)
    assert not cloud.status().running
    assert not cloud.stop()
    assert cloud.start().fresh


def test_a_taken_port_is_named_and_nothing_is_started(cloud: LocalCloud) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CloudError, match=str(port)) as caught:
            cloud.start(gateway_port=port)
    assert caught.value.code is Code.ALREADY_EXISTS
    assert not cloud.status().running
    assert cloud.start(gateway_port=port).gateway_url.endswith(f":{port}")


@pytest.mark.parametrize("port", [-1, 65_536])
def test_an_impossible_port_is_refused(cloud: LocalCloud, port: int) -> None:
    with pytest.raises(CloudError) as caught:
        cloud.start(mqtt_port=port)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert not cloud.directory.exists()


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CloudError) as caught:
        LocalCloud(tmp_path / "file" / "cloud").start()
    assert caught.value.code is Code.STORAGE_FAILED


def test_the_state_is_readable_by_its_owner_only(cloud: LocalCloud) -> None:
    cloud.start()
    assert stat.S_IMODE(cloud.directory.stat().st_mode) == 0o700
