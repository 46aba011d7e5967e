"""Inspecting parts: the chain of models, the verdict rule, counts, recent frames, what stations tell of cameras."""

from edge_agent.inspection.cameras import CameraBoard
from edge_agent.inspection.chain import Models
from edge_agent.inspection.frames import RecentFrame, RecentFrames
from edge_agent.inspection.inspector import FrameIds, Inspector
from edge_agent.inspection.results import ResultCounter
from edge_agent.inspection.verdict import Rule, form_verdict

__all__ = [
    "CameraBoard",
    "FrameIds",
    "Inspector",
    "Models",
    "RecentFrame",
    "RecentFrames",
    "ResultCounter",
    "Rule",
    "form_verdict",
]
