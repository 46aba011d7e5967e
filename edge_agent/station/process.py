"""Root of the station's process: cameras, threads, signals, signs of life."""

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from edge_agent import config
from edge_agent.client import AgentClient
from edge_agent.config import Settings
from edge_agent.errors import Code, ConfigError
from edge_agent.formats import InspectedFrame, Verdict
from edge_agent.formats.picture import EncodedPicture
from edge_agent.station.answer import Answer
from edge_agent.station.camera import Camera, kind_of, open_camera
from edge_agent.station.loop import LONGEST_PAUSE_S, Loop
from edge_agent.station.plc.controller import Controller
from edge_agent.station.reporting import Figures, Reporter
from edge_agent.station.shot import Content
from edge_agent.station.streaming import StreamingCamera
from edge_agent.telemetry import logs
from edge_agent.telemetry.notify import Notifier, watchdog
from edge_agent.telemetry.threads import Watched, end_process

_LOG = logging.getLogger(__name__)
_STATUS_EVERY_S = 1.0
_SKIPPED_EVERY_S = 60.0
# A loop waits for the agent and pauses, never longer than this beyond its deadline.
_SILENCE_S = 4 * LONGEST_PAUSE_S


def run(settings: Settings, runtime_dir: Path) -> int:
    """Look at all configured cameras until SIGTERM or SIGINT; return the exit code.

    Args:
        settings: all rooms; the station reads its own.
        runtime_dir: where the agent's sockets are, or will be.

    Raises:
        ConfigError: no station is configured, or a source is of an unknown kind.
    """
    logs.configure(settings.telemetry.level)
    cameras = open_cameras(settings.station)
    controllers = {name: Controller(name, options) for name, options in settings.station.items()}
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with AgentClient.at(runtime_dir) as client:
        figures = {name: Figures(kind_of(settings.station[name])) for name in cameras}
        loops = [
            Loop(
                name,
                camera,
                partial(inspect, client),
                settings.station[name],
                tell=partial(_tell, (Teller(), figures[name], controllers[name].hear)),
                clock=time.monotonic,
                missed=partial(_missed, camera),
            )
            for name, camera in cameras.items()
        ]
        deadlines_s = {name: options.deadline_s for name, options in settings.station.items()}
        told = [(loop, figures[loop.name], partial(_skipped, cameras[loop.name])) for loop in loops]
        reporter = Watched(
            "reporter",
            lambda thread: Reporter(client.report_camera, told).run(thread.wait),
            ended=partial(_end, controllers),
        )
        reporter.start()
        _watch(loops, controllers, deadlines_s, stop)
        reporter.stop()
    return 0


def open_cameras(stations: Mapping[str, config.Station]) -> dict[str, Camera]:
    """Return a camera for each station.

    Raises:
        ConfigError: there is no station, or a source is of an unknown kind.
    """
    if not stations:
        raise ConfigError(Code.CONFIG_INVALID, "station: expected at least one [station.NAME] with a source, came none")
    return {name: open_camera(name, options) for name, options in stations.items()}


def inspect(client: AgentClient, content: Content, *, source: str, frame_name: str, timeout_s: float) -> InspectedFrame:
    """Ask the agent; callers of the line go first when it has much to do."""
    picture = EncodedPicture(content) if isinstance(content, bytes) else content
    return client.inspect(picture, source=source, frame_name=frame_name, frame_priority=True, timeout_s=timeout_s)


def _tell(listeners: Sequence[Callable[[Answer], None]], answer: Answer) -> None:
    for listener in listeners:
        listener(answer)


def _skipped(camera: Camera) -> int:
    return camera.skipped if isinstance(camera, StreamingCamera) else 0


def _missed(camera: Camera, until: float) -> Sequence[float]:
    return camera.missed(until) if isinstance(camera, StreamingCamera) else ()


def _run(loop: Loop, controller: Controller, thread: Watched) -> None:
    controller.run(loop, thread.wait)


def _status(loop: Loop, controller: Controller) -> str:
    return "; ".join([f"{loop.name}: {loop.state.value} {loop.last.verdict.value}", *controller.troubles()])


def _end(controllers: Mapping[str, Controller], thread: str) -> None:
    """End the process because one of its threads ended, with the outputs of all stations at NO RESULT."""
    try:
        for controller in controllers.values():
            controller.make_safe()
    finally:
        end_process(thread)


def _watch(
    loops: list[Loop], controllers: Mapping[str, Controller], deadlines_s: Mapping[str, float], stop: threading.Event
) -> None:
    ended = partial(_end, controllers)
    threads = [
        Watched(
            f"station-{loop.name}",
            partial(_run, loop, controllers[loop.name]),
            silent_s=deadlines_s[loop.name] + _SILENCE_S,
            ended=ended,
        )
        for loop in loops
    ]
    notifier = Notifier()
    guard = watchdog(notifier)
    threads += [thread for controller in controllers.values() for thread in controller.threads(ended)]
    everyone = [*threads, guard] if guard else threads
    for thread in everyone:
        thread.start()
    notifier.ready()
    while not stop.wait(_STATUS_EVERY_S):
        notifier.status("; ".join(_status(loop, controllers[loop.name]) for loop in loops))
    notifier.stopping()
    for thread in everyone:
        thread.stopping.set()
    for thread in everyone:
        thread.stop()


class Teller:
    """Logs a station's answers: each one for a debugger, the beginning and the end of trouble for everyone.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._trouble = ""
        self._clock = clock
        self._skipped_told_at = -math.inf

    def __call__(self, answer: Answer) -> None:
        """Hear one answer; the same kind of trouble is told once."""
        fields = answer._asdict() | {"verdict": answer.verdict.value}
        # A log record has a message of its own.
        fields["reason"] = fields.pop("message")
        del fields["inspected"], fields["part_at"]
        _LOG.debug("answered", extra={"action": "answered", **fields})
        if answer.code is Code.DEADLINE_EXCEEDED and not answer.frame_name:
            self._tell_skipped(fields)
            return
        trouble = self._kind(answer)
        if trouble and trouble != self._trouble:
            _LOG.warning("no result: %s", trouble, extra={"action": "station_troubled", **fields})
        elif self._trouble and not trouble:
            _LOG.info("results again", extra={"action": "station_recovered", **fields})
        self._trouble = trouble

    def _tell_skipped(self, fields: Mapping[str, object]) -> None:
        # On a line that is a little too fast every other part is: neither a trouble that ends nor worth a line each.
        if self._clock() - self._skipped_told_at >= _SKIPPED_EVERY_S:
            self._skipped_told_at = self._clock()
            extra = {"action": "station_troubled", **fields}
            _LOG.warning("no result: parts pass faster than they are looked at", extra=extra)

    @staticmethod
    def _kind(answer: Answer) -> str:
        if answer.verdict is not Verdict.NO_RESULT:
            return ""
        if not answer.frame_name:
            return "the camera gives no picture"
        return "the agent says so" if answer.frame_id else "the agent does not answer"
