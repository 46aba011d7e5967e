"""``edge-cloud fleet`` and ``edge-cloud logs`` against a local AWS: by the index, without it, by the hundred."""

import csv
import io
import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from botocore.client import BaseClient

from cloud_tools.aws import Aws
from cloud_tools.cli import main
from cloud_tools.fleet.log_reading import GROUP, follow
from cloud_tools.fleet.reading import read_fleet
from cloud_tools.local import Endpoints, aws_environment
from cloud_tools.rollout.jobs import create_job, form_document
from edge_agent.config import read_settings
from edge_agent.formats import LogNews
from edge_agent.jobs import JobOffered
from tests.fakes.jobs_agent import Agent

PATIENCE_S = 60.0
EVIL = "<img src=x onerror=alert(1)>"


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def edge_cloud(aws_settings: dict[str, str], capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def run(*arguments: str) -> Ran:
        with pytest.raises(SystemExit) as end:
            main(arguments)
        said = capsys.readouterr()
        return Ran(int(end.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def indexed(aws: Aws, edge_cloud: Callable[..., Ran]) -> Iterator[None]:
    assert edge_cloud("fleet", "--enable-index").code == 0
    yield
    aws.call("iot", "update_indexing_configuration", thingIndexingConfiguration={"thingIndexingMode": "OFF"})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each operation of AWS is asked for."""
    counts: Counter[str] = Counter()
    ask = BaseClient._make_api_call

    def counted(self: BaseClient, operation: str, arguments: Any) -> Any:
        counts[operation] += 1
        return ask(self, operation, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", counted)
    return counts


@pytest.fixture(scope="module")
def fleet() -> str:
    return f"fleet-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def hundreds(local_cloud: Endpoints, fleet: str) -> list[str]:
    """More things than a page holds; each seventh runs an older version, one never told anything."""
    aws = Aws(aws_environment(local_cloud))
    names = [f"{fleet}-{number:03}" for number in range(120)]
    for number, name in enumerate(names):
        aws.call("iot", "create_thing", thingName=name, attributePayload={"attributes": {"fleet": fleet}})
        if number:
            version = 2 if number % 7 == 0 else 3
            models = {"unet": {"version": str(version), "release_seq": version}}
            reported = {"models": models, "agent": {"version": "1", "state": "READY"}, "at": 7}
            payload = json.dumps({"state": {"reported": reported}})
            aws.call("iot-data", "update_thing_shadow", thingName=name, payload=payload)
    return names


def test_a_hundred_and_more_things_are_paged_and_both_ways_answer_the_same(
    aws: Aws, edge_cloud: Callable[..., Ran], hundreds: list[str], fleet: str
) -> None:
    where = f"attributes.fleet:{fleet} AND shadow.reported.models.unet.version:3"
    alone = edge_cloud("fleet", "--where", where, "--json")
    assert alone.code == 0
    assert "no answer of a fleet index" in alone.err
    assert alone.document["source"] == "things"
    assert edge_cloud("fleet", "--enable-index").code == 0
    try:
        by_index = edge_cloud("fleet", "--where", where, "--json")
        assert by_index.err == ""
        assert by_index.document["source"] == "index"
        names = [device["thing"] for device in by_index.document["devices"]]
        assert names == [device["thing"] for device in alone.document["devices"]]
        assert len(names) == 119 - 17
        everything = read_fleet(aws, f"attributes.fleet:{fleet}")
        assert [device.thing for device in everything.devices] == hundreds
        counts = edge_cloud(
            "fleet", "--where", f"attributes.fleet:{fleet}", "--group-by", "model.unet", "--json"
        ).document
        assert {row["model.unet"]: row["devices"] for row in counts} == {"3": 102, "2": 17, "-": 1}
        table = edge_cloud("fleet", "--where", f"thingName:{fleet}-001", "--csv").out
        (row,) = csv.DictReader(io.StringIO(table))
        assert (row["thing"], row["models"], row["state"], row["connected"]) == (hundreds[1], "unet 3", "READY", "no")
    finally:
        aws.call("iot", "update_indexing_configuration", thingIndexingConfiguration={"thingIndexingMode": "OFF"})


def test_nothing_is_asked_of_each_thing_that_a_list_or_the_index_answers(
    aws: Aws, edge_cloud: Callable[..., Ran], hundreds: list[str], fleet: str, asked: Counter[str]
) -> None:
    group = f"{fleet}-group"
    aws.call("iot", "create_thing_group", thingGroupName=group)
    for thing in hundreds[1:3]:
        aws.call("iot", "add_thing_to_thing_group", thingGroupName=group, thingName=thing)
    asked.clear()
    for where, shadows in (
        (f"thingGroupNames:{group}", 2),
        (f"attributes.fleet:{fleet} AND thingName:{fleet}-00*", 10),
        (f"attributes.fleet:{fleet} AND shadow.reported.models.unet.version:2", 120),
        (f"thingName:{fleet}-nobody", 0),
    ):
        asked.clear()
        assert edge_cloud("fleet", "--where", where).code == 0
        assert asked.pop("GetThingShadow", 0) == shadows, where
        assert sum(asked.values()) < 10, asked
    assert edge_cloud("fleet", "--enable-index").code == 0
    try:
        asked.clear()
        assert edge_cloud("fleet", "--where", f"attributes.fleet:{fleet}", "--group-by", "model.unet").code == 0
        assert asked == {"SearchIndex": 2}
    finally:
        aws.call("iot", "update_indexing_configuration", thingIndexingConfiguration={"thingIndexingMode": "OFF"})


def test_a_device_goes_offline_and_comes_back_and_the_list_says_why_it_is_behind(
    aws: Aws, edge_cloud: Callable[..., Ran], indexed: None, tmp_path: Path
) -> None:
    fleet = f"line-{uuid.uuid4().hex[:8]}"
    thing = f"{fleet}-1"
    made = edge_cloud("device", "provision", thing, "--dir", str(tmp_path), "--fleet", fleet)
    assert made.code == 0, made.err
    for name, version in ((thing, 1), (f"{fleet}-2", 2)):
        if name != thing:
            aws.call("iot", "create_thing", thingName=name, attributePayload={"attributes": {"fleet": fleet}})
        reported = {"models": {fleet: {"version": str(version), "release_seq": version}}}
        payload = json.dumps({"state": {"reported": reported}})
        aws.call("iot-data", "update_thing_shadow", thingName=name, payload=payload)
    create_job(aws, form_document("install", [{"name": fleet, "version": "2"}]), [f"thing/{thing}"], job_id=fleet)
    settings = read_settings(tmp_path / "config.toml")
    agent = Agent(tmp_path, thing, settings.mqtt)
    agent.wait_connected()
    assert status(aws, thing) == (True, "")
    # The policy that provisioning made allows what a device tells, on its own topics only.
    for word in ("heartbeat", "alarm", "log"):
        answer = agent.client.deliver(f"edge-agent/{thing}/{word}", b"{}").result(PATIENCE_S)
        assert answer.puback.reason_code == 0, word
    refused = agent.client.deliver(f"edge-agent/{fleet}-2/log", b"{}").result(PATIENCE_S)
    assert refused.puback.reason_code == 0x87
    assert agent.wait(JobOffered).job_id == fleet
    agent.client.report(fleet, "FAILED", {"step": "BUILDING", "code": "NO_SPACE", "message": EVIL})
    agent.close()
    while status(aws, thing)[0]:
        time.sleep(0.05)  # nobody tells when a broker has noticed
    late = edge_cloud("fleet", "--behind", fleet, "--json").document["behind"]
    assert [(lag["thing"], lag["version"], lag["wanted"]) for lag in late] == [(thing, "1", "2")]
    assert late[0]["why"].startswith("offline since 20")
    assert edge_cloud("fleet", "--behind", f"{fleet}-nobody").code == 3
    page = tmp_path / "fleet.html"
    assert edge_cloud("fleet", "--report", str(page)).code == 0
    assert EVIL not in page.read_text()
    again = Agent(tmp_path, thing, settings.mqtt)
    again.wait_connected()
    assert status(aws, thing)[0]
    again.close()


def status(aws: Aws, thing: str) -> tuple[bool | None, str]:
    (device,) = read_fleet(aws, f"thingName:{thing}").devices
    return device.connected, device.reason if not device.connected else ""


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("fleet", "--csv", "--json"), 2, "expected --csv or --json"),
        (("fleet", "--where", "thingName:a OR thingName:b"), 2, "--where"),
        (("fleet", "--group-by", "colour"), 2, "--group-by"),
        (("fleet", "--repo", "here"), 2, "--root"),
        (("logs", "no thing"), 2, "expected a thing's name"),
        (("logs", "press-4", "--since", "soon"), 2, "--since"),
    ],
)
def test_wrong_words_are_refused_with_what_was_expected(
    edge_cloud: Callable[..., Ran], arguments: tuple[str, ...], code: int, word: str
) -> None:
    ran = edge_cloud(*arguments)
    assert (ran.code, ran.out) == (code, "")
    assert word in ran.err


def test_logs_are_read_of_one_device_followed_and_missed_clearly(aws: Aws, edge_cloud: Callable[..., Ran]) -> None:
    missing = edge_cloud("logs", "press-4")
    assert missing.code == 3
    assert GROUP in missing.err
    aws.call("logs", "create_log_group", logGroupName=GROUP)
    aws.call("logs", "create_log_stream", logGroupName=GROUP, logStreamName="rule")

    def put(thing: str, message: str, **more: Any) -> None:
        news = LogNews(thing=thing, at=time.time(), level="WARNING", logger="x", message=message, **more)
        event = {"timestamp": int(time.time() * 1000), "message": news.to_json().decode()}
        aws.call("logs", "put_log_events", logGroupName=GROUP, logStreamName="rule", logEvents=[event])

    put("press-4", "hot \x1b[31mred", action="camera_away", fields={"camera": "left"}, dropped=3)
    put("press-44", "not mine")
    found = edge_cloud("logs", "press-4", "--json")
    assert found.code == 0
    assert [json.loads(line)["message"] for line in found.out.splitlines()] == ["hot \x1b[31mred"]
    shown = edge_cloud("logs", "press-4").out
    assert "\x1b" not in shown
    assert "camera_away hot  [31mred camera=left (3 lines before it were not told)" in shown
    assert edge_cloud("logs", "press-4", "--since", "7d").code == 0
    silent = edge_cloud("logs", "press-5")
    assert (silent.code, silent.out, "the local AWS writes no lines" in silent.err) == (0, "", True)
    waits: list[int] = []

    def wait() -> None:
        waits.append(1)
        put("press-4", f"later {len(waits)}")

    coming = follow(aws, "press-4", time.time() - 60, wait=wait, now=time.time)
    assert [next(coming).message for _ in range(3)] == ["hot \x1b[31mred", "later 1", "later 2"]
