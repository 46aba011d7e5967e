"""One station towards its line's controller: the parts that its settings ask for, wired, each in a watched thread."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from edge_agent.config import Outputs, Station
from edge_agent.errors import Code, ConfigError
from edge_agent.formats import Verdict
from edge_agent.station.answer import Answer
from edge_agent.station.loop import Loop
from edge_agent.station.plc.exchange import Exchange, Pulse
from edge_agent.station.plc.outcome import outcome_of
from edge_agent.station.plc.outputs import Chip, Opener, OutputLines
from edge_agent.station.plc.triggered import SLACK_S, run_triggered
from edge_agent.telemetry.threads import Watched, end_process

_LOG = logging.getLogger(__name__)
_RETRY_S = 1.0
_SILENT_S = 10.0

Wait = Callable[[float], bool]
Serve = Callable[[Callable[[], bool], Callable[[int], None]], Awaitable[None]]


class Controller:
    """Servers, outputs and the handshake of one station; those that are not configured do not exist.

    Args:
        name: the station's.
        options: its settings.
        clock: seconds that only grow.
        open_chip: opens the chip of the outputs; the kernel's by default.

    Raises:
        ConfigError: a server's file is missing, or the extra plc is not installed.
    """

    def __init__(
        self,
        name: str,
        options: Station,
        *,
        clock: Callable[[], float] = time.monotonic,
        open_chip: Opener | None = None,
    ) -> None:
        self.ports: dict[str, int] = {}
        self.listening = threading.Event()
        self._name = name
        self._options = options
        self._errors: dict[str, str] = {}
        free_running = options.mode == "free-running"
        outputs = _patient(options) if free_running else options.outputs
        self.exchange = Exchange(
            options.deadline_s,
            Pulse(clock),
            clock,
            free_running=free_running,
            silence_s=outputs.silence_s,
            missed=lambda part_at: self._tell_outputs(Verdict.NO_RESULT, part_at),
            ended=lambda outcome, part_at: self._tell_outputs(outcome.verdict, part_at),
        )
        self._servers = _servers(name, options, self.exchange)
        self._outputs = _outputs(name, outputs, open_chip, clock)

    def threads(self, ended: Callable[[str], None] = end_process) -> list[Watched]:
        """Return the threads that servers and outputs need, not started yet; one that ends unasked is told."""
        silent_s = _SILENT_S + _RETRY_S
        served = [
            Watched(f"{way}-{self._name}", partial(self._serve, way, serve), silent_s=silent_s, ended=ended)
            for way, serve in self._servers.items()
        ]
        if self._outputs is None:
            return served
        outputs = self._outputs
        name = f"outputs-{self._name}"
        switching = Watched(name, lambda thread: outputs.run(thread.wait), silent_s=_SILENT_S, ended=ended)
        if self._options.mode != "trigger":
            return [*served, switching]
        name = f"deadlines-{self._name}"
        return [*served, switching, Watched(name, self._end_overdue, silent_s=_SILENT_S, ended=ended)]

    def run(self, loop: Loop, wait: Wait) -> None:
        """Run the station's loop until told to stop, by triggers or by its rate."""
        if self._options.mode == "trigger":
            run_triggered(loop, self.exchange, self._options.deadline_s, wait)
        else:
            loop.run(partial(self._allowing, wait))

    def hear(self, answer: Answer) -> None:
        """Take one answer of a free-running station; a triggered one's go their own way."""
        if self._options.mode == "trigger":
            return
        self.exchange.mirror(outcome_of(answer))
        self._tell_outputs(answer.verdict, answer.part_at)

    def make_safe(self) -> None:
        """Leave the outputs at NO RESULT, for good; may be called from any thread."""
        if self._outputs is not None:
            self._outputs.make_safe()

    def troubles(self) -> list[str]:
        """Return what does not work, for a person."""
        outputs = [self._outputs.error] if self._outputs is not None and self._outputs.error else []
        return [*self._errors.values(), *outputs]

    def _tell_outputs(self, verdict: Verdict, part_at: float | None) -> None:
        if self._outputs is not None:
            self._outputs.hear(verdict, part_at)

    def _end_overdue(self, thread: Watched) -> None:
        """Let the gate hear of an inspection that hangs when it is overdue, though no PLC asks for it then."""
        while not thread.wait(0.0):
            self.exchange.end_overdue(_RETRY_S)

    def _allowing(self, wait: Wait, seconds: float) -> bool:
        self.exchange.pulse.allow(seconds + 1 / self._options.rate_hz + self._options.deadline_s + SLACK_S)
        return wait(seconds)

    def _serve(self, way: str, serve: Serve, thread: Watched) -> None:
        def stop() -> bool:
            thread.beat()
            return thread.stopping.is_set()

        while not thread.stopping.is_set():
            if not self._served(way, serve, stop):
                thread.wait(_RETRY_S)

    def _served(self, way: str, serve: Serve, stop: Callable[[], bool]) -> bool:
        try:
            asyncio.run(_awaited(serve(stop, partial(self._listens, way))))
        except (OSError, ValueError) as exc:
            self._failed(way, exc)
            return False
        return True

    def _listens(self, way: str, port: int) -> None:
        self._errors.pop(way, None)
        self.ports[way] = port
        extra = {"action": "plc_listens", "station": self._name, "way": way, "port": port}
        _LOG.info("a PLC may connect", extra=extra)
        if self.ports.keys() == self._servers.keys():
            self.listening.set()

    def _failed(self, way: str, error: Exception) -> None:
        if way not in self._errors:
            extra = {"action": "plc_unreachable", "station": self._name, "way": way, "reason": str(error)}
            _LOG.error("a PLC cannot connect", extra=extra)
        self._errors[way] = f"{way}: {error}"


async def _awaited(work: Awaitable[None]) -> None:
    await work


def _servers(name: str, options: Station, exchange: Exchange) -> dict[str, Serve]:
    servers: dict[str, Serve] = {}
    try:
        if options.modbus.listen:
            from edge_agent.station.plc import modbus  # noqa: PLC0415 - an extra

            servers["modbus"] = partial(modbus.serve_modbus, exchange, options.modbus)
        if options.opcua.endpoint:
            from edge_agent.station.plc import opcua  # noqa: PLC0415 - an extra

            opcua.check_files(name, options.opcua)
            servers["opcua"] = partial(opcua.serve_opcua, name, exchange, options.opcua)
    except ImportError as exc:
        raise _missing(name, exc) from exc
    return servers


def _patient(options: Station) -> Outputs:
    """Return the outputs' settings for a station that may look more seldom than its verdicts stand."""
    next_answer_s = 1 / options.rate_hz + options.deadline_s
    return options.outputs.model_copy(update={"silence_s": max(options.outputs.silence_s, next_answer_s)})


def _outputs(name: str, options: Outputs, open_chip: Opener | None, clock: Callable[[], float]) -> OutputLines | None:
    if not options.chip:
        return None
    return OutputLines(name, options, open_chip or _gpio(name, options), clock)


def _gpio(name: str, options: Outputs) -> Opener:
    try:
        from edge_agent.station.plc.chip import GpioChip  # noqa: PLC0415 - an extra
    except ImportError as exc:
        raise _missing(name, exc) from exc

    def open_chip(levels: Mapping[int, bool]) -> Chip:
        return GpioChip(options.chip, levels, active_low=options.active_low)

    return open_chip


def _missing(name: str, error: ImportError) -> ConfigError:
    message = f"station.{name}: expected the extra plc (pip install 'edge-agent[plc]'), {error}"
    return ConfigError(Code.CONFIG_INVALID, message)
