"""Memory for one version only: chosen before the start, said so, and nobody is answered wrongly meanwhile."""

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.agent.machine import memory_bytes
from edge_agent.config import Deployment as Limits
from edge_agent.config import Probation, Shadow
from edge_agent.deployment import capacity
from edge_agent.deployment.record import Deployment, status_details, to_report
from edge_agent.deployment.states import State
from edge_agent.errors import Code, InferenceError, RefusedError
from edge_agent.formats import ModelVersion, Role
from tests.fakes.deployment import Device, FakeSession, install, rollback
from tests.fakes.releases import Release, make_release

MIB = 1 << 20


def release(name: str, version: str, needs: int) -> Release:
    return make_release(name, version, release_seq=int(version), requires={"memory_bytes": needs * MIB})


class Small:
    """A device that holds 300 MiB of models, with unet 1 (200 MiB) and a classifier (50 MiB) that answer."""

    def __init__(self, directory: Path, at_state: Callable[[Deployment], None] | None = None, **limits: object) -> None:
        self.device = Device(
            directory,
            limits=Limits(reserve_bytes=0, **limits),  # type: ignore[arg-type]
            at_state=at_state,
            memory_bytes=300 * MIB,
        )
        self.device.offers(release("unet", "2", 200), release("unet", "3", 251), release("classifier", "2", 50))
        self.device.already_has(release("unet", "1", 200), release("classifier", "1", 50))

    def most_taken(self) -> Callable[[], int]:
        """Watch what is loaded at a time; the result returns the most of it."""
        runtimes, most = self.device.runtimes, [0]
        opened = runtimes.open

        def opening(*arguments: object) -> FakeSession:
            session = opened(*arguments)  # type: ignore[arg-type]
            taken = sum(one.memory_bytes for one in runtimes.opened if one.state == "READY")
            most[0] = max(most[0], taken)
            return session

        runtimes.open = opening  # type: ignore[method-assign,assignment]
        return lambda: most[0]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    small = Small(tmp_path)
    small.device.start()
    yield small
    small.device.stop()


def run_job(device: Device, job_id: str, document: dict[str, object]) -> Deployment:
    device.job(job_id, document)
    device.call(rollback("nobody"))
    record = device.journal.of_job(job_id)
    assert record is not None
    assert record.ended is not None
    return record


def test_what_can_never_fit_is_refused_before_a_byte_is_downloaded(small: Small) -> None:
    record = run_job(small.device, "job-1", install(("unet", "3")))
    assert (record.outcome, record.code) == (State.REFUSED, "MEMORY_EXCEEDED")
    assert f"{251 * MIB}" in record.message
    assert f"{300 * MIB}" in record.message
    assert small.device.blobs.fetched == []
    assert small.device.answering() == {"unet": "1", "classifier": "1"}


def test_what_fits_beside_the_old_version_keeps_it_warm(small: Small) -> None:
    record = run_job(small.device, "job-1", install(("classifier", "2")))
    assert (record.outcome, record.unload_first, record.remark) == (State.COMMITTED, False, "")
    old = next(session for session in small.device.runtimes.opened if session.manifest.model_version[1] == "1")
    assert old.manifest.model == "unet"
    assert old.state == "READY"


def test_what_fits_only_in_place_of_the_old_version_unloads_it_first_and_says_so(
    small: Small, caplog: pytest.LogCaptureFixture
) -> None:
    most = small.most_taken()
    with caplog.at_level(logging.WARNING):
        record = run_job(small.device, "job-1", install(("unet", "2")))
    assert (record.outcome, record.unload_first) == (State.COMMITTED, True)
    for told in (record.remark, to_report(record).remark, status_details(record)["remark"]):
        assert told.startswith("unload first: unet 2 needs")
    assert [note for note in caplog.records if getattr(note, "action", "") == "unload_first"]
    assert most() <= 300 * MIB
    assert small.device.answering() == small.device.committed() == {"unet": "2", "classifier": "1"}


def test_it_is_said_while_the_old_version_still_answers(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []
    small: list[Small] = []

    def look(record: Deployment) -> None:
        if record.state is State.DOWNLOADING:
            seen.append((record.remark, small[0].device.answering()["unet"]))

    small.append(Small(tmp_path, look))
    device = small[0].device
    device.start()
    run_job(device, "job-1", install(("unet", "2")))
    assert seen[0][0].startswith("unload first")
    assert seen[0][1] == "1"
    device.stop()


def test_there_is_no_shadow_where_there_is_nothing_beside_the_candidate(tmp_path: Path) -> None:
    small = Small(tmp_path, shadow=Shadow(min_requests=1000, max_seconds=600))
    small.device.start()
    record = run_job(small.device, "job-1", install(("unet", "2")))
    assert record.outcome is State.COMMITTED
    small.device.stop()


@pytest.mark.parametrize("code", [Code.LOAD_FAILED, Code.GOLDEN_MISMATCH])
def test_a_candidate_that_fails_leaves_the_old_version_loaded_again(small: Small, code: Code) -> None:
    most = small.most_taken()
    small.device.runtimes.bad[ModelVersion("unet", "2")] = code
    record = run_job(small.device, "job-1", install(("unet", "2")))
    assert (record.outcome, record.code) == (State.FAILED, code.value)
    assert small.device.answering() == small.device.committed() == {"unet": "1", "classifier": "1"}
    assert [session.manifest.version for session in small.device.runtimes.opened].count("1") == 3
    assert most() <= 300 * MIB


def test_a_rollback_out_of_probation_loads_the_old_version_again(tmp_path: Path) -> None:
    there, go_on = threading.Event(), threading.Event()

    def halt(record: Deployment) -> None:
        if record.state is State.PROBATION and not there.is_set():
            there.set()
            assert go_on.wait(30)

    small = Small(tmp_path, halt, probation=Probation(max_seconds=600))
    device, most = small.device, small.most_taken()
    device.start()
    device.job("job-1", install(("unet", "2")))
    assert there.wait(30)
    assert device.answering() == {"unet": "2", "classifier": "1"}
    go_on.set()
    assert device.call(rollback("unet")).outcome in (State.COMMITTED, State.FAILED)
    record = device.journal.of_job("job-1")
    assert record is not None
    assert (record.outcome, record.code) == (State.FAILED, "SUPERSEDED")
    assert device.answering() == device.committed() == {"unet": "1", "classifier": "1"}
    assert most() <= 300 * MIB
    device.stop()


def test_a_rollback_of_a_committed_version_unloads_first_too_and_is_never_refused_for_memory(small: Small) -> None:
    run_job(small.device, "job-1", install(("unet", "2")))
    most = small.most_taken()
    record = small.device.call(rollback("unet"))
    assert (record.outcome, record.unload_first) == (State.COMMITTED, True)
    assert small.device.answering() == {"unet": "1", "classifier": "1"}
    assert most() <= 300 * MIB


def test_requests_in_between_wait_for_the_new_version_within_their_time(tmp_path: Path) -> None:
    there, go_on = threading.Event(), threading.Event()

    def halt(record: Deployment) -> None:
        if record.state is State.ACTIVATING:
            there.set()
            assert go_on.wait(30)

    device = Small(tmp_path, halt).device
    device.start()
    device.job("job-1", install(("unet", "2")))
    assert there.wait(30)
    assert device.answering() == {"classifier": "1"}
    with pytest.raises(InferenceError) as late, device.registry.lease("unet", timeout_s=0.01):
        pass
    assert late.value.code is Code.UNAVAILABLE
    answered: list[str] = []

    def ask() -> None:
        with device.registry.lease("unet", timeout_s=30) as session:
            answered.append(session.manifest.version)

    asking = threading.Thread(target=ask)
    asking.start()
    go_on.set()
    asking.join(30)
    assert answered == ["2"]
    device.stop()


def test_an_old_version_that_does_not_load_again_is_told_and_nobody_waits_for_it_for_ever(
    small: Small, caplog: pytest.LogCaptureFixture
) -> None:
    small.device.runtimes.bad = {
        ModelVersion("unet", "2"): Code.GOLDEN_MISMATCH,
        ModelVersion("unet", "1"): Code.LOAD_FAILED,
    }
    record = run_job(small.device, "job-1", install(("unet", "2")))
    assert record.code == "GOLDEN_MISMATCH"
    assert [note for note in caplog.records if getattr(note, "action", "") == "model_unavailable"]
    with (
        pytest.raises(InferenceError, match="expected one of the loaded models"),
        small.device.registry.lease("unet", timeout_s=30),
    ):
        pass
    assert small.device.committed() == {"unet": "1", "classifier": "1"}


def test_a_candidate_that_takes_more_than_it_promised_never_answers(tmp_path: Path) -> None:
    small = Small(tmp_path)
    device = small.device
    opened = device.runtimes.open

    def greedy(*arguments: object) -> FakeSession:
        session = opened(*arguments)  # type: ignore[arg-type]
        if session.manifest.model_version == ModelVersion("classifier", "2"):
            session.memory_bytes = 101 * MIB
        return session

    device.runtimes.open = greedy  # type: ignore[method-assign,assignment]
    device.start()
    record = run_job(device, "job-1", install(("classifier", "2")))
    assert (record.outcome, record.code) == (State.FAILED, "MEMORY_EXCEEDED")
    assert device.answering() == {"unet": "1", "classifier": "1"}
    device.stop()


def test_several_models_of_one_job_are_weighed_together(small: Small) -> None:
    record = run_job(small.device, "job-1", install(("unet", "2"), ("classifier", "2")))
    assert (record.outcome, record.unload_first) == (State.COMMITTED, True)
    assert small.device.answering() == {"unet": "2", "classifier": "2"}


def test_without_a_word_in_the_manifest_the_need_is_estimated_from_the_graph() -> None:
    bare = make_release("unet", "1")
    assert capacity.memory_need(bare.manifest) == capacity.WORKER_BYTES + 6 * bare.manifest.model_artefact.size_bytes
    assert capacity.memory_need(release("unet", "1", 7).manifest) == 7 * MIB


def test_weights_in_a_file_of_their_own_count_as_the_graph_does_and_golden_samples_do_not() -> None:
    bare = make_release("unet", "1").manifest
    graph = bare.model_artefact
    weights = graph.model_copy(update={"path": "model.bin", "role": Role.EXTRA, "size_bytes": 70, "sha256": "7" * 64})
    sample = weights.model_copy(update={"path": "1.png", "role": Role.GOLDEN, "sha256": "8" * 64})
    manifest = bare.model_copy(update={"artefacts": (graph, weights, sample)})
    assert capacity.graph_bytes(manifest) == graph.size_bytes + 70
    assert capacity.memory_need(manifest) == capacity.WORKER_BYTES + 6 * (graph.size_bytes + 70)
    # ONNX Runtime's engine reads its weights where they lie; OpenVINO's holds them.
    assert capacity.engine_bytes(manifest) == graph.size_bytes
    held = manifest.model_copy(update={"runtime": manifest.runtime.model_copy(update={"name": "openvino"})})
    assert capacity.engine_bytes(held) == graph.size_bytes + 70


def test_a_budget_that_is_not_known_refuses_nothing() -> None:
    manifests = [release("unet", "1", 10_000).manifest]
    choice = capacity.choose_memory(manifests, {"unet": 10_000 * MIB}, 0, strict=True)
    assert (choice.unload_first, choice.reason) == (False, "")
    with pytest.raises(RefusedError):
        capacity.choose_memory(manifests, {}, 1, strict=True)


def test_the_machines_memory_is_the_least_of_what_it_has_and_what_its_groups_may_take(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("0::/system.slice/edge-agent.service\n")
    group = tmp_path / "groups" / "system.slice" / "edge-agent.service"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")

    def found() -> int:
        return memory_bytes(physical=1000, groups=tmp_path / "groups", own=own)

    assert found() == 1000
    (group.parent / "memory.max").write_text("700\n")
    assert found() == 700
    (group / "memory.max").write_text("300\n")
    assert found() == 300
    assert memory_bytes(physical=1000, groups=tmp_path / "none", own=tmp_path / "none") == 1000
    assert memory_bytes() > 0
