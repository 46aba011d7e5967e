"""What waits for the cloud: bounded, in order, over restarts; and lines that tell no secret and do not flood."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from edge_agent.errors import Code, StorageError
from edge_agent.formats import Alarm, AlarmDetail
from edge_agent.storage.database import Row, Value
from edge_agent.telemetry.cloud_log import CloudLog, without_secrets
from edge_agent.telemetry.logs import without_signatures
from edge_agent.telemetry.message_spool import ALARM, LOG, Change, Message, MessageSpool

Open = Callable[[], MessageSpool]


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Open]:
    opened: list[MessageSpool] = []

    def again() -> MessageSpool:
        if opened:
            opened[-1].close()
        opened.append(MessageSpool(tmp_path / "telling.db", 2000))
        return opened[-1]

    yield again
    opened[-1].close()


def alarm(state: str) -> Alarm:
    words = {"id": "1", "kind": "disk-low", "severity": "critical", "message": "little"}
    detail = AlarmDetail(thing="t", fleet="f", state=state, raised=1.0, **words)  # type: ignore[arg-type]
    return Alarm(detail_type="Edge Agent Alarm Raised", time="x", detail=detail)


def test_messages_wait_over_a_restart_and_leave_in_order_alarms_first(reopen: Open) -> None:
    spool = reopen()
    spool.add([Message(LOG, b"1"), Message(LOG, b"2")])
    spool.change([Change("disk-low/", alarm("raised"))])
    spool = reopen()
    first, *lines = spool.oldest(10)
    assert (first.word, [line.payload for line in lines]) == (ALARM, [b"1", b"2"])
    spool.done([first, lines[0]])
    assert [message.payload for message in reopen().oldest(10)] == [b"2"]


def test_the_oldest_lines_give_way_before_any_alarm_and_are_counted(reopen: Open) -> None:
    spool = reopen()
    spool.change([Change("disk-low/", alarm("raised"))])
    for number in range(100):
        spool.add([Message(LOG, f"{number:036}".encode())])
    left = spool.oldest(1000)
    assert left[0].word == ALARM
    assert int(left[-1].payload) == 99
    assert sum(len(message.payload) for message in left) <= 2000
    assert len(left) - 1 + spool.dropped() == 100
    assert reopen().dropped() == 101 - len(left)


def test_what_waits_is_counted_and_not_summed_up_at_each_message(reopen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def summed(spool: MessageSpool) -> int:
        return int(spool._database.query("SELECT coalesce(sum(bytes), 0) AS sum FROM messages")[0]["sum"])

    spool = reopen()
    for number in range(30):
        spool.add([Message(LOG, b"line" * number)])
    spool.done([*spool.oldest(3), spool.oldest(1)[0], Message(LOG, b"", 10_000)])
    assert spool._bytes == summed(spool) > 0
    spool = reopen()
    spool.change([Change("disk-low/", alarm("raised"))])
    asked: list[str] = []
    query, execute = spool._database.query, spool._database.execute

    def told(sql: str, values: Sequence[Value] = ()) -> list[Row]:
        asked.append(sql)
        return query(sql, values)

    def full(sql: str, values: Sequence[Value] = ()) -> int:
        if sql == "COMMIT":
            raise StorageError(Code.NO_SPACE, "the disk is full")
        return execute(sql, values)

    with monkeypatch.context() as patched:
        patched.setattr(spool._database, "query", told)
        spool.add([Message(LOG, b"1" * 500)])
        patched.setattr(spool._database, "execute", full)
        with pytest.raises(StorageError, match="full"):
            spool.add([Message(LOG, b"2" * 500)])
    assert asked
    assert not any("sum(" in sql for sql in asked)
    assert spool._bytes == summed(spool) <= 2000


def test_which_alarms_stand_is_kept_with_their_messages(reopen: Open) -> None:
    reopen().change([Change("disk-low/", alarm("raised"))])
    assert reopen().standing() == {"disk-low/": alarm("raised")}
    spool = reopen()
    spool.change([Change("disk-low/", alarm("cleared"))])
    assert spool.standing() == {}
    assert [message.word for message in spool.oldest(9)] == [ALARM, ALARM]


def test_a_kind_that_is_left_out_does_not_hold_up_the_others(reopen: Open) -> None:
    spool = reopen()
    spool.change([Change("disk-low/", alarm("raised"))])
    spool.add([Message(LOG, b"1")])
    assert [message.word for message in spool.oldest(9, [ALARM])] == [LOG]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.getLogger("edge_agent.tried")
    logger.setLevel(logging.DEBUG)
    yield logger
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)


def test_a_flood_is_limited_and_the_next_line_says_how_many_went(log: logging.Logger) -> None:
    clock = Clock()
    told = CloudLog("press-4", "WARNING", (), 60, clock=clock)
    log.addHandler(told)
    for number in range(1000):
        log.warning("again %d", number)
    assert [line.message for line in told.take()] == [f"again {number}" for number in range(60)]
    assert told.suppressed == 940
    clock.now = 1.0
    log.warning("later")
    log.warning("too soon")
    (line,) = told.take()
    assert (line.message, line.dropped, told.suppressed) == ("later", 940, 941)


def test_level_and_actions_choose_and_the_senders_own_lines_are_left_out(log: logging.Logger) -> None:
    told = CloudLog("press-4", "ERROR", ("rolled_back",), 60)
    log.addHandler(told)
    log.warning("no")
    log.info("yes", extra={"action": "rolled_back"})
    log.error("yes as well")
    own = logging.getLogger("edge_agent.agent.fleet_news")
    own.addHandler(told)
    own.error("never")
    own.removeHandler(told)
    assert [(line.message, line.action) for line in told.take()] == [("yes", "rolled_back"), ("yes as well", "")]
    off = CloudLog("press-4", "OFF", (), 60)
    log.addHandler(off)
    log.critical("nor this")
    assert off.take() == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rtsp://admin:geheim@10.0.0.7/s", "rtsp://…@10.0.0.7/s"),
        ("password=geheim, next", "password=…, next"),
        ('{"token": "geheim"}', '{"token": …}'),
        ("Authorization: Bearer geheim", "Authorization: …"),
        (r'{"password": "pre\"geheim", "user": "u"}', '{"password": …, "user": "u"}'),
        ('cut: password="geheim und', "cut: password=…"),
        ("aws_secret_access_key = geheim", "aws_secret_access_key = …"),
        ("SecretAccessKey=geheim SecretKey: geheim", "SecretAccessKey=… SecretKey: …"),
        ("private_key=geheim;", "private_key=…;"),
        ("x -----BEGIN PRIVATE KEY-----\ngeheim\n-----END PRIVATE KEY----- y", "x … y"),
        ("a tokenizer and https://example.org/path stay", "a tokenizer and https://example.org/path stay"),
    ],
)
def test_secrets_are_cut(text: str, told: str) -> None:
    assert without_secrets(text) == told
    assert "geheim" not in told


# What takes hours where each letter is looked at once for each letter before it takes no second otherwise.
@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", ["a-" * 100_000, "a." * 100_000, "?" * 200_000, "://" * 70_000, "token " * 30_000])
def test_whatever_a_client_made_the_agent_log_is_cleaned_at_once(text: str) -> None:
    assert without_secrets(without_signatures(text)) == text
    assert without_secrets(f"{text} my-api-key=geheim") == f"{text} my-api-key=…"
    assert without_signatures(f"{text}https://b/o?x=1&X-Amz-Signature=geheim") == f"{text}https://b/o?…"


def test_fields_named_as_secrets_and_signed_urls_are_cut_and_a_line_stays_small(log: logging.Logger) -> None:
    told = CloudLog("press-4", "INFO", (), 60)
    log.addHandler(told)
    extra = {"password": "geheim", "url": "https://b/o?X-Amz-Signature=geheim", "camera": "left", "long": "x" * 9999}
    try:
        int("token=geheim")
    except ValueError:
        log.exception("y" * 9999, extra=extra)
    (line,) = told.take()
    assert line.fields["camera"] == "left"
    assert line.fields["exception"] == "ValueError: invalid literal for int() with base 10: 'token=…'"
    assert b"geheim" not in line.to_json()
    assert len(line.to_json()) < 5 * 1024
