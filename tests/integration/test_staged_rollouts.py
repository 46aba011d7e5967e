"""Rollouts in stages by the command line, against the local AWS and devices on real connections."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cloud_tools.aws import Aws
from cloud_tools.cli import main
from cloud_tools.errors import CloudError
from cloud_tools.local import Endpoints, aws_environment
from cloud_tools.provision.bucket import create_bucket
from cloud_tools.provision.fragment import Mqtt as Broker
from cloud_tools.rollout.driver import Driver
from cloud_tools.rollout.iot import IotJobs
from cloud_tools.rollout.ledger import Ledger
from cloud_tools.rollout.shadows import read_shadow
from cloud_tools.storage import BucketStorage
from tests.fakes.rollout_fleet import PATIENCE_S, FleetDevice

ROOT = Path(__file__).resolve().parents[2]
BUCKET = "rollout-stages"
FLEET, CANARY = "stages-hall", "stages-canary"
STATE = f"s3://{BUCKET}/rollouts"


def broker_of(local_cloud: Endpoints) -> Broker:
    return Broker(local_cloud.mqtt_host, local_cloud.mqtt_port, local_cloud.ca_pem.read_text())


class Ran(NamedTuple):
    code: int
    lines: list[Any]
    err: str


@pytest.fixture(scope="module")
def devices(
    local_cloud: Endpoints, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], dict[str, FleetDevice]]]:
    """Five devices of one fleet, connected; the first is its canary."""
    aws = Aws(aws_environment(local_cloud))
    create_bucket(aws, BUCKET)
    broker = broker_of(local_cloud)
    directory = tmp_path_factory.mktemp("fleet")
    made = {f"stage-{n}": FleetDevice(aws, broker, f"stage-{n}", FLEET, directory / str(n)) for n in range(5)}
    aws.call("iot", "create_thing_group", thingGroupName=CANARY)
    aws.call("iot", "add_thing_to_thing_group", thingGroupName=CANARY, thingName="stage-0")
    for device in made.values():
        device.wait_connected()

    def fresh() -> dict[str, FleetDevice]:
        for device in made.values():
            device.answers, device.offered = {}, type(device.offered)()
            device.may_answer.set()
        return made

    yield fresh
    for device in made.values():
        device.close()


@pytest.fixture
def fleet(devices: Callable[[], dict[str, FleetDevice]], aws_settings: dict[str, str]) -> dict[str, FleetDevice]:
    return devices()


@pytest.fixture
def name() -> str:
    return f"r-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def edge_cloud(
    fleet: dict[str, FleetDevice], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ran]:
    """Run ``edge-cloud rollout`` as a person would, and read its JSON lines."""
    monkeypatch.setenv("EDGE_CLOUD_ROLLOUTS", STATE)

    def run(*arguments: str) -> Ran:
        with pytest.raises(SystemExit) as end:
            main(["rollout", *arguments, "--json"])
        said = capsys.readouterr()
        return Ran(int(end.value.code or 0), [json.loads(line) for line in said.out.splitlines()], said.err)

    return run


@pytest.fixture
def written(tmp_path: Path, name: str) -> Callable[..., str]:
    """Write a rollout's file."""

    def write(*stages: dict[str, Any], **fields: Any) -> str:
        stages = stages or ({"to": [f"group/{CANARY}"]}, {"percent": 60}, {"percent": 100})
        models = [{"name": "unet", "version": "3"}]
        said = {"name": name, "models": models, "to": [f"group/{FLEET}"], "stages": stages, **fields}
        (tmp_path / "rollout.yaml").write_text(json.dumps(said))
        return str(tmp_path / "rollout.yaml")

    return write


DRIVE = ("--interval", "0.1", "--timeout", str(PATIENCE_S))


def asked(fleet: dict[str, FleetDevice]) -> dict[str, dict[str, int]]:
    return {thing: dict(device.offered) for thing, device in fleet.items() if device.offered}


def test_a_good_release_reaches_everybody_in_three_stages(
    edge_cloud: Callable[..., Ran], fleet: dict[str, FleetDevice], written: Callable[..., str], name: str
) -> None:
    ran = edge_cloud("start", written(), *DRIVE)
    assert ran.code == 0, ran.err
    last = ran.lines[-1]
    assert (last["rollout"], last["phase"], last["failures"]) == (name, "COMPLETED", [])
    counts = [(each["stage"], each["state"], each["jobs"], each["succeeded"]) for each in last["stages"]]
    assert counts == [
        ("canary", "done", [f"{name}-s0"], 1),
        ("60%", "done", [f"{name}-s1"], 2),
        ("100%", "done", [f"{name}-s2"], 2),
    ]
    assert [sum(device.offered.values()) for device in fleet.values()] == [1] * 5
    assert fleet["stage-0"].offered == {f"{name}-s0": 1}
    assert (name, "COMPLETED") in [(each["rollout"], each["phase"]) for each in edge_cloud("list").lines[0]]


def test_a_bad_release_stops_at_the_canary_and_who_succeeded_goes_back(
    edge_cloud: Callable[..., Ran], fleet: dict[str, FleetDevice], written: Callable[..., str], name: str
) -> None:
    fleet["stage-1"].answers["install"] = ("FAILED", "SHADOW_REGRESSION", "agreement 0.71 is below 0.98")
    stages = {"to": ["thing/stage-0", "thing/stage-1"]}, {"percent": 100}
    ran = edge_cloud("start", written(*stages, on_stop="rollback"), *DRIVE)
    assert ran.code == 1
    last = ran.lines[-1]
    assert last["phase"] == "STOPPED"
    assert last["reason"] == "stage-1: SHADOW_REGRESSION, agreement 0.71 is below 0.98"
    assert [each["jobs"] for each in last["stages"]] == [[f"{name}-s0"], []]
    assert [(each["thing"], each["code"]) for each in last["failures"]] == [("stage-1", "SHADOW_REGRESSION")]
    assert last["rollback"] == {"jobs": [f"{name}-rollback"], "things": 1, "executions": {"SUCCEEDED": 1}}
    assert asked(fleet) == {"stage-0": {f"{name}-s0": 1, f"{name}-rollback": 1}, "stage-1": {f"{name}-s0": 1}}


def test_a_device_that_failed_for_itself_is_asked_again_alone(
    edge_cloud: Callable[..., Ran], fleet: dict[str, FleetDevice], written: Callable[..., str], name: str
) -> None:
    fleet["stage-2"].answers["install"] = ("FAILED", "NO_SPACE", "expected 4 MB, there is 1")
    ran = edge_cloud("start", written({"percent": 100}), *DRIVE)
    assert ran.code == 1
    assert ran.lines[-1]["reason"] == "stage 100%: 1 of 5 failed, the limit is 10 %"
    stopped = edge_cloud("resume", name, *DRIVE)
    assert (stopped.code, "--retry-failed asks again" in stopped.err) == (1, True)
    fleet["stage-2"].answers = {}
    ran = edge_cloud("resume", name, "--retry-failed", *DRIVE)
    assert ran.code == 0, ran.err
    assert ran.lines[-1]["stages"][0]["jobs"] == [f"{name}-s0", f"{name}-s0-r1"]
    assert [dict(device.offered) for device in fleet.values() if f"{name}-s0-r1" in device.offered] == [
        {f"{name}-s0": 1, f"{name}-s0-r1": 1}
    ]


def test_a_paused_rollout_begins_no_further_stage(
    edge_cloud: Callable[..., Ran], fleet: dict[str, FleetDevice], written: Callable[..., str], name: str
) -> None:
    fleet["stage-0"].may_answer.clear()
    assert edge_cloud("start", written(), "--once").code == 0
    assert edge_cloud("pause", name, "--reason", "shift change").lines[0]["phase"] == "PAUSED"
    fleet["stage-0"].may_answer.set()
    # The job that was asked goes on: it cannot be paused.
    until(lambda: edge_cloud("status", name).lines[0]["stages"][0]["succeeded"] == 1)
    assert edge_cloud("resume", name, "--once", "--unless-paused").code == 4
    assert edge_cloud("status", name).lines[0]["stages"][1]["state"] == "not begun"
    ran = edge_cloud("resume", name, *DRIVE)
    assert (ran.code, ran.lines[-1]["phase"]) == (0, "COMPLETED")
    told = [each["what"] for each in edge_cloud("status", name).lines[0]["history"]]
    assert told[:3] == ["started for 5 devices", "stage canary: 1 devices", "paused: shift change"]


@pytest.mark.parametrize(("runs", "said"), [("2", "says 2"), (None, "no longer names it")])
def test_a_device_whose_shadow_tells_of_another_version_or_of_none_after_its_success_stops_it(
    edge_cloud: Callable[..., Ran],
    fleet: dict[str, FleetDevice],
    aws: Aws,
    written: Callable[..., str],
    name: str,
    runs: str | None,
    said: str,
) -> None:
    fleet["stage-0"].tell("unet", "3")
    fleet["stage-0"].may_answer.clear()
    edge_cloud("start", written(), "--once")
    edge_cloud("pause", name)
    fleet["stage-0"].may_answer.set()
    until(lambda: edge_cloud("status", name).lines[0]["stages"][0]["succeeded"] == 1)
    ended = aws.call("iot", "describe_job_execution", jobId=f"{name}-s0", thingName="stage-0")["execution"]
    succeeded_at = ended["lastUpdatedAt"].timestamp()

    def told_later() -> bool:
        fleet["stage-0"].tell("unet", runs)
        try:
            found = read_shadow(aws.call("iot-data", "get_thing_shadow", thingName="stage-0")["payload"].read())
        except CloudError:
            return False
        return found.at > succeeded_at

    until(told_later)
    ran = edge_cloud("resume", name, *DRIVE)
    assert (ran.code, ran.lines[-1]["stages"][1]["jobs"]) == (1, [])
    assert ran.lines[-1]["reason"] == f"stage-0: ROLLED_BACK, it had succeeded with unet 3, its shadow {said}"
    assert [each["code"] for each in ran.lines[-1]["failures"]] == ["ROLLED_BACK"]
    aws.call("iot-data", "delete_thing_shadow", thingName="stage-0")


def test_an_aborted_rollout_is_taken_back_and_stays_so(
    edge_cloud: Callable[..., Ran], aws: Aws, written: Callable[..., str], name: str
) -> None:
    aws.call("iot", "create_thing", thingName=f"{name}-off")
    file = written({"percent": 100}, to=[f"thing/{name}-off"])
    assert edge_cloud("start", file, "--once").lines[-1]["next"] == "0 at work, 1 not begun"
    ran = edge_cloud("abort", name, "--reason", "wrong hall", *DRIVE)
    assert (ran.code, ran.lines[-1]["phase"]) == (0, "ABORTED")
    assert aws.call("iot", "describe_job", jobId=f"{name}-s0")["job"]["status"] == "CANCELED"
    for words in (("resume", name, "--retry-failed"), ("pause", name)):
        refused = edge_cloud(*words)
        assert (refused.code, "ABORTED: wrong hall" in refused.err) == (4, True)
    assert edge_cloud("resume", name, *DRIVE).lines[-1]["phase"] == "ABORTED"
    assert edge_cloud("status", name, "--follow", *DRIVE).code == 1


@pytest.mark.parametrize("missing", ["thing/nobody", "group/nowhere"])
def test_a_target_or_a_canary_that_is_not_there_is_named_and_nothing_is_begun(
    edge_cloud: Callable[..., Ran], fleet: dict[str, FleetDevice], written: Callable[..., str], name: str, missing: str
) -> None:
    kind = missing.partition("/")[0]
    for stage, to in (({"percent": 100}, missing), ({"to": [missing]}, f"group/{FLEET}")):
        ran = edge_cloud("start", written(stage, to=[to]), "--once")
        assert ran.code == 3
        assert f"{missing}: expected a {kind} of this account in us-east-1, there is none" in ran.err
    assert edge_cloud("status", name).code == 3


def test_while_nobody_drives_aws_ends_the_stage_by_itself(
    edge_cloud: Callable[..., Ran], fleet: dict[str, FleetDevice], aws: Aws, written: Callable[..., str], name: str
) -> None:
    aws.call("iot", "create_thing", thingName=f"{name}-off")
    for device in fleet.values():
        device.answers["install"] = ("FAILED", "NO_SPACE", "")
        device.may_answer.clear()
    stop = {"failed_percent": 50, "min_ended": 3}
    file = written({"percent": 100}, to=[f"group/{FLEET}", f"thing/{name}-off"], stop=stop, timeout_minutes=30)
    edge_cloud("start", file, "--once")
    for device in fleet.values():
        device.may_answer.set()
    job = f"{name}-s0"
    until(lambda: aws.call("iot", "describe_job", jobId=job)["job"]["status"] == "CANCELED")
    told = aws.call("iot", "describe_job", jobId=job)["job"]
    assert told["timeoutConfig"] == {"inProgressTimeoutInMinutes": 30}
    off = aws.call("iot", "describe_job_execution", jobId=job, thingName=f"{name}-off")["execution"]
    assert off["status"] == "CANCELED"
    assert edge_cloud("resume", name, *DRIVE).lines[-1]["phase"] == "STOPPED"


def test_a_driver_that_is_killed_is_followed_by_the_next(
    edge_cloud: Callable[..., Ran],
    fleet: dict[str, FleetDevice],
    aws: Aws,
    local_cloud: Endpoints,
    written: Callable[..., str],
    name: str,
    tmp_path: Path,
) -> None:
    aws.call("iot", "create_thing", thingName=f"{name}-off")
    stages = {"to": ["thing/stage-0"]}, {"to": [f"thing/{name}-off"]}, {"percent": 100}
    file = written(*stages, to=[f"group/{FLEET}", f"thing/{name}-off"])
    words = [sys.executable, "-m", "cloud_tools.cli", "rollout", "start", file, "--interval", "0.1", "--json"]
    with subprocess.Popen(words, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        for line in driver.stdout:
            # Its own words tell that the second stage, whose device is off, has been asked.
            if json.loads(line)["stages"][1]["waiting"] and json.loads(line)["stages"][1]["state"] == "asked":
                break
        driver.send_signal(signal.SIGKILL)
    standing = edge_cloud("status", name).lines[0]
    assert (standing["phase"], standing["stages"][2]["state"]) == ("RUNNING", "not begun")
    late = FleetDevice(aws, broker_of(local_cloud), f"{name}-off", f"{name}-fleet", tmp_path / "late")
    try:
        ran = edge_cloud("resume", name, *DRIVE)
    finally:
        late.close()
    assert (ran.code, ran.lines[-1]["phase"]) == (0, "COMPLETED")
    assert late.offered == {f"{name}-s1": 1}
    assert [sum(device.offered.values()) for device in fleet.values()] == [1] * 5


def test_a_dry_run_tells_who_is_asked_when_and_writes_nothing(
    edge_cloud: Callable[..., Ran], fleet: dict[str, FleetDevice], written: Callable[..., str], name: str
) -> None:
    ran = edge_cloud("start", written({"to": [f"group/{CANARY}"]}, {"percent": 60}), "--dry-run")
    assert [(each["stage"], each["things"]) for each in ran.lines[0]] == [("canary", 1), ("60%", 2)]
    assert "2 devices are in no stage" in ran.err
    assert edge_cloud("status", name).code == 3
    assert not asked(fleet)


def test_who_is_in_no_stage_is_told_at_the_start_too(
    edge_cloud: Callable[..., Ran], fleet: dict[str, FleetDevice], written: Callable[..., str]
) -> None:
    ran = edge_cloud("start", written({"percent": 60}), *DRIVE)
    assert (ran.code, ran.lines[-1]["phase"]) == (0, "COMPLETED")
    assert "2 devices are in no stage" in ran.err


def test_a_rollout_is_begun_once_and_never_takes_anothers_job_for_its_own(
    edge_cloud: Callable[..., Ran], fleet: dict[str, FleetDevice], aws: Aws, written: Callable[..., str], name: str
) -> None:
    file = written()
    arn = aws.call("iot", "describe_thing", thingName="stage-4")["thingArn"]
    document = '{"operation": "other"}'
    aws.call("iot", "create_job", jobId=f"{name}-s0", targets=[arn], document=document, description="another's")
    ran = edge_cloud("start", file, *DRIVE)
    assert (ran.code, "another's" in ran.err) == (4, True)
    again = edge_cloud("start", file, *DRIVE)
    assert (again.code, f"rollout resume {name}" in again.err) == (4, True)


def test_only_new_failures_are_asked_for_their_words(
    edge_cloud: Callable[..., Ran],
    fleet: dict[str, FleetDevice],
    aws: Aws,
    written: Callable[..., str],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet["stage-3"].answers["install"] = ("FAILED", "NO_SPACE", "full")
    edge_cloud("start", written({"percent": 100}), *DRIVE)
    asked_for: list[str] = []
    call = aws.call
    monkeypatch.setattr(
        aws, "call", lambda service, verb, **rest: asked_for.append(verb) or call(service, verb, **rest)
    )
    driver = Driver(Ledger(BucketStorage(BUCKET, "rollouts", Aws())), IotJobs(aws), time.time)
    first = driver.look(name)
    assert sorted(asked_for) == ["describe_job", "describe_job_execution"]
    asked_for.clear()
    assert driver.look(name, first.seen).seen == first.seen
    assert asked_for == []


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"stages": []}, "stages"),
        ({"stages": [{"percent": 50}, {"percent": 20}]}, "grow from stage to stage"),
        ({"stages": [{"percent": 50, "to": ["thing/a"]}]}, "either to or percent"),
        ({"stages": [{"percnt": 50}]}, "stages.0.percnt: unknown field"),
        ({"models": [{"name": "unet", "version": 3}]}, "models.0.version"),
        ({"models": [{"name": "unet"}]}, "names the version"),
        ({"name": "a/b"}, "name"),
        ({"to": ["hall"]}, "to.0"),
        ({"stop": {"codes": ["SHADOWY"]}}, "stop.codes.0"),
        ({"operation": "remove", "on_stop": "rollback"}, "only an install can be rolled back"),
        ({"per_minute": 0}, "per_minute"),
    ],
)
def test_a_wrong_file_is_one_clear_line(
    edge_cloud: Callable[..., Ran], written: Callable[..., str], fields: dict[str, Any], word: str
) -> None:
    ran = edge_cloud("start", written(**fields), *DRIVE) if "stages" not in fields else None
    if ran is None:
        ran = edge_cloud("start", written(*fields["stages"], **({} if fields["stages"] else {"stages": []})), *DRIVE)
    assert (ran.code, ran.lines) == (2, [])
    assert word in ran.err
    assert ran.err.count("\n") == 1


def until(done: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < limit
        time.sleep(0.05)
