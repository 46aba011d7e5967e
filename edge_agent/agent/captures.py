"""What an operator sees of captures and does with them; what is done stands in the audit log."""

import logging
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

from edge_agent.capture import CaptureSpool
from edge_agent.errors import AgentError, Code, InferenceError, StorageError
from edge_agent.formats import CaptureReport, CaptureStatus, ModelVersion
from edge_agent.inference import Registry
from edge_agent.rpc.ports import CapturePart
from edge_agent.store import AuditLog, Store

_log = logging.getLogger(__name__)

VERDICT_LABELS = ("OK", "NG")
# It becomes a folder of a data set.
_NAME = re.compile(r"[^\W_][\w .+-]{0,63}")


class CaptureDesk:
    """The operator's verbs about captures.

    Args:
        captures: the spool.
        audit: told of labels and pauses.
        classes: of a model's version; empty when they are not known here.
    """

    def __init__(
        self, captures: CaptureSpool, audit: AuditLog, classes: Callable[[ModelVersion], Collection[str]]
    ) -> None:
        self._captures = captures
        self._audit = audit
        self._classes = classes

    def captures(
        self, limit: int, *, before: float = 0.0, verdict: str = "", state: str = ""
    ) -> Sequence[CaptureReport]:
        """Return captured inspections, newest first: older than ``before`` and of these words, where given."""
        return self._captures.list(limit, before=before, verdict=verdict, state=state)

    def capture_content(self, capture_id: str, part: CapturePart) -> tuple[bytes, str]:
        """Return a capture's picture, a small one of it or its mask, and the content type.

        Raises:
            InferenceError: NOT_FOUND.
        """
        return self._captures.content(capture_id, part)

    def label_capture(
        self,
        capture_id: str,
        label: str,
        actor: str,
        *,
        other: bool = False,
        role: str = "",
        user: str = "",
        instead_of: str | None = None,
    ) -> CaptureReport:
        """Keep what a person says that the part is, empty takes it back; return when that is durable.

        Args:
            capture_id: the capture's.
            label: OK, NG or a class of the capture's model.
            actor: who says so, in full: for the audit log.
            role: of who says so; empty: not known.
            user: who logged in; empty: nobody had to.
            other: a class that the model does not know yet will do as well; else a slip of the pen would make one.
            instead_of: the label that has to stand, empty: none; None: whatever stands.

        Raises:
            InferenceError: NOT_FOUND; INVALID_ARGUMENT: not such a label; FAILED_PRECONDITION: another stands.
            StorageError: what was said before stands.
        """
        former = self._captures.find(capture_id)
        self._check(label, ModelVersion(former.model, former.version), other=other)
        report = self._captures.label(capture_id, label, actor, role=role, user=user, instead_of=instead_of)
        if label != former.label:
            self._note("capture_labelled", capture=capture_id, label=label, former=former.label, actor=actor)
        return report

    def _check(self, label: str, version: ModelVersion, *, other: bool) -> None:
        known = [*VERDICT_LABELS, *(name for name in self._classes(version) if name not in VERDICT_LABELS)]
        if not label or label in known or (other and _NAME.fullmatch(label)):
            return
        if other:
            expected = "letters, digits, spaces and . + - _, at most 64, a letter or digit first"
        else:
            expected = f"one of {', '.join(known)}, or nothing to take it back"
        raise InferenceError(Code.INVALID_ARGUMENT, f"label: expected {expected}, came {label!r}")

    def pause_captures(self, capture: bool | None, upload: bool | None, actor: str) -> CaptureStatus:
        """Pause capture or upload, or let them go on, None leaves it; return when that is durable.

        Raises:
            StorageError: nothing has changed.
        """
        before = self._captures.pauses.now
        paused = self._captures.pauses.set(capture=capture, upload=upload)
        if paused != before:
            self._note("captures_paused", capture=paused.capture, upload=paused.upload, actor=actor)
        return self._captures.status()

    def _note(self, action: str, **fields: Any) -> None:
        """Add it to the audit log; it is done, whether it can be noted or not."""
        try:
            self._audit.append(action, **fields)
        except StorageError as exc:
            extra = {"action": "audit_failed", "what": action, "why": exc.message}
            _log.error("a person's act is not in the audit log", extra=extra)


def classes_of(store: Store, registry: Registry, version: ModelVersion) -> tuple[str, ...]:
    """Return a version's classes, else those of the version that answers now; empty where neither is here."""
    try:
        return store.manifest(version).labels
    except AgentError:
        active = registry.active().get(version.name)
        return active.manifest.labels if active is not None else ()
