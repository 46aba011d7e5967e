"""The thread that sends captures: for ever, patiently, one at a time.

A try that fails makes the next one wait by full jitter, and that one is made with
another capture: where this succeeds, the one that failed goes last from then on, so
that what can never be sent does not hold up the rest. What this device itself cannot read
goes last at once.
"""

import logging
import random
from typing import Protocol

from edge_agent.capture import files, layout
from edge_agent.capture.authors import LabelledBy, author
from edge_agent.capture.labels import Label
from edge_agent.capture.layout import Destination
from edge_agent.capture.policy import urgent
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
# What is larger is not sent again when only the rest of its capture failed, also after a restart.
_NOTED_BYTES = 256 << 10
_LABEL = "label of "


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
        labelled_by: what is told of who gave a label.
    """

    def __init__(
        self,
        spool: CaptureSpool,
        objects: Objects,
        destination: Destination,
        *,
        rng: random.Random,
        labelled_by: LabelledBy = "role",
    ) -> None:
        self._spool = spool
        self._shelf = spool.shelf
        self._objects = objects
        self._destination = destination
        self._labelled_by: LabelledBy = labelled_by
        self._delays = FullJitter(rng, base_s=_BASE_S, cap_s=_CAP_S)
        self._suspect = ""
        self._blamed: set[str] = set()
        self._thread = Watched("capture-upload", self._work)

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what was not sent waits for the next start."""
        self._thread.stop()

    def send_next(self) -> float:
        """Try to send one capture or label; nothing while a person has paused it.

        Returns:
            Seconds to wait before the next try.
        """
        if self._spool.pauses.now.upload:
            return _IDLE_S
        suspect, self._suspect = self._suspect, ""
        try:
            due = self._due(but=suspect) or self._due()
        except StorageError as exc:
            # What people said cannot be read just now; that must end neither this thread nor the agent.
            self._spool.tell(exc.message)
            return self._delays.next_s()
        if due is None:
            return _IDLE_S
        try:
            self._send(due)
        except StorageError as exc:
            # Its file cannot be read: that tells nothing of the connection, and others may be sound.
            self._suspect = suspect
            self._blame(_id(due))
            return self._postpone(due, exc)
        except TransferError as exc:
            # Two that fail in a row tell of the connection, one alone of itself.
            self._suspect = "" if suspect else _id(due)
            return self._postpone(due, exc)
        if suspect and suspect != _id(due):
            self._blame(suspect)
        self._spool.tell("")
        self._delays.reset()
        return 0.0

    def _due(self, *, but: str = "") -> Waiting | Label | None:
        capture = self._shelf.next(but=but)
        if capture is not None and urgent(capture.capture.verdict) and not capture.blamed:
            return capture
        # A label follows its capture: nobody finds one that stands alone.
        labels = [label for label in self._spool.labels.unsent() if label.id not in self._shelf and _id(label) != but]
        sound = [label for label in labels if _id(label) not in self._blamed]
        return next(iter(sound), None) or capture or next(iter(labels), None)

    def _blame(self, suspect: str) -> None:
        if suspect.startswith(_LABEL):
            self._blamed.add(suspect)
        else:
            self._shelf.blame(suspect)

    def _postpone(self, due: Waiting | Label, error: TransferError | StorageError) -> float:
        self._spool.tell(error.message)
        delay = self._delays.next_s()
        extra = {"action": "capture_postponed", "capture": _id(due), "code": str(error.code), "wait_s": delay}
        log.info("capture not sent", extra=extra)
        return delay

    def _send(self, due: Waiting | Label) -> None:
        if isinstance(due, Waiting):
            self._send_capture(due)
            return
        by = author(due, self._labelled_by, self._spool.pseudonym_key() if self._labelled_by == "pseudonym" else b"")
        for key, content in layout.label_objects(due, by, self._destination):
            self._objects.put(key, content)
        self._spool.labels.mark_sent(due)
        self._blamed.discard(_id(due))

    def _send_capture(self, waiting: Waiting) -> None:
        try:
            capture, contents = files.read(waiting.path)
        except StorageError as exc:
            if exc.code is not Code.CONTENT_MISSING:
                raise
            extra = {"action": "capture_failed", "capture": waiting.path.name, "reason": exc.message}
            log.warning("capture damaged", extra=extra)
            self._shelf.finish(waiting, "FAILED")
            return
        sent = self._shelf.history.sent(capture.id)
        for key, content in layout.objects(capture, contents, self._destination):
            if key in sent:
                continue
            self._objects.put(key, content)
            if len(content) >= _NOTED_BYTES:
                self._shelf.history.note_sent(capture.id, key)
        self._shelf.finish(waiting, "UPLOADED")

    def _work(self, thread: Watched) -> None:
        while not thread.stopping.is_set():
            thread.wait(self.send_next())


def _id(due: Waiting | Label) -> str:
    return due.capture.id if isinstance(due, Waiting) else f"{_LABEL}{due.id}"
