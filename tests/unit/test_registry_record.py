"""What a tracker is told of a training's run."""

from pathlib import Path

import pytest

from cloud_tools.errors import CloudError
from cloud_tools.registry.record import read_run
from edge_agent.errors import Code
from tests.fakes.training_run import write_run


def test_options_figures_and_what_it_was_made_of_are_told(tmp_path: Path) -> None:
    record = read_run(write_run(tmp_path / "run"))
    assert record.params == {"depth": "10", "seed": "0", "override": ""}
    assert record.metrics == {"image_auroc": 0.98}, "what could not be measured, or is no figure, is left out"
    assert record.tags == {
        "method": "patchcore",
        "kind": "anomaly",
        "data_sha256": "d" * 64,
        "code_version": "0.1.0+abc",
    }
    assert record.shortfall == ""


def test_the_same_graph_has_the_same_digest_and_another_one_another(tmp_path: Path) -> None:
    digests = [read_run(write_run(tmp_path / f"{n}", bias=bias)).sha256 for n, bias in enumerate((0.0, 0.0, 1.0))]
    assert digests[0] == digests[1] != digests[2]


def test_a_run_that_a_gate_stopped_says_so(tmp_path: Path) -> None:
    assert read_run(write_run(tmp_path / "run", ok=False, message="too few")).shortfall == "too few"
    assert read_run(write_run(tmp_path / "silent", ok=None)).shortfall == "its report does not say that it is good"


@pytest.mark.parametrize("lacking", ["model.onnx", "manifest-parts.json", "report.json"])
def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, lacking: str) -> None:
    (write_run(tmp_path / "run") / lacking).unlink()
    with pytest.raises(CloudError, match=f"expected a training's run, {lacking} is not there") as caught:
        read_run(tmp_path / "run")
    assert caught.value.code is Code.NOT_FOUND


@pytest.mark.parametrize("content", ["no json", "[1]"])
def test_a_report_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (write_run(tmp_path / "run") / "report.json").write_text(content)
    with pytest.raises(CloudError, match="expected") as caught:
        read_run(tmp_path / "run")
    assert caught.value.code is Code.DOCUMENT_INVALID
