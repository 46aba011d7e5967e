"""The wheel as a device gets it: whole, and working with what its metadata asks for and nothing else."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from edge_agent import __version__
from tests.fakes.tree import ROOT, tracked

EXTRAS = {"onnx", "openvino", "gpu", "tensorrt", "cloud", "train", "local", "plc", "pg", "registry", "hsm", "dev"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def needed(extra: str, requirements: list[str]) -> Iterator[metadata.Distribution]:
    """Yield what the wheel with one extra asks for, and what that asks for, as it is installed here."""
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(text), extra) for text in requirements]
    while waiting:
        asked, asking = waiting.pop()
        if asked.marker is not None and not asked.marker.evaluate({"extra": asking}):
            continue
        found = metadata.distribution(asked.name)
        assert asked.specifier.contains(found.version, prereleases=True), f"{asked}, installed is {found.version}"
        for inner in {"", *asked.extras}:
            if (canonicalize_name(asked.name), inner) not in seen:
                seen.add((canonicalize_name(asked.name), inner))
                waiting += [(Requirement(text), inner) for text in found.requires or []]
        yield found


def link(distribution: metadata.Distribution, site: Path) -> None:
    """Make a distribution importable in another environment."""
    for top in {file.parts[0] for file in distribution.files or [] if file.parts[0] not in ("..", "__pycache__")}:
        if not (site / top).exists():
            (site / top).symlink_to(Path(str(distribution.locate_file(top))))


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an environment with the wheel and what its metadata asks for, extra onnx, and nothing else."""
    where = tmp_path_factory.mktemp("clean")
    venv.create(where, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(where / "bin" / "python")]
    install = ["install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", str(wheel)]
    subprocess.run([*pip, *install], capture_output=True, check=True)
    (site,) = where.glob("lib/python*/site-packages")
    (info,) = site.glob("edge_agent-*.dist-info")
    for distribution in needed("onnx", metadata.PathDistribution(info).requires or []):
        link(distribution, site)
    return where


def ask(clean: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    outside = {"PATH": os.defpath, "LANG": "C.UTF-8", **environment}
    command = [str(clean / "bin" / "edge-agent"), *arguments]
    return subprocess.run(command, cwd=clean, env=outside, capture_output=True, text=True, check=False)


def test_everything_of_the_packages_is_in_the_wheel(names: set[str]) -> None:
    packages = {path.relative_to(ROOT).as_posix() for path in tracked()}
    assert {path for path in packages if path.startswith(("edge_agent/", "cloud_tools/"))} <= names
    assert "edge_agent/models_config.json" in names


def test_protocols_and_units_come_with_the_wheel(names: set[str]) -> None:
    shared = {name.partition(".data/data/share/edge-agent/")[2] for name in names}
    outside = {path.relative_to(ROOT).as_posix() for path in tracked()}
    assert {path for path in outside if path.startswith(("protos/", "systemd/"))} <= shared


def test_nothing_else_is_in_the_wheel(names: set[str]) -> None:
    tops = {name.partition("/")[0] for name in names}
    own = f"edge_agent-{__version__}"
    assert tops == {"edge_agent", "cloud_tools", f"{own}.dist-info", f"{own}.data"}


def test_the_wheel_knows_its_extras(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        told = archive.read(name).decode()
    assert {line.split(": ")[1] for line in told.splitlines() if line.startswith("Provides-Extra: ")} >= EXTRAS


def test_the_agent_says_its_version_in_a_clean_environment(clean: Path) -> None:
    done = ask(clean, "--version")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, f"edge-agent {__version__}", "")


def test_doctor_finds_onnx_runtime_and_no_rival_in_a_clean_environment(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o750)
    places = {"EDGE_AGENT_STATE_DIR": str(tmp_path / "state"), "EDGE_AGENT_RUNTIME_DIR": str(tmp_path / "rt")}
    done = ask(clean, "doctor", "--json", **places)
    found = {each["check"]: each for each in json.loads(done.stdout)}
    assert found["runtime onnxruntime"]["state"] == "ok"
    # What the tests' own environment has and the wheel did not ask for is not there.
    assert found["runtime openvino"]["message"].startswith("it is not installed: pip install 'edge-agent[openvino]'")
    assert [check for check, each in found.items() if each["state"] == "bad"] == []
    assert done.returncode == 0


def test_the_page_finds_its_templates_in_a_clean_environment(clean: Path) -> None:
    program = (
        "import edge_agent.dashboard as d, pathlib as p; print(*p.Path(d.__file__).parent.rglob('*.html'), sep='\\n')"
    )
    python = [str(clean / "bin" / "python"), "-I", "-c", program]
    done = subprocess.run(python, cwd=clean, capture_output=True, text=True, check=True)
    pages = done.stdout.splitlines()
    assert len(pages) == len(list((ROOT / "edge_agent" / "dashboard").rglob("*.html")))
    assert all(page.startswith(str(clean)) for page in pages)
