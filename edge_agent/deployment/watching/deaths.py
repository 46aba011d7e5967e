"""Which deaths of a candidate's worker are its own? Pure; times are seconds of any steady clock.

A worker is counted as dead by its supervisor, the request it died of is told by that
request's own thread, and whether the version before dies of it too is known later still.
So a death is held against the candidate only when nothing is left that could explain it.
"""

# A worker is replaced within a second; requests that waited for it meanwhile may end badly too.
RECOVERY_S = 5.0


class Deaths:
    """The deaths of some models' workers, until somebody has to answer for them."""

    def __init__(self) -> None:
        self._accounted: dict[str, int] = {}
        self._suspected: dict[str, int] = {}
        self._explained_until: dict[str, float] = {}
        self._excused_until: dict[str, float] = {}

    def explain(self, model: str, now: float, *, excused: bool) -> None:
        """Note a request whose failure is accounted for; a death about now is part of it."""
        self._explained_until[model] = now + RECOVERY_S
        if excused:
            self._excused_until[model] = now + RECOVERY_S

    def excuses(self, model: str, now: float) -> bool:
        """Tell whether the worker is away by no fault of the candidate."""
        return now < self._excused_until.get(model, float("-inf"))

    def is_open(self, model: str, restarts: int) -> bool:
        """Tell whether there was a death that nobody has answered for yet."""
        return restarts > self._accounted.get(model, 0)

    def unexplained(self, model: str, restarts: int, now: float, *, settled: bool) -> int:
        """Return how many deaths there were that nothing explains, each once.

        Args:
            model: whose worker.
            restarts: how often it was replaced since it was loaded.
            now: the time.
            settled: no failed request is left whose cause is not known.
        """
        more = restarts - self._accounted.get(model, 0)
        if more <= 0:
            return 0
        explained = now < self._explained_until.get(model, float("-inf"))
        # Seen twice: the thread of the request that it died of may just be about to tell.
        if not explained and not (settled and self._suspected.get(model) == restarts):
            if settled:
                self._suspected[model] = restarts
            return 0
        self._accounted[model] = restarts
        return 0 if explained else more
