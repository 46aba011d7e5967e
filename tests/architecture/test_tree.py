"""The tree is what a stranger may get: small, tidy, and silent about where it was made."""

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.tree import ROOT, text_of, tracked

LIMIT_BYTES = 10 << 20
FILES = tracked()
SCRIPTS = [path for path in FILES if path.parent in (ROOT / "scripts", ROOT / ".ci")]
# One letter of each stands in brackets, so that this file does not find itself.
FORBIDDEN = {
    "a path of the machine it was written on": r"(?<![\w.~-])/(w[o]rk|r[o]ot|h[o]me/\w+)/",
    "work that is left": r"\b(T[O]DO|F[I]XME|X[X]X)\b",
    "a number of a tracker": r"(?i)\b(issue|ticket|pull request|PR) ?#?\d+\b|(?<![\w&;/])#\d+\b(?![\w;])",
    "a mark of a merge": r"^(<{7}|>{7}) ",
}
# Colours and anchors begin with # too.
NO_NUMBERS = {".css", ".html", ".svg", ".js", ".json"}


def complaints(path: Path, text: str) -> Iterator[str]:
    for what, pattern in FORBIDDEN.items():
        if "tracker" in what and path.suffix in NO_NUMBERS:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if re.search(pattern, line):
                yield f"{path.relative_to(ROOT)}:{number}: {what}: {line.strip()[:80]}"


def test_no_text_says_where_it_was_made_or_what_is_left() -> None:
    texts = ((path, text_of(path)) for path in FILES if "_proto" not in path.parts and path.name != "LICENSE")
    assert [each for path, text in texts if text for each in complaints(path, text)] == []


def test_no_two_tests_files_have_one_name() -> None:
    names = Counter(path.name for path in FILES if path.match("tests/*/test_*.py"))
    # They stand in no packages, so pytest imports each by its name alone and refuses the second.
    assert [name for name, times in names.items() if times > 1] == []


@pytest.mark.parametrize("line", ["see /w_ork/main", "T_ODO: later", "as in iss_ue #_12", "cf. #_31", "in /h_ome/me/x"])
def test_what_does_not_belong_here_would_be_found(line: str) -> None:
    assert len(list(complaints(ROOT / "some.py", line.replace("_", "")))) == 1
    assert list(complaints(ROOT / "some.py", line)) == []


@pytest.mark.parametrize(
    "line", ["#!/usr/bin/env bash", "a network/root/key", "colour #d00 of 3", "~/.local/work/", "# 12 bytes"]
)
def test_ordinary_text_is_left_alone(line: str) -> None:
    assert list(complaints(ROOT / "some.py", line)) == []


def test_the_types_of_every_package_of_scripts_are_checked() -> None:
    settings = (text_of(ROOT / "pyproject.toml") or "").partition("\n[tool.mypy]\n")[2].partition("\n[")[0]
    checked = {
        name.removeprefix("scripts.")
        for name in re.findall(r"^packages = \[([^]]*)", settings, re.MULTILINE)[0].split('"')
    }
    packages = {path.parent.name for path in FILES if path.match("scripts/*/__init__.py") and path.parents[2] == ROOT}
    assert {"benchlib", "doclib"} < packages <= checked


def test_no_file_is_too_large() -> None:
    assert [path for path in FILES if path.stat().st_size > LIMIT_BYTES] == []


def test_no_model_data_or_environment_was_added_by_accident() -> None:
    strange = {".pyc", ".pt", ".pth", ".pkl", ".pickle", ".whl", ".db", ".sqlite", ".pem", ".key", ".log"}
    assert [path for path in FILES if path.suffix in strange] == []


def test_no_link_leads_out_of_the_tree() -> None:
    assert [path for path in FILES if path.is_symlink()] == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_is_executable_and_says_who_runs_it(script: Path) -> None:
    sourced = script.name.startswith("_")
    assert script.read_text(encoding="utf-8").startswith("#!/usr/bin/env ") is not sourced
    assert bool(script.stat().st_mode & 0o111) is not sourced


def shell(script: Path) -> bool:
    first = script.read_text(encoding="utf-8").partition("\n")[0]
    return "bash" in first or script.name.startswith("_")


@pytest.mark.parametrize("script", [each for each in SCRIPTS if shell(each)], ids=lambda path: path.name)
def test_every_shell_script_is_bash_that_parses_and_stops_at_errors(script: Path) -> None:
    ran = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "set -euo pipefail" in script.read_text(encoding="utf-8") or script.name.startswith("_")


@pytest.mark.parametrize("script", [each for each in SCRIPTS if not shell(each)], ids=lambda path: path.name)
def test_every_python_script_compiles(script: Path) -> None:
    compile(script.read_text(encoding="utf-8"), str(script), "exec")


def test_the_scripts_that_others_call_are_there() -> None:
    wanted = {"setup-host", "demo", "test", "check", "bench", "generate-docs", "generate-protos"}
    assert wanted <= {script.name for script in SCRIPTS}
