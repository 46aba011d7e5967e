"""Graphs of other people become bundles that say what the graphs said, or are refused with a reason."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from cloud_tools.cli import build_app
from cloud_tools.errors import CloudError
from cloud_tools.evaluation.device import DeviceModel
from cloud_tools.export.told import Channels, Head, Layout, OutputKind, Range, Told
from cloud_tools.export.wrap import wrap
from cloud_tools.packaging.foreign import Rule, package_graph
from edge_agent.errors import AgentError
from edge_agent.formats import Kind, Manifest, parse
from edge_agent.vision import encode_png, sigmoid
from tests.fakes.foreign_graphs import MEAN, SIDE, STD, logit_of, write_graph

TOLD = Told(range=Range.UNIT, mean=MEAN, std=STD, labels=("good", "bad"), normal_labels=("good",))
PICTURES = np.random.default_rng(5).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)


def answers(tmp_path: Path, source: Path, told: Told = TOLD) -> dict[str, np.ndarray[Any, Any]]:
    return DeviceModel(wrap(source, told, tmp_path / "wrapped.onnx").path).run(PICTURES)


def expected() -> list[float]:
    return [logit_of(picture) for picture in PICTURES]


@pytest.mark.parametrize("head", ["softmax", "logits", "sigmoid"])
def test_a_classifier_of_floats_says_through_the_wrapping_what_it_said(tmp_path: Path, head: str) -> None:
    said = answers(tmp_path, write_graph(tmp_path / "given.onnx", head))
    assert said["score"] == pytest.approx(expected(), abs=1e-4)
    assert said["probabilities"][:, 1] == pytest.approx([sigmoid(value) for value in expected()], abs=1e-5)


def test_classes_in_another_order_turn_the_score_round(tmp_path: Path) -> None:
    told = TOLD._replace(normal_labels=("bad",))
    said = answers(tmp_path, write_graph(tmp_path / "given.onnx", "softmax"), told)
    assert said["score"] == pytest.approx([-value for value in expected()], abs=1e-4)


def test_a_graph_of_one_picture_is_freed_where_its_nodes_allow_it(tmp_path: Path) -> None:
    said = answers(tmp_path, write_graph(tmp_path / "given.onnx", "softmax", shape=(1, 3, SIDE, SIDE)))
    assert said["score"] == pytest.approx(expected(), abs=1e-4)


def test_a_graph_that_is_made_for_one_picture_is_refused(tmp_path: Path) -> None:
    source = write_graph(tmp_path / "given.onnx", "softmax", shape=(1, 3, SIDE, SIDE), fixed=True)
    with pytest.raises(CloudError, match="takes any batch, this one is made for one picture"):
        answers(tmp_path, source)


@pytest.mark.parametrize("opset", [11, 13, 17])
def test_every_opset_gets_its_axes_where_it_wants_them(tmp_path: Path, opset: int) -> None:
    said = answers(tmp_path, write_graph(tmp_path / "given.onnx", "softmax", opset=opset))
    assert said["score"] == pytest.approx(expected(), abs=1e-4)


def test_pictures_last_blue_first_and_grey_are_what_was_told(tmp_path: Path) -> None:
    source = write_graph(tmp_path / "nhwc.onnx", "score", shape=("n", SIDE, SIDE, 3))
    told = TOLD._replace(channels=Channels.BGR, heads=(Head("", OutputKind.SCORE),), mean=MEAN[::-1], std=STD[::-1])
    assert answers(tmp_path, source, told)["score"] == pytest.approx(expected(), abs=1e-4)
    source = write_graph(tmp_path / "grey.onnx", "score", shape=("n", 1, SIDE, SIDE))
    told = Told(range=Range.SIGNED, channels=Channels.GREY, heads=(Head("", OutputKind.SCORE),))
    grey = [float((p @ (0.299, 0.587, 0.114)).mean() / 127.5 - 1) * 4 for p in PICTURES]
    assert answers(tmp_path, source, told)["score"] == pytest.approx(grey, abs=1e-4)


def test_a_map_of_shares_becomes_logits_and_its_worst_place_the_score(tmp_path: Path) -> None:
    said = answers(tmp_path, write_graph(tmp_path / "given.onnx", "map"))
    scaled = ((PICTURES / 255 - MEAN) / STD).mean(axis=3)
    np.testing.assert_allclose(said["map"], scaled, atol=1e-4)
    assert said["score"] == pytest.approx(scaled.max(axis=(1, 2)), abs=1e-4)


def test_a_map_of_classes_is_defective_where_its_greatest_channel_is(tmp_path: Path) -> None:
    said = answers(tmp_path, write_graph(tmp_path / "given.onnx", "planes"), TOLD._replace(normal_channels=(1,)))
    best = ((PICTURES / 255 - MEAN) / STD).argmax(axis=3)
    np.testing.assert_array_equal(said["map"] > 0, best != 1)


WRONG = [
    ("softmax", Told(), "expected --range"),
    ("softmax", TOLD._replace(labels=()), "expected --label for each of 2 classes"),
    ("softmax", TOLD._replace(normal_labels=("good", "bad")), "expected --normal-label"),
    ("softmax", TOLD._replace(mean=(1.0, 2.0)), "1 or 3 numbers"),
    ("softmax", TOLD._replace(std=(0.0,)), "--std above 0"),
    ("softmax", TOLD._replace(std=(1e-320,)), "that float32 can hold"),
    ("softmax", TOLD._replace(layout=Layout.NHWC), "3 channels as rgb has, in nhwc"),
    ("softmax", TOLD._replace(size=(SIDE, 8)), f"a size of {SIDE}x{SIDE}"),
    ("softmax", TOLD._replace(heads=(Head("nothing"),)), r"an output of the graph \(score\), came nothing"),
    ("logits", TOLD._replace(heads=(Head("", OutputKind.PROBABILITIES),)), "expected probabilities of 2 classes"),
    ("softmax", TOLD._replace(heads=(Head("", OutputKind.SCORE),)), r"expected a score \[N\]"),
    ("softmax", TOLD._replace(heads=(Head("", OutputKind.MAP),)), r"expected a map"),
    ("planes", TOLD._replace(normal_channels=(0, 1, 2)), "some of the channels 0..2, not all"),
    ("score", TOLD, "expected --output-kind for an output that does not tell"),
]


@pytest.mark.parametrize(("head", "told", "message"), WRONG)
def test_what_contradicts_the_graph_is_refused(tmp_path: Path, head: str, told: Told, message: str) -> None:
    with pytest.raises(CloudError, match=message):
        answers(tmp_path, write_graph(tmp_path / "given.onnx", head), told)


@pytest.mark.parametrize("side", [4, 1 << 14, 1 << 40])
def test_a_picture_that_no_device_takes_is_refused_before_one_is_made(tmp_path: Path, side: int) -> None:
    with pytest.raises(CloudError, match="expected an image of at least 8 x 8 and at most"):
        answers(tmp_path, write_graph(tmp_path / "given.onnx", "softmax", shape=("n", 3, side, side)))


def test_weights_beside_the_file_are_folded_in_and_others_are_not_read(tmp_path: Path) -> None:
    source = write_graph(tmp_path / "given.onnx", "softmax")
    onnx.save(onnx.load(source), source, save_as_external_data=True, location="given.bin", size_threshold=0)
    assert answers(tmp_path, source)["score"] == pytest.approx(expected(), abs=1e-4)
    content = source.read_bytes()
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "given.onnx").write_bytes(content.replace(b"given.bin", b"../x.bin\x00"[:9]))
    with pytest.raises(AgentError, match="expected external data in a file of the release"):
        answers(tmp_path, tmp_path / "inner" / "given.onnx")


def test_loops_and_random_numbers_are_not_allowed(tmp_path: Path) -> None:
    model = onnx.load(write_graph(tmp_path / "given.onnx", "softmax"))
    model.graph.node.append(onnx.helper.make_node("RandomUniform", [], ["noise"], shape=[1]))
    (tmp_path / "given.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CloudError, match=r"operators that are allowed .*, came RandomUniform"):
        answers(tmp_path, tmp_path / "given.onnx")


@pytest.mark.parametrize("name", [b"Softmax", b"column"])
def test_names_that_are_no_text_are_refused(tmp_path: Path, name: bytes) -> None:
    source = write_graph(tmp_path / "given.onnx", "softmax")
    content = source.read_bytes()
    assert name in content
    source.write_bytes(content.replace(name, b"\xff" * len(name)))
    with pytest.raises(CloudError, match="expected names in UTF-8"):
        answers(tmp_path, source)


def _cli(*arguments: str) -> tuple[int, dict[str, Any], str]:
    result = CliRunner().invoke(build_app(), [*arguments, "--json"])
    lines = result.stdout.strip().splitlines()
    return result.exit_code, json.loads(lines[-1]) if lines else {}, str(result.exception or "")


def test_a_graph_of_floats_is_packaged_by_one_command_with_pictures_of_both_verdicts(tmp_path: Path) -> None:
    source = write_graph(tmp_path / "given.onnx", "softmax")
    (tmp_path / "pictures").mkdir()
    for level in range(0, 256, 8):
        content = encode_png(np.full((20, 30, 3), level, np.uint8))
        (tmp_path / "pictures" / f"{level:03}.png").write_bytes(content)
    flags = ["--range", "0..1", "--mean", "0.4,0.5,0.6", "--std", "0.2,0.25,0.3", "--label", "good", "--label", "bad"]
    flags += ["--normal-label", "good", "--golden", str(tmp_path / "pictures"), "--resize", "stretch"]
    out = tmp_path / "bundle"
    named = ["--name", "given", "--version", "2", "-o", str(out)]
    code, answer, error = _cli("package", str(source), *named, *flags)
    assert (code, error) == (0, "")
    assert answer["recognised"] == "score: probabilities"
    manifest = parse(Manifest, (out / "manifest.json").read_bytes(), what="manifest")
    assert (manifest.kind, manifest.labels, manifest.preprocess.letterbox) == (
        Kind.CLASSIFICATION,
        ("good", "bad"),
        False,
    )
    scores = sorted(sample.score for sample in manifest.golden.samples)
    assert answer["golden"] == {"OK": 5, "NG": 5}
    all_scores = sorted(sigmoid(logit_of(np.full((1, 1, 3), level, np.uint8))) for level in range(0, 256, 8))
    nearest = min(all_scores, key=lambda score: abs(score - 0.5))
    assert min(scores, key=lambda score: abs(score - 0.5)) == pytest.approx(nearest, abs=1e-4)


def test_a_refused_graph_leaves_nothing_behind(tmp_path: Path) -> None:
    source = write_graph(tmp_path / "given.onnx", "softmax")
    (tmp_path / "work").mkdir()
    with pytest.raises(CloudError, match="expected --range"):
        package_graph(source, Told(), Rule(), None, "given", "1", tmp_path / "out", tmp_path / "work")
    assert not (tmp_path / "out").exists()
