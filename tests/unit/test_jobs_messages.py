import json
from typing import Any

import pytest

from edge_agent.errors import Code, JobsError
from edge_agent.jobs.messages import Identity, Report, check_report, clean_details, compose_update
from edge_agent.jobs.topics import Arrival, Topics

REPORT = Report(1, "j1", "IN_PROGRESS", {"step": "BUILDING"}, 15, Identity("j1", 2, 1_790_000_000))


def test_an_update_carries_version_execution_and_time_out() -> None:
    assert json.loads(compose_update(REPORT, expected_version=4, token="t")) == {
        "status": "IN_PROGRESS",
        "statusDetails": {"step": "BUILDING"},
        "expectedVersion": 4,
        "executionNumber": 2,
        "stepTimeoutInMinutes": 15,
        "includeJobExecutionState": True,
        "clientToken": "t",
    }


def test_an_update_leaves_out_what_is_not_known() -> None:
    report = REPORT._replace(status="SUCCEEDED", details={}, execution=None)
    update = json.loads(compose_update(report, expected_version=None, token="t"))
    assert update == {"status": "SUCCEEDED", "includeJobExecutionState": True, "clientToken": "t"}


def test_only_ten_details_are_kept_the_first_ones() -> None:
    details = clean_details({f"k{number}": "v" for number in range(12)})
    assert list(details) == [f"k{number}" for number in range(10)]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("a\nb\tc\x00d", "a b c d"),
        ("zero\u200bwidth", "zero width"),
        ("half \ud83d pair", "half   pair"),
        ("größe 🙂", "größe 🙂"),
        ("x" * 1024, "x" * 1024),
        ("x" * 1025, "x" * 1023 + "…"),
        ("🙂" * 600, "🙂" * 511 + "…"),
    ],
)
def test_values_are_cleaned_and_shortened_to_what_the_service_takes(value: str, kept: str) -> None:
    assert clean_details({"k": value}) == {"k": kept}
    assert len(kept.encode("utf-16-le")) // 2 <= 1024


def test_empty_details_are_dropped_and_keys_made_fit() -> None:
    assert clean_details({"empty": "", "only control": "\n\n", "size bytes/ä": "7", "k" * 200: "v"}) == {
        "size_bytes__": "7",
        "k" * 128: "v",
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("", "SUCCEEDED", {}, None), "a job id"),
        (("j1", "QUEUED", {}, None), "a status of"),
        (("j1", "TIMED_OUT", {}, None), "a status of"),
        (("j1", "FAILED", {"code": 7}, None), "text to text"),
        (("j1", "IN_PROGRESS", {}, 0), "1 to 10080"),
        (("j1", "IN_PROGRESS", {}, 10_081), "1 to 10080"),
    ],
)
def test_a_report_that_no_device_may_make_is_refused(arguments: Any, expected: str) -> None:
    with pytest.raises(JobsError, match=expected) as caught:
        check_report(*arguments)
    assert (caught.value.code, caught.value.permanent) == (Code.INVALID_ARGUMENT, True)


TOPICS = Topics("press-4")
PREFIX = "$aws/things/press-4/jobs/"


@pytest.mark.parametrize(
    ("topic", "arrival"),
    [
        ("notify", Arrival("notify", "", "")),
        ("notify-next", Arrival("notify-next", "", "")),
        ("get/accepted", Arrival("get", "", "accepted")),
        ("start-next/rejected", Arrival("start-next", "", "rejected")),
        ("j1/get/accepted", Arrival("describe", "j1", "accepted")),
        ("j1/update/rejected", Arrival("update", "j1", "rejected")),
        ("get/get/accepted", Arrival("describe", "get", "accepted")),
        ("j1/update", None),
        ("start-next", None),
        ("j1/j2/update/accepted", None),
        ("", None),
    ],
)
def test_a_topic_is_read_or_is_none_of_ours(topic: str, arrival: Arrival | None) -> None:
    assert TOPICS.read(PREFIX + topic) == arrival
    assert TOPICS.read("$aws/things/press-40/jobs/" + topic) is None


def test_one_subscription_covers_every_answer_and_fits_into_one_packet() -> None:
    filters = TOPICS.subscriptions()
    assert len(filters) <= 8
    for verb in ("get", "start-next", "describe", "update"):
        topic = TOPICS.request(verb, "j1" if verb in ("describe", "update") else "") + "/accepted"
        assert any(fits(topic, pattern) for pattern in filters)


def fits(topic: str, pattern: str) -> bool:
    parts, wanted = topic.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(want in ("+", part) for part, want in zip(parts, wanted, strict=True))
