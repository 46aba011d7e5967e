"""The cloud operator's command line: clear errors, stable exit codes, JSON that programs can read."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click
import pytest
import typer

from cloud_tools import cli, output
from cloud_tools.errors import CloudError, Exit, exit_code
from cloud_tools.rollout.jobs import Execution, JobStatus, form_document, pairs
from cloud_tools.rollout.watch import follow, judge
from edge_agent.errors import AgentError, Code, ConfigError, DocumentError, TransferError

HEAVY = {"torch", "boto3", "botocore", "ministack", "sklearn", "skimage", "onnx", "onnxruntime", "rich", "tuf"}


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out, said.err


def job(*statuses: str, status: str = "COMPLETED") -> JobStatus:
    executions = (Execution(f"thing-{number}", one) for number, one in enumerate(statuses))
    return JobStatus("job", status, tuple(executions))


def failing(error: BaseException) -> Callable[[], typer.Typer]:
    def build() -> typer.Typer:
        app = typer.Typer()

        @app.command()
        def verb() -> None:
            raise error

        return app

    return build


def test_help_names_every_verb_of_every_room(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _err = run(capsys, "--help")
    assert code == 0
    for verb in ("local", "device", "bucket", "repo", "publish", "deploy", "rollback", "status", "cancel", "jobs"):
        assert f"  {verb} " in out


def test_help_comes_without_loading_any_heavy_library() -> None:
    program = (
        f"import sys; from cloud_tools.cli import build_app; build_app();print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def verbs(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = getattr(command, "commands", {})
    return [path] if not found else [one for name, below in found.items() for one in verbs(below, (*path, name))]


ALL_VERBS = verbs(typer.main.get_command(cli.build_app()))


@pytest.mark.parametrize("verb", ALL_VERBS, ids=" ".join)
def test_every_verb_has_help_and_json(capsys: pytest.CaptureFixture[str], verb: tuple[str, ...]) -> None:
    code, out, _err = run(capsys, *verb, "--help")
    assert code == 0
    assert "--json" in out
    assert "Print JSON" in out


@pytest.mark.parametrize("arguments", [("nothing",), ("deploy",), ("local", "up", "--port", "x"), ("--nothing",)])
def test_wrong_usage_ends_with_2_and_no_traceback(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == Exit.USAGE
    assert out == ""
    assert "Traceback" not in err
    assert "Error" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CloudError(Code.INVALID_ARGUMENT, "expected a, came b"), 2),
        (DocumentError(Code.DOCUMENT_INVALID, "expected a, came b"), 2),
        (CloudError(Code.NOT_FOUND, "expected a, came b"), 3),
        (CloudError(Code.ALREADY_EXISTS, "expected a, came b"), 4),
        (TransferError(Code.ACCESS_DENIED, "expected a, came b"), 5),
        (CloudError(Code.DEADLINE_EXCEEDED, "expected a, came b"), 7),
        (ConfigError(Code.CONFIG_INVALID, "expected a, came b"), 78),
        (TransferError(Code.TRANSFER_FAILED, "expected a, came b"), 1),
    ],
)
def test_an_error_of_the_tree_is_one_line_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: AgentError, code: int
) -> None:
    monkeypatch.setattr(cli, "build_app", failing(error))
    assert run(capsys) == (code, "", f"edge-cloud: {error.code}: expected a, came b\n")


def test_every_code_has_an_exit_that_is_not_success() -> None:
    exits = {code: exit_code(CloudError(code, "message")) for code in Code}
    assert Exit.OK not in exits.values()
    assert len(exits) == len(Code)


@pytest.mark.parametrize(
    ("module", "extra"), [("torch", "train"), ("sklearn.svm", "train"), ("boto3", "cloud"), ("ministack", "local")]
)
def test_a_missing_extra_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, module: str, extra: str
) -> None:
    monkeypatch.setattr(cli, "build_app", failing(ModuleNotFoundError(f"No module named '{module}'", name=module)))
    code, _out, err = run(capsys)
    assert code == Exit.CONFIGURATION
    assert f"pip install 'edge-agent[{extra}]'" in err
    assert err.count("\n") == 1


def test_a_missing_module_that_no_extra_brings_is_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "build_app", failing(ModuleNotFoundError("No module named 'cloudtols'", name="cloudtols")))
    with pytest.raises(ModuleNotFoundError):
        cli.main([])


def test_starting_the_local_aws_without_its_extra_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    # Python's own sign for a module that cannot be found.
    monkeypatch.setitem(sys.modules, "ministack", None)
    code, _out, err = run(capsys, "local", "up", "--dir", str(tmp_path / "cloud"))
    assert code == Exit.CONFIGURATION
    assert "edge-agent[local]" in err
    assert not (tmp_path / "cloud").exists()


def test_what_is_not_running_has_no_environment_and_status_3(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    where = ("--dir", str(tmp_path))
    code, out, _err = run(capsys, "local", "status", "--json", *where)
    assert (code, json.loads(out)["running"]) == (Exit.NOT_FOUND, False)
    code, out, err = run(capsys, "local", "env", *where)
    assert (code, out) == (Exit.NOT_FOUND, "")
    assert "edge-cloud local up" in err
    code, out, _err = run(capsys, "local", "down", "--json", *where)
    assert (code, json.loads(out)) == (Exit.OK, {"stopped": False})


def test_tables_are_plain_off_a_terminal_and_never_read_names_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"thing": "[red]line-1[/red]", "note": None}, {"thing": "x" * 200, "note": ("a", "b")}]
    output.table(rows, ("thing", "note"), as_json=False)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    lines = [line.split() for line in out.splitlines()]
    assert lines == [["thing", "note"], ["[red]line-1[/red]", "-"], ["x" * 200, "a,", "b"]]


def test_a_terminal_obeys_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    name = "line\x1b]0;owned\x07\x9b2J"
    output.table([{"name": name}], ("name",), as_json=False)
    output.emit({"name": [name]}, as_json=False)
    output.note(f"{name}: left out\nand more")
    said = capsys.readouterr()
    assert said.out.split("\n")[1:] == ["line ]0;owned  2J", "name: line ]0;owned  2J", ""]
    assert said.err == "line ]0;owned  2J: left out\nand more\n"


def test_json_of_a_table_is_one_line_and_empty_is_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    output.table([{"thing": "ü"}], ("thing",), as_json=True)
    output.table([], ("thing",), as_json=True)
    output.table([], ("thing",), as_json=False, nothing="no devices")
    said = capsys.readouterr()
    assert said.out == '[{"thing": "ü"}]\n[]\n'
    assert said.err == "no devices\n"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (job("SUCCEEDED", "SUCCEEDED"), Exit.OK),
        (job("SUCCEEDED", "FAILED"), Exit.PARTLY_FAILED),
        (job("SUCCEEDED", "CANCELED", status="CANCELED"), Exit.PARTLY_FAILED),
        (job("FAILED", "REJECTED"), Exit.FAILED),
        (job("TIMED_OUT", "TIMED_OUT"), Exit.TIMED_OUT),
        (job("TIMED_OUT", "FAILED"), Exit.FAILED),
        (job("CANCELED", status="CANCELED"), Exit.FAILED),
        (job(), Exit.FAILED),
    ],
)
def test_how_a_job_ended_decides_the_exit_code(status: JobStatus, code: Exit) -> None:
    assert judge(status) is code


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        (job("SUCCEEDED", "REMOVED"), True),
        (job("CANCELED", status="CANCELED"), True),
        (job("IN_PROGRESS", status="CANCELED"), False),
        (job("SUCCEEDED", status="IN_PROGRESS"), False),
        (job(status="IN_PROGRESS"), False),
    ],
)
def test_a_job_has_ended_when_it_and_all_its_executions_have(status: JobStatus, ended: bool) -> None:
    assert status.ended is ended


class Clock:
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self.now = 100.0

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def read(self) -> float:
        return self.now


def watched(answers: Sequence[JobStatus], timeout_s: float = 0.0) -> list[JobStatus]:
    clock, left = Clock(), iter(answers)
    read = follow(lambda _known: next(left), wait=clock.wait, clock=clock.read, interval_s=1.0, timeout_s=timeout_s)
    return list(read)


def test_watching_says_each_change_once_and_stops_at_the_end() -> None:
    queued, working = job("QUEUED", status="IN_PROGRESS"), job("IN_PROGRESS", status="IN_PROGRESS")
    ended = job("SUCCEEDED")
    assert watched([queued, queued, working, working, ended]) == [queued, working, ended]


def test_watching_a_job_that_has_ended_asks_once() -> None:
    assert watched([job("FAILED")]) == [job("FAILED")]


def test_watching_gives_up_when_patience_ends() -> None:
    with pytest.raises(CloudError) as caught:
        watched([job("QUEUED", status="IN_PROGRESS")] * 10, timeout_s=3.0)
    assert exit_code(caught.value) is Exit.TIMED_OUT


@pytest.mark.parametrize("words", [[], ["unet"], ["unet", "1", "anomaly"]])
def test_models_and_versions_come_in_pairs(words: list[str]) -> None:
    with pytest.raises(CloudError, match="MODEL VERSION"):
        pairs(words)


def test_a_job_document_names_models_and_carries_the_policy() -> None:
    document = form_document("install", pairs(["unet", "1", "anomaly", "2.0"]), {"shadow": {"min_requests": 5}})
    assert json.loads(document.to_json()) == {
        "schema": "edge-agent/job/1",
        "operation": "install",
        "models": [{"name": "unet", "version": "1"}, {"name": "anomaly", "version": "2.0"}],
        "policy": {"shadow": {"min_requests": 5, "max_seconds": 0.0}},
    }


def test_the_program_is_installed_and_prints_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _err = run(capsys, "--version")
    assert code == 0
    assert out.startswith("edge-cloud ")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (PermissionError(13, "Permission denied", "/runs/new"), Exit.NOT_ALLOWED, "/runs/new: Permission denied"),
        (NotADirectoryError(20, "Not a directory", "/a.txt/run"), Exit.FAILED, "/a.txt/run: Not a directory"),
        (OSError(28, "No space left on device"), Exit.FAILED, "No space left on device"),
    ],
)
def test_what_the_system_refuses_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: OSError, code: Exit, said: str
) -> None:
    monkeypatch.setattr(cli, "build_app", failing(error))
    came, _out, err = run(capsys)
    assert (came, said in err, "Traceback" in err) == (code, True, False)
