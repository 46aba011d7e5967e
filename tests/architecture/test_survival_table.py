"""Every fault that the project promises to survive is named in the docs with tests that exist."""

import ast
import re

import pytest

from tests.fakes.tree import ROOT

PAGE = ROOT / "docs" / "what-must-survive.md"
_ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+) \|$", re.MULTILINE)
_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
ROWS = {int(number): tests for number, _, tests in _ROW.findall(PAGE.read_text(encoding="utf-8"))}


def test_every_fault_has_its_row() -> None:
    assert sorted(ROWS) == list(range(1, 26))


@pytest.mark.parametrize("number", sorted(ROWS))
def test_each_row_names_tests_that_exist(number: int) -> None:
    named = _TEST.findall(ROWS[number])
    assert named, f"row {number} names no test"
    for file, function in named:
        path = ROOT / file
        assert path.is_file(), f"row {number}: there is no {file}"
        functions = {
            node.name
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }
        assert not function or function in functions, f"row {number}: {file} has no {function}"
