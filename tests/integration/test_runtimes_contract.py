"""One suite for every runtime: the same answers, the same faults, the same trust in what was built here."""

import contextlib
import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.config import Inference
from edge_agent.errors import ActivationError, AgentError, Code, InferenceError
from edge_agent.formats import EncodedPicture, Manifest, Verdict, parse
from edge_agent.inference import Session, build_engine, open_session, prune_engines
from edge_agent.inference.engines.cache import engine_file
from edge_agent.inference.workers.isolated import IsolatedSession
from tests.fakes.runtimes import CASES, Case
from tests.fakes.tiny_models import BRIGHT, GREY, grey_picture, image, raw_score, replace_model
from tests.fakes.worker_processes import niced_builder, worker_processes

PATIENCE_S = 60.0
ECHOES = [
    pytest.param(case, dtype, id=f"{case.name}-{dtype}") for case in CASES if case.write_echo for dtype in case.dtypes
]
Isolation = Literal["process", "inline"]


class Bench:
    """One runtime's versions, engines and sessions in a directory."""

    def __init__(self, case: Case, directory: Path, prepared: Path) -> None:
        self.case = case
        self._prepared = prepared
        self.at = directory
        self.engines = directory / "engines"
        self._sessions: list[Session] = []

    def settings(self, **changes: Any) -> Inference:
        return Inference(**({"runtimes": (self.case.name,)} | dict(self.case.settings) | changes))

    def write(self, name: str = "v", **arguments: Any) -> Manifest:
        return self.case.write(self.at / name, **arguments)

    def built(self) -> Manifest:
        """Return a version with its engine: made once, as each build is a process."""
        made = self._prepared / self.case.name
        if not made.is_dir():
            manifest = self.case.write(made / "v")
            build_engine(made / "v", manifest, self.settings(), engines=made / "engines", timeout_s=PATIENCE_S)
        shutil.copytree(made, self.at, dirs_exist_ok=True)
        return parse(Manifest, (self.at / "v" / "manifest.json").read_bytes(), what="manifest")

    def build(self, manifest: Manifest, name: str = "v", **arguments: Any) -> bool:
        settings = {"engines": self.engines, "timeout_s": PATIENCE_S} | arguments
        return build_engine(self.at / name, manifest, self.settings(), **settings).cached

    def open(self, manifest: Manifest, name: str = "v", **changes: Any) -> Session:
        session = open_session(self.at / name, manifest, self.settings(**changes), engines=self.engines)
        self._sessions.append(session)
        return session

    def score(self, session: Session, value: int, batch: int = 1) -> NDArray[Any]:
        return session.infer(image(value, batch=batch), timeout_s=PATIENCE_S)["score"]

    def near(self, expected: object) -> Any:
        return pytest.approx(expected, abs=self.case.tolerance)

    def close(self) -> None:
        for session in self._sessions:
            session.close()


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    """Return one runtime after the other."""
    chosen: Case = request.param
    return chosen


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture
def bench(case: Case, tmp_path: Path, prepared: Path) -> Iterator[Bench]:
    if case.why_not:
        pytest.skip(case.why_not)
    around = tmp_path / "around"
    around.mkdir()
    with case.surroundings(around):
        made = Bench(case, tmp_path, prepared)
        yield made
        made.close()


def sigmoid(raw: float) -> float:
    return float(1 / (1 + np.exp(-raw)))


@pytest.mark.parametrize("isolation", ["process", "inline"])
def test_it_answers_as_numpy_does_from_its_cached_engine(bench: Bench, isolation: Isolation) -> None:
    manifest = bench.built()
    assert bench.build(manifest)
    session = bench.open(manifest, isolation=isolation)
    for value in (0, GREY, BRIGHT, 255):
        pixels = image(value)["image"]
        answer = session.infer({"image": pixels}, timeout_s=PATIENCE_S)
        raw = raw_score(pixels)
        assert answer["score"] == bench.near([raw])
        assert answer["probabilities"][0] == bench.near([sigmoid(-raw), sigmoid(raw)])
        assert {name: value.dtype.name for name, value in answer.items()} == dict.fromkeys(answer, "float32")
    assert session.provider
    assert session.fallback == ""
    assert session.state == "READY"


def test_it_answers_noise_as_numpy_does(bench: Bench) -> None:
    session = bench.open(bench.built(), isolation="inline")
    noise = np.random.default_rng(4).integers(0, 200, (1, 16, 16, 3), dtype=np.uint8)
    noise[:, 0] = 7
    answer = session.infer({"image": noise}, timeout_s=PATIENCE_S)["score"]
    assert answer == pytest.approx([raw_score(noise)], abs=10 * bench.case.tolerance)


@pytest.mark.parametrize(("case", "dtype"), ECHOES)
def test_it_gives_back_every_type_of_numbers_to_the_bit(bench: Bench, dtype: str) -> None:
    assert bench.case.write_echo is not None
    manifest = bench.case.write_echo(bench.at / "v", dtype)
    session = bench.open(manifest, isolation="inline")
    computed = bench.case.computes.get(dtype, dtype)
    limits = np.finfo(computed) if np.dtype(dtype).kind == "f" else np.iinfo(computed)
    sent = np.array([[limits.min, 0, limits.max], [1, 2, 3]], dtype)
    came = session.infer({"x": sent}, timeout_s=PATIENCE_S)["y"]
    assert came.dtype == sent.dtype
    assert came.tobytes() == np.concatenate([sent, sent]).tobytes()
    if computed != dtype:
        with pytest.raises(InferenceError) as caught:
            session.infer({"x": np.full((1, 3), np.iinfo(dtype).max, dtype)}, timeout_s=PATIENCE_S)
        assert (caught.value.code, computed in caught.value.message) == (Code.INVALID_ARGUMENT, True)


def test_it_takes_any_number_of_pictures_where_the_batch_is_free(bench: Bench) -> None:
    if not bench.case.free_batch:
        pytest.skip(f"{bench.case.name}'s models have a fixed batch")
    session = bench.open(bench.built(), isolation="inline")
    for batch in (1, 3, 8, 1, 2):
        pixels = np.concatenate([image(20 * number)["image"] for number in range(batch)])
        answer = session.infer({"image": pixels}, timeout_s=PATIENCE_S)["score"]
        assert answer == bench.near([raw_score(pixels[at : at + 1]) for at in range(batch)])


@pytest.mark.parametrize("wrong", ["name", "none", "two", "dtype", "rank", "side", "empty"])
def test_a_wrong_input_is_told_with_what_was_expected_and_the_next_is_answered(bench: Bench, wrong: str) -> None:
    session = bench.open(bench.built(), isolation="inline")
    good = image(GREY)["image"]
    tensors: dict[str, dict[str, NDArray[Any]]] = {
        "name": {"picture": good},
        "none": {},
        "two": {"image": good, "other": good},
        "dtype": {"image": good.astype(np.float32)},
        "rank": {"image": good[0]},
        "side": {"image": good[:, 1:]},
        "empty": {"image": good[:0]},
    }
    with pytest.raises(InferenceError) as caught:
        session.infer(tensors[wrong], timeout_s=PATIENCE_S)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert re.search("expected .*came ", caught.value.message)
    assert bench.score(session, GREY) == bench.near([raw_score(good)])


@pytest.mark.parametrize("isolation", ["process", "inline"])
def test_several_threads_get_each_their_own_answer(bench: Bench, isolation: Isolation) -> None:
    session = bench.open(bench.built(), lanes=3, isolation=isolation)
    wrong: list[object] = []

    def ask(value: int) -> None:
        for _ in range(20):
            came = bench.score(session, value)
            if came != bench.near([raw_score(image(value)["image"])]):
                wrong.append((value, came))

    threads = [threading.Thread(target=ask, args=(30 * number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert wrong == []


def test_answers_belong_to_who_asked(bench: Bench) -> None:
    session = bench.open(bench.built(), isolation="inline")
    first = bench.score(session, GREY)
    kept = first.copy()
    bench.score(session, BRIGHT)
    assert (first == kept).all()


def test_a_damaged_engine_is_not_loaded_and_is_built_again(bench: Bench) -> None:
    manifest = bench.built()
    engine = engine_file(manifest, bench.engines)
    content = bytearray(engine.path.read_bytes())
    content[len(content) // 2] ^= 1
    engine.path.write_bytes(content)
    assert engine.read() is None
    session = bench.open(manifest, isolation="inline")
    assert bench.score(session, GREY) == bench.near([raw_score(image(GREY)["image"])])
    assert not bench.build(manifest)
    assert engine.is_sound()


def test_a_foreign_engine_is_not_loaded_though_its_bytes_are_sound(bench: Bench) -> None:
    """Another model's engine, made by this very device: whoever swaps files must not choose the verdict."""
    manifest, other = bench.built(), bench.write("other", version="2", bias=99.0)
    bench.build(other, "other")
    ours, theirs = (engine_file(each, bench.engines) for each in (manifest, other))
    shutil.copy(theirs.path, ours.path)
    for mac in (None, theirs.mac_path):
        if mac is not None:
            shutil.copy(mac, ours.mac_path)
        session = bench.open(manifest, isolation="inline")
        assert bench.score(session, GREY) == bench.near([raw_score(image(GREY)["image"])])
    assert not bench.build(manifest)
    assert ours.is_sound()


@pytest.mark.parametrize("isolation", ["process", "inline"])
def test_a_sound_engine_that_its_library_refuses_gives_way_to_the_model(bench: Bench, isolation: Isolation) -> None:
    """As one does that was made for a GPU which is away now: what is committed must answer all the same."""
    manifest = bench.built()
    engine, staged = engine_file(manifest, bench.engines), bench.engines / "made.staged"
    staged.write_bytes(b"")
    engine.seal(staged)
    assert bench.build(manifest)
    session = bench.open(manifest, isolation=isolation)
    assert bench.score(session, GREY) == bench.near([raw_score(image(GREY)["image"])])


def test_the_engine_is_built_in_a_niced_process_that_is_gone_after_it(bench: Bench) -> None:
    manifest = bench.write()
    assert not bench.build(manifest, ahead=niced_builder())
    assert worker_processes() == []
    assert not [*bench.engines.glob("*.staged")]
    assert bench.build(manifest)


def test_pruning_keeps_its_engine_as_long_as_it_is_installed(bench: Bench) -> None:
    manifest = bench.built()
    before = sorted(bench.engines.iterdir())
    assert prune_engines(bench.engines, [manifest]) == 0
    assert sorted(bench.engines.iterdir()) == before
    assert prune_engines(bench.engines, []) == len(before)
    assert [*bench.engines.iterdir()] == []


def test_a_model_that_it_cannot_make_sense_of_fails_with_its_reason_and_leaves_nothing(bench: Bench) -> None:
    for content in bench.case.refused:
        manifest = replace_model(bench.at / "v", bench.write(), content)
        with pytest.raises(ActivationError) as caught:
            bench.build(manifest)
        assert caught.value.code is Code.BUILD_FAILED
        assert caught.value.message.startswith(bench.case.library)
        assert [*bench.engines.iterdir()] == []
        assert worker_processes() == []


@pytest.mark.parametrize("content", [b"no graph" * 64, b"\x7fELF" + bytes(600), b"PK\x03\x04" + bytes(600), b""])
def test_what_is_no_model_is_refused_before_the_library_sees_it(bench: Bench, content: bytes) -> None:
    manifest = replace_model(bench.at / "v", bench.write(), content)
    with pytest.raises(AgentError) as caught:
        bench.build(manifest)
    assert caught.value.code is Code.FORMAT_FORBIDDEN
    assert worker_processes() == []


def test_a_graph_that_contradicts_its_manifest_is_not_loaded(bench: Bench) -> None:
    manifest = bench.built()
    outputs = [spec.model_copy(update={"name": f"{spec.name}x"}) for spec in manifest.outputs]
    lying = manifest.model_copy(update={"outputs": tuple(outputs)})
    with pytest.raises(ActivationError) as caught:
        bench.open(lying)
    assert caught.value.code is Code.LOAD_FAILED
    assert "the manifest tells scorex" in caught.value.message
    assert worker_processes() == []


def test_its_worker_is_a_process_of_its_own_that_tells_its_memory_and_is_replaced(bench: Bench) -> None:
    manifest = bench.built()
    session = bench.open(manifest)
    assert isinstance(session, IsolatedSession)
    assert session.memory_bytes > 10 << 20
    process = session.process_id
    assert process not in (None, os.getpid())
    assert process is not None
    os.kill(process, signal.SIGKILL)
    for _ in range(2):  # the first may be what it was killed with
        with contextlib.suppress(InferenceError):
            bench.score(session, GREY)
    assert bench.score(session, GREY) == bench.near([raw_score(image(GREY)["image"])])
    assert session.restarts == 1
    assert session.process_id != process


@pytest.mark.parametrize("isolation", ["process", "inline"])
def test_it_inspects_a_picture(bench: Bench, isolation: Isolation) -> None:
    session = bench.open(bench.built(), isolation=isolation)
    for value, verdict in ((GREY, Verdict.OK), (BRIGHT, Verdict.NG)):
        inspected = session.inspect(EncodedPicture(grey_picture(value)), timeout_s=PATIENCE_S, with_mask=False)
        assert inspected.outcome.verdict is verdict
        assert inspected.outcome.score == bench.near(sigmoid((value - 128) / 16))
        assert (inspected.width, inspected.height) == (24, 16)
        assert inspected.compute_ms > 0


@pytest.mark.parametrize("isolation", ["process", "inline"])
def test_what_is_closed_answers_nothing_and_leaves_nothing(bench: Bench, isolation: Isolation) -> None:
    session = bench.open(bench.built(), isolation=isolation)
    bench.score(session, GREY)
    for _ in range(2):
        session.close()
    assert session.state == "CLOSED"
    assert session.memory_bytes == 0
    assert worker_processes() == []
    with pytest.raises(InferenceError) as caught:
        bench.score(session, GREY)
    assert caught.value.code is Code.UNAVAILABLE


def test_every_runtime_of_the_table_that_is_usable_here_is_in_the_suite() -> None:
    from edge_agent.inference import available_runtimes  # noqa: PLC0415 - it starts processes

    usable = {info.name for info in available_runtimes() if info.usable}
    assert usable <= {case.name for case in CASES if not case.why_not}
