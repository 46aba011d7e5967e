"""Whether captures are made and sent just now; a person's pause survives a restart."""

import logging
import threading
from pathlib import Path

from edge_agent.errors import DocumentError
from edge_agent.formats import Document, parse
from edge_agent.storage import durable

log = logging.getLogger(__name__)


class Paused(Document):
    """What a person paused."""

    capture: bool = False
    upload: bool = False


class Pauses:
    """Both pauses, in one small file. Thread-safe.

    Args:
        path: the file; one that cannot be understood pauses nothing and is said so.

    Raises:
        StorageError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._paused = self._read()

    @property
    def now(self) -> Paused:
        """Return what is paused."""
        return self._paused

    def set(self, *, capture: bool | None = None, upload: bool | None = None) -> Paused:
        """Pause or let go on; None leaves it as it is. Durable when this returns.

        Raises:
            StorageError: nothing has changed.
        """
        asked = {name: value for name, value in (("capture", capture), ("upload", upload)) if value is not None}
        with self._lock:
            paused = self._paused.model_copy(update=asked)
            if paused != self._paused:
                durable.write(self._path, paused.to_json(), mode=0o640)
                self._paused = paused
            return paused

    def _read(self) -> Paused:
        with durable.translated(self._path):
            if not self._path.exists():
                return Paused()
            content = self._path.read_bytes()
        try:
            return parse(Paused, content, what=self._path.name)
        except DocumentError as exc:
            log.warning("pauses of captures damaged", extra={"action": "pauses_forgotten", "reason": exc.message})
            return Paused()
