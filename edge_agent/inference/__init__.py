"""Executing models: sessions in worker processes, the registry that says which one answers.

Nothing here imports a runtime or an image library until a model is loaded; ``onnx`` is the
door to ONNX Runtime and is imported by workers only.
"""

from edge_agent.inference.allocation import raise_thresholds
from edge_agent.inference.dataplane import Answered, DataPlane, Watcher
from edge_agent.inference.engines.builder import Builder, BuildReport, build_engine
from edge_agent.inference.engines.cache import prune_engines, sweep_engines
from edge_agent.inference.golden import GoldenReport, try_golden
from edge_agent.inference.opening import open_session
from edge_agent.inference.registry import Registry
from edge_agent.inference.runtimes.table import RuntimeInfo, available_runtimes
from edge_agent.inference.session import Inspected, Priority, Session, SessionState, Tensors
from edge_agent.inference.statistics import Statistics
from edge_agent.inference.workers.process import check_processors
from edge_agent.inference.workers.spare import Spare

__all__ = [
    "Answered",
    "BuildReport",
    "Builder",
    "DataPlane",
    "GoldenReport",
    "Inspected",
    "Priority",
    "Registry",
    "RuntimeInfo",
    "Session",
    "SessionState",
    "Spare",
    "Statistics",
    "Tensors",
    "Watcher",
    "available_runtimes",
    "build_engine",
    "check_processors",
    "open_session",
    "prune_engines",
    "raise_thresholds",
    "sweep_engines",
    "try_golden",
]
