"""The typed client of the agent's own services; what it returns are ``formats``.

The data plane is on ``agent.sock`` or TCP, the operator's verbs are on ``control.sock``
only; pictures take the local fast path on ``fast.sock`` where it answers. A call's errors
arrive as the class and the code they left the agent with; an agent that does not answer is
``InferenceError(UNAVAILABLE)``. Not done here: retries. A connection comes back by itself
when the agent does.
"""

from edge_agent.client.agent_client import AgentClient, FrameLayer
from edge_agent.client.allocator import keep_large_blocks
from edge_agent.client.calls import FrameContent
from edge_agent.client.event_stream import EventStream
from edge_agent.client.fast_connection import NotAskedError
from edge_agent.client.fast_path import FastPath

__all__ = ["AgentClient", "EventStream", "FastPath", "FrameContent", "FrameLayer", "NotAskedError", "keep_large_blocks"]
