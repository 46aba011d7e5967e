"""What the device shadow tells: what is committed, what went, and nothing that a shadow cannot hold."""

import json
from typing import Any

import pytest

from edge_agent import __version__
from edge_agent.agent.device_shadow import LIMIT_BYTES, DeviceShadow, compose
from edge_agent.deployment import record as records
from edge_agent.errors import Code, JobsError, StorageError
from edge_agent.store import Committed, Generation


def committed(version: str, **more: Any) -> Committed:
    return Committed(version=version, manifest_sha256="0" * 64, release_seq=int(version), **more)


def reported(payload: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(payload)["state"]["reported"]
    return found


def test_it_tells_models_generation_and_the_last_deployment() -> None:
    last = records.refused(
        "d1", job_id="job-1", execution_number=1, queued_at=0, now=7.0, code=Code.JOB_INVALID, message="no sense"
    )
    told = reported(compose(Generation(number=4, models={"unet": committed("2", previous="1")}), (), last))
    assert told["agent"] == {"version": __version__}
    assert told["generation"] == 4
    assert told["models"] == {
        "unet": {"version": "2", "previous": "1", "release_seq": 2, "threshold": None, "unsigned": None}
    }
    assert told["deployment"] == {
        "id": "d1", "job_id": "job-1", "operation": "install", "state": "REFUSED", "code": "JOB_INVALID",
        "message": "no sense", "ended": None,
    }  # fmt: skip


def test_a_model_that_went_is_taken_out_since_the_service_merges() -> None:
    told = reported(compose(Generation(number=5, models={"unet": committed("2")}), ("unet", "gone"), None))
    assert told["models"]["gone"] is None
    assert told["models"]["unet"]["version"] == "2"
    assert told["deployment"] is None


def test_many_models_are_told_by_version_only_and_too_many_not_at_all() -> None:
    many = {f"a-model-with-a-long-name-{number}": committed("1") for number in range(100)}
    payload = compose(Generation(number=1, models=many), (), None)
    assert len(payload) <= LIMIT_BYTES
    assert set(map(str, reported(payload)["models"].values())) == {"{'version': '1'}"}
    with pytest.raises(StorageError, match="at most 8000 bytes"):
        compose(Generation(number=1, models={f"{name}-{i}": m for i in range(9) for name, m in many.items()}), (), None)


def test_how_the_device_is_gives_way_to_what_runs_there() -> None:
    facts = {"agent": {"version": "9", "state": "DEGRADED", "message": "m" * 300}, "disk": {"free_bytes": 7}}
    few = compose(Generation(number=1, models={"unet": committed("1")}), (), None, facts)
    assert (reported(few)["agent"]["state"], reported(few)["disk"]) == ("DEGRADED", {"free_bytes": 7})
    many = {f"a-model-with-a-long-name-{number}": committed("1") for number in range(165)}
    full = compose(Generation(number=1, models=many), (), None, facts)
    assert len(full) <= LIMIT_BYTES
    assert reported(full)["agent"] == {"version": __version__}, "nothing but versions has room"
    assert len(reported(full)["models"]) == 165


class Jobs:
    """A connection that comes later."""

    def __init__(self) -> None:
        self.connected = False
        self.said: list[tuple[str, bytes]] = []

    def publish(self, topic: str, payload: bytes) -> None:
        if not self.connected:
            raise JobsError(Code.NOT_CONNECTED, "not yet")
        self.said.append((topic, payload))


class Kept:
    """Generations in memory."""

    def current(self) -> Generation:
        return Generation(number=1, models={"unet": committed("1")})

    def history(self) -> list[Generation]:
        return [self.current()]


def test_without_a_connection_nothing_is_told_and_nothing_breaks() -> None:
    jobs, kept = Jobs(), Kept()
    some: Any = jobs
    generations: Any = kept
    shadow = DeviceShadow("press-4", lambda: some, generations, lambda: None)
    shadow.publish()
    assert jobs.said == []
    jobs.connected = True
    shadow.publish()
    assert [topic for topic, _ in jobs.said] == ["$aws/things/press-4/shadow/update"]
    DeviceShadow("press-4", lambda: None, generations, lambda: None).publish()
