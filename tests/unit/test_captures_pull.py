"""From a bucket of captures to a data set: what counts, what is left out, what an interruption leaves."""

import base64
import csv
import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud_tools.captures import pull as pulling
from cloud_tools.captures.choice import assign_splits
from cloud_tools.captures.pull import Pulled, PullOptions, pull
from cloud_tools.captures.records import Wanted, read_captures
from cloud_tools.datasets import read
from cloud_tools.datasets.dataset import Split
from cloud_tools.datasets.preparing import PrepareOptions, prepare
from cloud_tools.errors import CloudError
from cloud_tools.storage import DirectoryStorage, open_storage
from edge_agent.capture import layout
from edge_agent.capture.labels import Label
from edge_agent.capture.layout import Destination
from edge_agent.capture.records import from_frame
from edge_agent.errors import Code
from edge_agent.formats import EncodedPicture, Kind, ModelResult, Verdict
from edge_agent.vision import encode_png
from tests.fakes.captures import AT, frame, result

SEGMENTATION = PullOptions("segmentation")


def picture(seed: int) -> bytes:
    return encode_png(np.random.default_rng(seed).integers(0, 255, (48, 64, 3), np.uint8))


class Cloud:
    """A bucket in a directory, filled as devices fill it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.said: list[str] = []

    def destination(self, thing: str) -> Destination:
        return Destination(self.root.as_uri(), "line", thing)

    def put(
        self,
        name: str,
        verdict: Verdict = Verdict.NG,
        *,
        seed: int | None = None,
        mask: bool = False,
        thing: str = "press",
        at: float = AT,
        results: tuple[ModelResult, ...] = (),
        content: bytes = b"",
    ) -> None:
        drawn = encode_png(np.full((48, 64), 255, np.uint8)) if mask else b""
        inspected = frame(name, verdict, *(results or (result(verdict=verdict, mask=drawn),)), at=at)
        content = content or picture(int.from_bytes(name.encode(), "big") if seed is None else seed)
        capture, contents = from_frame(inspected, EncodedPicture(content), reason="ng")
        self._write(layout.objects(capture, contents, self.destination(thing)))

    def label(
        self, name: str, said: str, *, thing: str = "press", at: float = AT, model: str = "unet", after_s: float = 60
    ) -> None:
        label = Label(name, said, "anna", at + after_s, at, (model,))
        self._write(layout.label_objects(label, "operator", self.destination(thing)))

    def _write(self, objects: list[tuple[str, bytes]]) -> None:
        for key, content in objects:
            path = self.root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def rows(self, **wanted: Any) -> list[str]:
        return [c.id for c in read_captures(open_storage(str(self.root)), Wanted(**wanted), self.said.append)]

    def pull(self, out: Path, options: PullOptions = PullOptions()) -> Pulled:  # noqa: B008 - immutable
        source = open_storage(self.root.as_uri())
        return pull(source, read_captures(source, Wanted(), self.said.append), out, options, self.said.append)


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    (tmp_path / "bucket").mkdir()
    return Cloud(tmp_path / "bucket")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "data"


def listed(out: Path) -> dict[str, str]:
    """Return folders by the ids of the captures in them."""
    rows = [json.loads(line) for line in (out / "captures.jsonl").read_text().splitlines()]
    return {row["id"]: row["file"].partition("/")[0] for row in rows}


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def refusal(act: Callable[[], object]) -> CloudError:
    with pytest.raises(CloudError) as caught:
        act()
    return caught.value


def test_what_a_person_said_wins_and_what_nobody_labelled_is_left_out(cloud: Cloud, out: Path) -> None:
    for name, verdict in (("a", Verdict.NG), ("b", Verdict.OK), ("c", Verdict.NG), ("d", Verdict.OK)):
        cloud.put(name, verdict)
    cloud.label("a", "OK")
    cloud.label("b", "NG")
    cloud.label("c", "scratch")
    pulled = cloud.pull(out)
    assert listed(out) == {"a": "normal", "b": "anomalous", "c": "scratch"}
    assert (pulled.pictures, pulled.left_out) == (3, {"unlabelled": 1})
    assert read(out, Kind.CLASSIFICATION).classes == ("normal", "anomalous", "scratch")


def test_a_pull_is_made_a_clean_data_set_as_it_is(cloud: Cloud, out: Path, tmp_path: Path) -> None:
    for index in range(8):
        cloud.put(f"p{index}", Verdict.OK)
        cloud.label(f"p{index}", "NG" if index % 2 else "OK")
    cloud.pull(out)
    document = prepare(out, tmp_path / "clean", PrepareOptions()).document
    assert document["pictures"] == 8
    assert document["source"]["documents"] == ["captures.jsonl"]
    before, after = (
        {s.path.stem: s.split for s in read(root, Kind.CLASSIFICATION).samples} for root in (out, tmp_path / "clean")
    )
    assert after == before


def test_verdicts_count_on_demand_but_a_doubt_never_does(cloud: Cloud, out: Path) -> None:
    classified = result(verdict=Verdict.NG).model_copy(update={"label": "stain"})
    cloud.put("a", Verdict.OK)
    cloud.put("b", Verdict.NG)
    cloud.put("c", Verdict.NO_RESULT)
    cloud.put("d", Verdict.NG, results=(classified,))
    cloud.put("e", Verdict.NG)
    cloud.label("e", "OK")
    pulled = cloud.pull(out, PullOptions(unlabelled=True))
    assert listed(out) == {"a": "normal", "b": "anomalous", "d": "stain", "e": "normal"}
    assert pulled.left_out == {"without a class": 1}


def test_a_label_that_was_taken_back_is_none(cloud: Cloud, out: Path) -> None:
    cloud.put("a")
    cloud.label("a", "NG")
    cloud.label("a", "")
    error = refusal(lambda: cloud.pull(out))
    assert (error.code, error.message) == (Code.NOT_FOUND, "expected captures for a data set, left out: 1 unlabelled")
    assert not out.exists()


def test_the_same_bytes_are_one_picture_with_the_last_word_of_a_person(cloud: Cloud, out: Path) -> None:
    for number, said in enumerate(["OK", "NG", ""]):
        cloud.put(f"f{number}", Verdict.OK, seed=1, at=AT + number)
        if said:
            cloud.label(f"f{number}", said, at=AT + number)
    pulled = cloud.pull(out, PullOptions(unlabelled=True))
    assert (listed(out), pulled.left_out) == ({"f0": "anomalous"}, {"duplicate": 2})


def test_an_older_capture_that_was_labelled_last_has_the_last_word(cloud: Cloud, out: Path) -> None:
    cloud.put("a", seed=1, at=AT)
    cloud.put("b", seed=1, at=AT + 10)
    cloud.label("a", "dent", at=AT, after_s=500)
    cloud.label("b", "scratch", at=AT + 10)
    assert cloud.pull(out).classes == {"dent": 1}


def test_of_two_words_on_one_capture_the_later_counts_wherever_it_lies(cloud: Cloud, out: Path) -> None:
    both = (result("unet", verdict=Verdict.NG), result("another", verdict=Verdict.NG))
    for name, first, second in (("a", "unet", "another"), ("b", "another", "unet")):
        cloud.put(name, results=both)
        # The upload of the later word was cut short after one of two models.
        cloud.label(name, "scratch", model=first)
        cloud.label(name, "dent", model=second, after_s=90)
    cloud.pull(out)
    assert listed(out) == {"a": "dent", "b": "dent"}


def test_captures_that_would_be_called_the_same_both_survive(cloud: Cloud, out: Path) -> None:
    long = "x" * 230
    for thing, name in (("press-4", "1"), ("press", "4-1"), ("press", f"{long}1"), ("press", f"{long}2")):
        cloud.put(name, thing=thing)
        cloud.label(name, "OK", thing=thing)
    for _ in range(2):
        assert cloud.pull(out).pictures == 4
        rows = [json.loads(line) for line in (out / "captures.jsonl").read_text().splitlines()]
        assert {(row["thing"], row["id"][-3:]) for row in rows} == {
            ("press-4", "1"), ("press", "4-1"), ("press", "xx1"), ("press", "xx2"),
        }  # fmt: skip
        assert all(sha256((out / row["file"]).read_bytes()).hexdigest() == row["sha256"] for row in rows)
        assert len({row["file"] for row in rows}) == 4


def test_a_picture_keeps_its_name_when_another_would_be_called_the_same(cloud: Cloud, out: Path) -> None:
    cloud.put("4-1", thing="press", at=AT + 1)
    cloud.label("4-1", "OK", thing="press", at=AT + 1)
    cloud.pull(out)
    before = files(out / "normal")
    cloud.put("1", thing="press-4")
    cloud.label("1", "OK", thing="press-4")
    cloud.pull(out)
    after = files(out / "normal")
    assert len(after) == 2
    assert before.items() <= after.items()


def test_the_same_id_of_two_devices_is_two_captures(cloud: Cloud, out: Path) -> None:
    for seed, thing in enumerate(("press-1", "press-2")):
        cloud.put("f0", seed=seed, thing=thing, at=AT + 3600 * seed)
        cloud.label("f0", "NG", thing=thing, at=AT + 3600 * seed)
    cloud.pull(out)
    assert sorted(path.name for path in out.glob("anomalous/*")) == ["press-1-f0.png", "press-2-f0.png"]


def test_pictures_that_look_alike_are_one_part_on_one_side_of_the_split(cloud: Cloud, out: Path) -> None:
    base = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    for number in range(6):
        brighter = np.clip(base.astype(int) + number, 0, 255).astype(np.uint8)
        cloud.put(f"f{number}", content=encode_png(brighter), at=AT + number)
        cloud.label(f"f{number}", "NG", at=AT + number)
    cloud.pull(out)
    with (out / "split.csv").open(newline="") as rows:
        told = {(row["part"], row["split"]) for row in csv.DictReader(rows)}
    assert len(told) == 1
    assert {part for part, _ in told} == {"press-f0"}


def test_a_pull_again_is_the_same_and_reads_no_picture_twice(
    cloud: Cloud, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        cloud.put(f"f{number}", at=AT + number)
        cloud.label(f"f{number}", "NG" if number % 2 else "OK", at=AT + number)
    cloud.pull(out)
    before, read, asked = files(out), DirectoryStorage.blocks, []

    def counted(self: DirectoryStorage, key: str) -> Iterator[bytes]:
        asked.append(key)
        return read(self, key)

    monkeypatch.setattr(DirectoryStorage, "blocks", counted)
    cloud.pull(out)
    assert files(out) == before
    assert asked
    assert not any("raw-data" in key for key in asked)


def test_new_captures_leave_the_split_of_the_others(cloud: Cloud, out: Path) -> None:
    parts = {f"p{number}": "normal" if number % 2 else "anomalous" for number in range(60)}
    few = dict(list(parts.items())[:40])
    assert assign_splits(few).items() <= assign_splits(parts).items()
    shares = [list(assign_splits(parts).values()).count(split) for split in (Split.TEST, Split.VALIDATION)]
    assert all(5 <= share <= 25 for share in shares)


@pytest.mark.parametrize("amount", range(3, 9))
def test_every_class_of_three_parts_and_more_is_in_every_split(amount: int) -> None:
    for seed in range(30):
        splits = assign_splits({f"{seed}-{number}": "normal" for number in range(amount)})
        assert set(splits.values()) == set(Split)


def test_for_segmentation_a_normal_part_has_an_empty_mask_and_a_defect_the_model_s(cloud: Cloud, out: Path) -> None:
    cloud.put("a", Verdict.NG, mask=True)
    cloud.put("b", Verdict.NG, mask=True)
    cloud.put("c", Verdict.OK)
    cloud.label("a", "NG")
    cloud.label("b", "OK")
    cloud.label("c", "NG")
    pulled = cloud.pull(out, SEGMENTATION)
    assert pulled.left_out == {"without a mask": 1}
    assert cloud.said == ["c: left out, it is defective, and no model drew a mask of it"]
    samples = {sample.path.stem: sample for sample in read(out, Kind.SEGMENTATION).samples}
    assert {name: sample.anomalous for name, sample in samples.items()} == {"press-a": True, "press-b": False}
    assert samples["press-a"].truth(48, 64).all()


def test_a_mask_that_a_person_corrected_stays_when_more_is_pulled(cloud: Cloud, out: Path) -> None:
    cloud.put("a", Verdict.NG, mask=True)
    cloud.label("a", "NG")
    cloud.pull(out, SEGMENTATION)
    corrected = encode_png(np.eye(48, 64, dtype=np.uint8) * 255)
    (out / "masks" / "press-a.png").write_bytes(corrected)
    cloud.put("b", Verdict.NG, mask=True)
    cloud.label("b", "NG")
    for _ in range(2):
        assert cloud.pull(out, SEGMENTATION).pictures == 2
        assert (out / "masks" / "press-a.png").read_bytes() == corrected


@pytest.mark.parametrize("options", [SEGMENTATION, PullOptions()])
def test_a_pull_that_would_lose_a_corrected_mask_is_refused(cloud: Cloud, out: Path, options: PullOptions) -> None:
    cloud.put("a", Verdict.NG, mask=True)
    cloud.label("a", "NG")
    cloud.pull(out, SEGMENTATION)
    (out / "masks" / "press-a.png").write_bytes(encode_png(np.eye(48, 64, dtype=np.uint8) * 255))
    before = files(out)
    cloud.label("a", "OK")
    error = refusal(lambda: cloud.pull(out, options))
    assert error.code is Code.ALREADY_EXISTS
    assert "masks/press-a.png: expected a mask as it was pulled" in error.message
    assert files(out) == before


def test_a_picture_that_announces_too_many_pixels_is_left_out(cloud: Cloud, out: Path) -> None:
    cloud.put("a", Verdict.OK)
    bomb = bytearray(picture(1))
    bomb[16:24] = (1 << 14).to_bytes(4, "big") * 2
    cloud.put("b", Verdict.OK, content=bytes(bomb))
    pulled = cloud.pull(out, PullOptions("segmentation", unlabelled=True))
    assert (pulled.pictures, pulled.left_out) == (1, {"unreadable": 1})
    assert cloud.said == ["b: left out, expected a picture of at most 16777216 pixels, came 16384 x 16384"]


def test_a_folder_that_no_pull_made_is_left_alone(cloud: Cloud, out: Path) -> None:
    cloud.put("a")
    cloud.label("a", "NG")
    cloud.pull(out)
    (out / "normal").mkdir()
    (out / "normal" / "mine.png").write_bytes(b"mine")
    before = files(out)
    error = refusal(lambda: cloud.pull(out))
    assert error.code is Code.ALREADY_EXISTS
    assert error.message.endswith("it also holds normal/mine.png")
    assert files(out) == before


def test_an_interruption_leaves_what_was_there(cloud: Cloud, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.put("a")
    cloud.label("a", "NG")
    cloud.pull(out)
    before = files(out)
    cloud.label("a", "OK")

    def interrupted(*_: object) -> Pulled:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pulling, "_finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cloud.pull(out)
    assert files(out) == before
    # Between the two renames the folder has its former name.
    out.rename(out.with_name(".data.before"))
    cloud.pull(out)
    assert listed(out) == {"a": "normal"}
    assert sorted(path.name for path in out.parent.iterdir()) == ["bucket", "data"]


def test_a_data_set_that_cannot_take_its_place_leaves_the_former_one_there(
    cloud: Cloud, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.put("a")
    cloud.label("a", "NG")
    cloud.pull(out)
    before = files(out)
    cloud.label("a", "OK")
    rename = Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        if path.name.endswith(".pulling"):
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cloud.pull(out)
    assert files(out) == before


def test_a_bucket_that_goes_away_before_the_masks_ends_the_pull(
    cloud: Cloud, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = encode_png(np.random.default_rng(0).integers(0, 255, (48, 64), np.uint8))
    cloud.put("a", results=(result(mask=mask),))
    cloud.put("b", Verdict.OK)
    blocks = DirectoryStorage.blocks

    def away(self: DirectoryStorage, key: str) -> Iterator[bytes]:
        if key.endswith(".png") and b"".join(blocks(self, key)) == mask:
            raise CloudError(Code.UNAVAILABLE, "no route to the bucket")
        return blocks(self, key)

    monkeypatch.setattr(DirectoryStorage, "blocks", away)
    error = refusal(lambda: cloud.pull(out, PullOptions("segmentation", unlabelled=True)))
    assert error.message == "no route to the bucket"
    assert not out.exists()


def test_a_link_to_a_data_set_stays_one(cloud: Cloud, out: Path) -> None:
    elsewhere = out.with_name("disk") / "data"
    elsewhere.mkdir(parents=True)
    out.symlink_to(elsewhere)
    cloud.put("a")
    cloud.label("a", "NG")
    for _ in range(2):
        cloud.pull(out)
        assert out.readlink() == elsewhere
        assert listed(elsewhere) == {"a": "anomalous"}
    assert sorted(path.name for path in out.parent.iterdir()) == ["bucket", "data", "disk"]


def test_what_cannot_be_read_is_said_and_hides_nothing_else(cloud: Cloud, out: Path) -> None:
    cloud.put("a")
    cloud.put("b", content=b"\xff\xd8 no picture")
    for name in ("a", "b"):
        cloud.label(name, "NG")
    folder = cloud.root / "line/unet/2026/05/31/20"
    (folder / "c.jsonl").write_bytes(b"{")
    (folder / "d.jsonl").write_bytes(b'{"eventMetadata": {}}')
    (folder / "e.label.json").write_bytes(b'{"schema": "edge-agent/label/9"}')
    pulled = cloud.pull(out)
    assert (listed(out), pulled.left_out) == ({"a": "anomalous"}, {"unreadable": 1})
    told = " ".join(cloud.said)
    assert all(name in told for name in ("c.jsonl", "d.jsonl", "e.label.json", "b: left out"))


def test_no_record_however_odd_hides_the_others(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.put("a")
    cloud.put("b")
    folder = cloud.root / "line/unet/2026/05/31/20"
    record = json.loads((folder / "b.jsonl").read_text())
    outputs = record["deviceFleetAuxiliaryOutputs"]
    told = json.loads(base64.b64decode(outputs[0]["data"])) | {"score": 10**400}
    outputs[0]["data"] = base64.b64encode(json.dumps(told).encode()).decode()
    (folder / "b.jsonl").write_text(json.dumps(record))
    (folder / "c.jsonl").write_text("[" * 99_999)
    (folder / "d.jsonl").write_bytes(b" " * 100_001)
    (folder / "e.jsonl").symlink_to("/etc/hostname")
    monkeypatch.setattr("cloud_tools.captures.records.LIMIT_BYTES", 100_000)
    assert cloud.rows() == ["a"]
    assert [line.partition(":")[0][-7:] for line in cloud.said] == [f"{name}.jsonl" for name in "bcde"]


def test_a_name_that_is_no_text_hides_no_other_capture(cloud: Cloud, out: Path) -> None:
    for name in ("a", "b", "c"):
        cloud.put(name)
        cloud.label(name, "NG")
    folder = cloud.root / "line/unet/2026/05/31/20"
    for path, word in ((folder / "b.jsonl", '"b"'), (folder / "c.label.json", '"c"')):
        content = path.read_text()
        assert word in content
        path.write_text(content.replace(word, r'"\ud800"'))
    pulled = cloud.pull(out)
    assert (listed(out), pulled.left_out) == ({"a": "anomalous"}, {"unlabelled": 1})
    assert [line.partition(": ")[0].rpartition("/")[2] for line in cloud.said] == ["c.label.json", "b.jsonl"]


def test_a_label_cannot_lead_out_of_the_data_set(cloud: Cloud, out: Path) -> None:
    bad = (
        "../../x",
        ".hidden",
        "a/b",
        "split.csv",
        "captures.jsonl",
        "\N{SNOWMAN}",
        "\N{CJK UNIFIED IDEOGRAPH-4E00}" * 90,
    )
    for name, said in (*((f"bad{number}", said) for number, said in enumerate(bad)), ("d", "fine name")):
        cloud.put(name)
        cloud.label(name, said)
    pulled = cloud.pull(out)
    assert (listed(out), pulled.left_out) == ({"d": "fine name"}, {"without a class": len(bad)})


def test_a_reference_that_leads_elsewhere_is_refused(cloud: Cloud) -> None:
    cloud.put("a")
    record = cloud.root / "line/unet/2026/05/31/20/a.jsonl"
    record.write_text(record.read_text().replace(cloud.root.as_uri(), "file:///etc"))
    assert cloud.rows() == []
    assert "expected a reference below" in cloud.said[0]


def test_captures_are_found_by_thing_model_verdict_label_and_time(cloud: Cloud) -> None:
    cloud.put("a", at=AT)
    cloud.put("b", Verdict.OK, at=AT + 86_400, thing="press-2")
    cloud.put("c", at=AT + 2 * 86_400, results=(result("other"),))
    cloud.label("a", "NG")
    assert cloud.rows() == ["a", "b", "c"]
    assert cloud.rows(thing="press-2") == cloud.rows(verdict="OK") == ["b"]
    assert (cloud.rows(model="other"), cloud.rows(label="NG"), cloud.rows(label="-")) == (["c"], ["a"], ["b", "c"])
    assert cloud.rows(since=AT + 86_400) == ["b", "c"]
    assert cloud.rows(since=AT + 1, until=AT + 2 * 86_400) == ["b"]


def test_of_two_models_the_one_that_decided_tells(cloud: Cloud) -> None:
    both = (result("first", verdict=Verdict.OK), result("second", verdict=Verdict.NG))
    cloud.put("a", Verdict.NG, results=both)
    (capture,) = read_captures(DirectoryStorage(cloud.root), Wanted(), cloud.said.append)
    assert (capture.model, capture.verdict) == ("second", "NG")
    (capture,) = read_captures(DirectoryStorage(cloud.root), Wanted(model="first"), cloud.said.append)
    assert (capture.model, capture.verdict) == ("first", "NG")
    agree = (result("zebra", verdict=Verdict.OK), result("ant", verdict=Verdict.OK))
    cloud.put("b", Verdict.OK, results=agree)
    assert [c.model for c in read_captures(DirectoryStorage(cloud.root), Wanted(verdict="OK"), print)] == ["zebra"]


@pytest.mark.parametrize("url", ["https://host/x", "s3://", "gs://bucket"])
def test_another_kind_of_url_is_refused(url: str) -> None:
    assert "expected s3://bucket/prefix, file:///directory or a path" in refusal(lambda: open_storage(url)).message


def test_a_directory_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    source = open_storage(str(tmp_path / "none"))
    assert refusal(lambda: read_captures(source, Wanted(), print)).code is Code.NOT_FOUND
