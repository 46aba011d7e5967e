"""Image, composition and training workflow: what they name is there, and the workflow runs as plain processes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hera.workflows.models import Workflow
from ruamel.yaml import YAML

from edge_agent.cli.app import build_app
from tests.fakes import layouts
from tests.fakes.tree import ROOT

DIRECTORY = ROOT / "containers"
INSTRUCTIONS = {"ARG", "FROM", "RUN", "COPY", "ENV", "USER", "VOLUME", "STOPSIGNAL", "ENTRYPOINT", "CMD"}


def load(name: str) -> Any:
    return YAML(typ="safe", pure=True).load(DIRECTORY / name)


def instructions() -> list[tuple[str, str]]:
    """Return the Containerfile's instructions with what they say, continued lines joined."""
    text = (DIRECTORY / "Containerfile").read_text().replace("\\\n", " ")
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return [(line.partition(" ")[0], " ".join(line.split()[1:])) for line in lines]


def test_the_image_runs_the_agent_as_an_ordinary_user() -> None:
    told = instructions()
    assert {word for word, _ in told} == INSTRUCTIONS
    last = dict(told)
    assert last["USER"] == "edge-agent"
    assert json.loads(last["ENTRYPOINT"]) == ["edge-agent"]
    assert json.loads(last["CMD"]) == ["run"]
    assert [source for word, source in told if word == "FROM"] == ["${BASE} AS build", "${BASE}"]


def test_every_command_of_the_image_is_one_that_bash_can_read() -> None:
    for word, command in instructions():
        if word == "RUN":
            done = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, "")


def test_the_image_installs_extras_that_the_wheel_has() -> None:
    (extras,) = (rest.partition("=")[2].split(",") for word, rest in instructions() if rest.startswith("EXTRAS="))
    told = (ROOT / "pyproject.toml").read_text()
    assert all(re.search(rf"^{extra} = \[", told, re.MULTILINE) for extra in extras)
    # Who runs the image adds nothing to it, and a device's key may be in a token.
    assert "hsm" in extras


def test_the_composition_is_the_three_services_of_a_host_without_rights() -> None:
    services = load("compose.yaml")["services"]
    verbs = {command.name or command.callback.__name__ for command in build_app().registered_commands}
    commands = [service["command"][0] for service in services.values()]
    assert commands == ["run", "station", "dashboard"]
    assert set(commands) <= verbs
    for service in services.values():
        assert (service["cap_drop"], service["read_only"], service["restart"]) == (["ALL"], True, "always")
        assert service["logging"]["options"]["max-size"] == "10m"
        assert "sockets:/run/edge-agent" in service["volumes"]


def test_the_workflow_has_nothing_that_argo_does_not_know() -> None:
    told = json.loads(json.dumps(load("train.yaml")))
    # Its types leave out what they do not know: what comes back unchanged was all understood.
    assert json.loads(Workflow.model_validate(told).model_dump_json(by_alias=True, exclude_unset=True)) == told
    told["spec"]["templates"][1]["container"]["orders"] = ["sh"]
    assert json.loads(Workflow.model_validate(told).model_dump_json(by_alias=True, exclude_unset=True)) != told


def commands() -> list[str]:
    """Return what each step runs, in order."""
    first = load("train.yaml")["spec"]["templates"][0]
    return [step["arguments"]["parameters"][0]["value"] for (step,) in first["steps"]]


@pytest.mark.timeout(300)
def test_the_workflows_commands_lead_from_pictures_to_a_judged_bundle(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the extra train is not installed")
    layouts.mvtec(tmp_path / "data", good=24)
    (tmp_path / "work").mkdir()
    parameters = {each["name"]: each["value"] for each in load("train.yaml")["spec"]["arguments"]["parameters"]}
    parameters |= {"kind": "padim", "options": "--depth 4 --size 64 --threads 1"}
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for command in commands():
        text = re.sub(r"\{\{workflow\.parameters\.(\w+)\}\}", lambda found: parameters[found[1]], command)
        text = text.replace("/data", str(tmp_path / "data")).replace("/scratch", str(tmp_path / "work"))
        done = subprocess.run(["sh", "-euc", text], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
    assert (tmp_path / "work" / "bundle" / "manifest.json").is_file()
    assert (tmp_path / "work" / "report" / "report.html").is_file()
