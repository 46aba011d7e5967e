"""The life of one deployment, as a table.

A state is written down before its work is done, so after a power cut the row of the state
found on disk says everything: where to go on, which version answers, how the job ends.
Code elsewhere asks, it does not decide. The diagram in the README is drawn from here.
"""

from enum import Enum
from typing import Final, NamedTuple


class State(str, Enum):
    """Where a deployment stands. The values are on disk and in reports: never rename."""

    ACCEPTED = "ACCEPTED"
    REFRESHING = "REFRESHING"
    CHECKING = "CHECKING"
    DOWNLOADING = "DOWNLOADING"
    VERIFIED = "VERIFIED"
    BUILDING = "BUILDING"
    TRIED = "TRIED"
    SHADOW = "SHADOW"
    ACTIVATING = "ACTIVATING"
    PROBATION = "PROBATION"
    COMMITTED = "COMMITTED"
    ROLLING_BACK = "ROLLING_BACK"
    FAILED = "FAILED"
    REFUSED = "REFUSED"
    CANCELLED = "CANCELLED"
    REPORTED = "REPORTED"


class Event(str, Enum):
    """What happened, in the past tense."""

    DONE = "DONE"
    CONFIRMED = "CONFIRMED"  # what was asked for is already current
    REFUSED = "REFUSED"
    BROKE = "BROKE"
    CANCELLED = "CANCELLED"


class Row(NamedTuple):
    """What holds in one state."""

    does: str
    resumes_at: State
    answering: str  # after a restart: the committed version, or the new one
    on_cancel: State | None
    on_failure: State | None
    limit_s: float  # told to AWS as the step's time-out, plus a margin


S = State
TABLE: Final[dict[State, Row]] = {
    S.ACCEPTED: Row("the intent is durable", S.REFRESHING, "committed", S.CANCELLED, S.FAILED, 60),
    S.REFRESHING: Row("TUF metadata and floors", S.REFRESHING, "committed", S.CANCELLED, S.FAILED, 86_400),
    S.CHECKING: Row("hardware, disk, memory, window, bounds", S.CHECKING, "committed", S.CANCELLED, S.FAILED, 86_400),
    S.DOWNLOADING: Row("missing blobs only", S.DOWNLOADING, "committed", S.CANCELLED, S.FAILED, 86_400),
    S.VERIFIED: Row("every blob checked, version complete", S.BUILDING, "committed", S.CANCELLED, S.FAILED, 600),
    S.BUILDING: Row("engine built, niced", S.BUILDING, "committed", S.CANCELLED, S.FAILED, 3600),
    S.TRIED: Row("golden samples answered", S.BUILDING, "committed", S.CANCELLED, S.FAILED, 600),
    S.SHADOW: Row("watched beside the live version", S.SHADOW, "committed", S.CANCELLED, S.FAILED, 604_800),
    S.ACTIVATING: Row("leases turn to the candidate", S.ROLLING_BACK, "committed", S.ROLLING_BACK, S.ROLLING_BACK, 60),
    S.PROBATION: Row("new answers, old stays warm", S.BUILDING, "committed", S.ROLLING_BACK, S.ROLLING_BACK, 604_800),
    # A generation that cannot be written (full disk) is not committed, so the old version answers again.
    S.COMMITTED: Row("generation durable, old drained", S.COMMITTED, "new", None, S.ROLLING_BACK, 60),
    S.ROLLING_BACK: Row("previous leases again", S.ROLLING_BACK, "committed", None, None, 60),
    S.FAILED: Row("ended", S.FAILED, "committed", None, None, 60),
    S.REFUSED: Row("ended, can never succeed here", S.REFUSED, "committed", None, None, 60),
    S.CANCELLED: Row("ended, no longer wanted", S.CANCELLED, "committed", None, None, 60),
    S.REPORTED: Row("the cloud knows", S.REPORTED, "as it ended", None, None, 60),
}

INSTALL: Final = (
    S.ACCEPTED,
    S.REFRESHING,
    S.CHECKING,
    S.DOWNLOADING,
    S.VERIFIED,
    S.BUILDING,
    S.TRIED,
    S.SHADOW,
    S.ACTIVATING,
    S.PROBATION,
    S.COMMITTED,
    S.REPORTED,
)
# A rollback needs no network: the version is in the store, and nothing waits for an operator in need.
ROLLBACK: Final = (S.ACCEPTED, S.CHECKING, S.BUILDING, S.TRIED, S.ACTIVATING, S.COMMITTED, S.REPORTED)
# Nothing is tried: what answers stays, or goes once its going is durable.
REMOVE: Final = (S.ACCEPTED, S.CHECKING, S.COMMITTED, S.REPORTED)
CONFIGURE: Final = REMOVE
PATHS: Final = {"install": INSTALL, "rollback": ROLLBACK, "remove": REMOVE, "configure": CONFIGURE}

ENDS: Final = frozenset({S.COMMITTED, S.FAILED, S.REFUSED, S.CANCELLED})
UNDOING: Final = (ENDS - {S.COMMITTED}) | {S.ROLLING_BACK}
UNDER_WATCH: Final = frozenset({S.SHADOW, S.PROBATION})

# A candidate under probation that takes the agent down so often is given up and quarantined.
UNCLEAN_ENDS_LIMIT: Final = 3


class IllegalTransitionError(Exception):
    """The code, not the world, is wrong: this event cannot happen here."""


def advance(state: State, event: Event, operation: str) -> State:
    """Return the state that ``event`` leads to.

    Raises:
        IllegalTransitionError: the event cannot happen in this state.
    """
    row = TABLE[state]
    if event is Event.DONE:
        return _after(state, operation)
    target = {
        Event.CONFIRMED: S.COMMITTED if state is S.CHECKING else None,
        Event.REFUSED: S.REFUSED if row.on_failure is S.FAILED else row.on_failure,
        Event.BROKE: row.on_failure,
        Event.CANCELLED: row.on_cancel,
    }[event]
    if target is None:
        raise IllegalTransitionError(f"{event.value} cannot happen in {state.value}")
    return target


def resume(state: State, operation: str, unclean_ends: int) -> State:
    """Return where a restarted agent goes on with a deployment found in ``state``."""
    if state is S.PROBATION and unclean_ends >= UNCLEAN_ENDS_LIMIT:
        return S.ROLLING_BACK
    if state is S.ACCEPTED:
        return PATHS[operation][1]
    return TABLE[state].resumes_at


def _after(state: State, operation: str) -> State:
    if state is S.ROLLING_BACK:
        return S.FAILED
    if state in ENDS:
        return S.REPORTED
    path = PATHS[operation]
    if state not in path or state is S.REPORTED:
        raise IllegalTransitionError(f"nothing follows {state.value} in a deployment of operation {operation}")
    return path[path.index(state) + 1]
