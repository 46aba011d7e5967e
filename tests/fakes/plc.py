"""A station's controller with a camera and an agent in memory, for clients of real protocols."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from edge_agent.config import Station
from edge_agent.errors import AgentError, CameraError, Code, InferenceError
from edge_agent.formats import InspectedFrame, ModelResult, Verdict
from edge_agent.station.camera import Shot
from edge_agent.station.loop import Loop
from edge_agent.station.plc.controller import Controller
from edge_agent.station.plc.outputs import Opener
from edge_agent.telemetry.threads import Watched

PATIENCE_S = 60.0
AWAY = InferenceError(Code.UNAVAILABLE, "expected the agent, nobody listens")
DARK = CameraError(Code.CAMERA_FAILED, "expected a camera, it is away")


def inspected(verdict: Verdict, number: int = 1) -> InspectedFrame:
    result = ModelResult(application="app", model="unet", version="1.2.0", verdict=verdict, score=0.75, threshold=0.5)
    return InspectedFrame(id=f"frame-{number}", at=1.0, verdict=verdict, results=(result,), message="")


class Plant:
    """Camera and agent of one station: what they do next is set from outside."""

    def __init__(self) -> None:
        self.verdict = Verdict.OK
        self.agent_error: AgentError | None = None
        self.camera_error: CameraError | None = None
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked = threading.Event()
        self.pictures = 0

    def newest(self, timeout_s: float) -> Shot | None:
        if self.camera_error:
            raise self.camera_error
        self.pictures += 1
        return Shot(b"jpeg", f"part-{self.pictures}.jpg")

    def on_demand(self, timeout_s: float) -> Shot | None:
        return self.newest(timeout_s)

    def close(self) -> None:
        pass

    def inspect(self, content: bytes, *, source: str, frame_name: str, timeout_s: float) -> InspectedFrame:
        self.asked.set()
        assert self.may_answer.wait(PATIENCE_S)
        if self.agent_error:
            raise self.agent_error
        return inspected(self.verdict, self.pictures)


@contextmanager
def running_station(
    options: Station, *, plant: Plant | None = None, open_chip: Opener | None = None
) -> Iterator[tuple[Controller, Plant]]:
    """A station's own threads, as its process starts them."""
    plant = plant or Plant()
    ended: list[str] = []
    controller = Controller("left", options, open_chip=open_chip)
    loop = Loop("left", plant, plant.inspect, options, tell=controller.hear, clock=time.monotonic)
    looking = Watched("station-left", lambda thread: controller.run(loop, thread.wait), ended=ended.append)
    threads = [*controller.threads(), looking]
    for thread in threads:
        thread.start()
    try:
        assert controller.listening.wait(PATIENCE_S), controller.troubles()
        yield controller, plant
    finally:
        plant.may_answer.set()
        for thread in threads:
            thread.stopping.set()
        for thread in threads:
            assert thread.stop(PATIENCE_S)
    assert ended == []


def until(holds: Callable[[], Any], what: str = "it") -> Any:
    """Ask as a PLC does, in cycles, until something is true; return it."""
    due = time.monotonic() + PATIENCE_S
    while True:
        if found := holds():
            return found
        assert time.monotonic() < due, f"expected {what} within {PATIENCE_S:g} s"
        time.sleep(0.005)
