"""A run as a file: what it may say, what is told of mistakes, and that flags go before it."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cloud_tools.cli import build_app
from cloud_tools.errors import CloudError, exit_code
from cloud_tools.training.methods import METHODS
from cloud_tools.training.options import TrainingOptions, check
from cloud_tools.training.runfile import read_run, write_run


def _file(folder: Path, text: str) -> Path:
    path = folder / "some.yaml"
    path.write_text(text)
    return path


def test_a_file_says_what_flags_say_and_paths_are_relative_to_it(tmp_path: Path) -> None:
    file = _file(tmp_path, "kind: dfm\ndata: parts\nseed: 3\npart-regex: '^(a)'\nscope: patch\n")
    said = {"kind": "dfm", "data": tmp_path / "parts", "seed": 3, "part_regex": "^(a)", "scope": "patch"}
    assert read_run(file) == said


def test_what_was_written_is_read_as_it_was(tmp_path: Path) -> None:
    options = TrainingOptions(seed=2, size=96, only="x: [\"'#", device="cpu", width=0.25, override="why: not\nhere")
    write_run(tmp_path, "patchcore", tmp_path / "data", options)
    said = read_run(tmp_path / "run.yaml")
    assert said.pop("kind") == "patchcore"
    assert said.pop("data") == tmp_path / "data"
    assert said.pop("override_gate") == options.override
    assert TrainingOptions(**said, override=options.override) == options


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sead: 1\n", "sead: unknown field; sead is nearest to seed"),
        ("overide_gate: x\n", "overide_gate is nearest to override_gate"),
        ("kind: padin\n", "expected one of .*, came padin; padin is nearest to padim"),
        ("depth: deep\n", "depth: input should be a valid integer.* came 'deep'"),
        ("device: tpu\n", "device: input should be 'auto', 'cpu' or 'cuda', came 'tpu'"),
        ("seed: 1\nseed: 2\n", "expected YAML, .*duplicate key"),
        ("a: [1\n", "expected YAML, "),
        ("- seed\n", "expected keys and values, came list"),
        ("", "expected keys and values, came NoneType"),
        ("!!python/object/apply:os.getcwd []\n", "expected YAML, "),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(CloudError, match=told) as caught:
        read_run(_file(tmp_path, text))
    assert exit_code(caught.value) == 2


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(CloudError, match=r"expected a run's file, there is none at .*none\.yaml"):
        read_run(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--data", "d", "--out", "o"], "expected KIND, or kind in the file of --config"),
        (["dfm", "--out", "o"], "expected --data, or data in the file of --config"),
        (["dfm", "--data", "d"], "expected --out, or out in the file of --config"),
    ],
)
def test_what_neither_flags_nor_file_say_is_asked_for(flags: list[str], told: str) -> None:
    result = CliRunner().invoke(build_app(), ["train", *flags])
    assert isinstance(result.exception, CloudError)
    assert told in str(result.exception)


def test_flags_go_before_the_file(tmp_path: Path) -> None:
    """The data is where no flag says, so what is missing tells which folder was meant."""
    file = _file(tmp_path, "kind: dfm\ndata: of-the-file\nout: run\n")
    arguments = ["train", "--config", str(file)]
    for more, meant in (
        ([], tmp_path / "of-the-file"),
        (["--data", str(tmp_path / "of-a-flag")], tmp_path / "of-a-flag"),
    ):
        result = CliRunner().invoke(build_app(), [*arguments, *more])
        assert isinstance(result.exception, CloudError)
        assert str(meant) in str(result.exception)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("method", "wrong", "told"),
    [
        ("padim", {"scope": "patch"}, "scope is no option of padim, came patch"),
        ("gmm", {"width": 0.25}, "width is no option of gmm"),
        ("patchcore", {"device": "cuda"}, "patchcore learns on the CPU: expected a device of auto or cpu, came cuda"),
        ("dfm", {"tune": "supervised"}, "expected a tune of none, simsiam, cutpaste, came supervised"),
    ],
)
def test_an_option_that_means_nothing_to_a_method_is_refused(method: str, wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(CloudError, match=told):
        check(method, METHODS[method], TrainingOptions()._replace(**wrong))
