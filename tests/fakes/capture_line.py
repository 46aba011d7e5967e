"""A line's captures from the spool to a bucket, restartable, for tests of what becomes of them."""

import json
import random
from pathlib import Path
from typing import Any

from edge_agent.capture import CaptureSpool, Destination, Uploader
from edge_agent.capture.ageing import Uptime
from edge_agent.capture.authors import LabelledBy
from edge_agent.formats import EncodedPicture, Verdict
from tests.fakes.captures import AT, Bucket, frame, result

FOLDER = "line/unet/2026/05/31/20"


class CaptureLine:
    """A spool and its uploader; nothing is sent but by ``send``.

    Args:
        directory: the spool's.
        picture: of each part, where a test brings no other.
    """

    def __init__(self, directory: Path, picture: EncodedPicture) -> None:
        self.directory = directory
        self.bucket = Bucket()
        self.now = AT + 60
        self.uptime = Uptime("this boot", 100.0)
        self._picture = picture
        self._running = False
        self.begin()

    def begin(self, **options: Any) -> None:
        """Start, or start anew with other options of the spool; ``labelled_by`` is the uploader's."""
        self.end()
        labelled_by: LabelledBy = options.pop("labelled_by", "role")
        wanted = {"quota_bytes": 1 << 24, "policy": "all", "uploads": True} | options
        self.spool = CaptureSpool(
            self.directory, now=lambda: self.now, uptime=lambda: self.uptime, rng=random.Random(0), **wanted
        )
        destination = Destination("s3://b/p", "line", "press")
        self.uploader = Uploader(self.spool, self.bucket, destination, rng=random.Random(0), labelled_by=labelled_by)
        self.spool.start()
        self._running = True

    def end(self) -> None:
        if self._running:
            self.uploader.stop()
            self.spool.stop()
            self._running = False

    def take(
        self,
        name: str,
        verdict: Verdict = Verdict.NG,
        at: float = AT,
        mask: bytes = b"",
        picture: EncodedPicture | None = None,
    ) -> bool:
        """Offer a frame and wait until it is on disk."""
        told = frame(name, verdict, result(verdict=verdict, mask=mask), at=at)
        taken = self.spool.offer(told, picture or self._picture)
        assert self.spool.drain(30)
        return taken

    def send(self, tries: int = 1) -> list[float]:
        """Send so often; return how long each time to wait before the next."""
        return [self.uploader.send_next() for _ in range(tries)]

    def sent(self) -> list[str]:
        """Return the ids of sent records, in order."""
        return [key.rsplit("/", 1)[1].removesuffix(".jsonl") for key in self.bucket.order if key.endswith(".jsonl")]

    def label(self, name: str) -> dict[str, object]:
        """Return what the bucket has of what people said."""
        found: dict[str, object] = json.loads(self.bucket.stored[f"{FOLDER}/{name}.label.json"])
        return found

    def files(self) -> list[Path]:
        """Return what waits on the disk."""
        return sorted(self.directory.glob("*.capture"))

    def here(self) -> set[str]:
        """Return what can be browsed."""
        return {report.id for report in self.spool.list(100) if report.has_picture}

    def passes(self, seconds: float) -> None:
        """Let the machine run so long; its clock is ``now``."""
        self.uptime = self.uptime._replace(seconds=self.uptime.seconds + seconds)
