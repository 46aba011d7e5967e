"""The registry with MLflow's own database, and the way of a version from a training to a job."""

import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cloud_tools.aws import Aws
from cloud_tools.cli import main
from cloud_tools.errors import CloudError
from cloud_tools.registry.mlflow_store import MlflowStore
from cloud_tools.registry.record import read_run
from cloud_tools.registry.version import Step
from edge_agent.errors import Code
from tests.fakes.registry import MemoryRegistry
from tests.fakes.training_run import write_run

Verb = Callable[..., tuple[int, list[Any], str]]


class Made(NamedTuple):
    """A new database, and what was said while it was made."""

    uri: str
    said: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """One for all tests here: MLflow takes seconds to make its tables."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('registry') / 'registry.db'}"
    with redirect_stderr(io.StringIO()) as said:
        MlflowStore(uri)
    return Made(uri, said.getvalue())


@pytest.fixture(scope="module")
def database(made: Made) -> str:
    return made.uri


@pytest.fixture(params=["mlflow", "memory"])
def registry(request: pytest.FixtureRequest, database: str) -> MlflowStore | MemoryRegistry:
    return MlflowStore(database) if request.param == "mlflow" else MemoryRegistry()


@pytest.fixture
def verb(capsys: pytest.CaptureFixture[str]) -> Verb:
    def run(*arguments: str) -> tuple[int, list[Any], str]:
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--json"])
        said = capsys.readouterr()
        return int(end.value.code or 0), [json.loads(line) for line in said.out.splitlines()], said.err

    return run


def test_versions_are_numbered_known_by_their_graph_and_marked_step_by_step(
    registry: MlflowStore | MemoryRegistry, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = f"pads-{request.node.callspec.id}"
    runs = [write_run(tmp_path / f"run-{number}", bias=float(number)) for number in range(2)]
    first, second = (registry.add(read_run(run), model) for run in runs)
    assert [(v.number, v.release, v.step) for v in (first, second)] == [
        (1, "1", Step.REGISTERED),
        (2, "2", Step.REGISTERED),
    ]
    assert registry.add(read_run(runs[0]), model).number == 1, "the same graph"
    assert dict(registry.version(model, 1).metrics) == {"image_auroc": 0.98}
    marked = registry.mark(first, Step.APPROVED, by="ann", reason="good")
    assert registry.version(model, 1)[:8] == marked[:8]
    assert [v.step for v in registry.versions(model)] == [Step.APPROVED, Step.REGISTERED]
    assert model in {v.model for v in registry.versions()}
    fetched = registry.fetch(second, tmp_path)
    assert (fetched / "model.onnx").read_bytes() == (runs[1] / "model.onnx").read_bytes()
    assert (fetched / "golden" / "0.png").is_file()
    with pytest.raises(CloudError) as caught:
        registry.version(model, 9)
    assert caught.value.code is Code.NOT_FOUND


def test_tables_are_made_without_a_word(made: Made) -> None:
    assert Path(made.uri.removeprefix("sqlite:///")).stat().st_size > 0
    assert not made.said


def test_a_name_that_would_be_read_as_a_search_is_refused(database: str) -> None:
    with pytest.raises(CloudError, match="without quotes"):
        MlflowStore(database).versions("x' OR name != '")


def test_a_registry_that_cannot_be_reached_is_named(verb: Verb) -> None:
    code, _, err = verb("registry", "list", "--registry", "nothing://here")
    assert code != 0
    assert "nothing://here" in err


def test_an_approved_training_goes_out_once_somebody_with_the_keys_has_signed_it(
    verb: Verb, database: str, aws: Aws, tmp_path: Path
) -> None:
    repository, keys, drafts = (str(tmp_path / name) for name in ("repository", "keys", "drafts"))
    assert verb("repo", "init", repository, "--keys", keys, "--demo")[0] == 0
    assert verb("device", "provision", "press-4", "--dir", str(tmp_path / "press-4"))[0] == 0
    run = str(write_run(tmp_path / "run"))
    where = ("--registry", database)
    watching = ("watch", "--once", "--drafts", drafts, "--repo", repository, *where)
    watching += ("--root", f"{keys}/root.json", "--to", "thing/press-4", "--model", "washers")

    _, (added,), _ = verb("registry", "add", run, "--name", "washers", *where)
    assert (added["number"], added["step"]) == (1, "registered")
    assert verb(*watching)[:2] == (0, []), "nobody has approved it"
    assert verb("registry", "approve", "washers", "1", "--by", "ann", "--reason", "trial in June", *where)[0] == 0
    code, (drafted,), _ = verb(*watching)
    assert (code, drafted["step"]) == (0, "drafted")
    assert verb(*watching)[:2] == (0, []), "nobody has signed it"
    assert verb("publish", drafted["draft"], "--repo", repository, "--keys", keys)[0] == 0
    code, (deployed,), _ = verb(*watching)
    assert (code, deployed["step"]) == (0, "deployed")
    assert verb(*watching)[:2] == (0, [])

    job = aws.call("iot", "get_job_document", jobId=deployed["job_id"])
    assert json.loads(job["document"])["models"] == [{"name": "washers", "version": "1"}]
    _, (listed,), _ = verb("registry", "list", "washers", *where)
    assert [(v["step"], v["by"], v["reason"]) for v in listed] == [("deployed", "ann", "trial in June")]
    assert verb("registry", "reject", "washers", "1", "--reason", "late", *where)[0] == 4
