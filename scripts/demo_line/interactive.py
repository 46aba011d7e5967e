"""The demo to look at: runs until Ctrl-C, keeps its state, finds again what an earlier run left."""

import shlex
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from cloud_tools.errors import CloudError
from cloud_tools.local import LocalCloud, aws_environment
from scripts.demo_line import cloud as clouds
from scripts.demo_line.cloud import Cloud
from scripts.demo_line.device import AGENT, PAGE, STATION, Device
from scripts.demo_line.processes import Processes
from scripts.demo_line.trouble import DemoError
from scripts.demo_line.world import MODELS, RECORD, ROOT, USUAL, World, bundles, check_ports

_SHADOW_S = 2.0
_PROBATION_S = 1.0
_LOOK_S = 0.5
_BEFORE_RESTART_S = 1.0


def run(data: Path | None) -> int:
    """Run the demo; return the exit code.

    Raises:
        DemoError: something stands in the way; the message says what.
    """
    began = time.monotonic()
    world = World(ROOT / ".demo", USUAL, data)
    world.make()
    world.frames()
    processes = Processes(world.directory / RECORD, world.logs)
    local = LocalCloud(world.cloud)
    with world.alone():
        left = processes.end_leftovers()
        if left:
            say(f"ended what an earlier run had left: {', '.join(left)}")
        check_ports(world.ports)
        try:
            _start(world, processes, local)
            say(f"ready after {time.monotonic() - began:.1f} s\n\n{_next_steps(world)}")
            _keep_running(Device(world, processes), processes)
        finally:
            stop(processes, local)
    return 0


def say(text: str) -> None:
    """Tell the person who watches."""
    print(text, file=sys.stderr, flush=True)


def stop(processes: Processes, local: LocalCloud) -> None:
    """End everything, the cloud last, so that what it was told is kept."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not cut this short
    say("stopping …")
    try:
        processes.stop_all()
    finally:
        with suppress(CloudError):
            local.stop()


def _start(world: World, processes: Processes, local: LocalCloud) -> None:
    say("starting a local AWS …")
    cloud, known = clouds.start(world, local)
    device = Device(world, processes)
    if not known:
        say("making a bucket, a signed repository, and a thing with its certificate …")
        cloud.set_up()
    device.configure(shadow_s=_SHADOW_S, probation_s=_PROBATION_S)
    # The page first: it says by itself that it waits for the agent.
    for name in (PAGE, AGENT, STATION):
        device.start(name)
    _write_environment(world, cloud)
    if known:
        cloud.refresh()
    else:
        say("publishing the sample models …")
        cloud.publish([*bundles("1"), *bundles("2")])
        world.remember_set_up(clouds.made_from(world, cloud.endpoints))
    _deploy(device, cloud)
    device.wait_for_page()


def _deploy(device: Device, cloud: Cloud) -> None:
    status = device.wait_until_ready()
    if {*MODELS} <= {model.name for model in status.models if model.active}:
        return
    say("deploying version 1 of both models by an AWS IoT job …")
    execution = cloud.deploy(*((model, "1") for model in MODELS))
    if execution.status != "SUCCEEDED":
        raise DemoError(f"the deployment ended {execution.status}: {execution.code} {execution.message}")


def _keep_running(device: Device, processes: Processes) -> None:
    while True:
        time.sleep(_LOOK_S)
        for name, code in processes.ended().items():
            say(f"the {name} ended ({code}) and is started again, as systemd would; see {processes.log(name)}")
            processes.stop(name)
            time.sleep(_BEFORE_RESTART_S)
            device.start(name)


def _write_environment(world: World, cloud: Cloud) -> None:
    lines = [f"export {key}={shlex.quote(value)}" for key, value in aws_environment(cloud.endpoints).items()]
    lines.append(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH")
    places = {"CONFIG": world.device / "config.toml", "STATE_DIR": world.state, "RUNTIME_DIR": world.runtime}
    lines += [f"export EDGE_AGENT_{name}={shlex.quote(str(path))}" for name, path in places.items()]
    (world.directory / "environment").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _next_steps(world: World) -> str:
    return f"""The line is at {world.page}; models come through AWS IoT jobs. In another terminal:

  source {world.directory}/environment
  edge-cloud deploy img-classification 2 unet 2 --to thing/{world.thing} --watch    # a new version, over the air
  edge-agent status
  edge-agent rollback img-classification --reason "too many rejects"    # or on the page, under Models
  edge-agent deployments
  edge-agent events --follow
  kill -9 $(pgrep -f 'edge_agent.*--runtime-dir {world.runtime} run')    # a power cut: the same versions answer again

Logs are in {world.logs}. Ctrl-C ends everything; delete {world.directory} to begin anew."""
