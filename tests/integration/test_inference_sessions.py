"""One contract for every session, whatever executes it and wherever; a further runtime joins ``OPENERS``."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from edge_agent.config import Inference
from edge_agent.errors import ActivationError, Code, InferenceError
from edge_agent.formats import EncodedPicture, Manifest, RawPicture, Verdict
from edge_agent.inference import Session, open_session, try_golden
from edge_agent.inference.session import Priority
from edge_agent.inference.workers.isolated import IsolatedSession
from edge_agent.vision import decode
from tests.fakes.tiny_models import BRIGHT, GREY, SIDE, grey_picture, image, raw_score, write_version

PATIENCE_S = 30.0
OPENERS = {"process": Inference(isolation="process"), "inline": Inference(isolation="inline")}

Opener = Callable[..., tuple[Session, Path]]


@pytest.fixture(params=OPENERS)
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    opened: list[Session] = []

    def open_one(options: dict[str, Any] | None = None, **model: Any) -> tuple[Session, Path]:
        directory = tmp_path / f"version-{len(opened)}"
        manifest = write_version(directory, **model)
        settings = OPENERS[request.param].model_copy(update=options or {})
        session = open_session(directory, manifest, settings, engines=tmp_path / "engines")
        opened.append(session)
        return session, directory

    yield open_one
    for session in opened:
        session.close()


def test_tensors_are_answered_with_what_the_graph_computes(opening: Opener) -> None:
    session, _ = opening(bias=0.5)
    for value in (0, 77, 255):
        outputs = session.infer(image(value), timeout_s=PATIENCE_S)
        assert outputs["score"] == pytest.approx([raw_score(image(value)["image"], 0.5)])
        assert outputs["probabilities"].sum() == pytest.approx(1)
    assert session.state == "READY"
    assert session.provider == "CPUExecutionProvider"
    assert session.memory_bytes > 0


def test_an_answer_belongs_to_its_caller_and_later_ones_do_not_change_it(opening: Opener) -> None:
    session, _ = opening()
    first = session.infer(image(10), timeout_s=PATIENCE_S)["score"]
    kept = first.copy()
    session.infer(image(250), timeout_s=PATIENCE_S)
    assert first.tolist() == kept.tolist()
    first[0] = 7


def test_a_larger_batch_than_before_and_a_smaller_one_again(opening: Opener) -> None:
    session, _ = opening(kind="anomaly")
    for batch in (1, 400, 3):
        outputs = session.infer(image(90, batch=batch), timeout_s=PATIENCE_S)
        assert outputs["map"].shape == (batch, SIDE, SIDE)
        assert outputs["score"] == pytest.approx([(90 - 128) / 16] * batch)


def test_a_tensor_that_is_not_contiguous_is_read_as_it_looks(opening: Opener) -> None:
    session, _ = opening()
    wide = np.zeros((1, SIDE, SIDE * 2, 3), np.uint8)
    wide[:, :, ::2] = 200
    outputs = session.infer({"image": wide[:, :, ::2]}, timeout_s=PATIENCE_S)
    assert outputs["score"] == pytest.approx([(200 - 128) / 16])


@pytest.mark.parametrize("tensors", [{}, {"image": np.zeros((1, 2, 2, 3), np.uint8)}, image(1) | {"other": np.ones(1)}])
def test_a_malformed_request_is_an_argument_error_and_the_next_one_is_answered(
    opening: Opener, tensors: dict[str, Any]
) -> None:
    session, _ = opening()
    with pytest.raises(InferenceError) as caught:
        session.infer(tensors, timeout_s=PATIENCE_S)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert "image" in caught.value.message
    assert session.infer(image(1), timeout_s=PATIENCE_S)
    assert session.restarts == 0


def test_a_picture_gets_verdict_score_label_and_size(opening: Opener) -> None:
    session, _ = opening()
    inspected = session.inspect(EncodedPicture(grey_picture(BRIGHT)), timeout_s=PATIENCE_S, with_mask=True)
    assert inspected.outcome.verdict is Verdict.NG
    assert inspected.outcome.score == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert inspected.outcome.label == "bad"
    assert (inspected.width, inspected.height) == (24, 16)
    assert inspected.mask_png == b""
    assert inspected.decoded is None


def test_a_mask_comes_as_png_of_the_pictures_size_and_only_when_asked_for(opening: Opener) -> None:
    session, _ = opening(kind="anomaly")
    picture = EncodedPicture(grey_picture(BRIGHT, width=40, height=30))
    inspected = session.inspect(picture, timeout_s=PATIENCE_S, with_mask=True)
    mask = decode(inspected.mask_png)
    assert mask.shape == (30, 40, 3)
    assert set(mask.ravel().tolist()) == {255}
    assert inspected.outcome.area == pytest.approx(1)
    assert session.inspect(picture, timeout_s=PATIENCE_S, with_mask=False).mask_png == b""


def test_a_decoded_picture_is_handed_on_and_answers_the_same(opening: Opener) -> None:
    session, _ = opening()
    encoded = EncodedPicture(grey_picture(GREY))
    first = session.inspect(encoded, timeout_s=PATIENCE_S, with_mask=False, keep_decoded=True)
    assert first.decoded is not None
    assert bytes(first.decoded.rgb) == bytes([GREY]) * (24 * 16 * 3)
    again = session.inspect(first.decoded, timeout_s=PATIENCE_S, with_mask=False)
    assert again.outcome == first.outcome


@pytest.mark.parametrize(
    "picture",
    [
        EncodedPicture(b""),
        EncodedPicture(b"no picture at all"),
        EncodedPicture(grey_picture(GREY)[:40]),
        RawPicture(b"abc", 2, 2),
        RawPicture(b"", 0, 0),
    ],
)
def test_a_broken_picture_is_an_argument_error_and_costs_nobody_else(
    opening: Opener, picture: EncodedPicture | RawPicture
) -> None:
    session, _ = opening()
    with pytest.raises(InferenceError) as caught:
        session.inspect(picture, timeout_s=PATIENCE_S, with_mask=True)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert session.infer(image(1), timeout_s=PATIENCE_S)
    assert session.restarts == 0


def test_a_threshold_moves_the_verdict_within_its_signed_range_only(opening: Opener) -> None:
    session, _ = opening()
    picture = EncodedPicture(grey_picture(BRIGHT))
    strict = session.inspect(picture, timeout_s=PATIENCE_S, with_mask=False, threshold=0.9)
    assert strict.outcome.verdict is Verdict.OK
    with pytest.raises(InferenceError) as caught:
        session.inspect(picture, timeout_s=PATIENCE_S, with_mask=False, threshold=0.95)
    assert caught.value.code is Code.OUT_OF_RANGE


def test_golden_samples_are_answered_within_tolerance_and_timed(opening: Opener) -> None:
    session, directory = opening()
    report = try_golden(session, directory)
    assert report.samples == 2
    assert report.max_difference < 1e-5
    assert report.p50_ms > 0
    assert report.memory_bytes == pytest.approx(session.memory_bytes, rel=0.5)


def test_other_golden_answers_than_the_signed_ones_stop_a_candidate(opening: Opener) -> None:
    wrong = [{"image": "OK.png", "score": 0.3, "verdict": "OK"}]
    session, directory = opening(changes={"golden": {"samples": wrong}})
    with pytest.raises(ActivationError) as caught:
        try_golden(session, directory)
    assert caught.value.code is Code.GOLDEN_MISMATCH
    assert "expected OK with 0.300000" in caught.value.message


def test_another_golden_verdict_stops_a_candidate_though_the_score_fits(opening: Opener) -> None:
    score = 1 / (1 + np.exp(1.75))
    wrong = [{"image": "OK.png", "score": score, "verdict": "NG"}]
    session, directory = opening(changes={"golden": {"samples": wrong}})
    with pytest.raises(ActivationError) as caught:
        try_golden(session, directory)
    assert caught.value.code is Code.GOLDEN_MISMATCH


@pytest.mark.parametrize("fault", ["nan", "shape"])
def test_a_graph_that_answers_nonsense_never_answers(opening: Opener, fault: str) -> None:
    changes = {"outputs": [{"name": "score", "dtype": "float32", "shape": [1]}]} if fault == "shape" else None
    session, directory = opening(fault=fault, changes=changes)
    with pytest.raises(InferenceError) as caught:
        session.infer(image(1), timeout_s=PATIENCE_S)
    assert caught.value.code is Code.INTERNAL
    with pytest.raises(ActivationError) as tried:
        try_golden(session, directory)
    assert tried.value.code is Code.GOLDEN_MISMATCH


@contextmanager
def slow(session: Session) -> Iterator[None]:
    """Inside, no request is answered in time, however long whoever asks is kept from looking."""
    worker = session.process_id if isinstance(session, IsolatedSession) else None
    if worker is not None:
        os.kill(worker, signal.SIGSTOP)
        while psutil.Process(worker).status() != psutil.STATUS_STOPPED:
            pass
    yield
    if worker is not None:
        os.kill(worker, signal.SIGCONT)


def test_a_request_without_time_left_is_refused_and_one_that_takes_too_long_is_late(opening: Opener) -> None:
    session, _ = opening()
    with slow(session):
        for timeout_s in (-1.0, 0.02):
            with pytest.raises(InferenceError) as caught:
                session.infer(image(1, work=40), timeout_s=timeout_s)
            assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert session.infer(image(1), timeout_s=PATIENCE_S)
    assert session.restarts == 0


def test_more_than_the_queue_holds_is_turned_away_at_once(opening: Opener) -> None:
    session, _ = opening(options={"queue": 1})
    codes: list[Code | None] = []
    start = threading.Barrier(6)

    def ask() -> None:
        start.wait()
        try:
            session.infer(image(1, work=255), timeout_s=PATIENCE_S)
            codes.append(None)
        except InferenceError as exc:
            codes.append(exc.code)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # One runs and one waits; the first to come may have started before the others were there.
    assert codes.count(Code.RESOURCE_EXHAUSTED) >= 2
    assert codes.count(None) >= 2
    assert set(codes) == {None, Code.RESOURCE_EXHAUSTED}


def test_many_callers_on_several_lanes_each_get_their_own_answer(opening: Opener) -> None:
    session, _ = opening(options={"lanes": 3})
    wrong: list[tuple[int, float]] = []

    def ask(value: int) -> None:
        for priority in (*Priority,) * 15:
            score = session.infer(image(value), timeout_s=PATIENCE_S, priority=priority)["score"][0]
            if abs(score - (value - 128) / 16) > 1e-5:
                wrong.append((value, score))

    threads = [threading.Thread(target=ask, args=(value,)) for value in range(0, 240, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_closed_session_says_so_and_closing_twice_does_nothing(opening: Opener) -> None:
    session, _ = opening()
    session.close()
    session.close()
    assert session.state == "CLOSED"
    assert session.memory_bytes == 0
    with pytest.raises(InferenceError) as caught:
        session.infer(image(1), timeout_s=PATIENCE_S)
    assert caught.value.code is Code.UNAVAILABLE


def _renamed(manifest: Manifest) -> Manifest:
    return manifest.model_copy(update={"inputs": (manifest.inputs[0].model_copy(update={"shape": (1, 8, 8, 3)}),)})


@pytest.mark.parametrize(("isolation", "change"), [(name, _renamed) for name in OPENERS])
def test_a_graph_that_contradicts_its_manifest_is_not_loaded(
    tmp_path: Path, isolation: str, change: Callable[[Manifest], Manifest]
) -> None:
    manifest = change(write_version(tmp_path / "v"))
    with pytest.raises(ActivationError) as caught:
        open_session(tmp_path / "v", manifest, OPENERS[isolation], engines=tmp_path / "engines")
    assert caught.value.code is Code.LOAD_FAILED
    assert "input image" in caught.value.message
