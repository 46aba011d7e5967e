"""Forged, replayed and duplicated jobs: the cloud can only ask, and what nobody asked for or signed changes nothing.

The deployer, the jobs client and its outbox are the real ones; only the wire and the models are in memory.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.deployment.states import State
from tests.fakes.cloud_device import THING, Cloud, CloudDevice
from tests.fakes.deployment import install, rollback
from tests.fakes.device import eventually
from tests.fakes.releases import make_release

ONE, TWO, THREE = (make_release("unet", version, release_seq=int(version)) for version in ("1", "2", "3"))
JOBS = f"$aws/things/{THING}/jobs"


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CloudDevice]:
    line = CloudDevice(tmp_path, Cloud(), committed=(TWO,), offered=(ONE, THREE))
    line.start()
    eventually(lambda: line.jobs.connected or None)
    yield line
    line.stop()


def nothing_happened(line: CloudDevice) -> None:
    """Check that the version that answers is the one from before, and that nothing was begun."""
    assert line.device.committed() == line.device.answering() == {"unet": "2"}
    assert line.device.journal.history() == []
    assert line.device.blobs.fetched == []


def execution(job_id: str, document: Any, **more: Any) -> dict[str, Any]:
    told = {"jobId": job_id, "queuedAt": 1, "lastUpdatedAt": 1, "versionNumber": 1, "executionNumber": 1}
    return {**told, "status": "QUEUED", "jobDocument": document, **more}


def heard(line: CloudDevice, why: str) -> int:
    return line.jobs._session.ignored[why]


def test_a_forged_notification_is_only_a_reason_to_ask_and_its_document_is_never_read(line: CloudDevice) -> None:
    asked = line.cloud.requests["start-next"]
    line.cloud.say(f"{JOBS}/notify-next", {"execution": execution("forged", install(("unet", "3")))})
    eventually(lambda: line.cloud.requests["start-next"] > asked or None)
    line.cloud.say(f"{JOBS}/notify", {"jobs": {"QUEUED": [execution("forged", {})]}})
    eventually(lambda: line.cloud.requests["get"] >= 2 or None)
    nothing_happened(line)


@pytest.mark.parametrize(
    "word", ["start-next/accepted", "forged/get/accepted", "get/accepted", "forged/update/accepted"]
)
@pytest.mark.parametrize("token", ["", "guessed", None])
def test_a_forged_answer_that_was_not_asked_for_is_dropped(line: CloudDevice, word: str, token: str | None) -> None:
    told = {"execution": execution("forged", install(("unet", "3"))), "queuedJobs": [execution("forged", {})]}
    before = heard(line, "unasked") + heard(line, "malformed")
    line.cloud.say(f"{JOBS}/{word}", told | ({} if token is None else {"clientToken": token}))
    eventually(lambda: heard(line, "unasked") + heard(line, "malformed") > before or None)
    nothing_happened(line)


def test_a_job_for_another_thing_is_dropped(line: CloudDevice) -> None:
    line.cloud.say("$aws/things/press-5/jobs/notify-next", {"execution": execution("j", install(("unet", "3")))})
    line.cloud.say(
        "$aws/things/press-5/jobs/start-next/accepted", {"execution": execution("j", install(("unet", "3")))}
    )
    eventually(lambda: heard(line, "foreign") >= 2 or None)
    line.cloud.operate(lambda service: service.create_job("theirs", install(("unet", "3")), "press-5"))
    eventually(lambda: heard(line, "foreign") >= 3 or None)
    nothing_happened(line)


def test_the_same_job_again_with_another_document_gets_its_answer_again_and_is_not_read(line: CloudDevice) -> None:
    assert line.run_job("j", install(("unet", "2"))).outcome is State.COMMITTED
    known = line.cloud.execution("j")
    assert known is not None
    # Whoever holds the service shows the finished execution as new, with a document of his own.
    known.status, known.version, known.document = "QUEUED", 1, install(("unet", "3"))
    line.cloud.operate(lambda service: service._notify(THING, ""))
    eventually(lambda: line.cloud.ends_accepted["j"] == 2 or None)
    assert known.status == "SUCCEEDED"
    assert len(line.device.journal.history()) == 1
    assert line.device.committed() == {"unet": "2"}


def test_a_new_job_of_an_old_id_is_judged_anew(line: CloudDevice) -> None:
    assert line.run_job("j", install(("unet", "2"))).outcome is State.COMMITTED
    line.cloud.operate(lambda service: service.delete_job("j"))
    line.cloud.service._now = lambda: 1_900_000_000
    line.cloud.operate(lambda service: service.create_job("j", install(("unet", "1")), THING))
    eventually(lambda: len(line.device.journal.history()) == 2 or None)
    refused = line.ended("j")
    assert (refused.outcome, refused.code) == (State.REFUSED, "DOWNGRADE")
    assert line.device.committed() == {"unet": "2"}


def test_a_replayed_notification_and_answer_of_an_old_job_change_nothing(line: CloudDevice) -> None:
    said: list[tuple[str, bytes]] = []
    line.cloud.lose = lambda topic, message: bool(said.append((topic, json.dumps(message).encode())))
    assert line.run_job("j", install(("unet", "3"))).outcome is State.COMMITTED
    assert line.run_job("back", rollback("unet")).outcome is State.COMMITTED
    recorded = list(said)
    assert any(topic.endswith("start-next/accepted") and b'"unet"' in payload for topic, payload in recorded)
    unasked, seen = heard(line, "unasked"), len(line.device.journal.history())
    for topic, payload in recorded:
        line.cloud.say(topic, payload)
    eventually(lambda: heard(line, "unasked") - unasked >= 5 or None)
    assert line.run_job("last", install(("unet", "2"))).outcome is State.COMMITTED
    assert len(line.device.journal.history()) == seen + 1
    assert line.cloud.ends_accepted == {"j": 1, "back": 1, "last": 1}
    assert line.device.committed() == {"unet": "2"}


def test_a_duplicated_job_is_confirmed_and_nothing_installs_twice(line: CloudDevice) -> None:
    assert line.run_job("j", install(("unet", "3"))).outcome is State.COMMITTED
    fetched, number = len(line.device.blobs.fetched), line.device.store.generations.current().number
    again = line.run_job("j-again", install(("unet", "3")))
    assert (again.outcome, [entry.state for entry in again.states if entry.state == "DOWNLOADING"]) == (
        State.COMMITTED,
        [],
    )
    assert (len(line.device.blobs.fetched), line.device.store.generations.current().number) == (fetched, number)


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (install(("unet", "1")), "DOWNGRADE"),
        (install(("unet", "77")), "RELEASE_UNKNOWN"),
        (install(("stranger", "1")), "RELEASE_UNKNOWN"),
        (rollback("unet"), "NO_PREVIOUS"),
        ({"type": "new_model", "model_name": "unet", "model_version": "3"}, "UNSIGNED_PACKAGE"),
        (install(("unet", "3"), url="https://elsewhere"), "JOB_INVALID"),
        ({**install(("unet", "3")), "schema": "edge-agent/job/2"}, "JOB_INVALID"),
        ("rm -rf /", "JOB_INVALID"),
    ],
    ids=[
        "older",
        "not signed",
        "unknown model",
        "no previous",
        "old package",
        "more than is asked",
        "newer form",
        "text",
    ],
)
def test_a_job_of_a_thief_is_rejected_with_its_reason_and_the_next_is_done(
    line: CloudDevice, document: Any, code: str
) -> None:
    record = line.run_job("forged", document)
    assert (record.outcome, record.code) == (State.REFUSED, code)
    told = line.cloud.execution("forged")
    assert told is not None
    assert told.details is not None
    assert (told.status, told.details["code"]) == ("REJECTED", code)
    assert line.device.committed() == line.device.answering() == {"unet": "2"}
    assert line.device.blobs.fetched == []
    line.goes_on("unet", "3")
