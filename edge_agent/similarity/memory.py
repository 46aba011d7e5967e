"""Takes where models found live parts, and answers what looks like a part.

One thread measures distances, so that an inspection does not wait for a bank of many parts or for
the disk. What is offered faster than that is not looked at: drift is judged on a sample as well.
"""

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import AgentError, Code, InferenceError, StorageError
from edge_agent.formats import Embedded, InspectedFrame, ModelVersion
from edge_agent.formats.bank import Bank, distances_to, nearest, read_bank
from edge_agent.formats.similar import BankStatus, SimilarPart
from edge_agent.similarity.drift import Watch
from edge_agent.similarity.places import Place, Places
from edge_agent.telemetry.threads import Watched

_log = logging.getLogger(__name__)

RECENT = 1000
LIMIT_BANKS = 16
LIMIT_BANKS_BYTES = 256 << 20
_WAITING = 256
_IDLE_S = 0.5


class Alike(NamedTuple):
    """What looks like a part."""

    parts: tuple[SimilarPart, ...]
    """The most alike first; captured ones without a label or a picture."""
    distance: float
    """1 - cosine to the nearest part of the bank; 0 where there is none."""
    limit: float
    """What good parts keep within; 0 where there is no bank."""
    message: str
    """Why there is no bank."""


class _Offered(NamedTuple):
    frame: InspectedFrame | None
    embedded: tuple[Embedded, ...]
    captured: bool
    expected: ModelVersion | None = None


class _Memory(NamedTuple):
    """One version's bank, or why there is none."""

    watch: Watch | None
    trouble: str
    size_bytes: int = 0


class PartMemory:
    """The memories of the model versions that answer. Thread-safe.

    Args:
        bank_of: returns the content of a version's bank, empty where its release carries none.
        places: of captured parts.
        capture: asked to capture a frame that lies far from a bank; returns whether it did.
    """

    def __init__(
        self,
        bank_of: Callable[[ModelVersion], bytes],
        places: Places,
        *,
        capture: Callable[[str], bool] = lambda _frame_id: False,
    ) -> None:
        self._bank_of = bank_of
        self._places = places
        self._capture = capture
        self._changed = threading.Condition()
        self._waiting: deque[_Offered] = deque()
        self._recent: OrderedDict[str, tuple[Embedded, ...]] = OrderedDict()
        self._loading = threading.Lock()
        self._memories: OrderedDict[ModelVersion, _Memory] = OrderedDict()
        self._busy = False
        self._thread = Watched("part-memory", self._work)

    def start(self) -> None:
        """Begin to measure."""
        self._thread.start()

    def stop(self) -> None:
        """End; what waits is not measured."""
        self._thread.stop()
        self._places.close()

    def offer(self, frame: InspectedFrame, embedded: Sequence[Embedded], captured: bool = False) -> None:
        """Take where models found a frame, and whether it was captured."""
        self._put(_Offered(frame, tuple(embedded), captured))

    def expect(self, version: ModelVersion) -> None:
        """Load the bank of a version soon, so that it is known before the first part comes."""
        self._put(_Offered(None, (), captured=False, expected=version))

    def drain(self, timeout_s: float) -> bool:
        """Wait until all that was offered is measured; return whether that came true."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout_s)

    def place_of(self, frame_id: str) -> Sequence[Embedded]:
        """Return where models found a recent frame; empty where that is not known any more."""
        with self._changed:
            return self._recent.get(frame_id, ())

    def status(self, version: ModelVersion) -> BankStatus | None:
        """Return how live parts lie to the bank of a version; None where it has none, or none yet."""
        memory = self._memories.get(version)
        if memory is None:
            return None
        if memory.watch is None:
            return BankStatus(state="BROKEN", message=memory.trouble) if memory.trouble else None
        return memory.watch.status()

    def alike(self, version: ModelVersion, embedding: bytes, limit: int, *, but: str = "") -> Alike:
        """Return the parts that look most like one, of the bank and of what was captured.

        Args:
            version: of the model that found it.
            embedding: where it did.
            limit: how many at most.
            but: id of the part itself, if it was captured.

        Raises:
            InferenceError: INTERNAL: the embedding does not fit the bank.
            StorageError: captured parts could not be read.
        """
        memory = self._memory(version)
        place = np.frombuffer(embedding, np.float32)
        learnt: list[SimilarPart] = []
        if memory.watch is not None:
            bank = memory.watch.bank
            _check(bank, place, version)
            learnt = [_learnt(bank, *found) for found in nearest(bank.embeddings, place, limit)]
        captured = [part for part in self._captured(version, place, limit + 1) if part.id != but]
        parts = sorted([*learnt, *captured], key=lambda part: -part.similarity)[:limit]
        if memory.watch is None:
            return Alike(tuple(parts), 0.0, 0.0, memory.trouble or f"{version} carries no memory of what it learnt")
        return Alike(tuple(parts), 1 - learnt[0].similarity, memory.watch.limit, "")

    def forget(self, version: ModelVersion, capture_id: str) -> None:
        """Forget a captured part that is no longer on this device."""
        try:
            self._places.forget(version, capture_id)
        except StorageError as exc:
            _log.warning("place not forgotten", extra={"action": "place_kept", "reason": exc.message})

    def _captured(self, version: ModelVersion, place: NDArray[np.float32], limit: int) -> list[SimilarPart]:
        places, rows = self._places.of(version, len(place))
        return [
            SimilarPart(similarity=cosine, captured=True, id=places[index].id, at=places[index].at)
            for index, cosine in nearest(rows, place, limit)
        ]

    def _put(self, offered: _Offered) -> None:
        with self._changed:
            if offered.frame is not None:
                self._recent[offered.frame.id] = offered.embedded
                if len(self._recent) > RECENT:
                    self._recent.popitem(last=False)
            if len(self._waiting) < _WAITING:
                self._waiting.append(offered)
                self._changed.notify_all()

    # below: on the thread

    def _work(self, thread: Watched) -> None:
        while not thread.stopping.is_set():
            thread.beat()
            with self._changed:
                if not self._changed.wait_for(lambda: bool(self._waiting), _IDLE_S):
                    continue
                offered = self._waiting.popleft()
                self._busy = True
            self._take(offered)
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _take(self, offered: _Offered) -> None:
        if offered.expected is not None:
            self._look_again(offered.expected)
        far = [self._measure(each) for each in offered.embedded]
        if offered.frame is None:
            return
        captured = offered.captured or (any(far) and self._capture(offered.frame.id))
        if captured:
            self._keep(offered.frame, offered.embedded)

    def _measure(self, embedded: Embedded) -> bool:
        """Take one more live part of a model; tell whether it lies far from what the model learnt."""
        memory = self._memory(embedded.version)
        if memory.watch is None:
            return False
        place = np.frombuffer(embedded.embedding, np.float32)
        if place.shape != memory.watch.bank.embeddings.shape[1:]:
            return False
        return memory.watch.add(float(distances_to(memory.watch.bank.embeddings, place[np.newaxis])[0]))

    def _keep(self, frame: InspectedFrame, embedded: Sequence[Embedded]) -> None:
        try:
            for each in embedded:
                self._places.add(each.version, Place(frame.id, frame.at, each.embedding))
        except StorageError as exc:
            # The capture itself is kept; it can be compared all the same, by its picture.
            _log.warning("place not kept", extra={"action": "place_not_kept", "reason": exc.message})

    def _memory(self, version: ModelVersion) -> _Memory:
        with self._loading:
            memory = self._memories.get(version)
            if memory is None:
                memory = self._memories[version] = self._load(version)
            self._memories.move_to_end(version)
            while len(self._memories) > 1 and self._is_too_much():
                self._memories.popitem(last=False)
            return memory

    def _is_too_much(self) -> bool:
        sizes = [memory.size_bytes for memory in self._memories.values()]
        return len(sizes) > LIMIT_BANKS or sum(sizes) > LIMIT_BANKS_BYTES

    def _look_again(self, version: ModelVersion) -> None:
        """Load a version's bank; one that was broken may have been mended."""
        if self._memory(version).trouble:
            with self._loading:
                self._memories[version] = self._load(version)

    def _load(self, version: ModelVersion) -> _Memory:
        try:
            content = self._bank_of(version)
            watch = Watch(read_bank(content, f"the memory bank of {version}")) if content else None
            return _Memory(watch, "", len(content))
        except AgentError as exc:
            extra = {"action": "bank_broken", "model": version.name, "version": version.version, "reason": exc.message}
            _log.error("memory bank not loaded; the model answers all the same", extra=extra)
            return _Memory(None, exc.message)


def _learnt(bank: Bank, index: int, cosine: float) -> SimilarPart:
    part = bank.parts[index]
    return SimilarPart(
        similarity=cosine, captured=False, id=part.file, label=part.label, thumbnail=bank.thumbnails[index]
    )


def _check(bank: Bank, place: NDArray[np.float32], version: ModelVersion) -> None:
    if place.shape != bank.embeddings.shape[1:]:
        expected = f"expected an embedding of {bank.embeddings.shape[1]} numbers as in its memory bank"
        raise InferenceError(Code.INTERNAL, f"{version}: {expected}, came {place.shape[0]}")
