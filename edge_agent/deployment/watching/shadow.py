"""SHADOW: the candidate answers copies of live requests, unseen, and is compared with what answers.

A copy is handed over at the end of a live request, on its thread, if there is room for it;
everything else happens beside the line. Where nobody asks, the last pictures are asked again.
"""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from edge_agent.config import Deployment as Limits
from edge_agent.deployment.contents import Contents
from edge_agent.deployment.record import Deployment, note
from edge_agent.deployment.serving import Serving
from edge_agent.deployment.states import State
from edge_agent.deployment.watching import comparison, guards
from edge_agent.deployment.watching.aside import Aside
from edge_agent.deployment.watching.comparison import Comparison, TensorAnswer
from edge_agent.deployment.watching.requests import Offers, Pair, ask_again, ask_picture
from edge_agent.deployment.watching.watches import Beside, Compared
from edge_agent.deployment.work import Work
from edge_agent.errors import ActivationError, Code
from edge_agent.formats import Manifest, Picture, ShadowPolicy
from edge_agent.inference import Answered, Inspected
from edge_agent.telemetry import metrics

LOOK_S = 0.2
# What a kill may cost of the time under watch; a shadow of days must not wear out flash memory.
KEEP_S = 1.0


class Seen(NamedTuple):
    """One copy: how it compares, or how the candidate failed; neither: the live version failed too."""

    model: str
    comparison: Comparison | None = None
    trouble: str = ""
    replayed: bool = False


class Shadow:
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
        """Compare the candidates with the live versions until the policy has seen enough.

        Raises:
            ActivationError: SHADOW_REGRESSION; LOAD_FAILED or GOLDEN_MISMATCH.
        """
        for target in record.targets:
            self._serving.open(self._contents.installed(target))
        policy = record.policy.shadow or self._limits.shadow
        passed = any(entry.state == State.ACTIVATING.value for entry in record.states)
        if passed or not policy.limit_s:
            return record
        beside = self._serving.beside()
        pairs = {name: pair for name, pair in beside.items() if pair.other is not None}
        record = note(record, {f"{name}_nothing_to_compare_with": 1.0 for name in beside.keys() - pairs.keys()})
        if not pairs:
            return record
        return _Watching(self._serving, pairs, policy, work, record).run(self._golden)

    def _golden(self, record: Deployment, model: str) -> None:
        target = next(target for target in record.targets if target.name == model)
        self._serving.try_golden(self._contents.installed(target))


class _Watching:
    """One SHADOW that has something to compare with."""

    def __init__(
        self, serving: Serving, pairs: Mapping[str, Pair], policy: ShadowPolicy, work: Work, record: Deployment
    ) -> None:
        self._serving = serving
        self._pairs = pairs
        self._policy = policy
        self._work = work
        self._record = record
        self._aside = Aside[Seen]("shadow")

    def run(self, golden: Callable[[Deployment, str], None]) -> Deployment:
        """Return the record with everything that was seen; what was seen is kept also where it ends badly."""
        live = [pair.other.manifest.model_version for pair in self._pairs.values() if pair.other is not None]
        copies = Offers(live, _was_answered, lambda: self._aside.has_room, self._copy)
        try:
            with self._aside:
                with self._serving.watched_by(copies):
                    self._watch(copies)
                self._replay(golden)
            guards.check_shadow(self._record.shadow, self._policy)
        except ActivationError:
            self._keep()
            raise
        return note(self._record, guards.shadow_figures(self._record.shadow))

    def _watch(self, copies: Offers) -> None:
        kept_at = before = time.monotonic()
        while not guards.shadow_is_over(self._record.shadow, self._pairs, self._policy):
            self._work.wait(min(LOOK_S, self._policy.limit_s))
            now = time.monotonic()
            self._look(copies.take_dropped(), now - before)
            before = now
            if now - kept_at >= KEEP_S:
                kept_at = now
                self._keep()

    def _replay(self, golden: Callable[[Deployment, str], None]) -> None:
        """Ask the last pictures, then the golden samples, of models that nobody asked for."""
        for name in [name for name in self._pairs if not self._record.shadow.of(name).compared]:
            for picture in self._serving.recent(name):
                while not self._aside.offer(functools.partial(self._ask_both, name, picture)):
                    self._pause()
            while not self._aside.idle:
                self._pause()
            golden(self._record, name)

    def _pause(self) -> None:
        self._work.wait(LOOK_S / 4)
        self._look([], 0.0)

    def _look(self, dropped: Sequence[Answered], seconds: float) -> None:
        """Take in what the thread beside has found, and stop at the first failure."""
        seen = _grown(self._record.shadow, self._aside.take(), dropped, seconds)
        self._record = self._record.model_copy(update={"shadow": seen})
        guards.check_answering(seen)
        for pair in self._pairs.values():
            guards.check_memory(pair.candidate.manifest, pair.candidate.memory_bytes, Code.SHADOW_REGRESSION)

    def _keep(self) -> None:
        self._record = note(self._record, guards.shadow_figures(self._record.shadow))
        self._work.keep(self._record)

    def _copy(self, answered: Answered) -> bool:
        return self._aside.offer(functools.partial(self._ask, answered))

    def _ask(self, answered: Answered, *, replayed: bool = False) -> Seen:
        name = answered.model.name
        candidate = self._pairs[name].candidate
        again = ask_again(candidate, answered)
        if again.error is not None:
            return Seen(name, trouble=str(again.error), replayed=replayed)
        found = self._compare(answered, again)
        metrics.count_shadow(name, agreed=found.agreed)
        return Seen(name, found, replayed=replayed)

    def _ask_both(self, name: str, picture: Picture) -> Seen:
        other = self._pairs[name].other
        if other is None:
            return Seen(name)
        live = ask_picture(other, picture)
        return self._ask(live, replayed=True) if live.error is None else Seen(name)

    def _compare(self, live: Answered, candidate: Answered) -> Comparison:
        if isinstance(live.answer, Inspected) and isinstance(candidate.answer, Inspected):
            return comparison.compare_pictures(live.answer, candidate.answer)
        pair = self._pairs[live.model.name]
        manifests = (pair.other or pair.candidate).manifest, pair.candidate.manifest
        return comparison.compare_tensors(*map(_tensors, manifests, (live, candidate)))


def _tensors(manifest: Manifest, answered: Answered) -> TensorAnswer:
    outputs = answered.answer if isinstance(answered.answer, dict) else {}
    return TensorAnswer(manifest, outputs, answered.milliseconds)


def _was_answered(answered: Answered) -> bool:
    return answered.error is None


def _grown(before: Beside, seen: Sequence[Seen], dropped: Sequence[Answered], seconds: float) -> Beside:
    models = dict(before.models)
    for request in dropped:
        known = models.get(request.model.name, Compared())
        models[request.model.name] = known.model_copy(update={"dropped": known.dropped + 1})
    for model, found, trouble, replayed in seen:
        known = models.get(model, Compared())
        if found is not None:
            known = comparison.grown(known, [found], replayed=replayed)
        models[model] = comparison.failed(known, trouble) if trouble else known
    return Beside(seconds=before.seconds + seconds, models=models)
