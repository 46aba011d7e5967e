"""``python -m scripts.benchlib.delivery [--json] [--swaps N] [--rounds N]``: what a new version costs, and whom.

Composes what other modules measure: ``ota`` (an update of 100 MB against fetching and hashing it), ``swaps``
(deployments under load), ``reconnect`` (a fleet after an outage). The last line on stdout is one JSON object with
the fields of ``bench delivery``; null: not measured.
"""

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from scripts.benchlib.ota import measure_ota
from scripts.benchlib.reconnect import measure_reconnect
from scripts.benchlib.swaps import SWAPS, measure_swaps

Figures = dict[str, Any]
FIELDS = (
    "ota_seconds_100mb",
    "get_hash_seconds_100mb",
    "failed_requests",
    "swap_p99_ratio",
    "reconnect_peak_share",
    "memory_growth",
)


def main(arguments: list[str] | None = None) -> int:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(prog="bench delivery")
    parser.add_argument("--json", action="store_true", help="only the last line, which is JSON anyway")
    parser.add_argument("--rounds", type=int, default=3, help="updates of 100 MB")
    parser.add_argument(
        "--swaps", type=int, default=SWAPS, help="deployments under load; a thousand take a quarter of an hour"
    )
    asked = parser.parse_args(arguments)
    figures: Figures = dict.fromkeys(FIELDS)
    measured: tuple[Callable[[], Figures], ...] = (
        lambda: measure_ota(asked.rounds),
        measure_reconnect,
        lambda: measure_swaps(asked.swaps),
    )
    for measure in measured:
        found = measure()
        figures |= found
        if not asked.json:
            print("\n".join(f"{name:34} {value}" for name, value in found.items()), flush=True)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
