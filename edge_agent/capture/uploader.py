"""The thread that sends captures: for ever, patiently, one at a time.

A try that fails makes the next one wait by full jitter, and that one is made with
another capture: where this succeeds, the one that failed goes last from then on, so
that what can never be sent does not hold up the rest.
"""

import logging
import random
from typing import Protocol

from edge_agent.capture import files, layout
from edge_agent.capture.layout import Destination
from edge_agent.capture.shelf import Waiting
from edge_agent.capture.spool import CaptureSpool
from edge_agent.errors import Code, StorageError, TransferError
from edge_agent.telemetry.threads import Watched
from edge_agent.transfer import FullJitter

log = logging.getLogger(__name__)

_IDLE_S = 0.5
_BASE_S = 1.0
# A thousand devices that come back at once spread over this.
_CAP_S = 120.0


class Objects(Protocol):
    """Where captures go."""

    def put(self, key: str, content: bytes) -> None:
        """Store an object; TransferError."""


class Uploader:
    """Sends what waits in a spool.

    Args:
        spool: where captures wait.
        objects: opened with the destination's URL.
        destination: how keys and references are formed.
        rng: where jitter comes from.
    """

    def __init__(self, spool: CaptureSpool, objects: Objects, destination: Destination, *, rng: random.Random) -> None:
        self._spool = spool
        self._shelf = spool.shelf
        self._objects = objects
        self._destination = destination
        self._delays = FullJitter(rng, base_s=_BASE_S, cap_s=_CAP_S)
        self._suspect = ""
        self._thread = Watched("capture-upload", self._work)

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what was not sent waits for the next start."""
        self._thread.stop()

    def send_next(self) -> float:
        """Try to send one capture.

        Returns:
            Seconds to wait before the next try.
        """
        suspect, self._suspect = self._suspect, ""
        waiting = self._shelf.next(but=suspect) or self._shelf.next()
        if waiting is None:
            return _IDLE_S
        try:
            self._send(waiting)
        except (TransferError, StorageError) as exc:
            # Two that fail in a row tell of the connection, one alone of itself.
            self._suspect = "" if suspect else waiting.capture.id
            return self._postpone(waiting, exc)
        if suspect and suspect != waiting.capture.id:
            self._shelf.blame(suspect)
        self._spool.tell("")
        self._delays.reset()
        return 0.0

    def _postpone(self, waiting: Waiting, error: TransferError | StorageError) -> float:
        self._spool.tell(error.message)
        delay = self._delays.next_s()
        extra = {"action": "capture_postponed", "capture": waiting.capture.id, "code": str(error.code), "wait_s": delay}
        log.info("capture not sent", extra=extra)
        return delay

    def _send(self, waiting: Waiting) -> None:
        try:
            capture, contents = files.read(waiting.path)
        except StorageError as exc:
            if exc.code is not Code.CONTENT_MISSING:
                raise
            extra = {"action": "capture_failed", "capture": waiting.path.name, "reason": exc.message}
            log.warning("capture damaged", extra=extra)
            self._shelf.finish(waiting, "FAILED")
            return
        for key, content in layout.objects(capture, contents, self._destination):
            self._objects.put(key, content)
        self._shelf.finish(waiting, "UPLOADED")

    def _work(self, thread: Watched) -> None:
        while not thread.stopping.is_set():
            thread.wait(self.send_next())
