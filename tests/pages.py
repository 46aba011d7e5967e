"""Commands that pages show: which blocks there are, which of them nobody runs and why, and which tests run the others.

A block is a fence of the language ``sh``, ``bash``, ``shell`` or ``console``. A comment right before it, which
readers do not see, takes it out: ``<!-- not run: needs root -->``, with one of the words of ``NEEDS``, and
whatever explains it after that. A test runs what is left of a page, or of what stands under one heading of it, by
``blocks(ROOT / "docs" / "data.md")``; ``claims`` reads those calls off the tests' sources, so that a block is run by a
test or known to be run by none.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NEEDS = {
    "needs hardware": "a GPU, a camera, a PLC or a board",
    "needs AWS": "an account at AWS, or a service that no emulator here has",
    "needs root": "changes the machine: users, units, packages",
    "needs the internet": "a download from elsewhere than a package index",
    "takes hours": "what continuous integration does in parts, or not at all",
    "not commands": "a form with names of the reader's own, to be read and not to be copied",
    "not run yet": "a test of it is still missing",
}
_FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w+-]*)[^\n]*\n(?P<text>.*?)^ *(?P=ticks)`* *$",
    re.DOTALL | re.MULTILINE,
)
_MARK = re.compile(r"<!-- not run: (?P<why>[^\n]*?) *-->\s*\Z")
_SHELLS = {"sh", "bash", "shell", "console"}
_PROGRAMS = re.compile(r"^\s*(\$ |edge-agent |edge-cloud |scripts/|docker |podman |systemctl |apt |pip )", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One block of commands: the page below the root, the line of its fence, its headings, and why it is not run."""

    page: str
    line: int
    headings: tuple[str, ...]
    text: str
    not_run: str = ""

    @property
    def where(self) -> str:
        """Page and line, as editors follow them."""
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Claim:
    """A test that runs a page, or what stands under one heading of it."""

    page: str
    heading: str

    def covers(self, block: Block) -> bool:
        """Tell whether the block is one of those."""
        return block.page == self.page and (not self.heading or self.heading in block.headings)


def pages() -> list[Path]:
    """Return every page that a reader may be sent to."""
    return [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "samples/README.md",
        *sorted(ROOT.glob("docs/**/*.md")),
    ]


def read(page: Path) -> list[Block]:
    """Return all blocks of commands of a page, marked ones too."""
    return blocks_in(page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix())


def blocks_in(text: str, page: str) -> list[Block]:
    """Return all blocks of commands in a page's text."""
    found = []
    for match in _FENCE.finditer(text):
        if match["language"] in _SHELLS:
            before = text[: match.start()]
            mark = _MARK.search(before)
            commands = _commands(match["text"], match["language"], len(match["indent"]))
            found.append(Block(page, before.count("\n") + 1, _headings(before), commands, mark["why"] if mark else ""))
    return found


def unlabelled(text: str) -> list[int]:
    """Return the lines of fences without a language that hold commands all the same: nobody would run them."""
    found = (match for match in _FENCE.finditer(text) if not match["language"])
    return [text[: match.start()].count("\n") + 1 for match in found if _PROGRAMS.search(match["text"])]


def blocks(page: Path, heading: str = "") -> list[str]:
    """Return the blocks that are to be run of a page, or of what stands under one heading of it.

    Raises:
        AssertionError: there is none.
    """
    claim = Claim(page.relative_to(ROOT).as_posix(), heading)
    found = [block.text for block in read(page) if claim.covers(block) and not block.not_run]
    assert found, f"{page}: expected shell blocks under {heading!r}"
    return found


def claims(source: str) -> Iterator[Claim]:
    """Yield what a test's source runs: its calls of ``blocks`` with a page and a heading that stand there literally."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _called(node.func) == "blocks" and node.args:
            page = "/".join(_parts(node.args[0]))
            heading = node.args[1].value if len(node.args) > 1 and isinstance(node.args[1], ast.Constant) else ""
            if page.endswith(".md"):
                yield Claim(page, str(heading))


def _called(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def _parts(path: ast.expr) -> Iterator[str]:
    """Yield the words of ``ROOT / "docs" / "data.md"``."""
    if isinstance(path, ast.BinOp):
        yield from _parts(path.left)
        yield from _parts(path.right)
    elif isinstance(path, ast.Constant):
        yield str(path.value)


def _headings(before: str) -> tuple[str, ...]:
    """Return the headings above a place, from the page's own down."""
    stack: list[tuple[int, str]] = []
    for level, title in re.findall(r"^(#{1,6}) +(.+?) *#*$", _FENCE.sub("", before), re.MULTILINE):
        stack = [each for each in stack if each[0] < len(level)] + [(len(level), title)]
    return tuple(title for _, title in stack)


def _commands(text: str, language: str, indent: int) -> str:
    """Return what a reader types: of a console only what follows the prompt, without the list's indent."""
    lines = [line[indent:] if line[:indent].isspace() else line for line in text.splitlines(keepends=True)]
    if language != "console":
        return "".join(lines)
    return "".join(line[2:] for line in lines if line.startswith(("$ ", "> ", "# ")))
