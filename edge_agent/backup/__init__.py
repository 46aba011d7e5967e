"""What a device knows and cannot get from elsewhere, in one file, and back out of it.

Rules of the room: a backup holds no private key and is believed by its own digests only; a restore
changes all of the state directory or nothing of it, and never lowers a floor. Not done here:
stopping the agent, captured pictures, who may do it.
"""

from edge_agent.backup.contents import Contents
from edge_agent.backup.making import make
from edge_agent.backup.reading import unpack
from edge_agent.backup.restoring import check, restore

__all__ = ["Contents", "check", "make", "restore", "unpack"]
