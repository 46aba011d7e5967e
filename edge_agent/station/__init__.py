"""The station: one loop for each camera, each asking the agent as any client does.

The line depends on this process and on the agent, never on the page. What a camera or
the agent cannot say becomes NO RESULT, and is asked again with growing pauses.
Not done here: verdicts. The station only refuses to believe doubtful ones.
"""

from edge_agent.station.process import open_cameras, run

__all__ = ["open_cameras", "run"]
