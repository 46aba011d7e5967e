"""The models in memory: which version answers, and when the old one may go.

A caller borrows a session with ``lease`` and is answered by one version from start to end.
``activate`` puts new versions in front in a single assignment and returns the ones they
replaced, still open, so that turning back is one more assignment. Only ``retire`` closes.
"""

import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from edge_agent.errors import Code, InferenceError
from edge_agent.formats import ModelVersion
from edge_agent.inference.session import Session
from edge_agent.telemetry import metrics

_DASHED_VERSION = re.compile(r"\d+(-\d+){0,3}")


class _Slot:
    def __init__(self, session: Session) -> None:
        self.session = session
        self.leases = 0


class Registry:
    """Sessions by model name; safe for any number of threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._active: dict[str, _Slot] = {}
        self._slots: list[_Slot] = []
        self._returning: set[str] = set()
        self._thresholds: dict[ModelVersion, float] = {}
        self._closed = False

    @contextmanager
    def lease(self, name: str, *, version: str | None = None, timeout_s: float = 0.0) -> Iterator[Session]:
        """Yield the session that answers for ``name``; it stays open for the block.

        Args:
            name: a model's name, or its identifier ``name-version``, which stands for the
                active version whatever it is now.
            version: this loaded version and no other; None: the active one.
            timeout_s: how long to wait for a model that was withdrawn to come back.

        Raises:
            InferenceError: NOT_FOUND; UNAVAILABLE: it did not come back in time, or the agent is stopping.
        """
        slot = self._borrow(name, version, timeout_s)
        try:
            yield slot.session
        finally:
            with self._changed:
                slot.leases -= 1
                if slot.leases == 0:
                    self._changed.notify_all()

    def activate(self, sessions: Mapping[str, Session]) -> dict[str, Session]:
        """Answer for these names with these sessions from now on: all or none.

        Returns:
            What was replaced, by name, still open and still warm.

        Raises:
            InferenceError: INVALID_ARGUMENT: a session is closed or belongs to another model.
        """
        for name, session in sessions.items():
            _check(name, session)
        with self._changed:
            self._check_open()
            fresh = {name: self._slot(session) for name, session in sessions.items()}
            replaced = {name: self._active[name].session for name in fresh if name in self._active}
            self._active = {**self._active, **fresh}
            self._returning -= fresh.keys()
            self._changed.notify_all()
        changed = {name: session for name, session in replaced.items() if session is not sessions[name]}
        for name in changed:
            metrics.count_swap(name)
        return changed

    def keep(self, session: Session) -> None:
        """Hold a session, until it is retired, that answers only to who names its version.

        Raises:
            InferenceError: UNAVAILABLE: the agent is stopping; the session is closed.
        """
        try:
            with self._changed:
                self._check_open()
                self._slot(session)
        except InferenceError:
            session.close()
            raise

    def withdraw(self, name: str, *, returning: bool = False) -> Session | None:
        """Take a model out of service and return its session, still open; None if it was not active.

        Args:
            name: the model's name.
            returning: another version is to follow; until then requests wait within their time.
        """
        with self._changed:
            slot = self._active.get(name)
            self._active = {other: kept for other, kept in self._active.items() if other != name}
            if returning:
                self._returning.add(name)
            else:
                self._returning.discard(name)
            self._changed.notify_all()
        return slot.session if slot is not None else None

    def retire(self, session: Session, *, timeout_s: float) -> bool:
        """Close a session that no longer answers, once its leases have ended.

        Returns:
            True: all leases ended in time; False: they did not, and were cut off UNAVAILABLE.

        Raises:
            InferenceError: FAILED_PRECONDITION: it is still active.
        """
        with self._changed:
            slot = next((slot for slot in self._slots if slot.session is session), None)
            if slot is not None:
                if slot in self._active.values():
                    message = f"{session.manifest.model_version} is active and cannot be retired"
                    raise InferenceError(Code.FAILED_PRECONDITION, message)
                self._slots.remove(slot)
                drained = self._changed.wait_for(lambda: slot.leases == 0, timeout_s)
            else:
                drained = True
        session.close()
        return drained

    def set_thresholds(self, thresholds: Mapping[ModelVersion, float]) -> None:
        """Judge by these thresholds from now on, in place of those that were signed with the versions."""
        self._thresholds = dict(thresholds)

    def threshold(self, version: ModelVersion) -> float | None:
        """Return what was set for a version; None: what was signed holds."""
        return self._thresholds.get(version)

    def active(self) -> dict[str, Session]:
        """Return what answers now, by model name."""
        return {name: slot.session for name, slot in self._active.items()}

    def loaded(self) -> list[Session]:
        """Return every session that was ever activated and is not retired: active and warm ones."""
        with self._changed:
            return [slot.session for slot in self._slots]

    def resolve(self, name: str) -> str | None:
        """Return the active or returning model that a name or an identifier stands for."""
        known = self._active.keys() | self._returning
        if name in known:
            return name
        fitting = [model for model in known if _is_identifier(name, model)]
        return max(fitting, key=len, default=None)

    def wait_for(self, name: str, timeout_s: float) -> None:
        """Wait while the model that a name or an identifier stands for is on its way, and no longer than ``timeout_s``.

        Whether it is there then, ``active`` tells.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._is_settled(name), max(0.0, timeout_s))

    def close(self) -> None:
        """Close every session; requests in flight end UNAVAILABLE."""
        with self._changed:
            self._closed = True
            slots, self._slots, self._active = self._slots, [], {}
            self._changed.notify_all()
        for slot in slots:
            slot.session.close()

    def _borrow(self, name: str, version: str | None, timeout_s: float) -> _Slot:
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                self._check_open()
                slot = self._find(name, version)
                if slot is not None:
                    slot.leases += 1
                    return slot
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise InferenceError(Code.UNAVAILABLE, f"{name} is being replaced, and was not back in time")

    def _find(self, name: str, version: str | None) -> _Slot | None:
        """Return the slot; None: it is on its way."""
        model = self.resolve(name)
        if model is None:
            known = ", ".join(sorted(self._active)) or "none"
            raise InferenceError(Code.NOT_FOUND, f"expected one of the loaded models ({known}), came {name}")
        active = self._active.get(model)
        if version is None or (active is not None and active.session.manifest.version == version):
            return active
        wanted = (model, version)
        for slot in self._slots:
            if slot.session.manifest.model_version == wanted:
                return slot
        raise InferenceError(Code.NOT_FOUND, f"version {version} of {model} is not loaded")

    def _is_settled(self, name: str) -> bool:
        model = self.resolve(name)
        return model is None or model in self._active

    def _slot(self, session: Session) -> _Slot:
        """Return the session's slot: one that turns back keeps its leases."""
        for slot in self._slots:
            if slot.session is session:
                return slot
        slot = _Slot(session)
        self._slots.append(slot)
        return slot

    def _check_open(self) -> None:
        if self._closed:
            raise InferenceError(Code.UNAVAILABLE, "the agent is stopping")


def _check(name: str, session: Session) -> None:
    if session.manifest.model != name:
        message = f"expected a session of {name}, came one of {session.manifest.model}"
        raise InferenceError(Code.INVALID_ARGUMENT, message)
    if session.state == "CLOSED":
        raise InferenceError(Code.INVALID_ARGUMENT, f"expected an open session of {name}, came a closed one")


def _is_identifier(name: str, model: str) -> bool:
    return name.startswith(f"{model}-") and _DASHED_VERSION.fullmatch(name[len(model) + 1 :]) is not None
