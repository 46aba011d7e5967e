"""Arguments in, exit code out: 0 when all of it succeeded, 1 for anything else."""

import argparse
import sys
import time
from pathlib import Path
from typing import NoReturn

from edge_agent.errors import AgentError, Code, ConfigError
from edge_agent.trust import StandardClient
from scripts.tuf_conformance.urls import Urls

_NEEDED = {
    "init": (),
    "refresh": ("metadata_url",),
    "download": ("metadata_url", "target_name", "target_base_url", "target_dir"),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # The suite knows two exit codes; argparse's own would be a third.
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def read_arguments(words: list[str]) -> argparse.Namespace:
    """Return the arguments; ends the process with exit code 1 where one is missing or unknown."""
    parser = _Parser(prog="tuf-client", description="A TUF client for the conformance suite.", allow_abbrev=False)
    parser.add_argument("--metadata-dir", type=Path, required=True, help="trusted metadata")
    parser.add_argument("--metadata-url", help="where the repository's metadata lies")
    parser.add_argument("--target-name", action="append", help="a target to download; may be given again")
    parser.add_argument("--target-base-url", help="where the repository's targets lie")
    parser.add_argument("--target-dir", type=Path, help="where verified targets go")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("init", help="trust a root.json").add_argument("root", type=Path, metavar="ROOT")
    verbs.add_parser("refresh", help="fetch and verify the metadata")
    verbs.add_parser("download", help="refresh, then fetch and verify targets")
    arguments = parser.parse_args(words)
    missing = [f"--{name.replace('_', '-')}" for name in _NEEDED[arguments.verb] if not getattr(arguments, name)]
    if missing:
        parser.error(f"{arguments.verb}: expected {', '.join(missing)}")
    return arguments


def run(arguments: argparse.Namespace) -> None:
    """Do what was asked.

    Raises:
        AgentError: it failed; what was verified before is kept.
    """
    objects = Urls(arguments.metadata_url or "", arguments.target_base_url or "")
    client = StandardClient(arguments.metadata_dir, objects, now=time.time)
    if arguments.verb == "init":
        client.initialise(_content(arguments.root))
    elif arguments.verb == "refresh":
        client.refresh()
    else:
        client.download(arguments.target_name, arguments.target_dir)


def main() -> int:
    """Run the command line and return its exit code."""
    try:
        run(read_arguments(sys.argv[1:]))
    except AgentError as exc:
        sys.stderr.write(f"tuf-client: {exc}\n")
        return 1
    return 0


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ConfigError(Code.CONFIG_INVALID, f"{path}: expected a root.json, {exc.strerror}") from exc


if __name__ == "__main__":
    sys.exit(main())
