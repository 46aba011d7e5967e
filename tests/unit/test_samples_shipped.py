"""What is shipped as the sample line is whole, small and what its manifests say."""

import csv
import hashlib
from pathlib import Path

import pytest

from edge_agent.formats import Manifest, Role, parse
from edge_agent.vision import decode

_SAMPLES = Path(__file__).resolve().parents[2] / "samples"
_BUNDLES = [("img-classification", "1"), ("img-classification", "2"), ("unet", "1"), ("unet", "2")]
_LARGEST_BYTES = 1_500_000


def test_there_are_forty_frames_of_both_kinds_in_two_megabytes() -> None:
    frames = sorted((_SAMPLES / "frames").glob("*.jpg"))
    assert len(frames) == 40
    assert sum(frame.stat().st_size for frame in frames) <= 2_000_000
    assert all(decode(frame.read_bytes()).shape == (192, 192, 3) for frame in frames)
    with (_SAMPLES / "frames" / "truth.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [frame.name for frame in frames]
    assert {row["defect"] for row in rows} == {"", "scratch", "stain", "hole"}
    assert {row["surface"] for row in rows if row["defect"]} == {"brick", "grass", "gravel"}


@pytest.mark.parametrize(("model", "version"), _BUNDLES)
def test_a_bundle_is_what_its_manifest_says(model: str, version: str) -> None:
    directory = _SAMPLES / "bundles" / model / version
    manifest = parse(Manifest, (directory / "manifest.json").read_bytes(), what="manifest")
    assert (manifest.model, manifest.version) == (model, version)
    for artefact in manifest.artefacts:
        content = (directory / artefact.path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == artefact.sha256
        assert len(content) == artefact.size_bytes <= _LARGEST_BYTES
    assert sum(a.role is Role.MODEL for a in manifest.artefacts) == 1
    assert manifest.evaluation["f1"] >= 0.9
    assert {sample.verdict for sample in manifest.golden.samples} == {"OK", "NG"}
