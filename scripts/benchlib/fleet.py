"""``python -m scripts.benchlib.fleet [--devices N] [--json]``: releases to a fleet of simulated devices.

A local AWS, a mosquitto before it, and devices with the agent's own talk about jobs on real connections. A good
release goes to all of them in stages, a bad one has to stop within the canaries, and during a third mosquitto is
killed and started again. What each device says of each job is compared with what the cloud says of it. The last line
on stdout is one JSON object; what has to hold and does not is said on stderr, and ends with 1.
"""

import argparse
import gc
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from cloud_tools.aws import Aws
from cloud_tools.errors import CloudError
from cloud_tools.local import LocalCloud, aws_environment
from cloud_tools.rollout.begin import begin
from cloud_tools.rollout.driver import Driver, Stay
from cloud_tools.rollout.iot import IotJobs
from cloud_tools.rollout.jobs import create_job, form_document, read_status
from cloud_tools.rollout.ledger import Ledger
from cloud_tools.rollout.plan import RolloutPlan
from cloud_tools.simulate.course import TIMES_S, Behaviour
from cloud_tools.simulate.fleet import Fleet, running
from cloud_tools.simulate.front import Front, standing
from cloud_tools.simulate.tally import Tally
from cloud_tools.simulate.things import Place, connection, names
from cloud_tools.storage import open_storage

Figures = dict[str, Any]
FIELDS: Final = (
    "devices",
    "device_kib",
    "threads",
    "open_files",
    "connected_s",
    "staged_all_s",
    "staged_ended",
    "staged_messages_per_device",
    "staged_bytes_per_device",
    "canaries",
    "bad_asked",
    "bad_failed",
    "bad_stopped_s",
    "killed_ended",
    "killed_to_99_percent_s",
    "killed_to_100_percent_s",
    "killed_messages_per_device",
    "lost",
    "more_than_once",
    "disagreements",
)
DEVICES: Final = 1000
# The local AWS answers one request after the other: slow enough that it can, as AWS's own limits would have it.
_TIMES_S: Final = {**TIMES_S, "DOWNLOADING": 20.0, "BUILDING": 10.0, "PROBATION": 20.0}
# One in a hundred, as a person would begin; of a small fleet five devices.
_CANARY_SHARE, _LEAST_CANARIES = 100, 5
_KILLED_AT: Final = 0.1
_PATIENCE_S: Final = 600.0
_THREADS, _FILES = "/proc/self/task", "/proc/self/fd"


class World(NamedTuple):
    """What the scenarios need."""

    aws: Aws
    front: Front
    tally: Tally
    driver: Driver
    ledger: Ledger
    fleet: str
    things: tuple[str, ...]

    @property
    def canaries(self) -> int:
        """Return how many devices are asked first."""
        return max(_LEAST_CANARIES, len(self.things) // _CANARY_SHARE)


def measure(devices: int, directory: Path, times_s: Mapping[str, float] = _TIMES_S) -> Figures:
    """Return all figures of a fleet of so many devices."""
    figures: Figures = dict.fromkeys(FIELDS)
    with standing_world(devices, directory, times_s) as (world, begun):
        figures |= begun
        for scenario in (staged, bad, killed):
            title, _, _ = (scenario.__doc__ or "").partition("\n")
            sys.stderr.write(f"bench fleet: {title}\n")
            figures |= scenario(world)
        figures |= compared(world)
    return figures


@contextmanager
def standing_world(devices: int, directory: Path, times_s: Mapping[str, float]) -> Iterator[tuple[World, Figures]]:
    """Let cloud, broker and fleet run beside the block; yields them, and what it took to connect."""
    cloud, fleet = LocalCloud(directory / "cloud"), "hall"
    endpoints = cloud.start()
    try:
        aws = Aws(aws_environment(endpoints))
        address = f"{endpoints.mqtt_host}:{endpoints.mqtt_port}"
        place = Place(address, endpoints.ca_pem, directory / "identity", reconnect_max_s=20.0)
        with standing(Front(directory / "front", aws, connection(aws, fleet, devices, place))) as front:
            # What is let go meanwhile would be counted in the fleet's favour.
            gc.collect()
            before_kib, threads, open_files = _resident_kib(), _entries(_THREADS), _entries(_FILES)
            behaviour = Behaviour(times_s, bad=frozenset({"unet-2"}))
            simulated = Fleet(front.settings, names(fleet, devices), behaviour)
            began = time.monotonic()
            with running(simulated) as tally:
                _wait(tally, lambda now: now.reachable == devices, "all devices connected")
                begun = {
                    "devices": devices,
                    "device_kib": round((_resident_kib() - before_kib) / devices, 1),
                    "threads": _entries(_THREADS) - threads,
                    "open_files": _entries(_FILES) - open_files,
                    "connected_s": _since(began),
                }
                ledger = Ledger(open_storage(str(directory / "rollouts")))
                driver = Driver(ledger, IotJobs(aws), time.time)
                yield World(aws, front, tally, driver, ledger, fleet, tuple(names(fleet, devices))), begun
    finally:
        cloud.stop()


def staged(world: World) -> Figures:
    """A good release goes to canaries, to a tenth, to all."""
    before, began = world.tally.counts(), time.monotonic()
    _roll_out(world, "good", "1")
    took_s, statuses = _since(began), _statuses(world, "good")
    return {
        "staged_all_s": took_s,
        "staged_ended": statuses["SUCCEEDED"],
        **_traffic("staged", before, world, statuses.total()),
    }


def bad(world: World) -> Figures:
    """A bad release stops within the canaries."""
    began = time.monotonic()
    _roll_out(world, "bad", "2")
    took_s, statuses = _since(began), _statuses(world, "bad")
    return {
        "canaries": world.canaries,
        "bad_asked": statuses.total(),
        "bad_failed": statuses["FAILED"],
        "bad_stopped_s": took_s,
    }


def killed(world: World) -> Figures:
    """All devices are asked at once, and mosquitto is killed when a tenth of them is through."""
    devices, job_id, before = len(world.things), "killed", world.tally.counts()
    create_job(
        world.aws, form_document("install", [{"name": "unet", "version": "3"}]), [f"group/{world.fleet}"], job_id=job_id
    )
    _wait(world.tally, lambda now: len(now.ends(job_id)) >= devices * _KILLED_AT, "a tenth of the devices through")
    world.front.kill()
    _wait(world.tally, lambda now: now.reachable == 0, "all devices cut off")
    world.front.start()
    _wait(world.tally, lambda now: len(now.ends(job_id)) == devices, "all devices through")
    job = world.tally.jobs()[job_id]
    return {
        "killed_ended": job["statuses"].get("SUCCEEDED", 0),
        **{f"killed_to_{share}_percent_s": job[f"to_{share}_percent_s"] for share in (99, 100)},
        "killed_messages_per_device": _traffic("killed", before, world, devices)["killed_messages_per_device"],
    }


def compared(world: World) -> Figures:
    """Return how many devices' jobs were lost or ended twice, or ended otherwise than the cloud has it."""
    found = {"lost": 0, "more_than_once": 0, "disagreements": 0}
    for job_id in world.tally.jobs():
        ends = world.tally.ends(job_id)
        executions = read_status(world.aws, job_id).executions
        for execution in executions:
            said = ends.get(execution.thing, [])
            found["lost"] += not said and execution.status != "CANCELED"
            found["more_than_once"] += len(said) > 1
            found["disagreements"] += bool(said) and said[0].status != execution.status
    return found


def faults(figures: Figures) -> list[str]:
    """Return what had to hold and does not, in words."""
    devices, canaries = figures["devices"], figures["canaries"]
    held = {
        "the good release reached every device": figures["staged_ended"] == devices,
        "the bad release stopped within the canaries": 0 < figures["bad_failed"] <= figures["bad_asked"] <= canaries,
        "every device was through after the kill": figures["killed_ended"] == devices,
        "nothing was lost": figures["lost"] == 0,
        "nothing ended twice": figures["more_than_once"] == 0,
        "devices and cloud agree": figures["disagreements"] == 0,
    }
    return [f"expected: {what}; it is not so" for what, holds in held.items() if not holds]


def _roll_out(world: World, name: str, version: str) -> None:
    plan = RolloutPlan.model_validate(
        {
            "name": name,
            "models": [{"name": "unet", "version": version}],
            "to": [f"group/{world.fleet}"],
            "stages": [
                {"to": [f"thing/{thing}" for thing in world.things[: world.canaries]]},
                {"percent": 10} if len(world.things) > 10 * _LEAST_CANARIES else {"percent": 50},
                {"percent": 100},
            ],
        }
    )
    world.ledger.create(begin(world.aws, plan, time.time()))
    limit = time.monotonic() + _PATIENCE_S

    def wait() -> None:
        if time.monotonic() > limit:
            raise TimeoutError(f"rollout {name} has not ended within {_PATIENCE_S:.0f} s")
        time.sleep(0.5)

    def trouble(passing: CloudError) -> None:
        sys.stderr.write(f"bench fleet: {passing}; asked again\n")

    for _ in world.driver.drive(name, Stay(wait, trouble)):
        pass


def _statuses(world: World, name: str) -> Counter[str]:
    """Return how the devices ended that were told of a rollout's jobs; waits until they have."""

    def told(tally: Tally) -> list[Figures]:
        return [job for job_id, job in tally.jobs().items() if job_id.startswith(f"{name}-")]

    _wait(
        world.tally, lambda now: all(job["ended"] == job["offered"] for job in told(now)), f"devices of {name} through"
    )
    return sum((Counter(job["statuses"]) for job in told(world.tally)), Counter())


def _traffic(name: str, before: Figures, world: World, devices: int) -> Figures:
    after = world.tally.counts()
    more = {key: after[key] - before[key] for key in before if isinstance(before[key], int)}
    return {
        f"{name}_messages_per_device": round((more["messages_sent"] + more["messages_received"]) / devices, 1),
        f"{name}_bytes_per_device": round((more["bytes_sent"] + more["bytes_received"]) / devices),
    }


def _wait(tally: Tally, holds: Callable[[Tally], bool], what: str) -> None:
    if not tally.wait_for(holds, _PATIENCE_S):
        raise TimeoutError(f"expected {what} within {_PATIENCE_S:.0f} s: {tally.standing()}")


def _entries(directory: str) -> int:
    return sum(1 for _ in Path(directory).iterdir())


def _since(began: float) -> float:
    return round(time.monotonic() - began, 1)


def _resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 1 when something did not hold."""
    parser = argparse.ArgumentParser(prog="bench fleet", description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the last line, which is JSON anyway")
    parser.add_argument("--devices", type=int, default=DEVICES, help="how many")
    asked = parser.parse_args(arguments)
    # Cloud and broker go with it, however it is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="fleet-") as scratch:
        figures = measure(asked.devices, Path(scratch))
    if not asked.json:
        print("\n".join(f"{name:34} {value}" for name, value in figures.items()))
    wrong = faults(figures)
    sys.stderr.writelines(f"bench fleet: {fault}\n" for fault in wrong)
    print(json.dumps(figures))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
