"""The device's command line, as far as it needs no agent."""

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_agent import __version__
from edge_agent.cli import main
from edge_agent.cli.app import exit_code
from edge_agent.cli.doctor import check_settings
from edge_agent.cli.output import size
from edge_agent.config import Settings, read_settings
from edge_agent.errors import Code, ConfigError, InferenceError, RefusedError
from edge_agent.formats.text import printable
from edge_agent.identity.lineage import RENEWED, Files, Lineage
from edge_agent.inference.runtimes import table
from edge_agent.store.audit import AuditLog
from edge_agent.store.quarantine import Quarantine
from tests.fakes.certificates import Authority


class Ran:
    """How a verb ended and what it said."""

    def __init__(self, code: object, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def json(self) -> Any:
        (line,) = self.out.splitlines()
        return json.loads(line)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    def call(*arguments: str) -> Ran:
        with pytest.raises(SystemExit) as ended:
            main(["--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run"), *arguments])
        said = capsys.readouterr()
        return Ran(ended.value.code, said.out, said.err)

    return call


def written(tmp_path: Path, content: str) -> str:
    path = tmp_path / "config.toml"
    path.write_text(content)
    return str(path)


def test_help_and_version_are_there(run: Any) -> None:
    assert run("--version").out == f"edge-agent {__version__}\n"
    told = run("--help")
    assert told.code == 0
    verbs = "run station dashboard status models deployments events rollback captures doctor config audit quarantine"
    assert all(verb in told.out for verb in verbs.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-verb"],
        ["status", "--no-such-flag"],
        ["rollback"],
        ["rollback", "unet"],
        ["rollback", "--reason", "r"],
        ["events"],
        ["events", "--follow", "--after", "-1"],
        ["captures", "--limit", "0"],
        ["deployments", "a", "b"],
        ["config", "no-such-verb"],
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_was_expected(run: Any, arguments: list[str]) -> None:
    ended = run(*arguments)
    assert ended.code == 2
    assert "Usage: edge-agent" in ended.err
    assert ended.out == ""


@pytest.mark.parametrize("verb", ["run", "station", "dashboard", "config check"])
@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("[device]\nthing = 'a b'\n", "device.thing"),
        ("[devise]\nthing = 'a'\n", "nearest to device"),
        ("[rpc]\nthreds = 4\n", "nearest to rpc.threads"),
        ("not toml", "expected TOML"),
    ],
)
def test_a_wrong_configuration_ends_with_78_and_names_the_key(
    run: Any, tmp_path: Path, verb: str, content: str, named: str
) -> None:
    ended = run("--config", written(tmp_path, content), *verb.split())
    assert ended.code == 78
    assert ended.err.startswith("edge-agent: CONFIG_INVALID: ")
    assert named in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_configuration_that_is_not_there_ends_with_78(run: Any) -> None:
    ended = run("--config", "/no/such/file.toml", "run")
    assert (ended.code, ended.out) == (78, "")
    assert "/no/such/file.toml" in ended.err


@pytest.mark.parametrize(
    "content",
    [
        "[rpc]\ntcp = '0.0.0.0:8001'\n",
        "[telemetry]\nmetrics = '0.0.0.0:8002'\n",
        "[rpc.tls]\ncertificate = '/x'\n",
        "[station.left]\nsource = 'usb:0'\n",
        "[station.left]\nsource = 'rtsp://cam/1'\nexposure_us = 9\n",
    ],
)
def test_config_check_sees_what_single_settings_cannot_tell(run: Any, tmp_path: Path, content: str) -> None:
    path = written(tmp_path, content)
    assert run("--config", path, "config", "check").code == 78
    with pytest.raises(ConfigError):
        check_settings(read_settings(Path(path)))


def test_config_check_is_content_with_a_good_file(run: Any, tmp_path: Path) -> None:
    path = written(tmp_path, "[device]\nthing = 'line-1'\n")
    ended = run("--config", path, "config", "check", "--json")
    assert (ended.code, ended.json()) == (0, {"ok": True, "file": path})


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["models"], ["deployments"], ["events", "--follow"], ["rollback", "m", "--reason", "r"], ["captures"]],
)
def test_without_an_agent_a_verb_fails_with_one_line(run: Any, arguments: list[str]) -> None:
    for flags in ([], ["--json"]):
        ended = run(*arguments, *flags)
        assert (ended.code, ended.out) == (1, "")
        (line,) = ended.err.splitlines()
        assert "control.sock: the agent does not answer" in line


def test_an_unbroken_audit_log_is_verified_and_a_changed_one_is_not(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "state" / "audit.log"
    path.parent.mkdir()
    for number in range(3):
        AuditLog(path).append("committed", number=number)
    assert run("audit", "verify", "--json").json() == {"ok": True, "lines": 3}
    path.write_text(path.read_text().replace('"number":1', '"number":7'))
    ended = run("audit", "verify", "--json")
    assert (ended.code, ended.out) == (1, "")
    assert "line 2" in ended.err


def test_quarantined_manifests_are_listed_and_let_go(run: Any, tmp_path: Path) -> None:
    first, second = "a" * 64, "b" * 64
    assert run("quarantine", "list", "--json").json() == []
    for digest in (first, second):
        Quarantine(tmp_path / "state" / "quarantine").add(digest, "took the device down")
    assert [entry["sha256"] for entry in run("quarantine", "list", "--json").json()] == [first, second]
    assert run("quarantine", "clear", "c" * 64).code == 3
    assert run("quarantine", "clear", first, "--json").json() == {"cleared": [first]}
    assert "took the device down" in run("quarantine", "list").out
    assert run("quarantine", "clear").code == 0
    assert run("quarantine", "list").out == "nothing is quarantined\n"
    lines = [json.loads(line) for line in (tmp_path / "state" / "audit.log").read_text().splitlines()]
    assert [(line["action"], line["manifests"]) for line in lines] == [
        ("quarantine_cleared", [first]),
        ("quarantine_cleared", [second]),
    ]
    assert all(line["actor"] for line in lines)
    assert run("audit", "verify", "--json").json() == {"ok": True, "lines": 2}


def test_what_cannot_be_noted_in_the_audit_log_is_not_let_out_of_quarantine(run: Any, tmp_path: Path) -> None:
    Quarantine(tmp_path / "state" / "quarantine").add("a" * 64, "took the device down")
    (tmp_path / "state" / "audit.log").write_text("changed by hand\n")
    assert run("quarantine", "clear").code == 1
    assert [entry["sha256"] for entry in run("quarantine", "list", "--json").json()] == ["a" * 64]


def test_doctor_names_what_is_wrong_and_ends_with_1(run: Any, tmp_path: Path) -> None:
    secret = tmp_path / "credentials.json"
    secret.write_text("{}")
    secret.chmod(0o644)
    path = written(tmp_path, f"[repository]\ncredentials = 'file:{secret}'\n")
    ended = run("--config", path, "doctor", "--json")
    found = {finding["check"]: finding for finding in ended.json()}
    assert ended.code == 1
    assert found["state directory"]["state"] == "bad"
    assert found["agent"]["state"] == "warning"
    assert found["configuration"]["state"] == "ok"
    assert (found["secret"]["state"], "0644" in found["secret"]["message"]) == ("bad", True)
    assert "runtime onnxruntime" in found
    secret.chmod(0o600)
    (tmp_path / "state").mkdir()
    rows = run("--config", path, "doctor").out.splitlines()
    assert [row.split()[1] for row in rows if row.startswith("secret")] == ["ok"]
    assert any(row.startswith("state directory") and " ok " in row for row in rows)


def test_doctor_tells_when_the_certificate_in_use_ends_and_changes_none(run: Any, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    first = Files(*authority.issue("press-4"))
    names = f"certificate = '{first.certificate}'\nprivate_key = '{first.private_key}'\n"
    path = written(tmp_path, f"[mqtt]\nendpoint = 'broker.example'\n{names}")

    def certificate() -> tuple[str, str]:
        found = {finding["check"]: finding for finding in run("--config", path, "doctor", "--json").json()}
        return found["certificate"]["state"], found["certificate"]["message"]

    assert certificate()[0] == "ok"
    assert str(first.certificate) in certificate()[1]
    lineage = Lineage(tmp_path / "state" / RENEWED, first)
    lineage.ask("press-4")
    lineage.put(authority.sign(lineage.request, days=2))
    lineage.switch()
    before = sorted((tmp_path / "state").rglob("*"))
    state, message = certificate()
    assert (state, str(lineage.files.certificate) in message) == ("warning", True)
    assert sorted((tmp_path / "state").rglob("*")) == before
    first.certificate.write_text("text")
    assert certificate()[0] == "bad"


def test_doctor_says_of_a_key_in_a_token_what_can_be_told_without_its_pin(run: Any, tmp_path: Path) -> None:
    library, request, pin = tmp_path / "token.so", tmp_path / "request.csr", tmp_path / "pin"
    uri = f"pkcs11:token=edge;object=press-4?module-path={library}&pin-source=file:{pin}"
    names = f"certificate = '{tmp_path / 'certificate.pem'}'\nprivate_key = '{uri}'\n"
    path = written(tmp_path, f"[mqtt]\nendpoint = 'broker.example'\n{names}")

    def told(check: str) -> tuple[str, str]:
        found = {finding["check"]: finding for finding in run("--config", path, "doctor", "--json").json()}
        return found[check]["state"], found[check]["message"]

    assert told("secret") == ("bad", f"{pin}: No such file or directory")
    assert told("token") == ("bad", f"mqtt.private_key: expected a PKCS#11 library at {library}")
    library.touch()
    state, message = told("token")
    assert (state, str(request) in message) == ("warning", True)
    request.touch()
    assert told("token")[0] == "ok"
    (tmp_path / "private.key").touch()
    assert told("secret") == (
        "warning",
        f"{tmp_path / 'private.key'}: a key of before the token; end its certificate and delete it",
    )


def test_doctor_lists_every_runtime_with_its_version_or_the_extra_that_brings_it(run: Any, tmp_path: Path) -> None:
    found = {finding["check"]: finding for finding in run("doctor", "--json").json()}
    onnx = found["runtime onnxruntime"]
    assert onnx["facts"]["usable"] is True
    assert onnx["facts"]["version"] in onnx["message"]
    assert "CPUExecutionProvider" in onnx["facts"]["providers"]
    for name in ("onnxruntime", "openvino", "tensorrt"):
        runtime = found[f"runtime {name}"]
        assert "untested on hardware" in runtime["message"]
        assert runtime["facts"]["usable"] or f"edge-agent[{runtime['facts']['extra']}]" in runtime["message"]
    assert "providers" not in found


def test_doctor_on_a_machine_without_any_runtime_says_what_to_install(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "find_spec", lambda _module: None)
    monkeypatch.setattr(table, "_probe", lambda _name: ())
    path = written(tmp_path, "[inference]\nruntimes = ['openvino', 'onnxruntime']\nproviders = ['GPU', 'CPU']\n")
    ended = run("--config", path, "doctor", "--json")
    found = {finding["check"]: finding for finding in ended.json()}
    assert ended.code == 1
    assert found["runtimes"]["state"] == "bad"
    assert found["runtimes"]["message"] == "configured and not usable: openvino, onnxruntime"
    assert "GPU" in found["providers"]["message"]
    for name, extra in (("onnxruntime", "onnx"), ("openvino", "openvino"), ("tensorrt", "tensorrt")):
        assert found[f"runtime {name}"]["state"] == "warning"
        assert f"pip install 'edge-agent[{extra}]'" in found[f"runtime {name}"]["message"]
        assert found[f"runtime {name}"]["facts"]["providers"] == []


def test_doctor_goes_on_when_the_configuration_is_wrong(run: Any, tmp_path: Path) -> None:
    ended = run("--config", written(tmp_path, "[devise]\n"), "doctor", "--json")
    found = {finding["check"]: finding["state"] for finding in ended.json()}
    assert (ended.code, found["configuration"]) == (1, "bad")
    assert "state directory" in found


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConfigError(Code.CONFIG_INVALID, "x"), 78),
        (InferenceError(Code.NOT_FOUND, "x"), 3),
        (RefusedError(Code.NO_PREVIOUS, "x"), 4),
        (InferenceError(Code.PERMISSION_DENIED, "x"), 5),
        (InferenceError(Code.DEADLINE_EXCEEDED, "x"), 7),
        (InferenceError(Code.UNAVAILABLE, "x"), 1),
    ],
)
def test_exit_codes_tell_what_kind_of_failure_it_was(error: Any, expected: int) -> None:
    assert exit_code(error) == expected


def test_names_from_outside_cannot_command_the_terminal() -> None:
    assert printable("a\x1b[2Jb\nc") == "a [2Jb c"


@pytest.mark.parametrize(("amount", "text"), [(0, "0 B"), (1023, "1023 B"), (2048, "2 KiB"), (3 << 30, "3.0 GiB")])
def test_sizes_are_short(amount: int, text: str) -> None:
    assert size(amount) == text


@pytest.mark.parametrize(("verb", "module"), [("run", "agent"), ("station", "station"), ("dashboard", "dashboard")])
def test_a_process_gets_its_settings_and_its_exit_code_is_the_verbs(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, module: str
) -> None:
    given: list[Any] = []

    def process(settings: Settings, *places: Path) -> int:
        given.append((settings.device.thing, *places))
        return 7

    monkeypatch.setattr(f"edge_agent.{module}.run", process)
    path = written(tmp_path, "[device]\nthing = 'line-1'\n")
    assert run("--config", path, verb).code == 7
    state, runtime = tmp_path / "state", tmp_path / "run"
    assert given == [("line-1", state, runtime) if verb == "run" else ("line-1", runtime)]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these thresholds")
def test_the_allocator_takes_our_thresholds() -> None:
    command = "import sys; from edge_agent.client import keep_large_blocks; sys.exit(not keep_large_blocks())"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0
