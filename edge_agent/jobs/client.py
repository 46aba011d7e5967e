"""The device's side of AWS IoT Jobs, put together: MQTT, session and outbox on one thread of its own."""

from collections.abc import Callable, Mapping

from edge_agent.config import Mqtt
from edge_agent.jobs.messages import Event, QueuedJob, Reportable
from edge_agent.jobs.outbox import Outbox


class JobsClient:
    """Asks for jobs, hands them over, and tells the service how they went.

    Args:
        settings: where the service is and who we are.
        thing: this device's name.
        outbox: keeps reports until they are settled.
        events: told of everything that happens, on this client's own thread: it only hands over.

    Raises:
        ConfigError: the endpoint, certificate, key or authority is missing.
    """

    def __init__(self, settings: Mqtt, thing: str, outbox: Outbox, *, events: Callable[[Event], None]) -> None:
        raise NotImplementedError

    def start(self) -> None:
        """Connect, and keep connected until stopped; returns at once."""

    def stop(self, *, timeout_s: float = 10.0) -> None:
        """Disconnect and end the thread; reports that wait stay in the outbox."""

    @property
    def connected(self) -> bool:
        """Whether the service can be reached now, subscriptions included."""
        return False

    def report(
        self,
        job_id: str,
        status: Reportable,
        details: Mapping[str, str],
        *,
        step_timeout_minutes: int | None = None,
    ) -> None:
        """Keep a report, durable before this returns, and send it in its turn until it is settled.

        Details are shortened to what the service takes. A report that follows the terminal one is dropped;
        the same terminal report again only repeats the ``JobReported`` event.

        Raises:
            JobsError: (permanent) the status, details or time-out are not ones a device may report.
            StorageError: it could not be made durable.
        """

    def pending_reports(self, job_id: str) -> int:
        """Return how many reports of the job wait for the service."""
        return 0

    def queued(self) -> tuple[QueuedJob, ...]:
        """Return the jobs that wait behind the one in work, the oldest first."""
        return ()

    def prefer(self, job_id: str) -> None:
        """Take this queued job next, before older ones (a rollback that pre-empts)."""

    def publish(self, topic: str, payload: bytes) -> bool:
        """Publish anything else once, at least once; False when there is no connection."""
        return False
