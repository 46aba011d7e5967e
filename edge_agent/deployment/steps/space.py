"""Whether the disk holds what a deployment brings, told in bytes; old content goes before new is refused."""

import logging
from collections.abc import Callable, Mapping, Sequence

from edge_agent.deployment import capacity
from edge_agent.deployment.contents import Contents, size_of
from edge_agent.deployment.serving import Serving
from edge_agent.errors import Code, StorageError
from edge_agent.formats import Artefact, Manifest
from edge_agent.store import Store

_log = logging.getLogger(__name__)


class Space:
    """The disk under the store.

    Args:
        store: versions on disk.
        contents: what the targets are on disk.
        serving: what is in memory; its files stay.
        reserve_bytes: what a download must leave free.
        now: epoch seconds.
    """

    def __init__(
        self, store: Store, contents: Contents, serving: Serving, reserve_bytes: int, now: Callable[[], float]
    ) -> None:
        self._store = store
        self._contents = contents
        self._serving = serving
        self._reserve_bytes = reserve_bytes
        self._now = now

    def check(self, manifests: Sequence[Manifest], *, archive_bytes: int = 0) -> dict[str, float]:
        """Check that the disk holds what has still to come, the engines and the reserve; return the figures.

        Bytes that an earlier try left in ``partial/`` need no room again. ``archive_bytes``: of what they come out of.

        Raises:
            StorageError: NO_SPACE with each figure; STORAGE_FAILED.
        """
        missing = self._contents.missing(manifests)
        to_come = self.to_come(missing) + archive_bytes
        engines = sum(map(capacity.engine_bytes, manifests))
        reserve = self._reserve_bytes if missing else 0
        if to_come + engines + reserve > self._store.free_bytes():
            self._make_room(manifests)
        free = self._store.free_bytes()
        capacity.check_space(to_come, engines, reserve, free)
        return {
            "missing_bytes": sum(artefact.size_bytes for artefact in missing.values()),
            "to_come_bytes": to_come,
            "engine_bytes": engines,
            "reserve_bytes": reserve,
            "free_bytes": free,
        }

    def to_come(self, missing: Mapping[str, Artefact]) -> int:
        """Return the bytes that have still to come."""
        kept = {sha256: size_of(self._store.partial_path(sha256)) for sha256 in missing}
        return sum(max(0, artefact.size_bytes - kept[sha256]) for sha256, artefact in missing.items())

    def told(self, exc: StorageError, missing: Mapping[str, Artefact]) -> StorageError:
        """Return an error in the middle of a download with the figures that explain it."""
        if exc.code is not Code.NO_SPACE:
            return exc
        left, free = self.to_come(missing), self._store.free_bytes()
        message = f"{exc.message}; {left} bytes had still to come, {free} are free; what came is kept"
        return StorageError(Code.NO_SPACE, message)

    def _make_room(self, manifests: Sequence[Manifest]) -> None:
        """Delete what is neither committed, previous, in memory nor part of this deployment."""
        wanted = {artefact.sha256 for manifest in manifests for artefact in manifest.artefacts}
        keep = {manifest.model_version for manifest in (*manifests, *self._serving.in_use())}
        before = self._store.free_bytes()
        gone = self._store.prune(keep, partial_age_s=0.0, now=self._now(), in_flight=wanted)
        made = self._store.free_bytes() - before
        _log.info("room made", extra={"action": "room_made", "bytes": made, "versions": list(map(str, gone))})
