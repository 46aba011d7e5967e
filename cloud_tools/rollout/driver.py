"""Carries rollouts on: reads, decides, acts, one action at a time. Whoever runs this drives.

It may be ended at any point, and any number may drive the same rollout. While nobody does,
a rollout goes no further than its newest stage, whose job AWS ends by its own limits.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from cloud_tools.errors import PASSING, CloudError
from cloud_tools.rollout.decide import Action, Cancel, Change, Check, Create, End, Wait, ask_again, decide
from cloud_tools.rollout.iot import Jobs
from cloud_tools.rollout.ledger import Ledger
from cloud_tools.rollout.seen import Seen
from cloud_tools.rollout.state import RolloutState

_NOTHING: Seen = {}


class Stay(NamedTuple):
    """How somebody stays with a rollout: what waits between two looks, and who is told of trouble that passes."""

    wait: Callable[[], None]
    trouble: Callable[[CloudError], None]


class Standing(NamedTuple):
    """Where a rollout stands: what is written down, what is seen, what is to be done next."""

    state: RolloutState
    seen: Seen
    next: Action

    @property
    def has_ended(self) -> bool:
        """Tell whether nothing will happen any more unless somebody says so."""
        return isinstance(self.next, End) and self.state.phase != "PAUSED"


class Driver:
    """Drives rollouts.

    Args:
        ledger: what is written down.
        jobs: the cloud.
        now: seconds since 1970.
    """

    def __init__(self, ledger: Ledger, jobs: Jobs, now: Callable[[], float]) -> None:
        self._ledger = ledger
        self._jobs = jobs
        self._now = now

    def look(self, name: str, known: Seen = _NOTHING) -> Standing:
        """Return where a rollout stands; changes nothing.

        Args:
            name: which.
            known: an earlier answer; failures that it holds are not asked for again.

        Raises:
            CloudError: NOT_FOUND, or as the cloud says.
        """
        state, _ = self._ledger.read(name)
        seen = self._jobs.look(state, known)
        return Standing(state, seen, decide(state, seen, self._now()))

    def step(self, name: str, known: Seen = _NOTHING) -> Standing:
        """Do the next thing, if there is one; return where it stood before.

        Raises:
            CloudError: as ``look``.
        """
        state, tag = self._ledger.read(name)
        seen = self._jobs.look(state, known)
        action = decide(state, seen, self._now())
        if isinstance(action, Check):
            action = decide(state, seen, self._now(), self._jobs.shadows(action.things))
        match action:
            case Change(changed):
                self._ledger.swap(changed, tag)
            case Create(parts):
                # A device that is gone moves whoever comes after it, so nothing after it is made before that is known.
                gone = next(filter(None, (self._jobs.create(state, part) for part in parts)), ())
                if gone:
                    self._ledger.swap(state.without(gone, self._now()), tag)
            case Cancel(job_ids, force):
                for job_id in job_ids:
                    self._jobs.cancel(job_id, state.reason, force=force)
        return Standing(state, seen, action)

    def carry_on(self, name: str, known: Seen = _NOTHING) -> Standing:
        """Do all that is due now; return where it stands then.

        Raises:
            CloudError: as ``look``.
        """
        while True:
            standing = self.step(name, known)
            if isinstance(standing.next, Wait | End):
                return standing
            known = standing.seen

    def drive(self, name: str, stay: Stay) -> Iterator[Standing]:
        """Carry it to its end; yield where it stands before each wait and at the end.

        Raises:
            CloudError: as ``look``; what passes, only at the first time.
        """
        return self._repeat(name, stay, self.carry_on, lambda standing: isinstance(standing.next, End))

    def watch(self, name: str, stay: Stay) -> Iterator[Standing]:
        """Yield where it stands before each wait until it has ended, and drive nothing.

        Raises:
            CloudError: as ``drive``.
        """
        return self._repeat(name, stay, self.look, lambda standing: standing.has_ended)

    def _repeat(
        self, name: str, stay: Stay, ask: Callable[[str, Seen], Standing], is_over: Callable[[Standing], bool]
    ) -> Iterator[Standing]:
        standing = ask(name, _NOTHING)
        yield standing
        while not is_over(standing):
            stay.wait()
            try:
                standing = ask(name, standing.seen)
            except CloudError as exc:
                # A rollout lasts for hours; a network that is away for a minute is no reason to leave it.
                if exc.code not in PASSING:
                    raise
                stay.trouble(exc)
                continue
            yield standing

    def change(self, name: str, wish: Callable[[RolloutState, float], RolloutState]) -> RolloutState:
        """Write down what an operator wishes, whoever else writes meanwhile.

        Raises:
            CloudError: NOT_FOUND; FAILED_PRECONDITION: it is not in a state for that.
        """
        while True:
            state, tag = self._ledger.read(name)
            wished = wish(state, self._now())
            if wished == state or self._ledger.swap(wished, tag):
                return wished

    def ask_again(self, name: str, *, accept: bool) -> RolloutState:
        """Have a rollout go on that was stopped or completed (``decide.ask_again``).

        Raises:
            CloudError: FAILED_PRECONDITION.
        """
        return self.change(name, lambda state, now: ask_again(state, self._jobs.look(state, {}), now, accept=accept))
