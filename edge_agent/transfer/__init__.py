"""Objects in and out: bounded, resumable, cancellable.

Rules of the room: obstore has one door (``stores``); its own retries are off and ours
are counted and bounded by a deadline; every request has a time-out and a least speed;
memory holds one range for each download. Not done here: verifying bytes (the store
hashes what it admits) and signatures (trust).
"""

from edge_agent.transfer.addresses import Timeouts
from edge_agent.transfer.bandwidth import TokenBucket
from edge_agent.transfer.credentials import AwsCredentials, CredentialProvider
from edge_agent.transfer.device_credentials import DeviceIdentity, device_credentials
from edge_agent.transfer.downloader import Downloader, fetch_verified
from edge_agent.transfer.lanes import side_by_side
from edge_agent.transfer.objects import ObjectStore, open_objects
from edge_agent.transfer.pace import SpeedFloor
from edge_agent.transfer.pauses import FullJitter, pause
from edge_agent.transfer.ranges import Head

__all__ = [
    "AwsCredentials",
    "CredentialProvider",
    "DeviceIdentity",
    "Downloader",
    "FullJitter",
    "Head",
    "ObjectStore",
    "SpeedFloor",
    "Timeouts",
    "TokenBucket",
    "device_credentials",
    "fetch_verified",
    "open_objects",
    "pause",
    "side_by_side",
]
