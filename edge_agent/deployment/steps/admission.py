"""CHECKING: may it be carried out here, now, and how; decided before a byte is downloaded.

Not done here: the checks of machine and disk themselves (``fetching``), decisions (``plan``).
"""

import logging
from collections.abc import Callable
from datetime import datetime
from datetime import time as time_of_day
from typing import TypeAlias

from edge_agent.deployment import capacity
from edge_agent.deployment.capacity import Machine
from edge_agent.deployment.contents import Contents
from edge_agent.deployment.record import Deployment, note
from edge_agent.deployment.serving import Serving
from edge_agent.deployment.work import Work

_log = logging.getLogger(__name__)

LOOK_S = 1.0

Check: TypeAlias = Callable[[Deployment, Work], Deployment]


class Admission:
    """Lets a deployment begin.

    Args:
        check: of machine and disk.
        contents: what the targets are on disk.
        serving: what is in memory; only asked.
        machine: what this device is.
        window: local time in which installs may start, as ``22:00-05:00``; empty: always.
        now: epoch seconds.
    """

    def __init__(
        self,
        check: Check,
        contents: Contents,
        serving: Serving,
        machine: Machine,
        window: str,
        *,
        now: Callable[[], float],
    ) -> None:
        self._check = check
        self._contents = contents
        self._serving = serving
        self._machine = machine
        self._window = window
        self._now = now

    def check(self, record: Deployment, work: Work) -> Deployment:
        """Check machine, disk and memory; outside the window wait, and check again what may have changed.

        Raises:
            AlreadyCurrent: nothing is to be done.
            RefusedError: it can never run here.
            StorageError: NO_SPACE.
        """
        found = self._look(record, work)
        if record.operation != "install" or self._in_window():
            return found
        self._await_window(found, work)
        return self._look(record, work)

    def _look(self, record: Deployment, work: Work) -> Deployment:
        record = self._check(record.model_copy(update={"remark": "", "waits_for_window": False}), work)
        manifests = [self._contents.manifest(target) for target in record.targets]
        loaded = self._serving.memory_by_model()
        # What answered here before is never refused for an estimate.
        strict = record.operation == "install"
        choice = capacity.choose_memory(manifests, loaded, self._machine.memory_bytes, strict=strict)
        if choice.unload_first:
            fields = {"action": "unload_first", "deployment": record.id, "job": record.job_id, "detail": choice.reason}
            _log.warning("memory holds one version only", extra=fields)
        record = note(record, {"memory_needed_bytes": float(choice.needed_bytes)})
        return record.model_copy(update={"unload_first": choice.unload_first, "remark": choice.reason})

    def _await_window(self, record: Deployment, work: Work) -> None:
        remark = "; ".join(filter(None, [f"waits for the window {self._window}, local time", record.remark]))
        work.keep(record.model_copy(update={"remark": remark, "waits_for_window": True}))
        _log.info("outside the window", extra={"action": "window_awaited", "deployment": record.id, "detail": remark})
        while not self._in_window():
            work.wait(LOOK_S)

    def _in_window(self) -> bool:
        return capacity.in_window(self._window, _local_time(self._now()))


def _local_time(now: float) -> time_of_day:
    # Asked anew at each look: a change to or from summer time moves the clock, and the window with it.
    return datetime.fromtimestamp(now).astimezone().time()
