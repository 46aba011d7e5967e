"""What a smoke run says of itself: every value measured in it, or absent."""

import json
from typing import Any

# In the order in which they are told; None: not measured, since the run ended before.
_FIELDS = (
    "ok",
    "seconds",
    "deployed",
    "predictions",
    "failed_requests",
    "retried_requests",
    "swap_ms",
    "mixed_version_answers",
    "broken_release",
    "tampered_release",
    "rollback",
    "restart",
    "captures_uploaded",
    "page_requests_off_host",
    "listening",
)


class Report:
    """The figures, and what was expected of them and did not come."""

    def __init__(self) -> None:
        self.figures: dict[str, Any] = dict.fromkeys(_FIELDS)
        self.complaints: list[str] = []
        self.finished = False

    def note(self, **figures: Any) -> None:
        """Add figures."""
        self.figures.update(figures)

    def expect(self, fulfilled: bool, complaint: str) -> None:
        """Remember the complaint unless its condition is fulfilled."""
        if not fulfilled:
            self.complaints.append(complaint)

    @property
    def ok(self) -> bool:
        """Tell whether the run came to its end and all was as expected."""
        return self.finished and not self.complaints

    def line(self) -> str:
        """Return the one JSON object."""
        told = self.figures | {"ok": self.ok} | ({} if self.ok else {"complaints": self.complaints})
        return json.dumps(told, ensure_ascii=False)
