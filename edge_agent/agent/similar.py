"""Parts that look alike, answered from the models, their memories, recent frames and captures."""

import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from edge_agent.capture import CaptureSpool
from edge_agent.errors import BundleError, Code, InferenceError, StorageError
from edge_agent.formats import BankStatus, Embedded, EncodedPicture, ModelVersion, Picture, SimilarPart, SimilarParts
from edge_agent.formats.bank import EMBEDDING, ROWS_AND_COLUMNS
from edge_agent.inference import DataPlane, Priority, Registry, Session
from edge_agent.inspection import RecentFrames
from edge_agent.similarity import PartMemory
from edge_agent.store import Store

_SPARE = 20
_NOTHING = "none of the models that answer here tells where a part lies among others"


class _Found(NamedTuple):
    """A part that is asked about."""

    models: Sequence[str]
    """Those that answered it."""
    picture: Callable[[], Picture]


class SimilarDesk:
    """The operator's verb about parts that look alike.

    Args:
        memory: of the models.
        registry: which versions answer.
        data_plane: asks one where a part lies, if that is not known.
        frames: recent ones.
        captures: the spool.
        served: returns applications and their models, in their order.
    """

    def __init__(
        self,
        memory: PartMemory,
        registry: Registry,
        data_plane: DataPlane,
        frames: RecentFrames,
        captures: CaptureSpool,
        served: Callable[[], Mapping[str, str]],
    ) -> None:
        self._memory = memory
        self._registry = registry
        self._data_plane = data_plane
        self._frames = frames
        self._captures = captures
        self._served = served

    def similar(self, identity: str, model: str, limit: int, *, timeout_s: float) -> SimilarParts:
        """Return what looks most like a recent frame or a capture.

        Args:
            identity: the frame's or the capture's.
            model: whose memory is asked; empty: one that answered the part, else the first that has one.
            limit: how many at most.
            timeout_s: from now.

        Raises:
            InferenceError: NOT_FOUND: there is no such part, its picture is gone, or no such model answers;
                FAILED_PRECONDITION: the model that was named does not tell where a part lies.
            StorageError: what is captured could not be read.
        """
        deadline = time.monotonic() + timeout_s
        found = self._find(identity)
        asked = self._asked(model, found.models)
        if asked is None:
            return SimilarParts(message=_NOTHING)
        place = self._place(identity, asked, found.picture, deadline - time.monotonic())
        # Some of what was captured may be gone by now.
        alike = self._memory.alike(place.version, place.embedding, limit + _SPARE, but=identity)
        return SimilarParts(
            model=place.version.name,
            version=place.version.version,
            distance=alike.distance,
            limit=alike.limit,
            far=not alike.message and alike.distance > alike.limit,
            message=alike.message,
            parts=tuple(itertools.islice(self._described(place.version, alike.parts), limit)),
        )

    def _asked(self, model: str, answered: Sequence[str]) -> Session | None:
        """Return the model whose memory is asked: one that answered the part before others, with a bank if any has."""
        active = self._registry.active()
        if model:
            session = active.get(model)
            if session is None:
                raise InferenceError(Code.NOT_FOUND, f"expected one of {', '.join(sorted(active))}, came {model[:80]}")
            if not _tells(session):
                message = f"{session.manifest.model_version} does not tell where a part lies among others"
                raise InferenceError(Code.FAILED_PRECONDITION, message)
            return session
        for names in (answered, [*self._served().values(), *active]):
            telling = [active[name] for name in names if name in active and _tells(active[name])]
            if telling:
                return next((each for each in telling if each.manifest.bank is not None), telling[0])
        return None

    def _find(self, identity: str) -> _Found:
        """Return a recent frame or a capture.

        Raises:
            InferenceError: NOT_FOUND: nothing has this id.
        """
        try:
            recent = self._frames.get(identity)
        except InferenceError:
            capture = self._captures.find(identity)
            return _Found((capture.model,), lambda: EncodedPicture(self._captures.content(identity, "picture")[0]))
        return _Found([result.model for result in recent.frame.results], lambda: recent.picture)

    def _place(self, identity: str, session: Session, picture: Callable[[], Picture], timeout_s: float) -> Embedded:
        version = session.manifest.model_version
        known = next((each for each in self._memory.place_of(identity) if each.version == version), None)
        if known is not None:
            return known
        answered, inspected = self._data_plane.inspect(
            version.name, picture(), timeout_s=timeout_s, with_mask=False, priority=Priority.SHADOW
        )
        if not inspected.embedding:
            raise InferenceError(Code.FAILED_PRECONDITION, f"{answered} does not tell where this part lies")
        return Embedded(answered, inspected.embedding)

    def _described(self, version: ModelVersion, parts: Iterable[SimilarPart]) -> Iterable[SimilarPart]:
        """Yield parts with what people said of captured ones; those that are no longer here are forgotten."""
        for part in parts:
            if not part.captured:
                yield part
                continue
            try:
                told = self._captures.find(part.id)
                small = self._captures.content(part.id, "thumbnail")[0]
            except InferenceError:
                # One that was just accepted is not on the disk yet.
                if self._captures.capture_state(part.id) != "IN_PROGRESS":
                    self._memory.forget(version, part.id)
                continue
            yield part.model_copy(update={"label": told.label, "verdict": told.verdict, "thumbnail": small})


class BankFigures(NamedTuple):
    """What is told of one bank."""

    version: ModelVersion
    status: BankStatus


def bank_figures(memory: PartMemory, registry: Registry) -> list[BankFigures]:
    """Return how live parts lie to the banks of what answers."""
    versions = [session.manifest.model_version for session in registry.active().values()]
    found = ((version, memory.status(version)) for version in versions)
    return [BankFigures(version, status) for version, status in found if status is not None]


def read_stored_bank(store: Store, version: ModelVersion) -> bytes:
    """Return the content of a stored version's memory bank; empty where its release carries none.

    Raises:
        BundleError: its bytes are not the ones that were signed.
        StorageError: it cannot be read.
    """
    if version not in store.installed():
        return b""
    bank = store.manifest(version).bank
    if bank is None:
        return b""
    path = store.directory(version) / bank.path
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise StorageError(Code.CONTENT_MISSING, f"expected {bank.path} at {path}, {exc.strerror}") from exc
    came = hashlib.sha256(content).hexdigest()
    if came != bank.sha256:
        raise BundleError(Code.DIGEST_MISMATCH, f"{bank.path}: expected SHA-256 {bank.sha256}, came {came}")
    return content


def _tells(session: Session) -> bool:
    return any(spec.name == EMBEDDING and len(spec.shape) == ROWS_AND_COLUMNS for spec in session.manifest.outputs)
