"""The agent process: its rooms put together, started, watched and stopped.

``parts`` builds, ``lifecycle`` starts and stops, ``operator`` answers the control socket,
``cloud`` stands between jobs and deployments, ``models`` between the rooms and inference.
"""

from edge_agent.agent.lifecycle import run

__all__ = ["run"]
