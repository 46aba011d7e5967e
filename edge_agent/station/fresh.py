"""A picture that nobody took before it was asked for."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from edge_agent.station.camera import Camera, Shot


@runtime_checkable
class OnDemand(Protocol):
    """A camera that takes a picture when it is told to."""

    def on_demand(self, timeout_s: float) -> Shot | None:
        """Take a picture now and return it; None: none came in time.

        Raises:
            CameraError: the camera is away.
        """


def fresh(camera: Camera, timeout_s: float, clock: Callable[[], float]) -> Shot | None:
    """Return a picture that was taken after this call; None: none came in time.

    A camera that runs by itself may hold a picture already and have the next one under way: both
    show what stood there before, so the one after them counts.

    Args:
        camera: asked for its newest picture unless it takes one on demand.
        timeout_s: how long to wait, all together.
        clock: seconds that only grow.

    Raises:
        CameraError: the camera is away.
    """
    if isinstance(camera, OnDemand):
        return camera.on_demand(timeout_s)
    due = clock() + timeout_s
    camera.newest(0.0)
    under_way = camera.newest(max(0.0, due - clock()))
    return None if under_way is None else camera.newest(max(0.0, due - clock()))
