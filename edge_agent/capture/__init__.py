"""What is kept of the line's pictures, and how it gets to the cloud.

::

    spool = CaptureSpool(state_dir / "captures", quota_bytes=1 << 30, policy="ng", uploads=bool(url), now=time.time)
    spool.start()
    spool.offer(frame, picture) -> bool                 # never blocks; False: not wanted, or dropped and counted
    spool.capture_tensors(capture: TensorCapture)       # ALREADY_EXISTS, RESOURCE_EXHAUSTED
    spool.capture_state(capture_id) -> "IN_PROGRESS" | "SUCCESS" | "FAILURE" | None   # survives a restart
    spool.status() -> CaptureStatus
    spool.list(limit) -> list[CaptureReport]            # newest first
    uploader = Uploader(spool, objects, Destination(url, fleet, thing), rng=random.Random())
    uploader.start()                                    # objects: anything with put(key, content)
    uploader.stop(); spool.stop()

Rules of the room: a capture may be dropped, never delay an inspection; what was
accepted is one durable file until its bytes are in the cloud; uploads are tried for
ever, NG first. Objects are named by content that does not change, so sending one
twice is sending it once. Not done here: choosing a destination (the device's own
configuration alone does), deciding verdicts.

On disk: ``captures/<milliseconds>-<id>.capture`` waits; ``captures/history.db`` tells
of what was sent or failed.
"""

from edge_agent.capture.layout import Destination
from edge_agent.capture.spool import CaptureSpool
from edge_agent.capture.uploader import Uploader

__all__ = ["CaptureSpool", "Destination", "Uploader"]
