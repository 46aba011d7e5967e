"""Old clients that name a version, and the active one that answers them."""

import logging

from edge_agent.formats import ModelVersion

_LOG = logging.getLogger(__name__)
_NOTED_LIMIT = 256


class AliasNotes:
    """Tells the log when an identifier ``name-version`` is answered by another version: once for each change."""

    def __init__(self) -> None:
        self._noted: dict[str, str] = {}

    def note(self, asked: str, model: str, version: str) -> None:
        """Note which version answered a name."""
        answered = ModelVersion(model, version).identifier
        surprising = asked not in (model, answered) and asked.startswith(f"{model}-")
        if not surprising or self._noted.get(asked) == answered:
            return
        if len(self._noted) >= _NOTED_LIMIT:
            self._noted.clear()
        self._noted[asked] = answered
        extra = {"action": "alias_answered", "asked": asked, "answered": answered}
        _LOG.info("a client that asks for another version is answered by the active one", extra=extra)
