"""The demo tried from end to end: set up, deployed, broken, killed, looked at; one JSON object at the end."""

import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from cloud_tools.errors import CloudError
from cloud_tools.local import LocalCloud
from edge_agent.errors import AgentError
from scripts.demo_line import browser
from scripts.demo_line import cloud as clouds
from scripts.demo_line.answers import ExpectedAnswers
from scripts.demo_line.device import AGENT, PAGE, STATION, Device
from scripts.demo_line.interactive import say, stop
from scripts.demo_line.line_client import LineClient, Picture
from scripts.demo_line.processes import Processes, listening
from scripts.demo_line.report import Report
from scripts.demo_line.steps import BANDWIDTH_BYTES_PER_S, STEPS, Line
from scripts.demo_line.trouble import DemoError
from scripts.demo_line.world import LOCK, LOOPBACK, RECORD, USUAL, World, bundles, free_ports

_PREFIX = "edge-demo-"
_SHADOW_S = 2.0
_PROBATION_S = 1.0
_PICTURES = 40
_LEAST_PREDICTIONS = 200
_PATIENCE_S = 30.0
_PAGES = ("/", "/models")
_SUFFIXES = {".jpg", ".jpeg", ".png"}


def run(data: Path | None) -> int:
    """Try everything; print the report; return 0 if all came as expected."""
    _sweep()
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
    report = Report()
    world = World(directory, free_ports(), data)
    try:
        with world.alone():
            _run_in(world, report)
    except (DemoError, AgentError) as error:
        report.expect(fulfilled=False, complaint=str(error))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        for complaint in report.complaints:
            say(f"NOT AS EXPECTED: {complaint}")
        print(report.line(), flush=True)
    return 0 if report.ok else 1


def _sweep() -> None:
    """End and delete what earlier runs that were killed have left."""
    for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{LOCK}"):
        world = World(lock.parent, USUAL)
        if lock.lstat().st_uid != os.getuid() or lock.parent.is_symlink():
            continue
        with suppress(DemoError, OSError, CloudError), world.alone():
            Processes(world.directory / RECORD, world.logs).end_leftovers()
            LocalCloud(world.cloud).stop()
            shutil.rmtree(world.directory, ignore_errors=True)


def _run_in(world: World, report: Report) -> None:
    began = time.monotonic()
    world.make()
    pictures = _pictures(world.frames())
    processes = Processes(world.directory / RECORD, world.logs)
    local = LocalCloud(world.cloud)
    client = LineClient(world.runtime, pictures)
    try:
        line = _set_up(world, processes, local, client, ExpectedAnswers(pictures), report)
        for step in STEPS:
            say(f"{time.monotonic() - began:5.1f} s  {step.__name__.replace('_', ' ')}")
            step(line)
            _see_sockets(line, local)
        _look_at_page(line, local)
        _finish(line)
        report.finished = True
    finally:
        client.stop()
        if not report.ok:
            say(processes.tail(AGENT))
        stop(processes, local)
        report.note(seconds=round(time.monotonic() - began, 1))


def _set_up(
    world: World,
    processes: Processes,
    local: LocalCloud,
    client: LineClient,
    expected: ExpectedAnswers,
    report: Report,
) -> Line:
    cloud, _ = clouds.start(world, local)
    cloud.set_up()
    device = Device(world, processes)
    device.configure(shadow_s=_SHADOW_S, probation_s=_PROBATION_S, bandwidth_bytes_per_s=BANDWIDTH_BYTES_PER_S)
    for name in (PAGE, AGENT, STATION):
        device.start(name)
    samples = [*bundles("1"), *bundles("2")]
    cloud.publish(samples)
    for bundle in samples:
        expected.add(bundle)
    device.wait_until_ready()
    return Line(world, processes, cloud, device, client, expected, report)


def _pictures(directory: Path) -> list[Picture]:
    files = sorted(path for path in directory.iterdir() if path.suffix.lower() in _SUFFIXES)
    step = max(1, len(files) // _PICTURES)
    return [Picture(path.name, path.read_bytes()) for path in files[::step][:_PICTURES]]


def _see_sockets(line: Line, local: LocalCloud, *others: int) -> None:
    cloud = local.status().pid
    seen = listening([*line.processes.pids, *([cloud] if cloud else []), *others])
    line.report.note(listening=sorted(seen | set(line.report.figures["listening"] or ())))


def _look_at_page(line: Line, local: LocalCloud) -> None:
    line.device.wait_for_page()
    chromium = browser.find()
    if chromium is None:
        line.report.note(page_requests_off_host=None, browser="not found")
        return
    profile, page = line.world.directory / "browser", line.world.page
    seen = browser.look(chromium, page, _PAGES, profile, lambda pid: _see_sockets(line, local, pid))
    off_host = seen.off_host(page)
    line.report.note(
        page_requests_off_host=len(off_host),
        browser=chromium,
        page_requests=len(seen.requests),
        page_verdict=seen.verdict,
    )
    line.report.expect(not off_host, f"the page asked elsewhere: {off_host[:3]}")
    line.report.expect(len(seen.requests) > len(_PAGES), f"the page asked for {list(seen.requests)} only")


def _finish(line: Line) -> None:
    client, report = line.client, line.report
    enough = lambda: len(client.answers) >= _LEAST_PREDICTIONS or None  # noqa: E731 - a name says what it is for
    line.device.eventually(f"{_LEAST_PREDICTIONS} predictions", enough, AGENT, timeout_s=_PATIENCE_S)
    client.stop()
    deviating = line.expected.deviating(client.answers)
    report.note(
        predictions=len(client.answers),
        failed_requests=len(client.failures),
        retried_requests=client.retried,
        mixed_version_answers=len(deviating),
    )
    report.expect(not client.failures, f"failed requests: {client.failures[:3]}")
    report.expect(not deviating, f"answers that no version gives: {deviating[:3]}")
    elsewhere = [address for address in report.figures["listening"] if not address.startswith(f"{LOOPBACK}:")]
    report.expect(not elsewhere, f"listening beyond loopback: {elsewhere}")
