"""The error tables: what each class means for its receiver, and every code."""

import ast
import inspect
import re
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from itertools import chain
from pathlib import Path

from doclib.markdown import code, table
from edge_agent import errors
from edge_agent.cli.app import EXIT_FAILED, EXITS
from edge_agent.errors import AgentError, Code
from edge_agent.rpc.status import status_of


def classes() -> str:
    """Return the table of error classes with what follows from each."""
    found = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, AgentError)]
    found.sort(key=lambda kind: inspect.getsourcelines(kind)[1])
    rows = ((code(kind.__name__), code(kind.__mro__[1].__name__), _first_line(kind)) for kind in found)
    return table(("class", "is a", "what follows"), rows)


def codes(root: Path) -> str:
    """Return the table of codes: meaning, the classes that carry it in the agent, gRPC's status, exit code."""
    carriers = _carriers(_sources(root))
    rows = (
        (
            code(word.value),
            word.meaning,
            ", ".join(code(name) for name in sorted(carriers[word.name])) or _elsewhere(word, root),
            code(status_of(word).name),
            str(EXITS.get(word, EXIT_FAILED)),
        )
        for word in Code
    )
    return table(("code", "meaning", "carried by", "as gRPC status", "exit"), rows)


def _first_line(kind: type[AgentError]) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def _elsewhere(word: Code, root: Path) -> str:
    """Say where a code stands that no class is made with: in reports, or nowhere yet."""
    mention = re.compile(rf"\bCode\.{word.name}\b")
    return "reports" if any(mention.search(source) for source in _sources(root)) else "not used yet"


@lru_cache
def _sources(root: Path) -> tuple[str, ...]:
    """Return the agent's sources, but for the tables that name every code."""
    package = root / "edge_agent"
    tables = {package / "rpc" / "status.py", package / "cli" / "app.py"}
    return tuple(path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py")) if path not in tables)


def _carriers(sources: Iterable[str]) -> defaultdict[str, set[str]]:
    """Return for each code the classes that are made with it somewhere in the sources."""
    known = {name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, AgentError)}
    found: defaultdict[str, set[str]] = defaultdict(set)
    for node in chain.from_iterable(ast.walk(ast.parse(source)) for source in sources):
        name, word = _made(node)
        if name in known:
            found[word].add(name)
    return found


def _made(node: ast.AST) -> tuple[str, str]:
    """Return class and code of ``SomeError(Code.WORD, …)``, or empty words."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
        return "", ""
    first = node.args[0]
    if isinstance(first, ast.Attribute) and isinstance(first.value, ast.Name) and first.value.id == "Code":
        return node.func.id, first.attr
    return "", ""
