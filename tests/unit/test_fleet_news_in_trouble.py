"""A connection that is often lost and a disk that is full hold up nothing for long, and hide nothing."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_agent.agent import fleet_news
from edge_agent.agent.fleet_news import FleetNews
from edge_agent.agent.wellbeing import Wellbeing
from edge_agent.config import Telemetry
from edge_agent.errors import Code, StorageError
from edge_agent.formats import LogNews, parse
from edge_agent.telemetry.message_spool import Message, MessageSpool
from tests.fakes.telling_device import TellingDevice

PATIENCE_S = 60.0
LOG = logging.getLogger("edge_agent.tried")
ONLY_LINES = Telemetry(heartbeat_s=0.0, cloud_level="OFF", cloud_actions=("tried",))


class Line:
    """A connection on which so many messages are lost first; ``taken`` has the others."""

    connected = True

    def __init__(self, losses: int = 0) -> None:
        self.losses = losses
        self.taken: list[LogNews] = []
        self.told = threading.Semaphore(0)

    def deliver(self, _topic: str, payload: bytes) -> "Future[Any]":
        done: Future[Any] = Future()
        if self.losses:
            self.losses -= 1
            done.set_exception(OSError("the connection was lost"))
        else:
            self.taken.append(parse(LogNews, payload, what="line"))
            done.set_result(None)
            self.told.release()
        return done


class FullAtFirst(MessageSpool):
    """A spool on a disk that has no room for the first lines."""

    refused = threading.Event()

    def add(self, messages: "list[Message]") -> None:  # type: ignore[override]
        if not self.refused.is_set():
            self.refused.set()
            raise StorageError(Code.NO_SPACE, "no room")
        super().add(messages)


def look() -> Wellbeing:
    return TellingDevice.look(SimpleNamespace(looks=0, thing="press-4", troubles={}))  # type: ignore[arg-type]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[[Line, type[MessageSpool]], None]]:
    begun: list[FleetNews] = []

    def start(line: Line, kind: type[MessageSpool]) -> None:
        spool = kind(tmp_path / "telling.db", 64 << 10)
        news = FleetNews("press-4", "east", ONLY_LINES, line, spool, look, lambda: None, turn_s=0.01, hold_s=0.0)
        begun.append(news)
        news.start()

    yield start
    for news in begun:
        news.stop()


def test_a_connection_that_is_lost_again_and_again_holds_a_topic_up_for_no_hour(
    begin: Callable[[Line, type[MessageSpool]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_news, "FIRST_PAUSE_S", 0.01)
    line = Line(losses=6)
    begin(line, MessageSpool)
    LOG.warning("at last", extra={"action": "tried"})
    assert line.told.acquire(timeout=PATIENCE_S)
    assert [told.message for told in line.taken] == ["at last"]


def test_lines_for_which_the_disk_has_no_room_are_counted_in_the_next(
    begin: Callable[[Line, type[MessageSpool]], None],
) -> None:
    line = Line()
    begin(line, FullAtFirst)
    LOG.warning("lost", extra={"action": "tried"})
    assert FullAtFirst.refused.wait(PATIENCE_S)
    for _ in range(20):
        LOG.warning("kept", extra={"action": "tried"})
        assert line.told.acquire(timeout=PATIENCE_S)
        if line.taken[-1].dropped:
            break
    assert (line.taken[-1].message, sum(told.dropped for told in line.taken)) == ("kept", 1)
