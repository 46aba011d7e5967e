"""A fleet that is not there, on a real broker: every device ends each job once, whatever happens in between."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cloud_tools.aws import Aws
from cloud_tools.cli import main
from cloud_tools.local import Endpoints
from cloud_tools.provision.device import provision_device
from cloud_tools.provision.fragment import Mqtt as Broker
from cloud_tools.provision.fragment import Wishes
from cloud_tools.rollout.jobs import create_job, form_document, read_status
from cloud_tools.simulate.course import TIMES_S, Behaviour
from cloud_tools.simulate.fleet import Fleet, running
from cloud_tools.simulate.front import Front, standing
from cloud_tools.simulate.removal import remove
from cloud_tools.simulate.tally import Tally
from cloud_tools.simulate.things import Place, connection, names
from tests.fakes.dead_line import dead_at
from tests.fakes.jobs_clouds import MosquittoCloud

PATIENCE_S = 120.0
QUICK = dict.fromkeys(TIMES_S, 0.02)


def ended(job_id: str, devices: int) -> Callable[[Tally], bool]:
    return lambda tally: len(tally.ends(job_id)) == devices


def online(devices: int) -> Callable[[Tally], bool]:
    return lambda tally: tally.reachable == devices


@contextmanager
def fleet_on(broker: MosquittoCloud, things: Sequence[str], behaviour: Behaviour) -> Iterator[Tally]:
    settings = broker.new_device()[1]
    with running(Fleet(settings, things, behaviour, connects_per_s=200)) as tally:
        assert tally.wait_for(online(len(things)), PATIENCE_S)
        yield tally


def new_names(devices: int) -> list[str]:
    return names(f"sim-{uuid.uuid4().hex[:6]}", devices)


def install(version: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(form_document("install", [{"name": "unet", "version": version}]).to_json())
    return document


def test_every_device_says_how_its_job_ended_once_and_a_bad_release_fails_as_it_was_told_to(
    broker: MosquittoCloud,
) -> None:
    things = new_names(40)
    behaviour = Behaviour(QUICK, frozenset({"unet-2"}), 0.5, "TRIED", "GOLDEN_MISMATCH", seed=7)
    with fleet_on(broker, things, behaviour) as tally:
        for job_id, version in (("good", "1"), ("bad", "2")):
            broker.responder.operate(
                lambda service, job_id=job_id, version=version: service.create_job(job_id, install(version), *things)
            )
            assert tally.wait_for(ended(job_id, 40), PATIENCE_S)
    assert {end.status for ends in tally.ends("good").values() for end in ends} == {"SUCCEEDED"}
    words = Counter((ends[0].status, ends[0].code) for ends in tally.ends("bad").values())
    assert words.keys() == {("SUCCEEDED", ""), ("FAILED", "GOLDEN_MISMATCH")}
    assert 10 <= words["FAILED", "GOLDEN_MISMATCH"] <= 30
    for thing in things:
        for job_id in ("good", "bad"):
            (end,) = tally.ends(job_id)[thing]
            history = broker.responder.service.executions[thing, job_id].history
            assert [word for word in history if word != "IN_PROGRESS"] == [end.status]


def test_nothing_is_lost_when_the_broker_is_killed_in_the_middle(broker: MosquittoCloud) -> None:
    things = new_names(40)
    # Half of the devices are at work, half are through or have not heard of it when the broker goes.
    times = QUICK | {"DOWNLOADING": 1.0}
    with fleet_on(broker, things, Behaviour(times)) as tally:
        broker.responder.operate(lambda service: service.create_job("cut", install("3"), *things))
        assert tally.wait_for(lambda now: len(now.ends("cut")) >= 5, PATIENCE_S)
        broker.restart()
        assert tally.wait_for(ended("cut", 40), PATIENCE_S)
        counts = tally.counts()
    assert counts["lost"] >= 40
    assert {tuple(end.status for end in ends) for ends in tally.ends("cut").values()} == {("SUCCEEDED",)}
    for thing in things:
        history = broker.responder.service.executions[thing, "cut"].history
        assert history.count("SUCCEEDED") == 1


def test_a_job_that_is_taken_back_ends_on_every_device(broker: MosquittoCloud) -> None:
    things = new_names(10)
    with fleet_on(broker, things, Behaviour(QUICK | {"DOWNLOADING": 600.0})) as tally:
        broker.responder.operate(lambda service: service.create_job("away", install("4"), *things))
        assert tally.wait_for(lambda now: now.standing()["working"] == 10, PATIENCE_S)
        broker.cancel_job("away", force=True)
        assert tally.wait_for(ended("away", 10), PATIENCE_S)
    assert all(len(ends) == 1 for ends in tally.ends("away").values())
    assert {ends[0].status for ends in tally.ends("away").values()} <= {"CANCELED", "TerminalStateReached"}


def test_a_document_that_no_agent_reads_is_refused_by_all(broker: MosquittoCloud) -> None:
    things = new_names(5)
    with fleet_on(broker, things, Behaviour(QUICK)) as tally:
        broker.responder.operate(lambda service: service.create_job("odd", {"schema": "x"}, *things))
        assert tally.wait_for(ended("odd", 5), PATIENCE_S)
    assert {(ends[0].status, ends[0].code) for ends in tally.ends("odd").values()} == {("REJECTED", "DOCUMENT_INVALID")}


def test_the_local_aws_agrees_with_what_the_devices_say(local_cloud: Endpoints, aws: Aws, tmp_path: Path) -> None:
    fleet = f"sim-{uuid.uuid4().hex[:6]}"
    place = Place(f"{local_cloud.mqtt_host}:{local_cloud.mqtt_port}", local_cloud.ca_pem, tmp_path / "identity")
    settings = connection(aws, fleet, 20, place)
    behaviour = Behaviour(QUICK, frozenset({"unet-9"}), 0.5, seed=1)
    with running(Fleet(settings, names(fleet, 20), behaviour, connects_per_s=50)) as tally:
        assert tally.wait_for(online(20), PATIENCE_S)
        job = create_job(aws, form_document("install", [{"name": "unet", "version": "9"}]), [f"group/{fleet}"])
        assert tally.wait_for(ended(job.job_id, 20), PATIENCE_S)
        status = read_status(aws, job.job_id)
    assert status.status == "COMPLETED"
    told = {thing: ends[0].status for thing, ends in tally.ends(job.job_id).items()}
    assert {one.thing: one.status for one in status.executions} == told
    assert set(told.values()) == {"SUCCEEDED", "FAILED"}
    assert {one.code for one in status.executions if one.status == "FAILED"} == {"PROBATION_REGRESSION"}


def test_nothing_is_lost_when_a_mosquitto_before_the_local_aws_is_killed_in_the_middle(
    local_cloud: Endpoints, aws: Aws, tmp_path: Path
) -> None:
    fleet = f"sim-{uuid.uuid4().hex[:6]}"
    place = Place(f"{local_cloud.mqtt_host}:{local_cloud.mqtt_port}", local_cloud.ca_pem, tmp_path, reconnect_max_s=1)
    with standing(Front(tmp_path, aws, connection(aws, fleet, 20, place))) as front:
        simulated = Fleet(front.settings, names(fleet, 20), Behaviour(QUICK | {"DOWNLOADING": 1.0}), connects_per_s=50)
        with running(simulated) as tally:
            assert tally.wait_for(online(20), PATIENCE_S)
            job = create_job(aws, form_document("install", [{"name": "unet", "version": "9"}]), [f"group/{fleet}"])
            assert tally.wait_for(lambda now: now.standing()["working"] + len(now.ends(job.job_id)) == 20, PATIENCE_S)
            front.kill()
            assert tally.wait_for(online(0), PATIENCE_S)
            front.start()
            assert tally.wait_for(ended(job.job_id, 20), PATIENCE_S)
            status = read_status(aws, job.job_id)
    assert {tuple(end.status for end in ends) for ends in tally.ends(job.job_id).values()} == {("SUCCEEDED",)}
    assert [one.status for one in status.executions] == ["SUCCEEDED"] * 20
    assert (tmp_path / "server.key").stat().st_mode & 0o777 == 0o600


def test_asked_again_a_fleet_keeps_its_things_and_its_certificate(
    local_cloud: Endpoints, aws: Aws, tmp_path: Path
) -> None:
    fleet = f"sim-{uuid.uuid4().hex[:6]}"
    place = Place(f"{local_cloud.mqtt_host}:{local_cloud.mqtt_port}", local_cloud.ca_pem, tmp_path / "identity")
    first = connection(aws, fleet, 3, place)
    assert first.certificate is not None
    before = first.certificate.read_bytes()
    second = connection(aws, fleet, 5, place)
    assert second.certificate is not None
    assert second.certificate.read_bytes() == before
    found = aws.pages("iot", "list_things_in_thing_group", "things", thingGroupName=fleet)
    assert sorted(found) == names(fleet, 5)


def of_iot(aws: Aws) -> dict[str, set[str]]:
    """Return all that stands in the account and that a fleet could be of."""
    listed = {
        "things": ("list_things", "thingName"),
        "thingGroups": ("list_thing_groups", "groupName"),
        "certificates": ("list_certificates", "certificateId"),
        "policies": ("list_policies", "policyName"),
    }
    return {
        kind: {str(one[name]) for one in aws.pages("iot", operation, kind)}
        for kind, (operation, name) in listed.items()
    }


def test_a_fleet_is_removed_with_all_that_was_made_for_it_and_nothing_else(
    local_cloud: Endpoints, aws: Aws, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet, directory = f"sim-{uuid.uuid4().hex[:6]}", tmp_path / "identity"
    provision_device(aws, f"{fleet}-real", tmp_path / "real", fleet=fleet.upper(), wishes=Wishes(Broker("h", 1)))
    aws.call("iot", "create_thing", thingName=f"{fleet}-a", attributePayload={"attributes": {"fleet": fleet}})
    before = of_iot(aws)
    place = Place(f"{local_cloud.mqtt_host}:{local_cloud.mqtt_port}", local_cloud.ca_pem, directory)
    settings = connection(aws, fleet, 3, place)
    Front(directory, aws, settings)
    aws.call("iot-data", "update_thing_shadow", thingName=f"{fleet}-00001", payload=b'{"state": {}}')
    removed = ("simulate", "--remove", "--fleet", fleet, "--dir", str(directory), "--json")
    with pytest.raises(SystemExit) as end:
        main(removed)
    assert not end.value.code
    assert json.loads(capsys.readouterr().out) == {"fleet": fleet, "things": 3, "certificates": 2, "group": True}
    assert of_iot(aws) == before
    assert not directory.exists()
    with pytest.raises(SystemExit) as end:
        main(removed)
    assert (end.value.code, "there are none" in capsys.readouterr().err) == (3, True)


def test_a_removal_that_is_cut_off_anywhere_is_ended_by_the_next_one(
    local_cloud: Endpoints, aws: Aws, tmp_path: Path
) -> None:
    place = Place(f"{local_cloud.mqtt_host}:{local_cloud.mqtt_port}", local_cloud.ca_pem, tmp_path)
    before = of_iot(aws)
    for cut in (
        "delete_thing_shadow",
        "delete_thing",
        "update_certificate",
        "delete_certificate",
        "delete_thing_group",
    ):
        fleet = f"sim-{uuid.uuid4().hex[:6]}"
        connection(aws, fleet, 2, place._replace(directory=tmp_path / fleet))
        with dead_at(cut):
            remove(aws, fleet, tmp_path / fleet)
        remove(aws, fleet, tmp_path / fleet)
        assert of_iot(aws) == before, f"cut off at {cut}"


def test_a_group_that_was_there_before_or_has_other_things_stays(
    local_cloud: Endpoints, aws: Aws, tmp_path: Path
) -> None:
    place = Place(f"{local_cloud.mqtt_host}:{local_cloud.mqtt_port}", local_cloud.ca_pem, tmp_path)
    older, shared = (f"sim-{uuid.uuid4().hex[:6]}" for _ in range(2))
    aws.call("iot", "create_thing_group", thingGroupName=older)
    for fleet in (older, shared):
        connection(aws, fleet, 1, place._replace(directory=tmp_path / fleet))
    aws.call("iot", "create_thing", thingName=f"{shared}-real")
    aws.call("iot", "add_thing_to_thing_group", thingGroupName=shared, thingName=f"{shared}-real")
    for fleet in (older, shared):
        assert remove(aws, fleet, tmp_path / fleet) == (fleet, 1, 1, False)
    assert {older, shared} <= of_iot(aws)["thingGroups"]
    assert f"{shared}-real" in of_iot(aws)["things"]


class Simulation(NamedTuple):
    process: subprocess.Popen[str]

    def next(self) -> dict[str, Any]:
        assert self.process.stdout
        line: dict[str, Any] = json.loads(self.process.stdout.readline())
        return line


@pytest.fixture
def simulate(aws_settings: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Simulation]]:
    """Start the verb as a person would, beside the others."""
    begun: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> Simulation:
        command = [sys.executable, "-m", "cloud_tools.cli", "simulate", "--dir", str(tmp_path / "sim"), *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        begun.append(process)
        return Simulation(process)

    yield run
    for process in begun:
        process.kill()
        process.communicate()


def test_a_person_watches_a_fleet_and_ends_it(
    simulate: Callable[..., Simulation], aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = f"sim-{uuid.uuid4().hex[:6]}"
    quick = [word for state in TIMES_S for word in ("--time", f"{state}=0.02")]
    simulation = simulate("--devices", "5", "--fleet", fleet, "--front", "--json", *quick)
    while simulation.next()["online"] < 5:
        pass
    with pytest.raises(SystemExit) as end:
        main(["deploy", "unet", "1", "--to", f"group/{fleet}", "--watch", "--interval", "0.2", "--json"])
    assert not end.value.code, capsys.readouterr().err
    while simulation.next().get("SUCCEEDED") != 5:
        pass
    os.kill(simulation.process.pid, signal.SIGINT)
    out, err = simulation.process.communicate(timeout=PATIENCE_S)
    assert simulation.process.returncode == 0, err
    assert "stands before the local AWS" in err
    summary = json.loads(out.splitlines()[-1])
    (job,) = summary["jobs"].values()
    assert (job["offered"], job["statuses"], job["more_than_once"]) == (5, {"SUCCEEDED": 5}, 0)
    assert job["to_99_percent_s"] > 0
    assert summary["messages"]["update"] >= 5


def test_whoever_ends_a_fleet_before_it_is_connected_leaves_no_broker_behind(
    simulate: Callable[..., Simulation],
) -> None:
    process = simulate("--devices", "40", "--front", "--fleet", f"sim-{uuid.uuid4().hex[:6]}").process
    assert process.stderr
    broker = int(process.stderr.readline().split(" on ")[0].split()[-1])
    assert Path(f"/proc/{broker}").exists()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE_S)
    assert not Path(f"/proc/{broker}").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("--devices", "20001"), 2, "20000"),
        (("--fleet", "a b"), 2, "--fleet"),
        (("--time", "SLEEPING=1"), 2, "DOWNLOADING"),
        (("--time", "DOWNLOADING=-1"), 2, "seconds"),
        (("--fail-in", "COMMITTED"), 2, "PROBATION"),
        (("--fail-code", "SOMETHING"), 2, "error code"),
        (("--mqtt", "nowhere"), 2, "HOST:PORT"),
        (("--mqtt-ca", "/nowhere/ca.pem"), 78, "/nowhere/ca.pem"),
    ],
)
def test_wrong_input_is_one_clear_line_and_makes_no_things(
    arguments: tuple[str, ...], code: int, word: str, aws: Aws, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(list(aws.pages("iot", "list_things", "things")))
    with pytest.raises(SystemExit) as end:
        main(["simulate", "--dir", str(tmp_path), *arguments])
    err = capsys.readouterr().err
    assert end.value.code == code
    assert word in err
    assert err.count("\n") == 1
    assert len(list(aws.pages("iot", "list_things", "things"))) == before


def test_an_account_elsewhere_gets_no_things_that_are_not_there_unless_somebody_says_so(
    aws_settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://iot.example.org")
    with pytest.raises(SystemExit) as end:
        main(["simulate", "--dir", str(tmp_path)])
    assert end.value.code == 4
    assert "--yes" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main(["simulate", "--remove", "--dir", str(tmp_path)])
    assert (end.value.code, "would be removed there" in capsys.readouterr().err) == (4, True)
