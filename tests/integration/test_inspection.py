"""Pictures through real models to one verdict; counts, recent frames, captures and events beside it."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from edge_agent.config import Inference
from edge_agent.errors import Code, InferenceError, StorageError
from edge_agent.formats import AnomalyMap, Counts, EncodedPicture, InspectedFrame, Picture, RawPicture, Verdict
from edge_agent.inference import DataPlane, Priority, Registry, open_session
from edge_agent.inspection import Combination, Inspector, LineRule, RecentFrames, ResultCounter, Rule
from edge_agent.inspection.results import SCHEMA
from edge_agent.storage.database import Database, Value
from edge_agent.vision import decode, encode_png, map_mask, overlay
from tests.fakes.tiny_models import BRIGHT, GLARE, GREY, grey_picture, write_version

PATIENCE_S = 60.0
NG_PICTURE, OK_PICTURE = EncodedPicture(grey_picture(BRIGHT)), EncodedPicture(grey_picture(GREY))


def frame_of(verdict: Verdict) -> InspectedFrame:
    return InspectedFrame(id="f", at=time.time(), verdict=verdict)


class Line:
    """An inspector over two real models: one classifies, one draws."""

    def __init__(self, tmp_path: Path) -> None:
        self.registry = Registry()
        for name, kind, bias in (("bright", "classification", 0.0), ("spots", "anomaly", -9.0)):
            directory = tmp_path / name
            manifest = write_version(directory, name=name, kind=kind, bias=bias)
            settings = Inference(isolation="inline", lanes=4)
            session = open_session(directory, manifest, settings, engines=tmp_path / "engines")
            self.registry.activate({name: session})
        self.chain: Mapping[str, str] = {}
        self.mappings: Mapping[str, str] = {"class-app": "bright", "spot-app": "spots"}
        self.frames = RecentFrames(5)
        self.counts = ResultCounter(tmp_path / "results.db", write_every_s=0.01)
        self.captured: list[tuple[InspectedFrame, Picture, Mapping[str, AnomalyMap]]] = []
        self.told: list[InspectedFrame] = []

    def inspector(self, rule: Rule = "any_ng", *, doubt: Callable[[], str] = str) -> Inspector:
        return Inspector(
            DataPlane(self.registry),
            lambda: self.mappings,
            LineRule(Combination(rule)),
            frames=self.frames,
            counts=self.counts,
            chain=self.chain,
            capture=lambda *offered: self.captured.append(offered),
            events=self.told.append,
            doubt=doubt,
        )

    def close(self) -> None:
        self.counts.close()
        self.registry.close()


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path)
    yield made
    made.close()


def test_a_picture_passes_every_mapped_model_in_order(line: Line) -> None:
    frame = line.inspector().inspect(NG_PICTURE, source="cam", frame_name="p1", with_mask=True, timeout_s=PATIENCE_S)
    assert frame.verdict is Verdict.NG
    assert [(r.application, r.model, r.version, r.kind) for r in frame.results] == [
        ("class-app", "bright", "1", "classification"),
        ("spot-app", "spots", "1", "anomaly"),
    ]
    assert [r.verdict for r in frame.results] == [Verdict.NG, Verdict.OK]
    assert (frame.width, frame.height, frame.source, frame.name, frame.message) == (24, 16, "cam", "p1", "")
    assert decode(frame.results[1].mask_png).shape == (16, 24, 3)


def test_with_the_rule_that_all_must_say_so_one_ng_is_not_enough(line: Line) -> None:
    frame = line.inspector("all_ng").inspect(NG_PICTURE, timeout_s=PATIENCE_S)
    assert frame.verdict is Verdict.OK


def test_masks_are_answered_only_when_asked_for_and_kept_for_the_page(line: Line) -> None:
    inspector = line.inspector()
    frame = inspector.inspect(NG_PICTURE, with_mask=False, timeout_s=PATIENCE_S)
    assert [result.mask_png for result in frame.results] == [b"", b""]
    drawn, content_type = inspector.frame(frame.id, "overlay", "spot-app")
    assert content_type == "image/png"
    assert drawn.startswith(b"\x89PNG")
    assert overlay(map_mask(inspector.frame_map(frame.id, "spot-app"))) == drawn
    assert inspector.frame(frame.id, "picture") == (NG_PICTURE.content, "image/png")
    for frame_id, application in ((frame.id, "class-app"), ("unknown", "spot-app")):
        with pytest.raises(InferenceError) as caught:
            inspector.frame(frame_id, "overlay", application)
        assert caught.value.code is Code.NOT_FOUND
        with pytest.raises(InferenceError) as caught:
            inspector.frame_map(frame_id, application)
        assert caught.value.code is Code.NOT_FOUND


def test_a_raw_picture_gets_the_same_verdict_and_is_shown_as_jpeg(line: Line) -> None:
    inspector = line.inspector()
    pixels = bytearray(np.full((16, 24, 3), BRIGHT, np.uint8).tobytes())
    frame = inspector.inspect(RawPicture(memoryview(pixels), 24, 16), timeout_s=PATIENCE_S)
    pixels[:] = bytes(len(pixels))  # its owner writes the next picture into the same memory
    assert frame.verdict is Verdict.NG
    content, content_type = inspector.frame(frame.id, "picture")
    assert content_type == "image/jpeg"
    assert int(decode(content)[5, 5, 0]) == pytest.approx(BRIGHT, abs=3)


@pytest.mark.parametrize(
    ("mappings", "applications", "told"),
    [
        ({}, (), "no application is mapped"),
        ({"class-app": "bright", "new-app": "not-there"}, (), "NOT_FOUND"),
        ({"class-app": "bright"}, ("class-app", "other-app"), "no model is mapped to other-app"),
    ],
)
def test_a_model_that_is_missing_makes_no_result_and_says_why(
    line: Line, mappings: dict[str, str], applications: tuple[str, ...], told: str
) -> None:
    line.mappings = mappings
    frame = line.inspector().inspect(OK_PICTURE, applications=applications, timeout_s=PATIENCE_S)
    assert frame.verdict is Verdict.NO_RESULT
    assert told in frame.message


@pytest.mark.parametrize(("picture", "timeout_s"), [(EncodedPicture(b"broken"), PATIENCE_S), (OK_PICTURE, 0.0)])
def test_trouble_is_no_result_and_never_an_exception(line: Line, picture: Picture, timeout_s: float) -> None:
    frame = line.inspector().inspect(picture, timeout_s=timeout_s)
    assert frame.verdict is Verdict.NO_RESULT
    assert frame.message
    assert line.counts.counts() == Counts(no_result=1)


def test_one_model_that_was_named_answers_alone_and_counts_like_every_inspection(line: Line) -> None:
    inspector = line.inspector()
    frame, anomalies = inspector.inspect_model(
        "spots", NG_PICTURE, application="spot-app", source="old", timeout_s=PATIENCE_S
    )
    (result,) = frame.results
    assert (result.model, result.application, frame.source) == ("spots", "spot-app", "old")
    assert anomalies is not None
    assert (anomalies.width, anomalies.height, result.mask_png) == (24, 16, b"")
    assert line.counts.counts() == Counts(ok=1)
    assert [told.id for told in line.told] == [frame.id]


def test_trouble_with_a_model_that_was_named_is_raised_and_counted(line: Line) -> None:
    with pytest.raises(InferenceError) as caught:
        line.inspector().inspect_model("not-there", NG_PICTURE, application="x", timeout_s=PATIENCE_S)
    assert caught.value.code is Code.NOT_FOUND
    assert line.counts.counts() == Counts(no_result=1)
    assert [told.verdict for told in line.told] == [Verdict.NO_RESULT]


def test_a_heat_map_is_the_map_before_the_threshold_and_only_of_models_that_have_one(line: Line) -> None:
    frame = line.inspector().inspect(NG_PICTURE, with_heat_map=True, timeout_s=PATIENCE_S)
    assert [result.mask_png for result in frame.results] == [b"", b""]
    assert frame.results[0].heat_map_png == b""
    heat = decode(frame.results[1].heat_map_png)[..., 0]
    assert heat.shape == (16, 24)
    assert np.unique(heat) == pytest.approx(255 / (1 + np.exp(-(BRIGHT - 128) / 16)), abs=1)


def test_a_mask_is_what_of_the_heat_map_reaches_the_threshold(line: Line) -> None:
    pixels = np.full((16, 24, 3), GREY, np.uint8)
    pixels[4:9, 6:18] = BRIGHT
    picture = RawPicture(pixels.tobytes(), 24, 16)
    frame = line.inspector().inspect(picture, with_mask=True, with_heat_map=True, timeout_s=PATIENCE_S)
    mask, heat = (decode(png)[..., 0] for png in (frame.results[1].mask_png, frame.results[1].heat_map_png))
    assert set(np.unique(mask)) == {0, 255}
    assert ((heat >= 128) == (mask == 255)).mean() > 0.99


def test_in_a_chain_the_second_model_is_asked_only_when_the_first_says_ng(line: Line) -> None:
    line.chain = {"spot-app": "class-app"}
    inspector = line.inspector()
    first, second = inspector.inspect(OK_PICTURE, with_mask=True, timeout_s=PATIENCE_S).results
    assert (first.verdict, first.skipped) == (Verdict.OK, False)
    assert (second.skipped, second.verdict, second.version, second.mask_png) == (True, Verdict.NO_RESULT, "", b"")
    assert second.message == "skipped: class-app says OK"
    frame = inspector.inspect(NG_PICTURE, with_mask=True, timeout_s=PATIENCE_S)
    assert [result.skipped for result in frame.results] == [False, False]
    assert frame.results[1].mask_png
    assert line.counts.counts() == Counts(ok=1, ng=1)


def test_a_skipped_model_is_no_doubt_but_one_without_an_answer_is(line: Line) -> None:
    line.chain = {"spot-app": "class-app", "third-app": "spot-app"}
    line.mappings = {"third-app": "spots", "spot-app": "spots", "class-app": "bright"}
    frame = line.inspector().inspect(OK_PICTURE, timeout_s=PATIENCE_S)
    assert (frame.verdict, frame.message) == (Verdict.OK, "")
    assert [(r.application, r.message) for r in frame.results] == [
        ("class-app", ""),
        ("spot-app", "skipped: class-app says OK"),
        ("third-app", "skipped: spot-app was skipped"),
    ]
    line.mappings = {"spot-app": "spots", "class-app": "gone"}
    frame = line.inspector().inspect(OK_PICTURE, timeout_s=PATIENCE_S)
    assert frame.verdict is Verdict.NO_RESULT
    assert [result.skipped for result in frame.results] == [False, False]  # doubt skips nothing
    assert frame.results[1].verdict is Verdict.OK


def test_an_application_that_is_asked_for_alone_waits_for_nobody(line: Line) -> None:
    line.chain = {"spot-app": "class-app"}
    frame = line.inspector().inspect(OK_PICTURE, applications=["spot-app"], timeout_s=PATIENCE_S)
    assert (frame.verdict, [result.skipped for result in frame.results]) == (Verdict.OK, [False])


def test_a_chain_decodes_its_picture_once(line: Line) -> None:
    asked: list[Picture | None] = []
    plane = DataPlane(line.registry)
    plane.watch(lambda answered: asked.append(answered.picture))
    inspector = Inspector(
        plane, lambda: line.mappings, LineRule(Combination("any_ng")), frames=line.frames, counts=line.counts
    )
    inspector.inspect(NG_PICTURE, timeout_s=PATIENCE_S)
    assert [type(picture) for picture in asked] == [EncodedPicture, RawPicture]


def test_a_new_version_is_not_measured_by_golden_parts_and_others_that_do_not_come_from_the_line(line: Line) -> None:
    measured: list[str] = []
    plane = DataPlane(line.registry)
    plane.watch(lambda answered: measured.append(answered.model.name))
    inspector = Inspector(
        plane, lambda: {"one": "bright"}, LineRule(Combination("any_ng")), frames=line.frames, counts=line.counts
    )
    assert inspector.look(NG_PICTURE, priority=Priority.SHADOW, timeout_s=PATIENCE_S).verdict is Verdict.NG
    assert inspector.inspect(NG_PICTURE, trial=True, timeout_s=PATIENCE_S).verdict is Verdict.NG
    assert measured == []
    inspector.inspect(NG_PICTURE, timeout_s=PATIENCE_S)
    assert measured == ["bright"]


@pytest.mark.parametrize("fault", ["glare-nan", "glare-shape"])
def test_a_model_that_answers_what_is_no_answer_makes_no_result(line: Line, tmp_path: Path, fault: str) -> None:
    manifest = write_version(tmp_path / fault, name="faulty", fault=fault)
    session = open_session(tmp_path / fault, manifest, Inference(isolation="inline"), engines=tmp_path / "engines")
    line.registry.activate({"faulty": session})
    line.mappings = {"class-app": "bright", "faulty-app": "faulty"}
    good = line.inspector().inspect(OK_PICTURE, timeout_s=PATIENCE_S)
    assert good.verdict is Verdict.OK
    frame = line.inspector("all_ng").inspect(EncodedPicture(grey_picture(GLARE)), timeout_s=PATIENCE_S)
    assert [result.verdict for result in frame.results] == [Verdict.NG, Verdict.NO_RESULT]
    assert frame.verdict is Verdict.NO_RESULT
    assert "INTERNAL" in frame.message


def test_two_applications_of_one_model_share_its_answer(line: Line) -> None:
    line.mappings = {"one": "bright", "two": "bright"}
    plane_requests: list[str] = []
    plane = DataPlane(line.registry)
    plane.watch(lambda answered: plane_requests.append(answered.model.name))
    inspector = Inspector(
        plane, lambda: line.mappings, LineRule(Combination("any_ng")), frames=line.frames, counts=line.counts
    )
    frame = inspector.inspect(NG_PICTURE, timeout_s=PATIENCE_S)
    assert [result.application for result in frame.results] == ["one", "two"]
    assert {result.verdict for result in frame.results} == {Verdict.NG}
    assert plane_requests == ["bright"]


def test_capture_gets_frame_and_picture_and_events_get_no_masks(line: Line) -> None:
    frame = line.inspector().inspect(NG_PICTURE, with_mask=True, timeout_s=PATIENCE_S)
    ((offered, picture, maps),) = line.captured
    assert (offered.id, picture, set(maps)) == (frame.id, NG_PICTURE, {"spot-app"})
    assert encode_png(map_mask(maps["spot-app"])) == frame.results[1].mask_png
    (told,) = line.told
    assert told.id == frame.id
    assert not any(result.mask_png for result in told.results)


def test_parts_that_a_camera_lost_are_no_results_that_are_counted_and_told_but_have_no_picture(line: Line) -> None:
    line.inspector().count_lost("left", 2)
    assert line.counts.counts() == Counts(no_result=2)
    assert (line.captured, line.frames.newest(9), line.frames.last()) == ([], [], line.told[1])
    assert [(told.source, told.verdict, told.results) for told in line.told] == [("left", Verdict.NO_RESULT, ())] * 2
    assert "skipped or damaged" in line.told[0].message
    assert len({told.id for told in line.told}) == 2


def test_a_part_before_one_that_was_lost_does_not_stand_for_it(line: Line) -> None:
    good = line.inspector().inspect(OK_PICTURE, timeout_s=PATIENCE_S)
    line.inspector().count_lost("left", 1)
    assert [kept.frame.id for kept in line.frames.newest(9)] == [good.id]
    assert line.frames.last() == line.told[-1], "who asks for the status sees what who hears the events saw"


def test_only_the_newest_frames_are_kept(line: Line) -> None:
    inspector = line.inspector()
    ids = [inspector.inspect(OK_PICTURE, timeout_s=PATIENCE_S).id for _ in range(8)]
    assert [kept.frame.id for kept in line.frames.newest(99)] == ids[:2:-1]
    last = line.frames.last()
    assert last is not None
    assert last.id == ids[-1]
    with pytest.raises(InferenceError):
        line.frames.get(ids[2])


def test_frames_are_bounded_by_bytes_too_but_the_newest_is_always_there(line: Line) -> None:
    frames = RecentFrames(100, limit_bytes=2 * len(OK_PICTURE.content))
    frame = line.inspector().inspect(OK_PICTURE, timeout_s=PATIENCE_S)
    for number in range(10):
        frames.keep(frame.model_copy(update={"id": str(number)}), OK_PICTURE)
    assert [kept.frame.id for kept in frames.newest(99)] == ["9", "8"]
    frames.keep(frame.model_copy(update={"id": "large"}), EncodedPicture(bytes(10_000)))
    assert [kept.frame.id for kept in frames.newest(99)] == ["large"]


def test_many_callers_at_a_time_get_their_own_answers_and_all_are_counted(line: Line) -> None:
    inspector = line.inspector()
    ids: list[str] = []
    wrong: list[InspectedFrame] = []

    def ask(picture: EncodedPicture, expected: Verdict) -> None:
        for _ in range(25):
            frame = inspector.inspect(picture, timeout_s=PATIENCE_S)
            ids.append(frame.id)
            if frame.verdict is not expected:
                wrong.append(frame)

    cases = [(NG_PICTURE, Verdict.NG), (OK_PICTURE, Verdict.OK)] * 2
    threads = [threading.Thread(target=ask, args=case) for case in cases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(set(ids)) == 100
    assert line.counts.counts() == Counts(ok=50, ng=50)


def test_counts_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    for round_ in (1, 2):
        counter = ResultCounter(path, write_every_s=3600)
        counter.add(frame_of(Verdict.OK))
        counter.add(frame_of(Verdict.NG))
        assert counter.counts() == Counts(ok=round_, ng=round_)
        counter.close()


def test_counts_are_written_also_without_a_stop(tmp_path: Path) -> None:
    counter = ResultCounter(tmp_path / "results.db", write_every_s=0.01)
    counter.add(frame_of(Verdict.NO_RESULT))
    reader = Database(tmp_path / "results.db", SCHEMA)
    deadline = time.monotonic() + PATIENCE_S
    while not (rows := reader.query("SELECT verdict, count FROM inspections")):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert [tuple(row) for row in rows] == [("NO_RESULT", 1)]
    reader.close()
    counter.close()


def test_counts_that_cannot_be_written_wait_and_are_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = ResultCounter(tmp_path / "results.db", write_every_s=0.01)
    refused = threading.Event()
    execute = Database.execute

    def full(database: Database, sql: str, values: Sequence[Value] = ()) -> int:
        if sql.startswith("INSERT"):
            refused.set()
            raise StorageError(Code.NO_SPACE, "the disk is full")
        return execute(database, sql, values)

    monkeypatch.setattr(Database, "execute", full)
    counter.add(frame_of(Verdict.NG))
    assert refused.wait(PATIENCE_S)
    assert counter.counts() == Counts(ng=1)
    monkeypatch.undo()
    counter.close()
    again = ResultCounter(tmp_path / "results.db")
    assert again.counts() == Counts(ng=1)
    again.close()


def test_a_trial_is_answered_and_leaves_no_trace(line: Line) -> None:
    inspector = line.inspector()
    frame = inspector.inspect(NG_PICTURE, with_mask=True, trial=True, timeout_s=PATIENCE_S)
    assert (frame.verdict, frame.width) == (Verdict.NG, 24)
    assert frame.results[1].mask_png.startswith(b"\x89PNG")
    assert line.counts.counts() == Counts()
    assert (line.captured, line.told, line.frames.last()) == ([], [], None)


def test_a_part_that_may_not_be_called_ok_now_has_no_result_and_the_reason(line: Line) -> None:
    inspector = line.inspector(doubt=lambda: "golden parts are due")
    ok = inspector.inspect(OK_PICTURE, timeout_s=PATIENCE_S)
    assert (ok.verdict, ok.message) == (Verdict.NO_RESULT, "golden parts are due")
    assert inspector.inspect(NG_PICTURE, timeout_s=PATIENCE_S).verdict is Verdict.NG
    assert inspector.inspect(OK_PICTURE, trial=True, timeout_s=PATIENCE_S).verdict is Verdict.OK
    with pytest.raises(InferenceError, match="golden parts are due") as caught:
        inspector.inspect_model("bright", OK_PICTURE, application="class-app", timeout_s=PATIENCE_S)
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert line.counts.counts() == Counts(ng=1, no_result=2)
