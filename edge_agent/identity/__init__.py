"""Who this device is: its key, its certificate, and how it comes by both.

The key is made here, in a file of mode 0600, and never leaves; what goes out is a signing request. ``enrolment``
decides without I/O; ``material`` is the device's door to cryptography; ``folder`` keeps files. Not done here:
talking to the cloud (jobs) and putting both together (agent).
"""

from edge_agent.identity.enrolment import Pack, Progress, Stage, Step, Wanted
from edge_agent.identity.folder import Folder

__all__ = ["Folder", "Pack", "Progress", "Stage", "Step", "Wanted"]
