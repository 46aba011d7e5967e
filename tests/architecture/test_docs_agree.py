"""What documentation says of commands, errors and files is what the code says."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from cloud_tools.cli import build_app as cloud_app
from edge_agent.cli.app import build_app as agent_app
from edge_agent.deployment.states import TABLE, State
from edge_agent.errors import Code
from tests.fakes.tree import ROOT, tracked

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [path for path in tracked() if path.suffix == ".md"]
PROGRAMS = {
    "edge-agent": typer.main.get_command(agent_app()),
    "edge-cloud": typer.main.get_command(cloud_app()),
}
LEFT_TO_HELP = {"edge-cloud bucket list", "edge-cloud local status"}
# Where one command ends and another may begin.
_BETWEEN = re.compile(r"&&|\|\||[;&|\n]|\$\(|\)| # ")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


class Invocation:
    """One command as a page shows it."""

    def __init__(self, program: str, rest: str) -> None:
        self.text = f"{program} {rest}".strip()
        self.command = PROGRAMS[program]
        self.path = [program]
        self.flags: list[tuple[click.Command, str]] = []
        self.unknown = ""
        words = iter(shlex.split(rest.partition("…")[0].replace("'", "")))
        for word in words:
            if word.startswith("-"):
                self.flags.append((self.command, word))
                if takes_value(self.command, word):
                    next(words, None)
            elif children(self.command):
                self._descend(word)

    def _descend(self, word: str) -> None:
        below = children(self.command)
        verb = word if word in below else getattr(self.command, "default_verb", word)
        self.unknown = self.unknown or ("" if verb in below else word)
        self.command = below.get(verb, self.command)
        self.path.append(verb)


def children(command: click.Command) -> dict[str, click.Command]:
    return dict(getattr(command, "commands", {}))


def takes_value(command: click.Command, flag: str) -> bool:
    return any(flag in option.opts and not getattr(option, "is_flag", False) for option in command.params)


def known_flags(command: click.Command) -> set[str]:
    return {"--help", *(name for option in command.params for name in (*option.opts, *option.secondary_opts))}


def invocations(text: str) -> Iterator[Invocation]:
    for block, span in re.findall(r"```sh\n(.*?)```|`([^`\n]+)`", text, re.DOTALL):
        for part in _BETWEEN.split((block or span).replace("\\\n", " ")):
            program, _, rest = part.strip().partition(" ")
            if program in PROGRAMS:
                yield Invocation(program, rest)


def shown() -> list[Invocation]:
    found = {each.text: each for page in PAGES for each in invocations(page.read_text(encoding="utf-8"))}
    return [each for _, each in sorted(found.items())]


def test_what_is_generated_is_current() -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "scripts" / "generate-docs", "--check"], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_what_is_stale_is_named_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "edge_agent").symlink_to(ROOT / "edge_agent")
    (tmp_path / "README.md").write_text(README.replace(Code.NO_SPACE.meaning, "Full."))
    stale = (tmp_path / "README.md").read_bytes()
    program = (
        "import sys; from pathlib import Path; from doclib.command import main;"
        "sys.exit(main(Path(sys.argv[1]), ['--check']))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'scripts'}{os.pathsep}{ROOT}"},
    )
    assert ran.returncode == 1
    named = {line.split(":")[1].strip() for line in ran.stderr.splitlines()}
    assert {"README.md", "docs/settings.md", "docs/metrics.md", "docs/schemas/manifest.json"} <= named
    assert ((tmp_path / "README.md").read_bytes(), (tmp_path / "docs").exists()) == (stale, False)


@pytest.mark.parametrize("invocation", shown(), ids=lambda each: each.text)
def test_every_command_that_a_page_shows_exists_with_its_flags(invocation: Invocation) -> None:
    assert invocation.unknown == ""
    for command, flag in invocation.flags:
        assert flag in known_flags(command)


def test_the_readme_shows_every_verb() -> None:
    told = {" ".join(each.path) for each in invocations(README)}
    verbs = {" ".join((name, *path)) for name, command in PROGRAMS.items() for path in leaves(command)}
    assert verbs - told == LEFT_TO_HELP


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    below = children(command)
    return [path] if not below else [leaf for name, each in below.items() for leaf in leaves(each, (*path, name))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = [link for link in _LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    broken = [link for link in links if link[0] != "#" and not (page.parent / link.partition("#")[0]).exists()]
    assert broken == []


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in sorted(folder.glob("*.md")) if f"({path.name})" not in index] == ["README.md"]


@pytest.mark.parametrize("code", Code, ids=str)
def test_the_readmes_error_table_has_every_code_with_its_meaning(code: Code) -> None:
    assert f"| `{code.value}` | {code.meaning} |" in README


@pytest.mark.parametrize("code", Code, ids=str)
def test_the_page_of_troubles_says_what_to_do_about_every_code(code: Code) -> None:
    page = (ROOT / "docs" / "troubleshoot.md").read_text(encoding="utf-8")
    found = re.search(rf"^\| `{code.value}` \| [^|]+ \| (.+) \|$", page, re.MULTILINE)
    assert found is not None
    assert found[1] != "-", "add it to ADVICE in scripts/doclib/troubleshoot.py, then run scripts/generate-docs"


@pytest.mark.parametrize("state", State, ids=lambda state: state.value)
def test_the_readme_shows_every_state(state: State) -> None:
    assert f"| `{state.value}` | {TABLE[state].does} |" in README
    assert re.search(rf"^ *(\S+ --> {state.value}\b|{state.value} --> )", README, re.MULTILINE)
