"""An agent that installs a version is given another certificate, and killed on the way: neither is lost."""

from typing import Any

import pytest

from edge_agent.identity import material
from edge_agent.store import AuditLog
from tests.fakes.deployment import install
from tests.fakes.device import eventually
from tests.fakes.job_line import MODEL, Line
from tests.fakes.jobs_clouds import MosquittoCloud

SHADOW = "certificate"


def reported(cloud: MosquittoCloud, line: Line, word: str, unlike: str = "") -> str:
    """Wait until the device reports something else than ``unlike`` under ``word``."""

    def look() -> str | None:
        told: dict[str, Any] = cloud.responder.named.get(line.thing, {}).get("reported", {})
        return told[word] if told.get(word, unlike) != unlike else None

    return eventually(look, lambda: line.device.log.read_text()[-3000:])


def test_a_job_in_work_and_a_renewal_both_outlast_kills(
    line: Line, cloud: MosquittoCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = f"{line.thing}-1"
    line.start("DOWNLOADING:before", monkeypatch)
    old = reported(cloud, line, "id")
    cloud.create_job(line.thing, job_id, install((MODEL, "2")))
    line.wait_until_held()
    cloud.responder.desire(line.thing, SHADOW, renew=old)
    request = reported(cloud, line, "request")
    # The key that was asked for is there again after a kill, and what was signed meanwhile is found.
    line.device.kill()
    pem = cloud.authority.sign(request)
    cloud.responder.desire(line.thing, SHADOW, renew=None, certificate=pem)
    line.start("VERIFIED:before", monkeypatch)
    new = reported(cloud, line, "id", unlike=old)
    assert new == material.read_certificate(pem.encode(), "signed").id
    assert reported(cloud, line, "before") == old
    line.wait_until_held()
    assert line.answering() == "1"
    line.device.kill()
    line.start("", monkeypatch)
    assert line.end_of(job_id).status == "SUCCEEDED"
    assert line.answering() == "2"
    assert cloud.responder.named[line.thing]["reported"]["id"] == new
    assert AuditLog(line.device.state_dir / "audit.log").verify() > 0
    line.device.stop()
