"""Inspecting parts: the chain of models, the verdict rule, counts, recent frames, what stations tell of cameras."""

from edge_agent.inspection.cameras import CameraBoard
from edge_agent.inspection.chain import Models
from edge_agent.inspection.frames import RecentFrame, RecentFrames
from edge_agent.inspection.golden_parts import GoldenParts
from edge_agent.inspection.inspector import FrameIds, Inspector
from edge_agent.inspection.results import ResultCounter
from edge_agent.inspection.rule import LineRule, rule_of
from edge_agent.inspection.verdict import Combination, Rule, form_verdict

__all__ = [
    "CameraBoard",
    "Combination",
    "FrameIds",
    "GoldenParts",
    "Inspector",
    "LineRule",
    "Models",
    "RecentFrame",
    "RecentFrames",
    "ResultCounter",
    "Rule",
    "form_verdict",
    "rule_of",
]
