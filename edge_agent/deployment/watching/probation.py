"""PROBATION: the candidate answers; what it replaced stays warm, and is what it is measured by.

A request that it fails is asked again of the version before, in that version's own worker:
what overcomes both is the request's fault. Where nobody asks, the last pictures are asked
again of both, beside the line.
"""

import functools
import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from edge_agent.config import Deployment as Limits
from edge_agent.deployment.contents import Contents
from edge_agent.deployment.record import Deployment, note
from edge_agent.deployment.serving import Serving
from edge_agent.deployment.watching import comparison, guards
from edge_agent.deployment.watching.aside import Aside
from edge_agent.deployment.watching.deaths import Deaths
from edge_agent.deployment.watching.requests import Offers, Tally, ask_again, ask_picture, is_own_fault
from edge_agent.deployment.watching.watches import Answers, Watch
from edge_agent.deployment.work import Work
from edge_agent.errors import ActivationError, Code
from edge_agent.formats import Picture, ProbationPolicy
from edge_agent.inference import Answered

_log = logging.getLogger(__name__)

LOOK_S = 0.2
# What a kill may cost of the time under watch; a probation of days must not wear out flash memory.
KEEP_S = 1.0


class Opinion(NamedTuple):
    """A request, and what the version before makes of it; None: there is none."""

    candidate: Answered
    before: Answered | None
    replayed: bool = False


class Probation:
    """The step.

    Args:
        contents: what the targets are on disk.
        serving: sessions in memory, and live requests.
        limits: the device's own policy.
    """

    def __init__(self, contents: Contents, serving: Serving, limits: Limits) -> None:
        self._contents = contents
        self._serving = serving
        self._limits = limits

    def run(self, record: Deployment, work: Work) -> Deployment:
        """Watch the candidates while they answer.

        Raises:
            ActivationError: PROBATION_REGRESSION; GOLDEN_MISMATCH or LOAD_FAILED where nobody asked.
        """
        policy = record.policy.probation or self._limits.probation
        if not policy.limit_s:
            return note(record, guards.probation_figures(record.probation))
        return _Watching(self._serving, policy, work, record).run(self._golden)

    def _golden(self, record: Deployment, model: str) -> None:
        target = next(target for target in record.targets if target.name == model)
        self._serving.try_golden(self._contents.installed(target))


class _Watching:
    """One PROBATION."""

    def __init__(self, serving: Serving, policy: ProbationPolicy, work: Work, record: Deployment) -> None:
        self._serving = serving
        self._pairs = serving.replaced()
        self._policy = policy
        self._work = work
        self._record = record
        self._aside = Aside[Opinion]("probation")
        versions = [pair.candidate.manifest.model_version for pair in self._pairs.values()]
        self._tally = Tally(versions)
        self._suspects = Offers(versions, _is_suspect, lambda: self._aside.has_room, self._suspect)
        self._deaths = Deaths()
        self._unheard: list[Answered] = []

    def run(self, golden: Callable[[Deployment, str], None]) -> Deployment:
        """Return the record with everything that was seen; what was seen is kept also where it ends badly."""
        try:
            with self._aside:
                with self._serving.watched_by(self._told):
                    self._watch()
                    self._replay(golden)
                self._look(0.0)
            guards.check_probation(self._watched, self._policy, over=True)
        except ActivationError:
            self._keep()
            raise
        return note(self._record, guards.probation_figures(self._watched))

    @property
    def _watched(self) -> Watch:
        return self._record.probation

    @property
    def _is_open(self) -> bool:
        restarts = {name: pair.candidate.restarts for name, pair in self._pairs.items()}
        open_still = bool(self._unheard) or not self._aside.idle
        return open_still or any(self._deaths.is_open(name, count) for name, count in restarts.items())

    def _told(self, answered: Answered) -> None:
        self._tally(answered)
        self._suspects(answered)

    def _watch(self) -> None:
        kept_at = before = time.monotonic()
        # To its end only when it is known of every failed request, and of every death, whose fault it is.
        while not guards.probation_is_over(self._watched, self._pairs, self._policy) or self._is_open:
            self._work.wait(min(LOOK_S, self._policy.limit_s))
            now = time.monotonic()
            self._look(now - before)
            before = now
            if now - kept_at >= KEEP_S:
                kept_at = now
                self._keep()

    def _replay(self, golden: Callable[[Deployment, str], None]) -> None:
        """Ask the last pictures, then the golden samples, of models that nobody asked for."""
        for name in [name for name in self._pairs if not self._watched.of(name).requests]:
            pictures = self._serving.recent(name)
            if pictures:
                self._become(before={**self._watched.before, name: Answers()})
            for picture in pictures:
                while not self._aside.offer(functools.partial(self._ask_both, name, picture)):
                    self._pause()
            while self._is_open:
                self._pause()
            golden(self._record, name)

    def _pause(self) -> None:
        self._work.wait(LOOK_S / 4)
        self._look(0.0)

    def _look(self, seconds: float) -> None:
        """Take in what the line and the thread beside it have told, and stop at the first regression."""
        now = time.monotonic()
        opinions, settled = self._aside.take(), self._aside.idle
        self._count(seconds)
        for opinion in opinions:
            self._weigh(opinion, now)
        if opinions or settled:
            # Too many at once to ask for another opinion of each: they are taken for what those heard last were.
            unheard, self._unheard = self._unheard, []
            for request in unheard:
                self._weigh(Opinion(request, None), now)
        for name, pair in self._pairs.items():
            deaths = self._deaths.unexplained(name, pair.candidate.restarts, now, settled=settled)
            if deaths:
                self._fail(f"{name}'s worker ended", deaths)
            guards.check_memory(pair.candidate.manifest, pair.candidate.memory_bytes, Code.PROBATION_REGRESSION)
        guards.check_probation(self._watched, self._policy)

    def _count(self, seconds: float) -> None:
        models, requests = dict(self._watched.models), self._watched.requests
        for name, answered in self._tally.take().items():
            models[name] = comparison.answered_more(self._watched.of(name), answered)
            requests += len(answered)
        self._become(models=models, requests=requests, seconds=self._watched.seconds + seconds)
        self._unheard += self._suspects.take_dropped()

    def _weigh(self, opinion: Opinion, now: float) -> None:
        candidate, before, replayed = opinion
        name = candidate.model.name
        if replayed:
            self._count_replayed(opinion)
        if candidate.error is None:
            return
        shared = before is not None and _is_suspect(before)
        if shared or (candidate.error.code is Code.UNAVAILABLE and self._deaths.excuses(name, now)):
            self._become(excused=self._watched.excused + 1)
            fields = {"action": "failure_excused", "model": name, "reason": str(candidate.error)}
            _log.warning("a request is more than the version before can take, too", extra=fields)
        elif is_own_fault(candidate.error):
            self._fail(str(candidate.error))
        else:
            return
        if candidate.error.code is not Code.INTERNAL:
            self._deaths.explain(name, now, excused=shared)

    def _count_replayed(self, opinion: Opinion) -> None:
        name, watch = opinion.candidate.model.name, self._watched
        update = {"replayed": watch.replayed + 1, "requests": watch.requests + 1}
        models = {**watch.models, name: comparison.answered_more(watch.of(name), [opinion.candidate])}
        before = dict(watch.before)
        if opinion.before is not None:
            before[name] = comparison.answered_more(before.get(name, Answers()), [opinion.before])
        self._become(**update, models=models, before=before)

    def _fail(self, trouble: str, amount: int = 1) -> None:
        self._become(failures=self._watched.failures + amount, trouble=self._watched.trouble or trouble)

    def _become(self, **update: object) -> None:
        self._record = self._record.model_copy(update={"probation": self._watched.model_copy(update=update)})

    def _keep(self) -> None:
        self._record = note(self._record, guards.probation_figures(self._watched))
        self._work.keep(self._record)

    def _suspect(self, answered: Answered) -> bool:
        return self._aside.offer(functools.partial(self._ask_before, answered))

    def _ask_before(self, answered: Answered) -> Opinion:
        other = self._pairs[answered.model.name].other
        return Opinion(answered, None if other is None else ask_again(other, answered))

    def _ask_both(self, name: str, picture: Picture) -> Opinion:
        answered = ask_picture(self._pairs[name].candidate, picture)
        return self._ask_before(answered)._replace(replayed=True)


def _is_suspect(answered: Answered) -> bool:
    """Tell whether a request was more than a version could take; a late one may have been."""
    error = answered.error
    return is_own_fault(error) or (error is not None and error.code is Code.DEADLINE_EXCEEDED)
