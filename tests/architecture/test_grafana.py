"""The dashboard asks for nothing that the agent does not tell, and leaves nothing out that it tells."""

import json
import re
from collections.abc import Iterator
from typing import Any

from edge_agent.telemetry.metrics import described
from tests.fakes.tree import ROOT

BOARD = json.loads((ROOT / "docs" / "grafana.json").read_text(encoding="utf-8"))
_NAME = re.compile(r"\b(?:edge_agent|nv)_\w+")
_SELECTED = re.compile(r"((?:edge_agent|nv)_\w+)\{([^}]*)\}")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
# Prometheus gives these to every series itself, and "le" to a histogram's buckets.
_GIVEN = {"instance", "job", "le"}


def series() -> dict[str, tuple[str, ...]]:
    """Every name that /metrics tells, with its labels."""
    told: dict[str, tuple[str, ...]] = {}
    for metric in described():
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(metric.kind, [""])
        told |= {f"{metric.name}{ending}": metric.labels for ending in endings}
    return told


def expressions(node: Any = BOARD) -> Iterator[str]:
    """Every query of the board, wherever it stands."""
    if isinstance(node, dict):
        yield from (node[key] for key in ("expr", "definition") if isinstance(node.get(key), str))
        for child in node.values():
            yield from expressions(child)
    elif isinstance(node, list):
        for child in node:
            yield from expressions(child)


def test_every_expression_asks_only_for_what_the_agent_tells() -> None:
    asked = {name for expression in expressions() for name in _NAME.findall(expression)}
    assert len(asked) > 20
    assert asked - series().keys() == set()


def test_every_expression_selects_and_groups_by_labels_that_its_series_have() -> None:
    told = series()
    for expression in expressions():
        for name, selectors in _SELECTED.findall(expression):
            assert set(_LABEL.findall(selectors)) <= {*told[name], *_GIVEN}, expression
        grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}
        names = _NAME.findall(expression)
        assert all(grouped <= {*told[name], *_GIVEN} for name in names), expression


def test_everything_that_the_agent_tells_has_a_place_on_the_board() -> None:
    asked = {name for expression in expressions() for name in _NAME.findall(expression)}
    missing = {metric.name for metric in described() if not any(name.startswith(metric.name) for name in asked)}
    assert missing == set()


def test_every_figure_is_seen_to_move_by_a_test() -> None:
    tests = "".join(
        path.read_text(encoding="utf-8")
        for part in ("unit", "integration")
        for path in (ROOT / "tests" / part).glob("*.py")
    )
    assert {metric.name for metric in described() if metric.name not in tests} == set()


def test_every_panel_has_its_own_number_and_its_own_place() -> None:
    panels = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(taken)) == len(taken)
