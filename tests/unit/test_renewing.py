"""What the renewal says to the cloud, and when."""

import json
import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.agent.renewing import Renewing
from edge_agent.config import Mqtt
from edge_agent.errors import Code, StorageError
from edge_agent.identity.lineage import Files, Lineage
from edge_agent.store import AuditLog
from tests.fakes.certificates import Authority, of_unknown_curve

GOT = "$aws/things/press-4/shadow/name/certificate/get/accepted"
PATIENCE_S = 60.0


class Said:
    """A connection that keeps what is published."""

    connected = True

    def __init__(self) -> None:
        self.used = Mqtt()
        self.updates: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.gets = 0

    def hold(self) -> bool:
        return True

    def use(self, settings: Mqtt) -> None:
        self.used = settings

    def publish(self, topic: str, payload: bytes) -> None:
        if topic.endswith("/get"):
            self.gets += 1
        else:
            self.updates.put(json.loads(payload)["state"]["reported"])


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def renewing(said: Said, tmp_path: Path, authority: Authority) -> Iterator[Renewing]:
    first = Files(*authority.issue("press-4"))
    lineage = Lineage(tmp_path / "identity", first)
    audit = AuditLog(tmp_path / "audit.log")
    jobs: Any = said
    made = Renewing("press-4", Mqtt(), lineage, lambda: jobs, audit=audit, note=lambda _what, _trouble: None)
    made.start()
    yield made
    made.stop()


def test_an_answer_is_no_reason_to_ask_again(renewing: Renewing, said: Said) -> None:
    first = said.updates.get(timeout=PATIENCE_S)
    answered = json.dumps({"state": {"reported": {"id": first["id"]}}}).encode()
    for _ in range(3):
        renewing.receivers()[GOT](answered)
    renewing.receivers()[GOT](json.dumps({"state": {"desired": {"renew": first["id"]}}}).encode())
    # Whatever the answers brought on would have come before what the wish brings on.
    assert said.updates.get(timeout=PATIENCE_S)["request"].startswith("-----BEGIN")
    assert said.gets <= 2


def test_a_connection_is_a_reason_to_report_and_to_ask_once(renewing: Renewing, said: Said) -> None:
    first = said.updates.get(timeout=PATIENCE_S)
    renewing.connected()
    assert said.updates.get(timeout=PATIENCE_S) == first
    assert said.updates.empty()


def test_what_could_not_be_noted_of_an_exchange_is_no_fault_of_the_new_certificate(
    renewing: Renewing, said: Said, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StorageError(Code.NO_SPACE, "full")

    monkeypatch.setattr("edge_agent.agent.renewing.prove", lambda *_: None)
    monkeypatch.setattr(AuditLog, "append", full)
    first = said.updates.get(timeout=PATIENCE_S)
    take = renewing.receivers()[GOT]
    take(json.dumps({"state": {"desired": {"renew": first["id"]}}}).encode())
    request = said.updates.get(timeout=PATIENCE_S)["request"]
    take(json.dumps({"state": {"desired": {"certificate": authority.sign(request)}}}).encode())
    renewing.connected()
    told = said.updates.get(timeout=PATIENCE_S)
    assert (told["before"], told["request"], told["fault"]) == (first["id"], None, None)
    assert said.used.certificate == renewing.files.certificate


@pytest.mark.parametrize(
    "odd", [of_unknown_curve, lambda _: "\ud800", lambda _: ""], ids=["curve", "surrogate", "empty"]
)
def test_whatever_the_cloud_offers_ends_no_agent(
    renewing: Renewing, said: Said, authority: Authority, odd: Callable[[str], str]
) -> None:
    first = said.updates.get(timeout=PATIENCE_S)
    take = renewing.receivers()[GOT]
    take(json.dumps({"state": {"desired": {"renew": first["id"]}}}).encode())
    request = said.updates.get(timeout=PATIENCE_S)["request"]
    take(json.dumps({"state": {"desired": {"certificate": odd(authority.sign(request))}}}).encode())
    renewing.connected()
    assert said.updates.get(timeout=PATIENCE_S)["request"] == request
