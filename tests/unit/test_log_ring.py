"""The newest lines of the log, as the page shows them; and how a failed golden check is told."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from edge_agent.agent.line import tell_golden
from edge_agent.formats import GoldenCheck, Payload
from edge_agent.telemetry import logs, metrics
from edge_agent.telemetry.log_ring import LIMIT_FIELDS, LIMIT_TEXT, LogRing


@pytest.fixture
def root() -> Iterator[io.StringIO]:
    """The log's stream; the root logger is put back as it was."""
    logger = logging.getLogger()
    before, level = logger.handlers[:], logger.level
    stream = io.StringIO()
    yield stream
    logging.captureWarnings(capture=False)
    logger.handlers[:] = before
    logger.setLevel(level)


def test_the_newest_lines_are_kept_with_their_fields_and_nothing_of_them_is_secret(root: io.StringIO) -> None:
    ring = LogRing(3)
    logs.configure("INFO", root, ring)
    log = logging.getLogger("edge_agent.test")
    url = "https://bucket/key?X-Amz-Credential=SECRET&x=1"
    log.debug("not logged at this level")
    for number in range(4):
        log.info("part %d", number, extra={"action": "counted", "number": number})
    log.warning("could not fetch %s", url, extra={"url": url})
    lines = ring.lines(10)
    assert [line.message for line in lines] == ["part 2", "part 3", "could not fetch https://bucket/key?…"]
    assert lines[0].fields == {"action": "counted", "number": "2"}
    assert (lines[2].level, lines[2].logger) == ("WARNING", "edge_agent.test")
    assert "SECRET" not in lines[2].fields["url"]
    assert [line.message for line in ring.lines(10, logging.WARNING)] == [lines[2].message]
    assert ring.lines(1) == lines[2:]
    assert len(root.getvalue().splitlines()) == 5


def test_what_is_kept_of_a_line_is_bounded_and_text(root: io.StringIO) -> None:
    ring = LogRing()
    logs.configure("INFO", root, ring)
    log = logging.getLogger("edge_agent.test")
    log.info("x" * 100_000, extra={f"field{number}": "y" * 100_000 for number in range(100)})
    log.info("half a pair: \ud800")
    try:
        int("a cause")
    except ValueError:
        log.exception("failed")
    long, half, failed = ring.lines(10)
    assert (len(long.message), len(long.fields), len(long.fields["field0"])) == (LIMIT_TEXT, LIMIT_FIELDS, LIMIT_TEXT)
    assert half.message == "half a pair: ?"
    assert json.loads(half.to_json())["message"] == half.message
    assert "invalid literal for int" in failed.fields["exception"]


def _down(depth: int) -> int:
    return _further_down(depth - 1) if depth else int("a cause")


def _further_down(depth: int) -> int:
    return _down(depth)


def test_of_a_long_traceback_the_end_is_kept_which_says_what_went_wrong(root: io.StringIO) -> None:
    ring = LogRing()
    logs.configure("INFO", root, ring)
    try:
        _down(40)
    except ValueError:
        logging.getLogger("edge_agent.test").exception("failed")
    (line,) = ring.lines(1)
    assert len(line.fields["exception"]) == LIMIT_TEXT
    assert line.fields["exception"].endswith("ValueError: invalid literal for int() with base 10: 'a cause'")


def test_a_golden_check_that_failed_is_trouble_until_one_is_passed() -> None:
    told: list[Payload] = []
    troubles: dict[str, str] = {}
    failed = GoldenCheck(state="FAILED", message="1 of 2 golden parts were misjudged: NG/a.png came OK")
    for check in (failed, GoldenCheck(state="RUNNING"), GoldenCheck(state="PASSED", message="all well")):
        tell_golden(check, told.append, troubles.__setitem__)
        assert f'edge_agent_golden_check{{state="{check.state}"}} 1.0' in metrics.exposition().decode()
        assert troubles == {"golden parts": "" if check.state == "PASSED" else failed.message}
    assert [check.state for check in told if isinstance(check, GoldenCheck)] == ["FAILED", "RUNNING", "PASSED"]
