"""The talk with the job service, without I/O: messages and reports in, effects out.

Rules of this room:

- Notifications are only a reason to ask; what to do comes from answers to our own
  requests, so a doubled, late, reordered or forged notification changes nothing.
- One execution is offered at a time. One that has its terminal report is never
  offered again: the service gets that report again instead.
- Reports go out as ``reporting`` says: one at a time, and never lost or doubled.

Not done here: waiting, keeping, logging. The caller brings the time (monotonic
seconds) and carries the effects out in their order.
"""

from collections.abc import Callable, Iterable
from typing import Final

from edge_agent.errors import DocumentError
from edge_agent.formats.document import parse
from edge_agent.jobs.backlog import Backlog, Reports
from edge_agent.jobs.effects import Effect, Learn, Repeat, Tell
from edge_agent.jobs.messages import (
    LIMIT_PAYLOAD_BYTES,
    Accepted,
    Execution,
    Identity,
    JobGone,
    JobOffered,
    JobsQueued,
    Notice,
    Rejected,
    Report,
    Summary,
)
from edge_agent.jobs.reporting import Reporting
from edge_agent.jobs.requests import Key, Request, Requests
from edge_agent.jobs.topics import Arrival, Topics

# A notification that was lost on a living connection is made up for by asking now and then.
POLL_S: Final = 900.0
GET: Final = Key("get")
START_NEXT: Final = Key("start-next")
_GONE_CODES: Final = frozenset({"TerminalStateReached", "ResourceNotFound"})
_MALFORMED_CODES: Final = frozenset({"InvalidTopic", "InvalidJson", "InvalidRequest"})
_STATE_CODES: Final = frozenset({"VersionMismatch", "InvalidStateTransition"})


class Session(Reporting):
    """The state of the talk.

    Args:
        topics: this thing's.
        token: stands at the front of every client token; another one for every process.
        rng: gives numbers from 0 up to 1.
        reports: what the outbox holds, the oldest first.
        versions: the last version known of each job's execution.
        finished: executions that have their terminal report.
    """

    def __init__(
        self,
        topics: Topics,
        *,
        token: str,
        rng: Callable[[], float],
        reports: Iterable[Report] = (),
        versions: dict[str, tuple[Identity, int]] | None = None,
        finished: Iterable[Identity] = (),
    ) -> None:
        super().__init__(topics, Requests(token, rng), Reports(reports), dict(versions or {}))
        self._rng = rng
        self._current: Identity | None = None
        self._preferred = ""
        self._listed_here = False  # whether the service told on this connection which jobs wait
        self._finished = set(finished)
        self._backlog = Backlog()
        self._poll_at = 0.0

    # what happens

    def connected(self, now: float) -> list[Effect]:
        """A connection was made and its subscriptions are in place: everything is asked for anew."""
        self._connected = True
        self._listed_here = False
        self._requests.clear()
        self._repeated.clear()
        self._poll_at = now + POLL_S * (0.5 + self._rng())
        effects = [effect for job_id in self._reports.jobs() for effect in self._send_next_report(job_id, now)]
        effects += self._ask(GET, now)
        return effects + (self._verify_current(now) if self._current else self._seek(now))

    def disconnected(self) -> None:
        """The connection is gone, and with it every answer that was waited for."""
        self._connected = False
        self._requests.clear()

    def report(self, report: Report, now: float) -> list[Effect]:
        """Send a report that is already in the outbox, when its turn comes."""
        request = self._requests.get(Key("update", report.job_id))
        self._reports.add(report, request.report if request else None)
        if report.terminal and report.execution:
            self._finished.add(report.execution)
        return self._send_next_report(report.job_id, now)

    def prefer(self, job_id: str, now: float) -> list[Effect]:
        """Take this job next, before older ones."""
        self._preferred = job_id
        return self._seek(now)

    def due(self, now: float) -> list[Effect]:
        """Do what time alone asks for: unanswered requests again, and a look at the queue."""
        if not self._connected:
            return []
        effects = [effect for request in self._requests.overdue(now) for effect in self._send(request, now)]
        if now >= self._poll_at:
            self._poll_at = now + POLL_S * (0.5 + self._rng())
            effects += self._ask(GET, now)
        return effects

    def next_due(self) -> float | None:
        """Return when ``due`` has something to do; None while there is no connection."""
        if not self._connected:
            return None
        request = self._requests.next_due()
        return self._poll_at if request is None else min(self._poll_at, request)

    def received(self, topic: str, payload: bytes, now: float) -> list[Effect]:
        """Take in a message; one that makes no sense is counted and changes nothing."""
        arrival = self._topics.read(topic)
        if arrival is None:
            return self._ignore("foreign", f"topic {topic[:200]!r}")
        if len(payload) > LIMIT_PAYLOAD_BYTES:
            return self._ignore("oversized", f"{arrival.verb}: {len(payload)} bytes")
        try:
            if not arrival.answer:
                return self._notified(arrival, parse(Notice, payload, what=arrival.verb), now)
            if arrival.answer == "accepted":
                return self._accepted(arrival, parse(Accepted, payload, what=arrival.verb), now)
            return self._rejected(arrival, parse(Rejected, payload, what=arrival.verb), now)
        except DocumentError as exc:
            return self._ignore("malformed", exc.message)

    # what follows

    def _notified(self, arrival: Arrival, notice: Notice, now: float) -> list[Effect]:
        if not self._connected:
            return []
        if arrival.verb == "notify":
            return self._ask(GET, now)
        return self._seek(now) if notice.execution else []

    def _accepted(self, arrival: Arrival, answer: Accepted, now: float) -> list[Effect]:
        request = self._requests.match(Key(arrival.verb, arrival.job_id), answer.client_token)
        if request is None:
            return self._ignore("unasked", f"{arrival.verb} {arrival.job_id} accepted")
        self._requests.close(request.key)
        if request.report is not None:
            return self._report_accepted(request.report, answer.execution_state, now)
        if request.key == GET:
            effects = self._listed(answer.in_progress, answer.queued, now)
        elif request.key == START_NEXT:
            effects = self._handed(answer.execution, now)
        else:
            effects = self._described(answer.execution, now)
        return effects + (self._ask_again(request.key, now) if request.again else [])

    def _rejected(self, arrival: Arrival, answer: Rejected, now: float) -> list[Effect]:
        request = self._requests.match(Key(arrival.verb, arrival.job_id), answer.client_token)
        if request is None or not self._requests.newest(request, answer.client_token):
            return self._ignore("unasked", f"{arrival.verb} {arrival.job_id} rejected: {answer.code}")
        if answer.code in _GONE_CODES and arrival.job_id:
            self._requests.close(request.key)
            return self._vanished(request, answer.code, now)
        if request.report is not None and answer.code in _STATE_CODES:
            return self._resync(request, request.report, answer, now)
        if request.report is not None and answer.code in _MALFORMED_CODES:
            return self._unreadable(request, request.report, answer.code, now)
        # RequestThrottled, InternalError, and what nobody told us about
        self._requests.postpone(request, now)
        return self._ignore(answer.code, f"{arrival.verb} {arrival.job_id}: {answer.message[:200]}")

    # jobs

    @property
    def _idle(self) -> bool:
        # The service would hand out again what is ending, so nothing is asked for before it has ended there too.
        return self._current is None and not self._reports.any_ending()

    def _seek(self, now: float) -> list[Effect]:
        if not self._idle:
            return []
        if self._preferred and not self._listed_here:
            # Whether it waits is being asked; the service would hand out the oldest instead.
            return []
        if self._preferred in self._backlog:
            return self._ask(Key("describe", self._preferred), now)
        return self._ask(START_NEXT, now)

    def _handed(self, execution: Execution | None, now: float) -> list[Effect]:
        if execution is None or self._current:
            return []
        identity = execution.identity
        effects = self._learn(identity, execution.version_number, now)
        if not self._idle:
            return effects
        if identity not in self._finished:
            return effects + self._offer(execution)
        if identity in self._repeated:
            return effects + self._ignore("finished", f"job {identity.job_id} was finished and is offered again")
        self._repeated.add(identity)
        return [*effects, Repeat(identity)]

    def _offer(self, execution: Execution) -> list[Effect]:
        self._current = execution.identity
        self._preferred = ""
        offered = JobOffered(
            execution.job_id,
            execution.document,
            "QUEUED" if execution.status == "QUEUED" else "IN_PROGRESS",
            execution.version_number,
            execution.execution_number,
            dict(execution.details),
            execution.queued_at,
        )
        return [*self._leave_backlog(execution.job_id), Tell(offered)]

    def _listed(self, in_progress: Iterable[Summary], queued: Iterable[Summary], now: float) -> list[Effect]:
        self._listed_here = True
        pending = {summary.job_id: summary for summary in (*in_progress, *queued)}
        current = self._current.job_id if self._current else ""
        waiting = {
            job_id: summary
            for job_id, summary in pending.items()
            if job_id != current and not self._reports.ending(job_id)
        }
        unknown = self._backlog.list(waiting)
        effects = [effect for job_id in unknown for effect in self._ask(Key("describe", job_id), now)]
        if current not in pending:
            effects += self._verify_current(now)
        return effects + self._tell_backlog() + (self._seek(now) if waiting else [])

    def _verify_current(self, now: float) -> list[Effect]:
        # Where the update that ends it is in work, its answer says everything.
        if self._current is None or self._reports.ending(self._current.job_id):
            return []
        return self._ask(Key("describe", self._current.job_id), now)

    def _described(self, execution: Execution | None, now: float) -> list[Effect]:
        if execution is None:
            return []
        effects = self._learn(execution.identity, execution.version_number, now)
        if self._current and self._current.job_id == execution.job_id:
            return effects + self._confirmed(execution.identity, now)
        if execution.job_id not in self._backlog:
            return effects
        if execution.job_id == self._preferred and self._idle:
            if execution.identity not in self._finished:
                return effects + self._offer(execution)
            self._preferred = ""
            effects += self._seek(now)
        self._backlog.describe(execution)
        return effects + self._tell_backlog()

    def _confirmed(self, identity: Identity, now: float) -> list[Effect]:
        if self._current == identity:
            return []
        self._current = None
        return [Tell(JobGone(identity.job_id, "replaced")), *self._seek(now)]

    def _leave_backlog(self, job_id: str) -> list[Effect]:
        self._backlog.leave(job_id)
        return self._tell_backlog()

    def _tell_backlog(self) -> list[Effect]:
        jobs = self._backlog.news()
        return [] if jobs is None else [Tell(JobsQueued(jobs))]

    def _learn(self, identity: Identity, version_number: int, now: float) -> list[Effect]:
        if self._versions.get(identity.job_id) == (identity, version_number):
            return []
        self._versions[identity.job_id] = (identity, version_number)
        effects: list[Effect] = [Learn(identity, version_number)]
        # A job id that is used again names another execution: what was to be said of the old one is void.
        void = [report for report in self._reports.of(identity.job_id) if report.execution not in (None, identity)]
        for report in void:
            self._requests.close(Key("update", identity.job_id))
            effects += self._settle(report, code="replaced")
        return effects + self._send_next_report(identity.job_id, now) + (self._seek(now) if void else [])

    def _vanished(self, request: Request, reason: str, now: float) -> list[Effect]:
        # A terminal report's own answer is the better witness than a question asked beside it.
        if request.report is None and self._reports.ending(request.key.job_id):
            return []
        return self._gone(request.key.job_id, reason, now)

    def _gone(self, job_id: str, reason: str, now: float) -> list[Effect]:
        mine = self._current is not None and self._current.job_id == job_id
        reports = self._reports.of(job_id)
        self._requests.close(Key("update", job_id))
        if mine:
            self._current = None
        effects: list[Effect] = []
        if mine or any(not report.terminal for report in reports):
            effects.append(Tell(JobGone(job_id, reason)))
        for report in reports:
            effects += self._settle(report, code=reason)
        return effects + self._leave_backlog(job_id) + self._seek(now)

    def _ended(self, job_id: str, now: float) -> list[Effect]:
        if self._current and self._current.job_id == job_id:
            self._current = None
        return self._seek(now)

    def _ask_again(self, key: Key, now: float) -> list[Effect]:
        return self._seek(now) if key == START_NEXT else self._ask(key, now)
