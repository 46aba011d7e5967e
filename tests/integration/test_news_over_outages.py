"""The broker is killed while a device tells what happens: nothing is lost, order stays, the disk is not filled."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from edge_agent.agent.fleet_news import PER_SECOND
from edge_agent.config import Telemetry
from edge_agent.jobs.happenings import Subscribed
from tests.fakes.jobs_clouds import MosquittoCloud
from tests.fakes.telling_device import PATIENCE_S, Gate, TellingDevice

LOG = logging.getLogger("edge_agent.tried")
LINES, MIDDLE, ENOUGH = 60, 30, 8
TURN_S = 0.3
QUOTA = 64 << 10
# SQLite's own log of changes grows to this before it is written back, whatever the quota is.
WAL = 5 << 20
ONLY_OURS = Telemetry(cloud_level="OFF", cloud_actions=("tried",), cloud_lines_per_minute=600, spool_bytes=QUOTA)
TRIED = {"action": "tried"}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MosquittoCloud]:
    cloud = MosquittoCloud(tmp_path_factory.mktemp("broker"))
    yield cloud
    cloud.stop()


class Recorder(Gate):
    """The connection, and what was sent in which turn; ``enough`` is set once the broker has some of it."""

    def __init__(self, device: TellingDevice) -> None:
        super().__init__(device.agent.client)
        self._device = device
        self.sent: list[tuple[int, str, dict[str, Any], Future[Any]]] = []
        self.enough = threading.Event()

    def deliver(self, topic: str, payload: bytes) -> "Future[Any]":
        answer = super().deliver(topic, payload)
        word = topic.rpartition("/")[2]
        if word != "heartbeat":
            self.sent.append((self._device.looks, word, json.loads(payload), answer))
            answer.add_done_callback(lambda _: self.enough.set() if len(self.taken("log")) >= ENOUGH else None)
        return answer

    def taken(self, word: str) -> list[dict[str, Any]]:
        """Return what the broker said that it has."""
        return [
            told
            for _, kind, told, answer in list(self.sent)
            if kind == word and answer.done() and answer.exception() is None
        ]


def wait(until: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not until():
        time.sleep(0.02)  # nobody tells when a thread has looked
        assert time.monotonic() < limit


def number(told: dict[str, Any]) -> int:
    return int(told["message"].split()[1])


def back(broker: MosquittoCloud, device: TellingDevice, gate: Gate) -> None:
    """Start the broker; nothing is sent before the reader hears it."""
    broker.broker.start()
    device.listener.wait(Subscribed)
    gate.connected = True


def without_repeats(found: list[Any]) -> list[Any]:
    return [one for one, _ in groupby(found)]


def test_a_broker_that_is_killed_between_messages_costs_none_of_them_and_not_their_order(
    broker: MosquittoCloud, tmp_path: Path
) -> None:
    device = TellingDevice(broker, tmp_path, ONLY_OURS.model_copy(update={"heartbeat_s": 0}), turn_s=TURN_S)
    try:
        device.news.stop()
        device.cloud = before = Recorder(device)
        before.connected = True
        device.begin()
        device.troubles = {"unet": "not served"}
        for line in range(MIDDLE):
            LOG.warning("line %d", line, extra=TRIED)
        assert before.enough.wait(PATIENCE_S)
        broker.broker.kill()
        device.agent.wait_disconnected()
        for line in range(MIDDLE, LINES):
            LOG.warning("line %d", line, extra=TRIED)
        device.troubles = {"classifier": "not served"}
        wait(lambda: list(device.news.standing()) == ["agent-degraded/classifier"])
        device.news.stop()
        device.cloud = after = Recorder(device)
        device.begin()
        back(broker, device, after)
        alarms, lines = [], list[int]()
        while LINES - 1 not in lines:
            word, told = device.listener.next()
            if word == "alarm":
                assert not lines, "alarms go first"
                alarms.append((told["detail"]["subject"], told["detail"]["state"]))
            else:
                lines.append(number(told))
        assert without_repeats(alarms)[-2:] == [("unet", "cleared"), ("classifier", "raised")]
        lines = without_repeats(lines)
        assert lines == list(range(lines[0], LINES)), "in order, without a gap"
        assert {*map(number, before.taken("log"))} >= set(range(lines[0])), "the broker had the others"
        assert lines[0] <= MIDDLE
        for recorder in (before, after):
            turns = groupby(turn for turn, *_ in recorder.sent)
            assert max(len(list(sent)) for _, sent in turns) <= PER_SECOND * TURN_S
    finally:
        device.close()


def test_a_long_outage_costs_the_oldest_lines_alone_is_counted_and_stays_within_its_room(
    broker: MosquittoCloud, tmp_path: Path
) -> None:
    device = TellingDevice(broker, tmp_path, ONLY_OURS.model_copy(update={"heartbeat_s": 0.05}))
    try:
        device.news.stop()
        device.cloud = gate = Gate(device.agent.client)
        device.begin()
        broker.broker.kill()
        device.agent.wait_disconnected()
        device.troubles = {"unet": "not served"}
        wait(lambda: device.spool.waiting() == 1)
        for line in range(600):
            LOG.warning("line %d %s", line, "x" * 900, extra=TRIED)
        wait(lambda: device.spool.waiting() + device.spool.dropped() == 601)
        gone = device.spool.dropped()
        assert gone > 500, "the quota is reached"
        assert sum(file.stat().st_size for file in tmp_path.glob("telling.db*")) < QUOTA + WAL
        back(broker, device, gate)
        assert device.listener.until("alarm")["detail"]["subject"] == "unet"
        lines = [number(device.listener.until("log"))]
        while lines[-1] != 599:
            lines.append(number(device.listener.until("log")))
        assert without_repeats(lines) == list(range(gone, 600)), "the newest, in order"
        found = device.listener.until("heartbeat", lambda beat: not beat["waiting"])
        assert (found["dropped"], found["alarms"]) == (gone, 1)
    finally:
        device.close()
