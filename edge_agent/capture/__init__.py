"""What is kept of the line's pictures, and how it gets to the cloud.

::

    spool = CaptureSpool(state_dir / "captures", quota_bytes=1 << 30, policy="ng", uploads=bool(url), now=time.time)
    spool.start()
    spool.offer(frame, picture) -> bool                 # never blocks; False: not wanted, or dropped and counted
    spool.capture_tensors(capture: TensorCapture)       # ALREADY_EXISTS, RESOURCE_EXHAUSTED
    spool.capture_state(capture_id) -> "IN_PROGRESS" | "SUCCESS" | "FAILURE" | None   # survives a restart
    spool.status() -> CaptureStatus
    spool.list(limit, before=0, verdict="", state="") -> list[CaptureReport]    # newest first
    spool.content(capture_id, "thumbnail") -> (bytes, content type)             # NOT_FOUND
    spool.label(capture_id, "NG", actor) -> CaptureReport                       # durable, goes to the cloud
    spool.pauses.set(capture=True, upload=None)                                 # durable
    uploader = Uploader(spool, objects, Destination(url, fleet, thing), rng=random.Random())
    uploader.start()                                    # objects: anything with put(key, content)
    uploader.stop(); spool.stop()

Rules of the room: a capture may be dropped, never delay an inspection; what was
accepted is one durable file until its bytes are in the cloud; uploads are tried for
ever, NG first. What is in the cloud is kept for browsing as far as there is room, and
gives way to what comes. Objects are named by content that does not change, so sending one
twice is sending it once. Not done here: choosing a destination (the device's own
configuration alone does), deciding verdicts.

On disk: ``captures/<milliseconds>-<id>.capture`` waits; ``captures/history.db`` tells
of what was sent or failed; ``<milliseconds>-<id>.uploaded`` is kept for browsing;
``captures/labels.db`` holds what people said, ``captures/pauses.json`` what they paused,
``captures/ages.db`` how long captures have been here.
"""

from edge_agent.capture.layout import Destination
from edge_agent.capture.policy import Sampling
from edge_agent.capture.spool import CaptureSpool
from edge_agent.capture.uploader import Uploader

__all__ = ["CaptureSpool", "Destination", "Sampling", "Uploader"]
