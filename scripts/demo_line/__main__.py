"""``scripts/demo``: its flags, its signals, its exit code."""

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from edge_agent.errors import AgentError
from scripts.demo_line.trouble import DemoError

# As a shell tells of an end by SIGINT.
_EXIT_INTERRUPTED = 130


def main() -> int:
    """Run the demo as its flags say."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description="A whole line on this machine, on loopback.")
    parser.add_argument("--smoke", action="store_true", help="try it from end to end; last line one JSON object")
    parser.add_argument("--data", type=Path, metavar="DIR", help="pictures instead of the sample line's")
    arguments = parser.parse_args()
    if arguments.data is not None and not arguments.data.is_dir():
        parser.error(f"--data: expected a directory of pictures, came {arguments.data}")
    _keep_the_outside_out()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _interrupt)
    try:
        if arguments.smoke:
            from scripts.demo_line import smoke  # noqa: PLC0415 - only this way pays for it

            return smoke.run(arguments.data)
        from scripts.demo_line import interactive  # noqa: PLC0415 - as above

        return interactive.run(arguments.data)
    except (DemoError, AgentError) as error:
        print(f"scripts/demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        # For the demo it is the ordinary end.
        return _EXIT_INTERRUPTED if arguments.smoke else 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _keep_the_outside_out() -> None:
    for key in [key for key in os.environ if key.startswith("AWS_")]:
        del os.environ[key]
    # A proxy is not meant for what runs on this machine.
    for key in ("NO_PROXY", "no_proxy"):
        os.environ[key] = ",".join(filter(None, [os.environ.get(key), "127.0.0.1", "localhost"]))


if __name__ == "__main__":
    sys.exit(main())
