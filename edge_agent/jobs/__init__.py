"""Jobs: what the cloud asks of this device, and what the device says about it.

``topics``, ``messages`` and ``session`` decide without I/O; ``outbox`` keeps what
must not be lost; ``mqtt`` is the only door to the MQTT library, imported where there is
a cloud; ``client`` puts them together on a thread of its own.
"""

from edge_agent.jobs.client import JobsClient
from edge_agent.jobs.messages import (
    Connection,
    Event,
    JobGone,
    JobOffered,
    JobReported,
    JobsQueued,
    QueuedJob,
    Report,
    Reportable,
)
from edge_agent.jobs.outbox import Outbox

__all__ = [
    "Connection",
    "Event",
    "JobGone",
    "JobOffered",
    "JobReported",
    "JobsClient",
    "JobsQueued",
    "Outbox",
    "QueuedJob",
    "Report",
    "Reportable",
]
