"""The half of the talk that tells: reports go out one at a time and end settled.

Reports of a job go out one at a time, each with the version it expects. When the answer
is lost, the answer to the next attempt carries the execution's state, and that tells
whether the first one had arrived. ``session`` holds the other half, which asks for jobs.
"""

from abc import ABC, abstractmethod
from collections import Counter
from typing import Final

from edge_agent.jobs.backlog import Reports
from edge_agent.jobs.effects import Effect, Ignored, Send, Settle, Tell
from edge_agent.jobs.messages import TERMINAL, Identity, JobReported, Rejected, Report, State, compose, compose_update
from edge_agent.jobs.requests import Key, Request, Requests
from edge_agent.jobs.topics import Topics

# The first mismatches are answered at once; a service that goes on disagreeing is given rest.
_QUICK_RESYNCS: Final = 3


class Reporting(ABC):
    """Sends reports and asks questions; the rest is for ``session``.

    Args:
        topics: this thing's.
        requests: the table of open requests.
        reports: what the outbox holds.
        versions: the last version known of each job's execution.
    """

    def __init__(
        self, topics: Topics, requests: Requests, reports: Reports, versions: dict[str, tuple[Identity, int]]
    ) -> None:
        self._topics = topics
        self._requests = requests
        self._reports = reports
        self._versions = versions
        self._connected = False
        self._repeated: set[Identity] = set()
        self.ignored: Counter[str] = Counter()

    @abstractmethod
    def _ended(self, job_id: str, now: float) -> list[Effect]:
        """The job's terminal report is settled."""

    @abstractmethod
    def _gone(self, job_id: str, reason: str, now: float) -> list[Effect]:
        """The execution is no longer ours."""

    def _send_next_report(self, job_id: str, now: float) -> list[Effect]:
        key = Key("update", job_id)
        reports = self._reports.of(job_id)
        if not reports or not self._connected or self._requests.get(key):
            return []
        return self._send(self._requests.open(key, reports[0]), now)

    def _report_accepted(self, report: Report, state: State | None, now: float) -> list[Effect]:
        return self._settled(report, now, version=state.version_number if state else None)

    def _settled(self, report: Report, now: float, *, code: str = "", version: int | None = None) -> list[Effect]:
        effects = self._settle(report, code=code, version=version) + self._send_next_report(report.job_id, now)
        return effects + (self._ended(report.job_id, now) if report.terminal else [])

    def _settle(self, report: Report, *, code: str = "", version: int | None = None) -> list[Effect]:
        known = self._versions.get(report.job_id)
        if version is not None and known is not None:
            self._versions[report.job_id] = (known[0], version)
        self._reports.remove(report)
        effects: list[Effect] = [Settle(report, code, version)]
        if report.terminal:
            effects.append(Tell(JobReported(report.job_id, report.status, not code, code)))
        return effects

    def _resync(self, request: Request, report: Report, answer: Rejected, now: float) -> list[Effect]:
        state = answer.execution_state
        self._requests.close(request.key)
        if state is None or (answer.code == "InvalidStateTransition" and state.status not in TERMINAL):
            return self._refused(report, answer.code, now)
        if state.status in TERMINAL:
            # Only this device ends an execution with a word of ours: an answer to an earlier sending was lost.
            told = state.status == report.status
            return self._report_accepted(report, state, now) if told else self._gone(report.job_id, state.status, now)
        if state.status == report.status and state.details == report.details:
            return self._report_accepted(report, state, now)
        if request.expected_version is not None and state.version_number < request.expected_version:
            # Versions only grow: the job was made anew, or the service lost its memory. Ask which execution it is.
            self._versions.pop(report.job_id, None)
            return self._ask(Key("describe", report.job_id), now)
        known = self._versions.get(report.job_id)
        if known is not None:
            self._versions[report.job_id] = (known[0], state.version_number)
        return self._send_again(request, report, now)

    def _send_again(self, request: Request, report: Report, now: float) -> list[Effect]:
        renewed = self._requests.open(request.key, report)
        renewed.bare, renewed.attempts = request.bare, request.attempts
        if request.attempts <= _QUICK_RESYNCS:
            return self._send(renewed, now)
        self._requests.postpone(renewed, now)
        return []

    def _unreadable(self, request: Request, report: Report, code: str, now: float) -> list[Effect]:
        self._requests.close(request.key)
        if request.bare or not report.terminal:
            return self._refused(report, code, now)
        # The end of a job matters more than its details.
        request.bare = True
        return self._send_again(request, report, now)

    def _refused(self, report: Report, code: str, now: float) -> list[Effect]:
        # It stays pending in the cloud and will be handed out again: once is enough on this connection.
        if report.terminal and report.execution:
            self._repeated.add(report.execution)
        return self._settled(report, now, code=code)

    def _ask(self, key: Key, now: float) -> list[Effect]:
        if not self._connected:
            return []
        request = self._requests.get(key)
        if request is not None:
            request.again = True
            return []
        return self._send(self._requests.open(key), now)

    def _send(self, request: Request, now: float) -> list[Effect]:
        token = self._requests.attempt(request, now)
        topic = self._topics.request(request.key.verb, request.key.job_id)
        if request.report is None:
            return [Send(topic, compose(clientToken=token))]
        known = self._versions.get(request.key.job_id)
        request.expected_version = known[1] if known else None
        payload = compose_update(
            request.report, expected_version=request.expected_version, token=token, bare=request.bare
        )
        return [Send(topic, payload)]

    def _ignore(self, why: str, detail: str) -> list[Effect]:
        self.ignored[why] += 1
        return [Ignored(why, detail)]
