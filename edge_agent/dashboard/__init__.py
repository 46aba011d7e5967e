"""The page that hangs over the line: a process of its own and a client of the agent.

It shows what anyone inspects and lets a person take a model back. It decides nothing,
keeps nothing, and says so when it knows nothing: a picture that is old is grey, an
agent that is away is named. Not done here: cameras, and anything that the line needs.
"""

from edge_agent.dashboard.app import create_app
from edge_agent.dashboard.server import run

__all__ = ["create_app", "run"]
