"""What wrong settings, documents and command lines are told, and that nothing comes of them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from cloud_tools import cli as cloud_cli
from edge_agent import cli as agent_cli
from edge_agent.cli.app import build_app as agent_app
from edge_agent.config import read_settings
from edge_agent.deployment.plan import read_job
from edge_agent.errors import Code, ConfigError, DocumentError, RefusedError
from edge_agent.formats import JobDocument, Manifest, ModelsConfig, parse
from edge_agent.store import read_models_config
from tests.fakes.tiny_models import write_version

ROOT = Path(__file__).resolve().parents[2]


def files_in(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


# -- config.toml and the environment -------------------------------------------------------------------------

SETTINGS = [
    ("thing = 'a'\n", "thing: unknown field; thing is nearest to"),
    ("[devise]\n", "devise: unknown field; devise is nearest to device"),
    ("[rpc]\nthreadz = 4\n", "rpc.threadz: unknown field; threadz is nearest to rpc.threads"),
    ("[rpc.tls]\ncertificat = 'x'\n", "nearest to rpc.tls.certificate"),
    ("[station.left]\nsorce = 'x'\n", "nearest to station.left.source"),
    ("[deployment.probation]\nseconds = 3\n", "deployment.probation.seconds: unknown field"),
    ("[device]\nthing = 'a b'\n", "device.thing: string should match pattern"),
    ("[device]\nthing = 7\n", "device.thing: input should be a valid string, came 7"),
    ("[rpc]\nthreads = 'many'\n", "rpc.threads: input should be a valid integer"),
    ("[rpc]\nthreads = 1\n", "rpc.threads: input should be greater than or equal to 2, came 1"),
    ("[rpc]\ntcp = '8001'\n", "rpc.tcp: string should match pattern"),
    ("[rpc]\ntcp = '127.0.0.1:99999'\n", "rpc.tcp: value error, expected a port up to 65535, came '127.0.0.1:99999'"),
    ("[rpc]\nconnections = 0\n", "rpc.connections: input should be greater than or equal to 1, came 0"),
    ("[rpc]\nreceive_timeout_s = 0\n", "rpc.receive_timeout_s: input should be greater than 0, came 0"),
    (
        "[inspection.chain]\na = 'b'\nb = 'c'\nc = 'a'\n",
        "inspection.chain: value error, expected applications that do not wait for each other, a waits for itself",
    ),
    ("[inspection]\nchain = ['a']\n", "inspection.chain: input should be a valid dictionary"),
    ("[telemetry]\nmetrics = '127.0.0.1:70000'\n", "telemetry.metrics: value error, expected a port up to 65535"),
    ("[dashboard]\nlisten = ''\n", "dashboard.listen: string should match pattern"),
    ("[deployment]\nwindow = '29:00-05:00'\n", "deployment.window: string should match pattern"),
    ("[deployment]\nwindow = 'at night'\n", "deployment.window: string should match pattern"),
    ("[deployment]\ndeadline_s = 0\n", "deployment.deadline_s: input should be greater than 0, came 0"),
    ("[inference]\nruntimes = ['tensorflow']\n", "inference.runtimes.0: input should be 'onnxruntime', 'openvino'"),
    ("[inference]\nruntimes = []\n", "inference.runtimes: tuple should have at least 1 item"),
    ("[inference]\nisolation = 'none'\n", "inference.isolation: input should be 'process' or 'inline', came 'none'"),
    ("[repository]\ncredentials = 'password'\n", "repository.credentials: string should match pattern"),
    ("[capture]\nquota_bytes = -1\n", "capture.quota_bytes: input should be greater than or equal to 0, came -1"),
    ("[station.left]\nrate_hz = 0\n", "station.left.rate_hz: input should be greater than 0, came 0"),
    ("[mqtt]\nport = 0\n", "mqtt.port: input should be greater than or equal to 1, came 0"),
    ("device = 'x'\n", "device: input should be a valid dictionary"),
    ("[device\n", "expected TOML"),
    ("\0", "expected TOML"),
]


@pytest.mark.parametrize(("content", "words"), SETTINGS, ids=lambda value: value.strip())
def test_a_wrong_config_toml_ends_the_agent_with_78_and_names_the_field(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str, words: str
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(content)
    places = ["--config", str(file), "--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run")]
    code, err = ended(capsys, agent_cli.main, [*places, "run"])
    assert (code, err.count("\n")) == (78, 1)
    assert err.startswith(f"edge-agent: CONFIG_INVALID: {file}: ")
    assert words in err
    assert files_in(tmp_path) == {"config.toml"}


@pytest.mark.parametrize("place", ["absent.toml", "."])
def test_a_configuration_that_is_no_file_ends_the_agent_with_78(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, place: str
) -> None:
    code, err = ended(capsys, agent_cli.main, ["--config", str(tmp_path / place), "run"])
    assert code == 78
    assert "expected a configuration file, there is none" in err


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("EDGE_AGENT__RPC__THREADS", "many", "rpc.threads: input should be a valid integer"),
        ("EDGE_AGENT__RPC__THREADZ", "4", "threadz is nearest to rpc.threads"),
        ("EDGE_AGENT__DEVICE__THING", "a b", "device.thing: string should match pattern"),
        ("EDGE_AGENT__INFERENCE__RUNTIMES", "[", "expected"),
    ],
)
def test_a_wrong_value_of_the_environment_is_told_as_one_of_the_file(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as refused:
        read_settings(None)
    assert words in refused.value.message.lower()


CONTRADICTIONS = [
    ("run", "[rpc]\ntcp = '0.0.0.0:0'\n", "rpc.tcp: 0.0.0.0:0 is not loopback, expected rpc.tls with certificate"),
    ("run", "[telemetry]\nmetrics = '0.0.0.0:0'\n", "telemetry.metrics: expected a loopback address"),
    ("run", "[mqtt]\nendpoint = 'localhost'\n", "mqtt.certificate: expected a PEM file"),
    ("run", "[repository]\nurl = 'ftp://x'\n", "url: expected s3://bucket/prefix, https://host/path"),
    ("run", "[repository]\nurl = 'http://example.com/x'\n", "http:// on loopback"),
    (
        "run",
        "[repository]\nurl = 's3://a/b'\ncredentials = 'file:/no/such.json'\n",
        "/no/such.json: expected a readable",
    ),
    ("run", "[capture]\nurl = 'nonsense'\n", "url: expected s3://bucket/prefix"),
    ("station", "", "station: expected at least one [station.NAME] with a source, came none"),
    ("station", "[station.left]\nsource = 'ftp://x'\n", "station.left.source: expected one of directory:…"),
    ("dashboard", "[dashboard]\nlisten = '0.0.0.0:0'\n", "dashboard: expected loopback, as 127.0.0.1:8080"),
    ("dashboard", "[dashboard]\nlisten = '0.0.0.0:0'\ntransport = 'plain'\n", "dashboard: expected a file of users"),
    ("dashboard", "[dashboard]\nusers = '/no/such/file'\n", "dashboard.users: expected a file of users, came /no/such"),
]


@pytest.mark.parametrize(("verb", "content", "words"), CONTRADICTIONS, ids=lambda value: value.strip())
def test_settings_that_cannot_work_end_their_process_with_78(
    tmp_path: Path, verb: str, content: str, words: str
) -> None:
    file = tmp_path / "config.toml"
    quiet = {"EDGE_AGENT__RPC__TCP": "", "EDGE_AGENT__TELEMETRY__METRICS": ""}
    # What the row sets in the file must not be overruled from the environment.
    environment = {name: value for name, value in quiet.items() if f"[{name.split('__')[1].lower()}]" not in content}
    file.write_text(content)
    places = ["--config", str(file), "--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run")]
    ran = subprocess.run(
        [sys.executable, "-m", "edge_agent", *places, verb],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        timeout=120,
    )
    last = ran.stderr.splitlines()[-1]
    assert ran.returncode == 78, ran.stderr
    assert last.startswith("edge-agent: CONFIG_INVALID: ")
    assert words in last
    assert not [name for name in files_in(tmp_path) if name.startswith("state/generations/")]


# -- documents -----------------------------------------------------------------------------------------------

GOOD_JOB: dict[str, Any] = {
    "schema": "edge-agent/job/1",
    "operation": "install",
    "models": [{"name": "unet", "version": "2"}],
}
JOBS: list[tuple[dict[str, Any], Code, str]] = [
    ({"schema": "edge-agent/job/2"}, Code.DOCUMENT_INVALID, "schema: input should be 'edge-agent/job/1'"),
    (
        {"operation": "upgrade"},
        Code.DOCUMENT_INVALID,
        "operation: input should be 'install', 'rollback', 'remove' or 'configure'",
    ),
    ({"models": []}, Code.DOCUMENT_INVALID, "models: tuple should have at least 1 item"),
    ({"models": [{"name": "unet"}]}, Code.DOCUMENT_INVALID, "an install names the version of each model"),
    (
        {"models": [{"name": "../x", "version": "1"}]},
        Code.DOCUMENT_INVALID,
        "models.0.name: value error, expected letters",
    ),
    (
        {"models": [{"name": "a", "version": "v1"}]},
        Code.DOCUMENT_INVALID,
        "models.0.version: value error, expected one",
    ),
    ({"models": [{"name": "a", "version": "1"}] * 2}, Code.DOCUMENT_INVALID, "each model may be named once"),
    ({"models": "unet"}, Code.DOCUMENT_INVALID, "models: input should be a valid tuple, came 'unet'"),
    ({"thresholds": {}}, Code.DOCUMENT_INVALID, "thresholds: unknown field"),
    (
        {"policy": {"shadow": {"min_requests": -1}}},
        Code.DOCUMENT_INVALID,
        "policy.shadow.min_requests: input should be",
    ),
    ({"policy": {"deadline_s": 0}}, Code.DOCUMENT_INVALID, "policy.deadline_s: input should be greater than 0, came 0"),
    ({"note": "x" * 70_000}, Code.JOB_INVALID, "expected a job document of 32768 characters"),
    ({"type": "new_model", "model_name": "x"}, Code.UNSIGNED_PACKAGE, "this device takes signed ones only"),
]


@pytest.mark.parametrize(("changes", "code", "words"), JOBS, ids=lambda value: str(value)[:50])
def test_a_wrong_job_document_is_refused(changes: dict[str, Any], code: Code, words: str) -> None:
    with pytest.raises((RefusedError, DocumentError)) as refused:
        read_job(GOOD_JOB | changes)
    assert refused.value.code is code
    assert words in refused.value.message


def test_a_fault_of_an_item_is_not_told_as_a_list_that_is_too_short() -> None:
    with pytest.raises(DocumentError) as refused:
        parse(JobDocument, GOOD_JOB | {"models": [{"name": "../x", "version": "1"}]}, what="job document")
    assert "at least 1 item" not in refused.value.message
    assert refused.value.message.startswith("job document: models.0.name: ")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(write_version(tmp_path_factory.mktemp("version"), name="unet").to_json())
    parse(Manifest, document, what="manifest")
    return document


Change = Callable[[dict[str, Any]], Any]


def put(*path: str | int, value: Any) -> Change:
    def change(document: dict[str, Any]) -> None:
        at: Any = document
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = value

    return change


def drop(key: str) -> Change:
    return lambda document: document.pop(key)


MANIFESTS: list[tuple[Change, str]] = [
    (put("schema", value="edge-agent/manifest/9"), "schema: input should be 'edge-agent/manifest/1'"),
    (drop("model"), "model: required, but missing"),
    (put("colour", value="red"), "colour: unknown field"),
    (put("model", value="a/b"), "model: value error, expected letters, digits and inner dashes"),
    (put("version", value="1.2.3.4.5"), "version: value error, expected one to four numbers"),
    (put("version", value="01"), "version: value error, expected one to four numbers"),
    (put("release_seq", value=0), "release_seq: input should be greater than or equal to 1, came 0"),
    (put("kind", value="regression"), "kind: input should be 'classification'"),
    (put("runtime", "name", value="pickle"), "runtime.name: input should be 'onnxruntime'"),
    (put("artefacts", 0, "path", value="../../etc/passwd"), "artefacts.0.path: value error, expected a relative path"),
    (put("artefacts", 0, "path", value="/etc/passwd"), "artefacts.0.path: value error, expected a relative path"),
    (put("artefacts", 0, "path", value="a\nb"), "artefacts.0.path: value error, expected a relative path"),
    (put("artefacts", 0, "path", value="manifest.json"), "manifest.json is this document's own"),
    (put("artefacts", 0, "sha256", value="xyz"), "artefacts.0.sha256: string should match pattern"),
    (put("artefacts", 0, "size_bytes", value=-1), "artefacts.0.size_bytes: input should be greater than or equal to 0"),
    (put("artefacts", 0, "size_bytes", value=1 << 40), "artefacts.0.size_bytes: input should be less than or equal to"),
    (put("artefacts", value=[]), "artefacts: tuple should have at least 1 item"),
    (put("inputs", value=[]), "inputs: tuple should have at least 1 item"),
    (put("preprocess", "width", value=1 << 20), "preprocess.width: input should be less than or equal to 8192"),
    (put("decision", "threshold", value=1.5), "decision.threshold: input should be less than or equal to 1, came 1.5"),
    (put("decision", "threshold", value=float("nan")), "decision.threshold: input should be"),
    (put("decision", "threshold_range", value=[0.9, 0.1]), "expected threshold within threshold_range within 0..1"),
    (put("golden", "samples", value=[]), "golden.samples: tuple should have at least 1 item"),
    (put("golden", "samples", 0, "image", value="other.png"), "golden: other.png is not among the artefacts"),
    (put("normal_labels", value=["unheard-of"]), "normal_labels: unheard-of is not among the labels"),
]


@pytest.mark.parametrize(("change", "words"), MANIFESTS, ids=[words for _, words in MANIFESTS])
def test_a_wrong_manifest_is_refused(manifest: dict[str, Any], change: Change, words: str) -> None:
    document = json.loads(json.dumps(manifest))
    change(document)
    with pytest.raises(DocumentError) as refused:
        parse(Manifest, document, what="manifest")
    assert refused.value.code is Code.DOCUMENT_INVALID
    assert refused.value.message.startswith("manifest: ")
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "expected JSON"), (b"\xff\xfe", "expected JSON"), (b"[" * 100_000, "expected JSON"), (b"7", "came 7")],
    ids=["nothing", "not text", "too deep", "a number"],
)
@pytest.mark.parametrize("kind", [Manifest, JobDocument, ModelsConfig], ids=lambda kind: kind.__name__)
def test_what_is_no_json_object_is_no_document(kind: Any, content: bytes, words: str) -> None:
    with pytest.raises(DocumentError) as refused:
        parse(kind, content, what="document")
    assert words in refused.value.message


def test_models_config_keeps_keys_of_others_and_refuses_bad_names(tmp_path: Path) -> None:
    file = tmp_path / "models_config.json"
    file.write_text('{"mappings": {"app": "unet"}, "their-key": [1]}')
    config = read_models_config(file)
    assert (config.unknown_keys, config.with_models(()).unknown_keys) == (("their-key",), ("their-key",))
    for content, words in (("{", "expected JSON"), ('{"mappings": {"app": "a b"}}', "mappings.app: value error")):
        file.write_text(content)
        with pytest.raises(DocumentError) as refused:
            read_models_config(file)
        assert refused.value.message.startswith(f"{file}: ")
        assert words in refused.value.message


# -- command lines -------------------------------------------------------------------------------------------


def ended(
    capsys: pytest.CaptureFixture[str], main: Callable[[Sequence[str]], object], arguments: Sequence[str]
) -> tuple[object, str]:
    """Return exit code and what was said on stderr; nothing may be said on stdout."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return end.value.code, said.err


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    below: dict[str, click.Command] = getattr(command, "commands", {})
    return [path] if not below else [leaf for name, each in below.items() for leaf in leaves(each, (*path, name))]


AGENT = leaves(typer.main.get_command(agent_app()))
CLOUD = leaves(typer.main.get_command(cloud_cli.build_app()))


@pytest.mark.parametrize("verb", AGENT, ids=" ".join)
def test_every_verb_of_the_device_refuses_a_flag_it_does_not_know(
    capsys: pytest.CaptureFixture[str], verb: tuple[str, ...]
) -> None:
    code, err = ended(capsys, agent_cli.main, [*verb, "--no-such-flag"])
    assert code == 2
    assert "No such option: --no-such-flag" in err


@pytest.mark.parametrize("verb", CLOUD, ids=" ".join)
def test_every_verb_of_the_cloud_refuses_a_flag_it_does_not_know(
    capsys: pytest.CaptureFixture[str], verb: tuple[str, ...]
) -> None:
    code, err = ended(capsys, cloud_cli.main, [*verb, "--no-such-flag"])
    assert code == 2
    assert "No such option: --no-such-flag" in err


DEVICE_LINES = [
    (["no-such-verb"], 2, "No such command 'no-such-verb'"),
    (["rollback"], 2, "Missing argument 'MODEL'"),
    (["rollback", "unet"], 2, "Missing option '--reason'"),
    (["events"], 2, "expected --follow"),
    (["events", "--follow", "--after", "-1"], 2, "--after"),
    (["captures", "--limit", "0"], 2, "--limit"),
    (["captures", "--limit", "ten"], 2, "--limit"),
    (["deployments", "a", "b"], 2, "unexpected extra argument"),
    (["quarantine", "clear", "nothing"], 3, "expected quarantined manifests, came nothing"),
]


@pytest.mark.parametrize(("arguments", "expected", "words"), DEVICE_LINES, ids=str)
def test_a_wrong_command_line_of_the_device_says_what_was_expected(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], expected: int, words: str
) -> None:
    places = ["--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run")]
    code, err = ended(capsys, agent_cli.main, [*places, *arguments])
    assert code == expected
    assert words.lower() in err.lower()
    assert files_in(tmp_path) == set()


_DEPLOY = ["--to", "thing/x", "--dry-run"]
CLOUD_LINES = [
    (["no-such-verb"], 2, "No such command 'no-such-verb'"),
    (
        ["train", "regression", "--data", "d", "--out", "o"],
        2,
        "expected a kind of classification, segmentation, patchcore",
    ),
    (["train", "classification", "--data", "none", "--out", "o"], 2, "expected a folder none, there is none"),
    (["train", "segmentation", "--data", ".", "--out", "o"], 2, "images/ and masks/, a Lookout manifest"),
    (["package", "none", "--name", "a", "--version", "1", "-o", "b"], 3, "expected a run with manifest-parts.json"),
    (["package", "text.onnx", "--name", "a", "--version", "1", "-o", "b"], 2, "text.onnx: expected an ONNX file"),
    (["publish", "none", "--repo", "r", "--keys", "k"], 3, "none: expected a bundle with manifest.json"),
    (
        ["repo", "init", "ftp://x", "--keys", "k", "--demo"],
        2,
        "expected s3://bucket/prefix, file:///directory or a path",
    ),
    (["repo", "refresh", "none", "--keys", "k"], 78, "root.json: expected the pinned root.json"),
    (["repo", "keys", "nobody", "--repo", "r", "--keys", "k"], 2, "No such command 'nobody'"),
    (["repo", "revoke", "unet", "--below", "-1", "--repo", "r", "--keys", "k"], 2, "--below"),
    (["repo", "verify", "r"], 2, "expected either --keys or --root"),
    (["deploy", "unet", *_DEPLOY], 2, "expected MODEL VERSION [MODEL VERSION…], came 'unet'"),
    (["deploy", "unet", "2"], 2, "Missing option '--to'"),
    (["deploy", "../x", "2", *_DEPLOY], 2, "models.0.name: value error, expected letters"),
    (["deploy", "unet", "two", *_DEPLOY], 2, "models.0.version: value error, expected one to four numbers"),
    (["deploy", "unet", "1", "unet", "2", *_DEPLOY], 2, "each model may be named once"),
    (["deploy", "unet", "2", "--policy", "{", *_DEPLOY], 2, "--policy: expected JSON"),
    (["deploy", "unet", "2", "--policy", '{"shadow": {"x": 1}}', *_DEPLOY], 2, "policy.shadow.x: unknown field"),
    (["rollback", "unet", "unet", *_DEPLOY], 2, "each model may be named once"),
    (["data", "sample", "--out", "."], 4, "expected a new or empty folder"),
    (["data", "sample", "--out", "o", "--count", "0"], 2, "--count"),
    (["data", "check", "--data", "none"], 2, "expected a folder none, there is none"),
    (["local", "up", "--dir", "l", "--port", "70000"], 2, "--port"),
    (["device", "provision", "a", "--dir", "d", "--root", "none"], 3, "--root: expected a file of text"),
    (["device", "provision", "a", "--dir", "d", "--root", "text.onnx", "--mqtt", "localhost:1"], 2, "a TUF root.json"),
    (["device", "provision", "a", "--dir", "d", "--mqtt", "nowhere"], 2, "--mqtt: expected HOST:PORT, came 'nowhere'"),
]


@pytest.mark.parametrize(("arguments", "expected", "words"), CLOUD_LINES, ids=lambda value: str(value)[:60])
def test_a_wrong_command_line_of_the_cloud_says_what_was_expected(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    expected: int,
    words: str,
) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "EDGE_CLOUD_"))]:
        monkeypatch.delenv(name)
    # Where no account is meant, none may be found.
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("EDGE_CLOUD_PASSPHRASE", "a long enough phrase")
    (tmp_path / "text.onnx").write_text("a text")
    monkeypatch.chdir(tmp_path)
    code, err = ended(capsys, cloud_cli.main, arguments)
    assert int(code or 0) == expected, err  # type: ignore[call-overload]
    assert words in err
    assert files_in(tmp_path) == {"text.onnx"}
