"""``python -m scripts.benchlib.models [--json]``: train on two real paper types and print what came of it."""

import argparse
import json
import os
import sys
from pathlib import Path

from cloud_tools.evaluation.bench import bench_models
from scripts.benchlib.calls import ROOT


def main() -> int:
    """Print the figures; the last line is one JSON object."""
    parser = argparse.ArgumentParser(prog="scripts/bench models", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON object")
    quiet = parser.parse_args().json
    data = Path(os.environ.get("EDGE_TEST_DATA", ROOT / "../shared/data")).resolve()
    if not data.is_dir():
        sys.stderr.write(f"bench: expected real images in {data} (EDGE_TEST_DATA), there are none\n")
        return 1
    figures = bench_models(data)
    if not quiet:
        for name, value in figures.items():
            print(f"{name:34} {value}")
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
