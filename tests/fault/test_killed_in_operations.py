"""Killed while a model is removed or its threshold set: either all of it happened or none, and the job tells which."""

import itertools
import time
from typing import NamedTuple

import pytest

from edge_agent.deployment.states import CONFIGURE, REMOVE, State
from tests.fakes.deployment import configure, remove
from tests.fakes.jobs_clouds import MosquittoCloud
from tests.fakes.repository import SignedRepository
from tests.fakes.signed import publish_versions
from tests.fakes.tiny_models import GREY, grey_picture
from tests.fault.test_killed_in_each_state import MODEL, Line

OTHER = "unmapped"
assert REMOVE == CONFIGURE == (State.ACCEPTED, State.CHECKING, State.COMMITTED, State.REPORTED)
# Before a state's work is after the work of the state before it, with nothing in between to lose.
MOMENTS = [
    (State.ACCEPTED, "before"),
    (State.CHECKING, "after"),
    (State.COMMITTED, "before"),
    (State.COMMITTED, "after"),
]


class Operation(NamedTuple):
    """An operation, and what a device shows before and after it."""

    name: str
    document: dict[str, object]
    before: object
    after: object


OPERATIONS = [
    Operation("remove", remove(OTHER), {MODEL: "1", OTHER: "1"}, {MODEL: "1"}),
    Operation("configure", {**configure(), "models": [{"name": MODEL, "threshold": 0.125}]}, 0.5, 0.125),
]
CASES = [(operation, *moment) for operation, moment in itertools.product(OPERATIONS, MOMENTS)]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> SignedRepository:
    repository = SignedRepository(tmp_path_factory.mktemp("repository"), now=time.time())
    publish_versions(repository, (MODEL, "1"), (OTHER, "1"))
    return repository


@pytest.fixture
def line(line: Line) -> Line:
    line.device.start()
    assert line.device.install((OTHER, "1")).state == "COMMITTED"
    line.device.stop()
    return line


def shown(line: Line, operation: Operation) -> object:
    """Return what the running agent shows: the models that it has, or the threshold that a part is judged by."""
    if operation.name == "remove":
        return {model.name: model.active for model in line.device.status().models if model.active}
    result = line.device.inspect(grey_picture(GREY)).results[0]
    in_force = {model.name: model.threshold for model in line.device.status().models}[MODEL]
    assert result.threshold == in_force
    # The grey part scores about 0.15: what is told is also what decides.
    assert result.verdict.value == ("NG" if result.threshold < result.score else "OK")
    return result.threshold


@pytest.mark.parametrize(
    ("operation", "state", "when"), CASES, ids=[f"{op.name}-{state.value}-{when}" for op, state, when in CASES]
)
def test_killed_in_each_state_of_an_operation_it_is_done_or_not_and_then_done(
    operation: Operation,
    state: State,
    when: str,
    line: Line,
    cloud: MosquittoCloud,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line.start(f"{state.value}:{when}", monkeypatch)
    assert shown(line, operation) == operation.before
    job_id = f"{operation.name}-{state.value}-{when}-{time.monotonic_ns()}"
    cloud.create_job(line.thing, job_id, operation.document)
    line.wait_until_held()
    line.device.kill()

    line.start("RESUMED", monkeypatch)
    line.wait_until_held()
    committed = state is State.COMMITTED
    assert shown(line, operation) == (operation.after if committed else operation.before)
    line.let_go()

    standing = line.end_of(job_id)
    assert (standing.status, standing.details.get("code", "")) == ("SUCCEEDED", "")
    assert shown(line, operation) == operation.after
    report = line.device.wait_for_deployment(lambda report: report.job_id == job_id and report.ended is not None)
    assert [entry.state for entry in report.states].count("COMMITTED") == 1
    line.device.stop()
