"""What each browser labelled last, so that it can take that back."""

import threading
from collections import OrderedDict
from typing import NamedTuple

_BROWSERS = 200


class LastLabel(NamedTuple):
    """A label that was just given.

    Attributes:
        capture_id: of which capture.
        label: what was said.
        former: what was said before; empty: nothing.
    """

    capture_id: str
    label: str
    former: str


class LastLabels:
    """The last label of each browser, of a few browsers; safe between threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, LastLabel] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, browser: str, label: LastLabel) -> None:
        """Keep a browser's label in place of the one before; the same said twice is taken back as a whole."""
        with self._lock:
            before = self._kept.get(browser)
            if before and label == before._replace(former=label.label):
                return
            self._kept[browser] = label
            self._kept.move_to_end(browser)
            while len(self._kept) > _BROWSERS:
                self._kept.popitem(last=False)

    def of(self, browser: str) -> LastLabel | None:
        """Return a browser's last label, None where there is none."""
        with self._lock:
            return self._kept.get(browser)

    def forget(self, browser: str) -> None:
        """Forget a browser's label: it was taken back."""
        with self._lock:
            self._kept.pop(browser, None)
