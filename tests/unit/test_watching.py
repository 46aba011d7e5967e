"""SHADOW and PROBATION on a real deployer: what is compared, kept, replayed, excused, and what ends them."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.config import Deployment as Limits
from edge_agent.deployment.record import Deployment
from edge_agent.deployment.states import State
from edge_agent.deployment.watching.aside import Aside
from edge_agent.deployment.watching.deaths import RECOVERY_S, Deaths
from edge_agent.deployment.watching.requests import History, Offers
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import EncodedPicture, ModelVersion, Picture, RawPicture
from edge_agent.inference import Answered, Priority
from tests.fakes.answering_device import Line, answer, answering_device, tell, use
from tests.fakes.deployment import Device, install, rollback
from tests.fakes.releases import make_release

RECENT = (EncodedPicture(b"part 1"), EncodedPicture(b"part 2"))


def constant(score: float) -> Callable[[Picture], float]:
    return lambda _picture: score


def failing(code: Code) -> Callable[[Picture], float]:
    def fail(_picture: Picture) -> float:
        raise InferenceError(code, "planted")

    return fail


@pytest.fixture
def devices() -> Iterator[list[Device]]:
    made: list[Device] = []
    yield made
    for device in made:
        device.stop()


def make(
    devices: list[Device], directory: Path, says: dict[str, Callable[[Picture], float]], **more: Any
) -> tuple[Device, Any]:
    keys = {"shadow", "probation"}
    limits = Limits(reserve_bytes=0, **{key: more.pop(key) for key in keys & more.keys()})
    device, runtimes = answering_device(directory, limits, says, **more)
    devices.append(device)
    device.start()
    return device, runtimes


def run_job(device: Device, job_id: str = "job-2") -> Deployment:
    device.job(job_id, install(("unet", "2")))
    device.call(rollback("nobody"))
    record = device.journal.of_job(job_id)
    assert record is not None
    assert record.ended is not None
    return record


def figures(record: Deployment, state: State) -> dict[str, float]:
    found = next(entry.figures for entry in reversed(record.states) if entry.state == state.value)
    return {name.removeprefix("unet_"): value for name, value in found.items()}


def test_a_candidate_answers_copies_of_live_requests_unseen_and_is_committed_when_it_agrees(
    devices: list[Device], tmp_path: Path
) -> None:
    says = {"1": constant(0.1), "2": constant(0.2)}
    device, runtimes = make(devices, tmp_path, says, shadow={"min_requests": 5, "max_seconds": 600})
    with Line(device):
        record = run_job(device)
    assert record.outcome is State.COMMITTED
    seen = figures(record, State.SHADOW)
    assert seen["compared"] >= 5
    assert (seen["agreement"], seen["replayed"], seen["failed"]) == (1, 0, 0)
    assert seen["score_distance_p95"] == pytest.approx(0.1, rel=0.03)
    assert Priority.SHADOW in runtimes.sessions["2"].priorities
    assert record.shadow.seconds < 600


def test_a_candidate_that_disagrees_is_never_asked_by_anyone(devices: list[Device], tmp_path: Path) -> None:
    says = {"1": constant(0.1), "2": constant(0.9)}
    device, runtimes = make(devices, tmp_path, says, shadow={"min_requests": 5, "max_seconds": 600})
    with Line(device):
        record = run_job(device)
    assert (record.outcome, record.code) == (State.FAILED, "SHADOW_REGRESSION")
    assert "expected agreement of at least 0.9, came 0" in record.message
    assert "score_distance_p95 0.8" in record.message
    assert figures(record, State.SHADOW)["agreement"] == 0
    assert runtimes.sessions["2"].priorities == {Priority.SHADOW}
    assert device.committed() == device.answering() == {"unet": "1"}


def test_one_failure_of_the_candidate_ends_the_shadow_at_once(devices: list[Device], tmp_path: Path) -> None:
    says = {"1": constant(0.1), "2": failing(Code.INTERNAL)}
    device, _ = make(devices, tmp_path, says, shadow={"max_seconds": 600})
    with Line(device) as line:
        record = run_job(device)
    assert (record.outcome, record.code) == (State.FAILED, "SHADOW_REGRESSION")
    assert "failed what the live version answered: INTERNAL: planted" in record.message
    assert line.errors == []


def test_a_first_install_has_nothing_to_be_compared_with_and_says_so(devices: list[Device], tmp_path: Path) -> None:
    device, _ = make(devices, tmp_path, {"2": constant(0.1)}, first=True, shadow={"max_seconds": 600})
    record = run_job(device)
    assert record.outcome is State.COMMITTED
    assert figures(record, State.SHADOW) == {"nothing_to_compare_with": 1}


def test_without_traffic_recent_frames_are_asked_of_both_and_then_the_golden_samples(
    devices: list[Device], tmp_path: Path
) -> None:
    says = {"1": constant(0.1), "2": constant(0.1)}
    device, runtimes = make(devices, tmp_path, says, recent=RECENT, shadow={"max_seconds": 0.05})
    record = run_job(device)
    assert record.outcome is State.COMMITTED
    seen = figures(record, State.SHADOW)
    assert (seen["compared"], seen["replayed"]) == (2, 2)
    assert runtimes.sessions["1"].asked == runtimes.sessions["2"].asked == list(RECENT)
    assert runtimes.golden == ["2", "2"]


def test_without_traffic_recent_frames_block_a_candidate_that_disagrees(devices: list[Device], tmp_path: Path) -> None:
    says = {"1": constant(0.1), "2": constant(0.9)}
    device, _ = make(devices, tmp_path, says, recent=RECENT, shadow={"max_seconds": 0.05})
    assert run_job(device).code == "SHADOW_REGRESSION"


def test_without_traffic_and_frames_the_golden_samples_decide(devices: list[Device], tmp_path: Path) -> None:
    says = {"1": constant(0.1), "2": constant(0.1)}
    device, runtimes = make(devices, tmp_path, says, shadow={"max_seconds": 0.05}, probation={"max_seconds": 0.05})
    record = run_job(device)
    assert record.outcome is State.COMMITTED
    assert runtimes.golden == ["2", "2", "2"]
    assert record.shadow.models == {}


def test_a_shadow_goes_on_after_a_restart_with_its_counters(devices: list[Device], tmp_path: Path) -> None:
    says = {"1": constant(0.1), "2": constant(0.1)}
    limits = Limits(reserve_bytes=0, shadow={"min_requests": 100_000, "max_seconds": 600})
    device, _ = answering_device(tmp_path, limits, says)
    compared = threading.Event()
    device._at_state = lambda record: compared.set() if record.shadow.of("unet").compared > 10 else None
    device.start()
    with Line(device):
        device.job("job-2", install(("unet", "2")))
        assert compared.wait(30)
    device.stop()

    again, runtimes = answering_device(tmp_path, limits, says)
    found = again.journal.running()
    assert found is not None
    assert found.state is State.SHADOW
    kept = found.shadow.of("unet").compared
    assert kept > 10
    # As if most of it had been before the restart; the rest is left for now.
    policy = found.policy.model_copy(
        update={"shadow": found.policy.shadow.model_copy(update={"min_requests": kept + 1})}
    )
    again.journal.save(found.model_copy(update={"policy": policy}))
    devices.append(again)
    told: list[tuple[str, int]] = []
    again._at_state = lambda record: told.append((record.job_id, record.shadow.of("unet").compared))
    again.start()
    with Line(again):
        again.call(rollback("nobody"))
    record = again.journal.of_job("job-2")
    assert record is not None
    assert record.outcome is State.COMMITTED
    assert kept <= min(compared for job_id, compared in told if job_id == "job-2")
    assert kept < record.shadow.of("unet").compared
    assert runtimes.golden == []


def test_a_candidate_that_hangs_does_not_hold_up_a_cancellation(devices: list[Device], tmp_path: Path) -> None:
    let_go, asked = threading.Event(), threading.Event()

    def hang(_picture: Picture) -> float:
        asked.set()
        let_go.wait(60)
        return 0.1

    device, runtimes = make(devices, tmp_path, {"1": constant(0.1), "2": hang}, shadow={"max_seconds": 600})
    with Line(device):
        device.job("job-2", install(("unet", "2")))
        assert asked.wait(30)
        device.deployer.cancel("job-2", "CANCELED")
        device.call(rollback("nobody"))
    record = device.journal.of_job("job-2")
    assert record is not None
    assert record.outcome is State.CANCELLED
    assert runtimes.sessions["2"].state == "CLOSED"
    assert not let_go.is_set()
    let_go.set()


def test_a_candidate_slower_than_the_line_costs_copies_and_never_a_request(
    devices: list[Device], tmp_path: Path
) -> None:
    pause = threading.Event()

    def slowly(_picture: Picture) -> float:
        live = runtimes.sessions["1"]
        # More than there is room for.
        enough = len(live.asked) + 10
        while device.registry.active().get("unet") is live and len(live.asked) < enough:
            pause.wait(0.002)
        return 0.1

    device, runtimes = make(
        devices, tmp_path, {"1": constant(0.1), "2": slowly}, shadow={"min_requests": 3, "max_seconds": 600}
    )
    with Line(device):
        record = run_job(device)
    assert record.outcome is State.COMMITTED
    assert figures(record, State.SHADOW)["dropped"] > 0


def test_probation_without_traffic_replays_recent_frames_and_rolls_back_what_fails_them(
    devices: list[Device], tmp_path: Path
) -> None:
    says = {"1": constant(0.1), "2": failing(Code.INTERNAL)}
    device, runtimes = make(devices, tmp_path, says, recent=RECENT, probation={"max_seconds": 0.05})
    record = run_job(device)
    assert record.code == "ROLLED_BACK"
    assert "PROBATION_REGRESSION" in record.message
    assert record.probation.replayed >= 1
    assert runtimes.sessions["1"].asked
    assert device.committed() == device.answering() == {"unet": "1"}


def test_a_failure_that_the_version_before_shares_is_excused(devices: list[Device], tmp_path: Path) -> None:
    says = {"1": failing(Code.UNAVAILABLE), "2": failing(Code.UNAVAILABLE)}
    device, _ = make(devices, tmp_path, says, probation={"min_requests": 3, "max_seconds": 600})
    with Line(device):
        record = run_job(device)
    assert record.outcome is State.COMMITTED
    assert record.probation.excused >= 1
    assert record.probation.failures == 0


def test_a_failure_that_the_version_before_does_not_share_counts(devices: list[Device], tmp_path: Path) -> None:
    says = {"1": constant(0.1), "2": failing(Code.UNAVAILABLE)}
    device, _ = make(devices, tmp_path, says, probation={"min_requests": 10_000, "max_seconds": 600})
    with Line(device):
        record = run_job(device)
    assert record.code == "ROLLED_BACK"
    assert "UNAVAILABLE: planted" in record.message
    assert figures(record, State.PROBATION)["failures"] >= 1
    assert device.answering() == {"unet": "1"}


def test_the_share_of_ng_is_measured_by_what_the_version_before_answered(devices: list[Device], tmp_path: Path) -> None:
    says = {"1": constant(0.1), "2": constant(0.9)}
    policy = {"min_requests": 100_000, "max_seconds": 600, "max_verdict_rate_change": 0.5}
    device, _ = make(devices, tmp_path, says, probation=policy)
    for _ in range(30):
        tell(device, answer("1"))
    with Line(device):
        record = run_job(device)
    assert record.code == "ROLLED_BACK"
    assert "before 0, now 1" in record.message
    assert figures(record, State.PROBATION)["ng_share_before"] == 0
    assert record.probation.before["unet"].requests >= 30


def test_a_candidate_whose_worker_grows_past_its_manifest_is_found_out(devices: list[Device], tmp_path: Path) -> None:
    says = {"1": constant(0.1), "3": constant(0.1)}
    device, runtimes = make(devices, tmp_path, says, shadow={"max_seconds": 600})
    device.offers(make_release("unet", "3", release_seq=3, requires={"memory_bytes": 1000}))

    def grow(_picture: Picture) -> float:
        runtimes.sessions["3"].memory_bytes = 10_000
        return 0.1

    runtimes.says["3"] = grow
    with Line(device):
        device.job("job-3", install(("unet", "3")))
        device.call(rollback("nobody"))
    record = device.journal.of_job("job-3")
    assert record is not None
    assert record.code == "SHADOW_REGRESSION"
    assert "expected a worker of about 1000 bytes" in record.message


def test_after_an_unclean_end_in_probation_the_golden_samples_are_asked_again_and_the_shadow_is_not(
    devices: list[Device], tmp_path: Path
) -> None:
    says = {"1": constant(0.1), "2": constant(0.1)}
    limits = Limits(
        reserve_bytes=0, shadow={"min_requests": 3, "max_seconds": 600}, probation={"min_requests": 100_000}
    )
    device, _ = answering_device(tmp_path, limits, says)
    watched = threading.Event()
    device._at_state = lambda record: watched.set() if record.probation.requests > 10 else None
    device.start()
    with Line(device):
        device.job("job-2", install(("unet", "2")))
        assert watched.wait(30)
    device.stop()
    again, runtimes = answering_device(tmp_path, limits, says)
    use(again, runtimes)
    found = again.journal.running()
    assert found is not None
    seen, before = found.probation.requests, found.shadow
    policy = found.policy.model_copy(
        update={"probation": found.policy.probation.model_copy(update={"min_requests": seen + 1})}
    )
    again.journal.save(found.model_copy(update={"policy": policy, "paused": False}))
    devices.append(again)
    again.start()
    with Line(again):
        again.call(rollback("nobody"))
    record = again.journal.of_job("job-2")
    assert record is not None
    assert (record.outcome, record.unclean_ends) == (State.COMMITTED, 1)
    assert runtimes.golden == ["2"]
    assert record.shadow == before
    assert record.probation.requests > seen


def test_a_copy_has_bytes_of_its_own_and_is_dropped_when_there_is_no_room() -> None:
    rgb, tensor = bytearray(b"abcdef"), np.zeros(3)
    taken: list[Answered] = []
    model = ModelVersion("unet", "1")
    offers = Offers([model], lambda _answered: True, lambda: len(taken) < 2, lambda a: taken.append(a) is None)
    offers(Answered(model, None, RawPicture(memoryview(rgb), 2, 1), None, None, 1.0))
    offers(Answered(model, {"image": tensor}, None, {}, None, 1.0))
    offers(Answered(model, None, EncodedPicture(b"dropped"), None, None, 1.0))
    offers(Answered(ModelVersion("other", "1"), None, EncodedPicture(b"not ours"), None, None, 1.0))
    rgb[:], tensor[:] = b"zzzzzz", 1
    assert taken[0].picture == RawPicture(b"abcdef", 2, 1)
    assert taken[1].tensors is not None
    assert taken[1].tensors["image"].sum() == 0
    (dropped,) = offers.take_dropped()
    assert dropped.picture is None
    assert offers.take_dropped() == []


def test_calls_beside_the_line_are_bounded_and_end_with_the_block() -> None:
    go_on = threading.Event()
    with Aside[bool]("test", room=2) as aside:
        assert aside.offer(lambda: go_on.wait(30))
        while aside.has_room:
            aside.offer(lambda: go_on.wait(30))
        assert not aside.offer(lambda: go_on.wait(30))
        assert not aside.idle
    go_on.set()
    assert not aside.offer(lambda: True)


def test_what_answered_lately_is_remembered_of_the_present_version_only() -> None:
    history = History(limit=3)
    for score in (0.9, 0.1, 0.1, 0.9):
        history(answer("1", score))
    assert (history.of(ModelVersion("unet", "1")).requests, history.of(ModelVersion("unet", "1")).ng) == (3, 1)
    history(answer("2", 0.9))
    assert history.of(ModelVersion("unet", "1")).requests == 0
    assert history.of(ModelVersion("unet", "2")).ng_share == 1


def test_a_death_counts_only_when_nothing_is_left_that_could_explain_it() -> None:
    deaths = Deaths()
    assert deaths.unexplained("unet", 0, 0.0, settled=True) == 0
    assert deaths.unexplained("unet", 1, 1.0, settled=False) == 0
    assert deaths.unexplained("unet", 1, 2.0, settled=True) == 0  # its request may be about to tell
    assert deaths.unexplained("unet", 1, 3.0, settled=True) == 1
    assert deaths.unexplained("unet", 1, 4.0, settled=True) == 0  # once


def test_a_death_that_a_request_explains_counts_no_more_and_excuses_those_that_waited() -> None:
    deaths = Deaths()
    deaths.explain("unet", 0.0, excused=True)
    assert deaths.excuses("unet", RECOVERY_S - 0.1)
    assert deaths.unexplained("unet", 1, 0.2, settled=True) == 0
    assert not deaths.excuses("unet", RECOVERY_S)
    for now in (10.0, 11.0):
        assert deaths.unexplained("unet", 1, now, settled=True) == 0
    assert deaths.unexplained("unet", 2, 12.0, settled=True) == 0
    assert deaths.unexplained("unet", 2, 13.0, settled=True) == 1
