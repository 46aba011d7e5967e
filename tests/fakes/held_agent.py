"""The real agent, but for one thing: where HOLD says, its deployment stands still until it is killed or let go.

HOLD is ``STATE:before`` (the state is durable, its work not begun), ``STATE:after`` (its work is
done, nothing of that written down), or ``RESUMED`` (the first thing that a restarted deployer does).
A file ``held`` beside the state directory tells that it stands; a file ``go`` lets it go on.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from edge_agent import agent, cli
from edge_agent.config import Settings
from edge_agent.deployment.record import Deployment
from edge_agent.deployment.steps.table import Steps
from edge_agent.deployment.work import Work

HOLD = os.environ.get("HOLD", "")


def hold(directory: Path) -> None:
    """Stand still."""
    (directory / "held").touch()
    while not (directory / "go").exists():
        time.sleep(0.01)


def observer(directory: Path) -> Callable[[Deployment], None]:
    """Return what looks at every durable change and holds where it should."""
    first = [True]

    def look(record: Deployment) -> None:
        resumed, first[0] = first[0], False
        here = (HOLD == "RESUMED" and resumed) or (f"{record.state.value}:before" == HOLD and record.ended is None)
        if here and not (directory / "held").exists():
            hold(directory)

    return look


def run(settings: Settings, state_dir: Path, runtime_dir: Path) -> int:
    """Run the agent with its deployment held."""
    directory = state_dir.parent
    work = Steps.run

    def held(steps: Steps, record: Deployment, on: Work) -> Deployment:
        after = work(steps, record, on)
        if f"{record.state.value}:after" == HOLD and not (directory / "held").exists():
            hold(directory)
        return after

    Steps.run = held  # type: ignore[method-assign]
    return run_agent(settings, state_dir, runtime_dir, observer=observer(directory))


run_agent = agent.run
agent.run = run  # type: ignore[assignment]

if __name__ == "__main__":
    sys.argv[0] = "edge-agent"
    cli.main()
