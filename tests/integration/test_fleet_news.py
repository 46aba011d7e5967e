"""What a device tells of itself through a real broker: signs of life, alarms and lines, also after an outage."""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_agent.agent.surroundings import certificate_ends, synchronisation
from edge_agent.config import Telemetry
from edge_agent.formats import Alarm, Counts, Heartbeat, LogNews, parse
from edge_agent.identity.lineage import RENEWED, Files, Lineage
from edge_agent.jobs.happenings import Subscribed
from tests.fakes.device import AgentDevice
from tests.fakes.jobs_clouds import MosquittoCloud
from tests.fakes.telling_device import PATIENCE_S, Gate, Listener, TellingDevice

QUICK = Telemetry(heartbeat_s=0.05, cloud_actions=("tried",))
LOG = logging.getLogger("edge_agent.tried")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MosquittoCloud]:
    cloud = MosquittoCloud(tmp_path_factory.mktemp("broker"))
    yield cloud
    cloud.stop()


@pytest.fixture
def device(broker: MosquittoCloud, tmp_path: Path) -> Iterator[TellingDevice]:
    made = TellingDevice(broker, tmp_path, QUICK)
    yield made
    made.close()


def is_of(kind: str, state: str) -> Callable[[dict[str, Any]], bool]:
    return lambda found: (found["detail"]["kind"], found["detail"]["state"]) == (kind, state)


def test_signs_of_life_come_as_documented(device: TellingDevice) -> None:
    found = device.listener.until("heartbeat")
    told = parse(Heartbeat, found, what="heartbeat")
    assert (told.thing, told.state, told.generation, told.shift) == (device.thing, "READY", 7, "early")
    assert (told.counts, told.disk_free_bytes, told.uptime_s) == (Counts(ok=3, ng=1), 10, 3)
    assert len(told.to_json()) < 1024
    assert device.shadows == 1, "nothing changed"


def test_an_alarm_is_raised_once_and_cleared_once_over_a_restart(device: TellingDevice) -> None:
    device.troubles = {"unet": "not served"}
    raised = device.listener.until("alarm", is_of("agent-degraded", "raised"))
    told = parse(Alarm, raised, what="alarm")
    assert (told.detail.subject, told.detail.fleet, told.detail.severity) == ("unet", "east", "critical")
    device.listener.until("heartbeat", lambda found: found["alarms"] == 1)
    device.news.stop()
    device.begin()
    device.listener.until("heartbeat", lambda found: found["alarms"] == 1)
    device.troubles = {}
    cleared = device.listener.until(
        "alarm", lambda found: found["detail"]["state"] == "cleared" or found["detail"]["id"] != raised["detail"]["id"]
    )
    assert (cleared["detail"]["id"], cleared["detail-type"]) == (raised["detail"]["id"], "Edge Agent Alarm Cleared")


def test_an_alarm_that_stands_is_cleared_when_alarms_are_switched_off(device: TellingDevice) -> None:
    device.troubles = {"unet": "not served"}
    raised = device.listener.until("alarm", is_of("agent-degraded", "raised"))
    device.listener.until("heartbeat", lambda found: found["alarms"] == 1)
    device.news.stop()
    device.settings = device.settings.model_copy(update={"alarms": False})
    device.begin()
    cleared = device.listener.until("alarm", is_of("agent-degraded", "cleared"))
    assert cleared["detail"]["id"] == raised["detail"]["id"]
    device.listener.until("heartbeat", lambda found: found["alarms"] == 0)
    assert device.news.standing() == {}


def test_what_happens_while_the_broker_is_away_is_told_when_it_is_back_also_after_a_restart(
    broker: MosquittoCloud, device: TellingDevice
) -> None:
    device.listener.until("heartbeat")
    broker.broker.kill()
    device.agent.wait_disconnected()
    LOG.warning("while away", extra={"password": "geheim"})
    device.troubles = {"unet": "not served"}
    device.news.stop()
    device.cloud = gate = Gate(device.agent.client)
    device.begin()
    LOG.warning("again")
    broker.broker.start()
    device.listener.wait(Subscribed)
    gate.connected = True
    assert device.listener.until("alarm")["detail"]["subject"] == "unet"
    first = parse(LogNews, device.listener.until("log"), what="log")
    assert (first.message, first.level, first.fields) == ("while away", "WARNING", {"password": "…"})
    assert device.listener.until("log", lambda found: found["message"] != "while away")["message"] == "again"


def test_a_flood_of_lines_is_limited_on_the_wire(broker: MosquittoCloud, tmp_path: Path) -> None:
    device = TellingDevice(broker, tmp_path, QUICK.model_copy(update={"cloud_lines_per_minute": 5}))
    try:
        for number in range(500):
            LOG.warning("flood %d", number)
        heartbeat = device.listener.until("heartbeat", lambda found: found["dropped"] == 495 and not found["waiting"])
        assert heartbeat["dropped"] == 495
    finally:
        device.close()


def test_a_topic_that_the_policy_refuses_is_left_alone_and_the_others_go_on(
    broker: MosquittoCloud, tmp_path: Path
) -> None:
    asked: list[str] = []
    done: Future[Any] = Future()
    done.set_result(SimpleNamespace(puback=SimpleNamespace(reason_code=0x87)))

    class Refusing(Gate):
        def deliver(self, topic: str, payload: bytes) -> "Future[Any]":
            asked.append(topic)
            return done if topic.endswith("/log") else super().deliver(topic, payload)

    device = TellingDevice(broker, tmp_path, QUICK)
    try:
        device.news.stop()
        device.cloud = Refusing(device.agent.client)
        device.cloud.connected = True
        device.begin()
        LOG.warning("refused")
        device.troubles = {"unet": "not served"}
        device.listener.until("alarm")
        device.listener.until("heartbeat", lambda found: found["waiting"] == 1)
        LOG.warning("kept")
        device.listener.until("heartbeat", lambda found: found["waiting"] == 2)
        assert len([topic for topic in asked if topic.endswith("/log")]) == 1
    finally:
        device.close()


def test_the_end_of_a_certificate_and_the_clock_are_read(broker: MosquittoCloud, tmp_path: Path) -> None:
    _, mqtt = broker.new_device()
    ends = certificate_ends(mqtt.certificate)
    assert ends is not None
    assert ends > time.time()
    (tmp_path / "no.pem").write_text("no certificate")
    assert (
        certificate_ends(tmp_path / "no.pem")
        is certificate_ends(tmp_path / "away.pem")
        is certificate_ends(None)
        is None
    )
    assert synchronisation().synchronised in (True, False, None)


def test_a_real_agent_fills_the_shadow_and_shows_that_it_lives(broker: MosquittoCloud, tmp_path: Path) -> None:
    thing, mqtt = broker.new_device()
    wanted = {key: value for key, value in mqtt.model_dump(mode="json").items() if value is not None}
    device = AgentDevice(
        tmp_path,
        {
            "device": {"thing": thing},
            "mqtt": wanted,
            "telemetry": {"metrics": "", "heartbeat_s": 0.5, "cloud_actions": ["ready"]},
        },
    )
    renewed = Lineage(device.state_dir / RENEWED, Files(mqtt.certificate or tmp_path, mqtt.private_key or tmp_path))
    renewed.ask(thing)
    renewed.put(broker.authority.sign(renewed.request, days=400))
    renewed.switch()
    listener = Listener(broker, thing)
    device.start()
    told = parse(Heartbeat, listener.until("heartbeat"), what="heartbeat")
    assert told.state in ("READY", "DEGRADED")
    assert told.disk_free_bytes > 0
    # On each connection, and whenever something changed.
    shadow = device_shadow(broker, thing)
    assert shadow["agent"]["state"] == told.state
    assert shadow["disk"]["free_bytes"] > 0
    # The one in use, and not the first one.
    assert shadow["certificate_ends"] == renewed.current.ends
    assert shadow["shift"]["ok"] == 0
    device.stop()
    listener.close()


def device_shadow(broker: MosquittoCloud, thing: str) -> dict[str, Any]:
    limit = time.monotonic() + PATIENCE_S
    while "disk" not in (found := broker.shadow(thing)):
        # The responder shows what came; nobody is told when.
        time.sleep(0.05)
        assert time.monotonic() < limit, found
    return found
