"""Renewal put together: the next certificate is asked for, tried by a connection of its own, and then used.

On one thread, apart from jobs: these go on meanwhile, and what they have to report waits as on any lost connection. The
old certificate stays in use until the new one connected; the cloud ends the old one once it saw the new one here.
"""

import logging
import queue
import time
from collections.abc import Callable, Mapping
from typing import Final

from edge_agent.config import Mqtt
from edge_agent.errors import AgentError, Code, ConfigError, StorageError
from edge_agent.identity import renewal
from edge_agent.identity.lineage import Files, Lineage
from edge_agent.identity.renewal import Act, Wish
from edge_agent.jobs import JobsClient
from edge_agent.jobs.asking import prove
from edge_agent.store import AuditLog
from edge_agent.telemetry import metrics
from edge_agent.telemetry.threads import Watched

_log = logging.getLogger(__name__)

_DAY_S: Final = 86_400.0
# Whether a certificate nears its end is looked at so often.
_LOOK_S: Final = 3600.0
# One that was refused is tried again after so long: each try takes the connection for a moment.
_AGAIN_S: Final = 3600.0
# A certificate that nobody renewed for so long before its end is trouble.
_URGENT_S: Final = 7 * _DAY_S
_TRIAL_S: Final = 60.0
_RETURN_S: Final = 10.0


class Renewing:
    """Renews this device's certificate.

    Args:
        thing: this device.
        settings: as the settings say; the files in use are the lineage's.
        lineage: its certificates.
        jobs: the connection, once there is one.
        audit: told of each exchange.
        note: told what is wrong; an empty text: nothing any more.
        now: epoch seconds.
    """

    def __init__(
        self,
        thing: str,
        settings: Mqtt,
        lineage: Lineage,
        jobs: Callable[[], JobsClient | None],
        *,
        audit: AuditLog,
        note: Callable[[str, str], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._thing, self._settings, self._lineage = thing, settings, lineage
        self._jobs, self._audit, self._note, self._now = jobs, audit, note, now
        self._topics = renewal.Topics.of(thing)
        # None: look and report; what the cloud says is no reason to ask it again.
        self._inputs: queue.SimpleQueue[Wish | None] = queue.SimpleQueue()
        self._refused, self._fault, self._again_at = "", "", 0.0
        self._thread = Watched("renewal", self._run)

    @property
    def files(self) -> Files:
        """Return the certificate in use and its key."""
        return self._lineage.files

    def settings(self) -> Mqtt:
        """Return how to connect with the certificate in use."""
        return self._with(self.files)

    def receivers(self) -> Mapping[str, Callable[[bytes], None]]:
        """Return what the connection hands over here, by topic."""
        return {self._topics.delta: self._take_wish, self._topics.got: self._take_wish}

    def _take_wish(self, payload: bytes) -> None:
        self._inputs.put(renewal.read_wish(payload))

    def start(self) -> None:
        """Begin to look at the certificate's end."""
        self._thread.start()

    def connected(self) -> None:
        """Report where this device stands, and ask what the cloud desires; hands over only."""
        self._inputs.put(None)

    def stop(self) -> None:
        """End; a certificate that is being tried is tried again at the next start."""
        self._thread.stopping.set()
        self._inputs.put(None)
        self._thread.stop(timeout_s=5.0)

    # below: on the thread

    def _run(self, thread: Watched) -> None:
        self._tidy()
        self._take(None)
        while not thread.stopping.is_set():
            try:
                wish = self._inputs.get(timeout=_LOOK_S)
            except queue.Empty:
                wish = None
            if not thread.stopping.is_set():
                self._take(wish)

    def _take(self, said: Wish | None) -> None:
        wish = said or Wish()
        try:
            self._look()
            act = self._act(wish)
            if act is Act.ASK:
                self._lineage.ask(self._thing)
                _log.info("certificate asked for", extra={"action": "certificate_asked"})
            elif act is Act.TRY and (wish.certificate != self._refused or time.monotonic() >= self._again_at):
                self._try(wish.certificate)
                return  # the new connection reports
            if said is None or act is Act.ASK:
                self._tell()
        except AgentError as exc:
            self._trouble("certificate not renewed", exc)

    def _act(self, wish: Wish) -> Act:
        asking, before_s = bool(self._lineage.request), self._settings.renew_before_days * _DAY_S
        return renewal.next_act(self._lineage.current, wish, asking=asking, now=self._now(), before_s=before_s)

    def _tell(self) -> None:
        jobs, lineage = self._jobs(), self._lineage
        if jobs is None or not jobs.connected:
            return
        told = renewal.report(lineage.current, before=lineage.before, request=lineage.request, fault=self._fault)
        jobs.publish(self._topics.update, told)
        jobs.publish(self._topics.get, b"{}")

    def _try(self, pem: str) -> None:
        jobs = self._jobs()
        if jobs is None:
            return
        files = self._lineage.put(pem)
        # AWS IoT lets one connection have the thing's name, so this one gives way to the trial.
        jobs.hold()
        try:
            prove(self._with(files), self._thing, _TRIAL_S)
            self._lineage.switch()
        except AgentError as exc:
            self._refused, self._fault, self._again_at = pem, exc.message, time.monotonic() + _AGAIN_S
            self._trouble("the next certificate was refused, the old one goes on", exc)
        else:
            self._refused, self._fault = "", ""
            self._tell_exchange()
        finally:
            self._come_back(jobs)

    def _come_back(self, jobs: JobsClient) -> None:
        # Somebody may be exchanging the files of the settings: without a connection nobody would hear of it.
        while not self._is_back(jobs) and not self._thread.wait(_RETURN_S):
            pass

    def _is_back(self, jobs: JobsClient) -> bool:
        try:
            jobs.use(self.settings())
        except ConfigError as exc:
            self._trouble("the certificate in use cannot be read", exc)
            return False
        return True

    def _with(self, files: Files) -> Mqtt:
        return self._settings.model_copy(update=files._asdict())

    def _tell_exchange(self) -> None:
        self._tidy()
        current = self._lineage.current
        _log.info("certificate exchanged", extra={"action": "certificate_exchanged", "certificate": current.id})
        self._audit.append("certificate_exchanged", certificate=current.id, before=self._lineage.before)
        self._look()

    def _tidy(self) -> None:
        try:
            self._lineage.tidy()
        except StorageError as exc:
            self._trouble("old keys are not deleted", exc)

    def _look(self) -> None:
        """Tell when the certificate ends, and note when that is soon."""
        ends = self._lineage.current.ends
        metrics.show_certificate(ends)
        left_s = ends - self._now()
        day = time.strftime("%Y-%m-%d", time.gmtime(ends))
        soon = f"the device's certificate ends on {day} and nobody renewed it" if left_s < _URGENT_S else ""
        self._note("certificate", soon)

    def _trouble(self, what: str, error: AgentError) -> None:
        level = logging.DEBUG if error.code is Code.NOT_CONNECTED and not self._fault else logging.WARNING
        _log.log(level, "%s", what, extra={"action": "certificate_trouble", "reason": error.message})
