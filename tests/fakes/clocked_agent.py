"""The real agent under libfaketime, whose clock a test sets while it runs.

libfaketime turns ``time.sleep`` (an absolute monotonic sleep) into an error, so sleeping is done by waiting.
"""

import os
import sys
import threading
import time
from pathlib import Path

YEARS_10_S = 10 * 365.25 * 86_400
LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


class FakedClock:
    """An agent's wall clock: right at first, then as far off as a test says; monotonic time goes on as it is."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "clock"
        self.set(0)

    def set(self, off_s: float) -> None:
        """Let the clock jump: so many seconds off from now on."""
        staged = self._file.with_suffix(".staged")
        staged.write_text(f"{off_s:+.0f}\n")
        staged.replace(self._file)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            # The file is read once a second: with each look at a clock, the agent would crawl.
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # What was written before a jump keeps its date, as on a real disk.
            "NO_FAKE_STAT": "1",
        }


def command() -> tuple[str, ...]:
    """Return what starts the agent."""
    return sys.executable, "-m", "tests.fakes.clocked_agent"


if __name__ == "__main__":
    time.sleep = lambda seconds: threading.Event().wait(seconds) and None
    from edge_agent import cli

    sys.argv[0] = "edge-agent"
    if not os.environ.get("LD_PRELOAD"):
        raise SystemExit("expected libfaketime in LD_PRELOAD")
    cli.main()
