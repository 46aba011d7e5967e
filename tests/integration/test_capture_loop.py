"""The loop closes: a line captures, people label, the cloud pulls, trains and packages what comes next."""

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cloud_tools.cli import build_app
from cloud_tools.datasets import read
from cloud_tools.datasets.sample_line import write_dataset
from cloud_tools.local import Endpoints, aws_environment
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import CaptureReport, EncodedPicture, Kind
from edge_agent.vision import size_of
from tests.fakes.cloud_operator import CloudOperator
from tests.fakes.device import ROOT, AgentDevice, eventually
from tests.pages import blocks

pytest.importorskip("torch", reason="the extra train is not installed")

pytestmark = pytest.mark.timeout(600)
THING = "loop-press"
CLASSIFIER, SEGMENTER = "img-classification", "unet"
APPLICATIONS = ("image-classification-app", "image-segmentation-app")
COUNT = 40
LABELS = {"normal": "OK", "anomalous": "NG"}


class Line:
    """Device, cloud operator and the sample line's pictures, with what each of them is."""

    def __init__(
        self,
        operator: CloudOperator,
        device: AgentDevice,
        pictures: dict[str, tuple[bytes, str]],
        environment: dict[str, str],
    ) -> None:
        self.operator = operator
        self.device = device
        self.pictures = pictures
        self.url = f"s3://{operator.bucket}/captures"
        self.environment = environment

    def edge_agent(self, *words: str, code: int = 0) -> Any:
        """Run a verb beside the agent and return its JSON."""
        done = subprocess.run(
            [sys.executable, "-m", "edge_agent", "--runtime-dir", str(self.device.runtime_dir), *words, "--json"],
            cwd=ROOT,
            env={**os.environ, **self.device.environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout) if done.stdout else done.stderr

    def cloud(self, verb: str, *words: str) -> Any:
        """Run a verb of ``edge-cloud captures`` in this process and return its answer."""
        words = ("captures", verb, "--from", self.url, *words, "--json")
        done = CliRunner().invoke(build_app(), list(words), env=self.environment)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def captures(self, **wanted: Any) -> list[CaptureReport]:
        with self.device.client() as client:
            return client.captures(limit=1000, **wanted)

    def audited(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.device.state_dir / "audit.log").read_text().splitlines()]


@pytest.fixture(scope="module")
def line(local_cloud: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    directory = tmp_path_factory.mktemp("loop")
    operator = CloudOperator(local_cloud, tmp_path_factory.mktemp("operator"), "loop")
    config = operator.provision(THING, directory / "provisioned")
    operator.publish(*(ROOT / "samples" / "bundles" / name / "1" for name in (CLASSIFIER, SEGMENTER)))
    write_dataset(directory / "sample", count=COUNT, seed=11)
    folders = (directory / "sample" / "classification").glob("*/*.png")
    pictures = {path.name: (path.read_bytes(), path.parent.name) for path in sorted(folders)}
    device = AgentDevice(
        directory, {"capture": {"policy": "all", "every": 2, "quota_bytes": 1 << 29}}, provisioned=config
    )
    device.start()
    assert device.install((CLASSIFIER, "1"), (SEGMENTER, "1")).state == "COMMITTED"
    yield Line(operator, device, pictures, aws_environment(local_cloud))
    assert device.stop() == 0


@pytest.fixture(scope="module")
def labelled(line: Line) -> dict[str, str]:
    """Everything inspected, labelled in part, the power gone; then sent. Returns labels by id."""
    paused = line.edge_agent("captures", "pause", "--upload")
    assert (paused["capture_paused"], paused["upload_paused"]) == (False, True)
    with line.device.client() as client:
        for name, (content, _) in line.pictures.items():
            client.inspect(EncodedPicture(content), applications=APPLICATIONS, frame_name=name, timeout_s=60)
    line.device.wait_for(lambda status: status.captures.pending == COUNT)
    captures = line.captures()
    # Two are left without a word, one normal and one not.
    truth = {capture.id: LABELS[line.pictures[capture.name][1]] for capture in captures}
    classified = {capture.id for capture in captures if capture.model == CLASSIFIER}
    left = {
        next(name for name, label in truth.items() if label == word and name in classified) for word in ("OK", "NG")
    }
    said = {capture_id: label for capture_id, label in truth.items() if capture_id not in left}
    by_hand, *rest = said
    told = line.edge_agent("captures", "label", by_hand, said[by_hand])
    assert (told["label"], told["labelled_by"].startswith("cli")) == (said[by_hand], True)
    with line.device.client() as client:
        for capture_id in rest:
            client.label_capture(capture_id, said[capture_id], actor="anna")
    # What was acknowledged is there after this.
    line.device.kill()
    line.device.start()
    status = line.device.wait_for(lambda status: status.captures.pending == COUNT)
    assert (status.captures.upload_paused, status.captures.uploaded) == (True, 0)
    assert {capture.id: capture.label for capture in line.captures() if capture.label} == said
    line.edge_agent("captures", "resume")
    line.device.wait_for(lambda status: status.captures.uploaded == COUNT)
    eventually(lambda: sum(bool(row["label"]) for row in line.cloud("list")) == len(said) or None)
    return said


def test_captures_stay_on_the_device_for_browsing_after_their_upload(line: Line, labelled: dict[str, str]) -> None:
    uploaded = line.captures(state="UPLOADED")
    assert len(uploaded) == COUNT
    with line.device.client() as client:
        for capture in uploaded[:3]:
            picture = client.capture_content(capture.id, "picture")
            assert picture == (line.pictures[capture.name][0], "image/png")
            small = client.capture_content(capture.id, "thumbnail")
            assert (small.content_type, max(size_of(small.content)) <= 240) == ("image/jpeg", True)
    defective = line.edge_agent("captures", "--verdict", "NG", "--limit", "1000")
    assert {row["verdict"] for row in defective} == {"NG"}
    masked = next(row for row in defective if row["has_mask"])
    with line.device.client() as client:
        mask = client.capture_content(masked["id"], "mask")
        picture = client.capture_content(masked["id"], "picture")
    assert (mask.content_type, size_of(mask.content)) == ("image/png", size_of(picture.content))
    oldest = line.captures()[-1]
    assert line.edge_agent("captures", "--before", repr(oldest.at)) == []
    assert {row["reason"] for row in line.edge_agent("captures", "--limit", "1000")} == {"ng", "every", "all"}
    assert line.device.status().captures.quota_bytes == 1 << 29
    assert labelled


def test_who_said_what_and_who_paused_stands_in_the_audit_log(line: Line, labelled: dict[str, str]) -> None:
    lines = line.audited()
    acts = Counter(entry["action"] for entry in lines)
    assert (acts["capture_labelled"], acts["captures_paused"]) == (len(labelled), 2)
    one = next(entry for entry in lines if entry["action"] == "capture_labelled" and entry["actor"] == "anna")
    assert (one["label"], one["former"]) == (labelled[one["capture"]], "")


def test_a_label_that_is_none_is_refused_with_those_that_are(line: Line, labelled: dict[str, str]) -> None:
    capture_id = next(capture.id for capture in line.captures() if capture.model == CLASSIFIER)
    told = line.edge_agent("captures", "label", capture_id, "scratchy", code=2)
    assert "label: expected one of OK, NG, normal, anomalous, or nothing to take it back, came 'scratchy'" in told
    with line.device.client() as client, pytest.raises(InferenceError) as caught:
        client.label_capture("nobody", "OK", actor="anna")
    assert caught.value.code is Code.NOT_FOUND
    assert {capture.id: capture.label for capture in line.captures() if capture.label} == labelled


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda client: client.captures(verdict="GOOD"), "verdict: expected one of OK, NG, NO_RESULT or nothing"),
        (lambda client: client.captures(state="SENT"), "state: expected one of PENDING, UPLOADED, FAILED or nothing"),
        (lambda client: client.captures(before=-1.0), "before: expected epoch seconds, came -1.0"),
        (lambda client: client.pause_captures(actor="anna"), "expected capture or upload, came neither"),
        (lambda client: client.pause_captures(capture=True, actor=" "), "actor: expected 1 to 1000 characters, came 0"),
        (lambda client: client.label_capture("x", "OK", actor=""), "actor: expected 1 to 1000 characters, came 0"),
    ],
)
def test_wrong_calls_are_refused_and_change_nothing(line: Line, call: Any, message: str) -> None:
    before = line.device.status().captures
    with line.device.client() as client, pytest.raises(InferenceError) as caught:
        call(client)
    assert message in caught.value.message
    after = line.device.status().captures
    assert (after.capture_paused, after.upload_paused) == (before.capture_paused, before.upload_paused)


def test_the_list_in_the_cloud_is_filtered(line: Line, labelled: dict[str, str]) -> None:
    everything = line.cloud("list")
    assert {row["thing"] for row in everything} == {THING}
    assert {row["id"] for row in line.cloud("list", "--label", "OK")} == {i for i, s in labelled.items() if s == "OK"}
    assert len(line.cloud("list", "--label", "-")) == 2
    assert {row["verdict"] for row in line.cloud("list", "--verdict", "NG")} == {"NG"}
    assert line.cloud("list", "--model", "anomaly") == line.cloud("list", "--thing", "press-9") == []
    assert line.cloud("list", "--since", "2100-01-01") == line.cloud("list", "--until", "2000-01-01") == []
    for model in (CLASSIFIER, SEGMENTER):
        assert len(line.cloud("list", "--since", "2000-01-01", "--model", model)) == COUNT


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_what_people_labelled_is_pulled_the_same_wherever_and_again(
    line: Line, labelled: dict[str, str], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    pulled = line.cloud("pull", "--out", str(data))
    expected = Counter({"OK": "normal", "NG": "anomalous"}[label] for label in labelled.values())
    assert (pulled["pictures"], Counter(pulled["classes"])) == (len(labelled), expected)
    assert pulled["left_out"] == {"unlabelled": 2}
    contents = dict(line.pictures.values())
    for path in data.glob("*/*.png"):
        assert contents[path.read_bytes()] == path.parent.name
    first = files(data)
    assert line.cloud("pull", "--out", str(data)) == pulled | {"directory": str(data)}
    assert files(data) == first
    line.cloud("pull", "--out", str(tmp_path / "elsewhere"))
    assert files(tmp_path / "elsewhere") == first

    more = line.cloud("pull", "--out", str(tmp_path / "more"), "--include-unlabelled")
    assert more["pictures"] == COUNT
    with (data / "split.csv").open(newline="") as rows:
        splits = {row["file"]: row["split"] for row in csv.DictReader(rows)}
    with (tmp_path / "more" / "split.csv").open(newline="") as rows:
        grown = {row["file"]: row["split"] for row in csv.DictReader(rows)}
    assert {file: grown[file] for file in splits} == splits
    assert set(splits.values()) == {"train", "validation", "test"}


def test_masks_are_pulled_for_a_segmentation(line: Line, labelled: dict[str, str], tmp_path: Path) -> None:
    data = tmp_path / "data"
    pulled = line.cloud("pull", "--out", str(data), "--kind", "segmentation", "--model", SEGMENTER)
    dataset = read(data, Kind.SEGMENTATION)
    by_name = {capture.id: capture for capture in line.captures()}
    for sample in dataset.samples:
        capture = by_name[sample.path.stem.removeprefix(f"{THING}-")]
        assert sample.path.read_bytes() == line.pictures[capture.name][0]
        assert labelled[capture.id] == "NG" or not sample.anomalous
    assert pulled["pictures"] == len(dataset.samples) > COUNT // 4
    assert any(sample.anomalous for sample in dataset.samples)


def test_the_commands_of_the_page_lead_from_captures_to_a_bundle(
    line: Line, labelled: dict[str, str], tmp_path: Path
) -> None:
    (commands,) = blocks(ROOT / "docs" / "captures.md", "From the line to the next model")
    # A test has other names and needs no quality.
    quick = "--depth 4 --size 64 --epochs 1 --threads 1 --override-gate 'a test needs no quality'"
    commands = commands.replace("s3://line/captures", line.url).replace("--out run", f"--out run {quick}")
    (tmp_path / "rt").symlink_to(line.device.runtime_dir)
    normal = next(capture_id for capture_id, label in labelled.items() if label == "OK")
    done = subprocess.run(
        ["bash", "-e", "-c", commands],
        cwd=tmp_path,
        env={
            **os.environ,
            **line.environment,
            "ID": normal,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert normal in done.stdout
    assert "2 captures without a label were left out: --include-unlabelled" in done.stderr
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert (manifest["version"], manifest["labels"]) == ("9", ["normal", "anomalous"])


def test_a_label_of_today_on_a_capture_of_before_reaches_the_cloud(line: Line, labelled: dict[str, str]) -> None:
    silent = next(row["id"] for row in line.cloud("list", "--label", "-") if row["model"] == CLASSIFIER)
    with line.device.client() as client:
        assert client.label_capture(silent, "normal", actor="ben 10.0.0.7", role="operator").label == "normal"
        eventually(lambda: any(r["labelled_by"] == "operator" for r in line.cloud("list", "--label", "normal")) or None)
        with pytest.raises(InferenceError, match=r"FAILED_PRECONDITION.*'anomalous' to stand, 'normal' does"):
            client.label_capture(silent, "", actor="anna", instead_of="anomalous")
        assert client.label_capture(silent, "", actor="ben", instead_of="normal").label == ""
    eventually(lambda: line.cloud("list", "--label", "normal") == [] or None)
    assert labelled
