"""The desk: where other threads and the deployer's meet. Orders wait here, and what must end is told here.

A rollback of a model under watch, called for here or waiting in the cloud's queue, needs no deployment of its own:
it ends the watch. Not done here: anything that takes time; whoever calls is never held up.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence

from edge_agent.deployment import record as records
from edge_agent.deployment.orders import JobOrder, LocalOrder, Order, Reported, job_takes_back, takes_back
from edge_agent.deployment.record import Deployment, JobIdentity
from edge_agent.deployment.states import UNDER_WATCH, State
from edge_agent.errors import CancelledError, Code, InferenceError


class Stopping(Exception):  # noqa: N818 - not an error: the deployment goes on after the restart
    """The agent is being stopped."""


class Desk:
    """Orders that wait, the deployment that runs, and whether it must end.

    Args:
        prefer: asks the cloud for a queued job before older ones; only hands over.
    """

    def __init__(self, prefer: Callable[[str], None]) -> None:
        self._prefer = prefer
        self._lock = threading.Condition()
        self._inbox: deque[Order] = deque()
        self._offered: dict[str, JobOrder] = {}  # jobs that were offered and not withdrawn before their turn
        self._queue: tuple[JobOrder, ...] = ()  # the cloud's, behind the job in work
        self._running: Deployment | None = None
        self._given_up: CancelledError | None = None
        self._superseder: JobIdentity | None = None
        self._superseding: list[LocalOrder] = []  # rollbacks that the end of a watch fulfils
        self._disturbed = threading.Event()  # set: whoever waits looks at what happened
        self._stopping = threading.Event()

    # -- called from other threads --------------------------------------------------------------------------

    def offer(self, order: JobOrder | LocalOrder) -> None:
        """Take an order; a rollback of a model under watch only ends that watch, at once."""
        with self._lock:
            if isinstance(order, LocalOrder) and self._stopping.is_set():
                turn_away(order)
                return
            if isinstance(order, JobOrder):
                self._offered[order.job_id] = order
            self._put(order)
            self._look_for_rollbacks()

    def look_at_queue(self, queue: Sequence[JobOrder]) -> None:
        """Take in which jobs wait behind the one in work, the oldest first."""
        with self._lock:
            self._queue = tuple(queue)
            self._look_for_rollbacks()

    def withdraw(self, job_id: str, reason: str) -> None:
        """End the job's deployment if it is under way, else forget its order; the cloud no longer wants it."""
        with self._lock:
            if self._running is not None and self._running.job_id == job_id:
                self._give_up(Code.CANCELLED, f"the job is no longer this device's: {reason}")
            else:
                self._offered.pop(job_id, None)

    def note(self, reported: Reported) -> None:
        """Note that the cloud is through with a job's last report."""
        with self._lock:
            self._put(reported)

    def running(self) -> Deployment | None:
        """Return the deployment under way, as far as it was told."""
        with self._lock:
            return self._running

    def stop(self) -> None:
        """Let whoever waits here look up: no order is taken any more."""
        with self._lock:
            self._stopping.set()
            self._disturbed.set()
            self._lock.notify_all()

    # -- the deployer's thread ------------------------------------------------------------------------------

    def next_order(self) -> Order | None:
        """Wait for an order and return it; None when the agent is being stopped."""
        with self._lock:
            while not self._inbox and not self._stopping.is_set():
                self._lock.wait()
            return None if self._stopping.is_set() else self._inbox.popleft()

    def put_back(self, order: Order) -> None:
        """Let an order wait on, behind the others."""
        with self._lock:
            self._put(order)

    def is_wanted(self, order: JobOrder) -> bool:
        """Tell whether the job was not withdrawn, and not offered anew, since it was offered so."""
        with self._lock:
            return self._offered.get(order.job_id) is order

    def forget(self, order: JobOrder) -> None:
        """Let the job be offered no longer."""
        with self._lock:
            self._forget(order)

    def clear(self) -> None:
        """Forget what ended the deployment before: another one begins."""
        with self._lock:
            self._given_up = self._superseder = None
            if not self._stopping.is_set():
                self._disturbed.clear()

    def begun(self, record: Deployment, order: JobOrder | None) -> None:
        """Show a deployment whose record is durable now, and take its order away."""
        with self._lock:
            self._running = record
            # Withdrawn since its turn came: whoever withdrew it found nothing under way yet.
            if order is not None and not self._forget(order):
                self._give_up(Code.CANCELLED, "the job was withdrawn before it began")

    def show(self, record: Deployment) -> None:
        """Show how far the deployment is; a rollback that waited for its watch to begin ends it."""
        with self._lock:
            self._running = None if record.ended else record
            self._look_for_rollbacks()

    def check(self, record: Deployment) -> None:
        """Return if the deployment may go on.

        Raises:
            Stopping: the agent is being stopped.
            CancelledError: CANCELLED or SUPERSEDED.
        """
        with self._lock:
            # A restart would undo an activation, and it is done at once.
            if self._stopping.is_set() and record.state is not State.ACTIVATING:
                raise Stopping
            if self._given_up is not None:
                raise self._given_up

    @property
    def stopping(self) -> bool:
        """Whether the agent is being stopped."""
        return self._stopping.is_set()

    @property
    def disturbed(self) -> bool:
        """Whether something happened that ``check`` tells of."""
        return self._disturbed.is_set()

    def why_given_up(self) -> CancelledError | None:
        """Return why the deployment must end."""
        with self._lock:
            return self._given_up

    def superseder(self) -> JobIdentity | None:
        """Return the job whose rollback ends the deployment's watch."""
        with self._lock:
            return self._superseder

    def wait(self, seconds: float) -> None:
        """Sleep so long, or until ``check`` has something to tell."""
        self._disturbed.wait(seconds)

    def rest(self, seconds: float) -> None:
        """Sleep so long.

        Raises:
            Stopping: the agent is being stopped.
        """
        if self._stopping.wait(seconds):
            raise Stopping

    def answer(self, record: Deployment) -> None:
        """Tell those whose rollback ended the watch how that went."""
        with self._lock:
            superseding, self._superseding = self._superseding, []
            for order in superseding:
                if record.outcome is State.COMMITTED:
                    # It came when the watch was just over: what is committed is taken back like anything else.
                    self._put(order)
                else:
                    order.result.set_result(records.to_report(record))

    def close(self) -> None:
        """Turn away whoever waits."""
        with self._lock:
            left = [*self._superseding, *(order for order in self._inbox if isinstance(order, LocalOrder))]
            self._superseding.clear()
            self._inbox.clear()
        for order in left:
            turn_away(order)

    # -- with the lock held ---------------------------------------------------------------------------------

    def _put(self, order: Order) -> None:
        self._inbox.append(order)
        self._lock.notify_all()

    def _forget(self, order: JobOrder) -> bool:
        wanted = self._offered.get(order.job_id) is order
        if wanted:
            del self._offered[order.job_id]
        return wanted

    def _give_up(self, code: Code, message: str) -> None:
        # The first cause stays.
        self._given_up = self._given_up or CancelledError(code, message)
        self._disturbed.set()

    def _look_for_rollbacks(self) -> None:
        running = self._running
        if running is not None and running.state is State.CHECKING and running.waits_for_window:
            self._give_way()
        if running is None or running.state not in UNDER_WATCH:
            return
        for call in [one for one in self._inbox if isinstance(one, LocalOrder) and takes_back(one.document, running)]:
            self._inbox.remove(call)
            self._superseding.append(call)
            self._give_up(Code.SUPERSEDED, f"taken back by {call.actor or 'a local call'}: {call.reason}")
        job = next((one for one in self._waiting_jobs() if job_takes_back(one.document, running)), None)
        if self._superseder is None and job is not None:
            self._superseder = job.identity
            self._give_up(Code.SUPERSEDED, f"taken back by job {job.job_id}")
            self._prefer(job.job_id)

    def _waiting_jobs(self) -> list[JobOrder]:
        # Behind a call of this device the cloud's front job waits here, since the cloud knows nothing of that call.
        offered = [one for one in self._inbox if isinstance(one, JobOrder) and self._offered.get(one.job_id) is one]
        return [*offered, *self._queue]

    def _give_way(self) -> None:
        """End an install that waits for its window, maybe for hours, where a rollback is queued behind it."""
        calls = [one for one in self._inbox if isinstance(one, LocalOrder) and one.document.operation == "rollback"]
        job = next((one for one in self._waiting_jobs() if one.document.get("operation") == "rollback"), None)
        if calls or job is not None:
            message = "a rollback came while it waited for its window; it may be ordered again"
            self._give_up(Code.SUPERSEDED, message)
        if job is not None and not calls:
            self._prefer(job.job_id)


def turn_away(order: LocalOrder) -> None:
    """Tell a caller that nothing is begun any more."""
    then = "; the deployment begins after its next start" if order.accepted else ""
    order.result.set_exception(InferenceError(Code.UNAVAILABLE, f"the agent is being stopped{then}"))
