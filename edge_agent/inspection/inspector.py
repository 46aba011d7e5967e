"""One picture in, one verdict out: the chain, the rule, and who wants to know.

Trouble with a model never raises here: the line gets NO_RESULT and the reason. Counting,
keeping and telling come after the verdict is formed; each only hands over.
"""

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from edge_agent.errors import Code, InferenceError
from edge_agent.formats import AnomalyMap, Embedded, InspectedFrame, ModelResult, Picture, Verdict
from edge_agent.inference import Priority
from edge_agent.inspection.chain import ChainResult, Models, Step, run_chain, steps_of
from edge_agent.inspection.drawing import drawn
from edge_agent.inspection.frames import Layer, RecentFrames
from edge_agent.inspection.results import ResultCounter
from edge_agent.inspection.rule import LineRule
from edge_agent.inspection.steadiness import Judgement
from edge_agent.telemetry import metrics

_NO_CHAIN: Mapping[str, str] = MappingProxyType({})


class Origin(NamedTuple):
    """Where a picture comes from, for people: who asks, and what it is called."""

    source: str
    frame_name: str


class _Inspected(NamedTuple):
    """A frame, and what models said of its picture."""

    frame: InspectedFrame
    chain: ChainResult


class Inspector:
    """Inspects pictures for any number of callers at a time.

    Args:
        models: what answers by model name.
        mappings: returns applications and their models, as they are now, in their order.
        rule: how verdicts of models, and frames before, make that of a part.
        frames: keeps the last ones for the page.
        counts: counts every inspection.
        chain: which application is asked only when which other says NG; empty: each always is.
        capture: offered every frame with its picture and what masks are drawn from; it drops rather than delays.
        memory: offered where models find a frame among others, and whether it was captured; it only hands over.
        events: told every frame.
        doubt: tells why no part may be called OK now; empty: it may.
        now: epoch seconds.
    """

    def __init__(
        self,
        models: Models,
        mappings: Callable[[], Mapping[str, str]],
        rule: LineRule,
        *,
        frames: RecentFrames,
        counts: ResultCounter,
        chain: Mapping[str, str] = _NO_CHAIN,
        capture: Callable[[InspectedFrame, Picture, Mapping[str, AnomalyMap]], bool] | None = None,
        memory: Callable[[InspectedFrame, Sequence[Embedded], bool], object] | None = None,
        events: Callable[[InspectedFrame], None] | None = None,
        doubt: Callable[[], str] = str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._models = models
        self._mappings = mappings
        self._rule = rule
        self._chain = chain
        self._frames = frames
        self._counts = counts
        self._capture = capture
        self._memory = memory
        self._events = events
        self._doubt = doubt
        self._now = now
        self._ids = FrameIds()

    def inspect(
        self,
        picture: Picture,
        *,
        applications: Sequence[str] = (),
        source: str = "",
        frame_name: str = "",
        with_mask: bool = False,
        with_heat_map: bool = False,
        frame_priority: bool = False,
        trial: bool = False,
        timeout_s: float,
    ) -> InspectedFrame:
        """Return a frame with its verdict; trouble is NO_RESULT with a message.

        Args:
            picture: JPEG, PNG or raw RGB.
            applications: as in the mappings; none: all that are mapped.
            source: who asks, for people.
            frame_name: what the picture is called, for people.
            with_mask: fill ``mask_png`` of the answer's results.
            with_heat_map: fill their ``heat_map_png``.
            frame_priority: callers of the line go first.
            trial: only looked at: judged by itself, neither counted, kept, captured nor told.
            timeout_s: for all models together, from now, waiting included.
        """
        started = time.monotonic()
        steps = steps_of(self._mappings(), applications, self._chain)
        # A person's trial is nothing of the line's: it goes behind that, and no new version is measured by it.
        priority = Priority.SHADOW if trial else Priority.FRAME if frame_priority else Priority.LINE
        origin = Origin(source, frame_name)
        inspect = self._look if trial else self._inspect
        frame, chain = inspect(steps, picture, origin, priority=priority, timeout_s=timeout_s)
        if time.monotonic() - started >= timeout_s:
            # The verdict counts more than its picture, and the caller is about to leave.
            return frame
        return drawn(frame, chain.maps, mask=with_mask, heat_map=with_heat_map)

    def inspect_model(
        self,
        model: str,
        picture: Picture,
        *,
        application: str,
        source: str = "",
        frame_name: str = "",
        timeout_s: float,
    ) -> tuple[InspectedFrame, AnomalyMap | None]:
        """Return a frame with the answer of one model, and what can be drawn, for callers who named that model.

        Counted, kept and told like every other, under ``application``; its verdict is the model's own.

        Raises:
            InferenceError: there is no answer. The frame is a NO_RESULT then, for all others. FAILED_PRECONDITION:
                no part may be called OK now, and this one would be.
        """
        steps = [Step(application, model)]
        origin = Origin(source, frame_name)
        frame, chain = self._inspect(steps, picture, origin, alone=True, priority=Priority.LINE, timeout_s=timeout_s)
        if chain.trouble is not None:
            raise chain.trouble
        if frame.verdict is not chain.results[0].verdict:
            raise InferenceError(Code.FAILED_PRECONDITION, frame.message)
        return frame, chain.maps.get(application)

    def count_lost(self, source: str, parts: int) -> None:
        """Count parts that stood before a camera, and of which no picture was inspected: NO RESULT, told and counted.

        Args:
            source: the camera's station.
            parts: how many.
        """
        for _ in range(parts):
            at = self._now()
            message = "no picture of this part was inspected: it was skipped or damaged"
            frame = InspectedFrame(
                id=self._ids.next(at), at=at, source=source, verdict=Verdict.NO_RESULT, message=message
            )
            self._count(frame)
            self._frames.keep_without_picture(frame)
            self._publish(frame)

    def frame(self, frame_id: str, layer: Layer, application: str = "") -> tuple[bytes, str]:
        """Return a recent frame's picture or overlay, and its content type.

        Raises:
            InferenceError: NOT_FOUND.
        """
        return self._frames.draw(frame_id, layer, application)

    def frame_map(self, frame_id: str, application: str) -> AnomalyMap:
        """Return what a recent frame's overlay is drawn from.

        Raises:
            InferenceError: NOT_FOUND: no such frame, or no mask of that application in it.
        """
        return self._frames.get(frame_id).map_of(application)

    def look(self, picture: Picture, *, priority: Priority, timeout_s: float) -> InspectedFrame:
        """Return what all mapped applications say of a picture, judged by itself; nobody else learns of it.

        Args:
            picture: JPEG, PNG or raw RGB.
            priority: who goes first when there is a queue.
            timeout_s: for all models together, from now, waiting included.
        """
        steps = steps_of(self._mappings(), (), self._chain)
        return self._look(steps, picture, Origin("", ""), priority=priority, timeout_s=timeout_s).frame

    def _inspect(
        self,
        steps: Sequence[Step],
        picture: Picture,
        origin: Origin,
        *,
        alone: bool = False,
        priority: Priority,
        timeout_s: float,
    ) -> _Inspected:
        def judge(results: Sequence[ModelResult]) -> Judgement:
            return self._not_in_doubt(self._rule.judge("" if alone else origin.source, results))

        inspected = self._ask(steps, picture, origin, judge, priority=priority, timeout_s=timeout_s)
        self._tell(inspected.frame, picture, inspected.chain)
        return inspected

    def _look(
        self, steps: Sequence[Step], picture: Picture, origin: Origin, *, priority: Priority, timeout_s: float
    ) -> _Inspected:
        return self._ask(steps, picture, origin, self._rule.judge_alone, priority=priority, timeout_s=timeout_s)

    def _ask(
        self,
        steps: Sequence[Step],
        picture: Picture,
        origin: Origin,
        judge: Callable[[Sequence[ModelResult]], Judgement],
        *,
        priority: Priority,
        timeout_s: float,
    ) -> _Inspected:
        started, at = time.monotonic(), self._now()
        chain = run_chain(self._models, steps, picture, deadline=started + timeout_s, priority=priority)
        return _Inspected(self._frame(chain, judge(chain.results), origin, at, started), chain)

    def _frame(
        self, chain: ChainResult, judged: Judgement, origin: Origin, at: float, started: float
    ) -> InspectedFrame:
        return InspectedFrame(
            id=self._ids.next(at),
            at=at,
            source=origin.source,
            name=origin.frame_name,
            verdict=judged.verdict,
            results=chain.results,
            milliseconds=(time.monotonic() - started) * 1000,
            message=_message(chain.results) or judged.remark,
            width=chain.width,
            height=chain.height,
        )

    def _not_in_doubt(self, judged: Judgement) -> Judgement:
        if judged.verdict is not Verdict.OK:
            return judged
        doubt = self._doubt()
        return Judgement(Verdict.NO_RESULT, doubt) if doubt else judged

    def _tell(self, frame: InspectedFrame, picture: Picture, chain: ChainResult) -> None:
        self._count(frame)
        self._frames.keep(frame, picture, chain.maps)
        captured = self._capture is not None and self._capture(frame, picture, chain.maps)
        if self._memory is not None and chain.embedded:
            self._memory(frame, chain.embedded, captured)
        self._publish(frame)

    def _count(self, frame: InspectedFrame) -> None:
        self._counts.add(frame)
        metrics.count_inspection(frame.verdict.value)

    def _publish(self, frame: InspectedFrame) -> None:
        if self._events is not None:
            self._events(frame)


class FrameIds:
    """Ids that are unique and sort as the frames came, also when the clock is set back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        # Two runs of the agent could meet the same microsecond after the clock was set back.
        self._run = secrets.token_hex(3)

    def next(self, now: float) -> str:
        """Return the id of a frame at ``now``, epoch seconds."""
        with self._lock:
            self._last = max(self._last + 1, int(now * 1e6))
            return f"{self._last:016d}-{self._run}"


def _message(results: Sequence[ModelResult]) -> str:
    if not results:
        return "no application is mapped to a model"
    return next((result.message for result in results if _is_trouble(result)), "")


def _is_trouble(result: ModelResult) -> bool:
    return result.verdict is Verdict.NO_RESULT and not result.skipped
