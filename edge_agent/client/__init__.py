"""The typed client of the agent's own services; what it returns are ``formats``.

The data plane is on ``agent.sock`` or TCP, the operator's verbs are on ``control.sock``
only. A call's errors arrive as the class and the code they left the agent with; an
agent that does not answer is ``InferenceError(UNAVAILABLE)``. Not done here: retries.
A connection comes back by itself when the agent does.
"""

from edge_agent.client.agent_client import AgentClient, FrameContent, FrameLayer
from edge_agent.client.allocator import keep_large_blocks
from edge_agent.client.event_stream import EventStream

__all__ = ["AgentClient", "EventStream", "FrameContent", "FrameLayer", "keep_large_blocks"]
