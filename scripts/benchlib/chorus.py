"""Callers of all protocols at once, and what each heard, compared with what execution in this process says."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from edge_agent.config import Inference
from edge_agent.formats import EncodedPicture, Manifest, parse
from edge_agent.inference import open_session
from scripts.benchlib.line import BIASES
from scripts.benchlib.speakers import DEADLINE_S, SPEAKERS, FailedError, Said, Speaker
from tests.fakes.tiny_models import GREY, grey_picture, image

_SCORE_TOLERANCE = 1e-5
_UNAVAILABLE = "UNAVAILABLE"
# A kill is noted around the call that makes it; the clocks of two threads are the same, their turns are not.
_KILL_SLACK_S = 0.25


class Heard(NamedTuple):
    """One request; ``wrong`` and ``failed`` are empty where nothing was."""

    protocol: str
    began: float
    ended: float
    wrong: str
    failed: str
    word: str


class Expected:
    """What versions answer to the grey part, executed in this process.

    Args:
        bundles: a directory for each version, as the store lays them out.
        scratch: for engines.
    """

    def __init__(self, bundles: Path, scratch: Path) -> None:
        self._scores = {}
        options = Inference.model_validate({"isolation": "inline"})
        for version in map(str, range(1, BIASES + 1)):
            directory = bundles / version
            manifest = parse(Manifest, (directory / "manifest.json").read_bytes(), what="manifest")
            session = open_session(directory, manifest, options, engines=scratch / "engines")
            raw = session.infer(image(GREY), timeout_s=DEADLINE_S)["score"][0]
            picture = EncodedPicture(grey_picture(GREY))
            inspected = session.inspect(picture, timeout_s=DEADLINE_S, with_mask=False)
            self._scores[int(version) % BIASES] = (inspected.outcome.score, float(raw))
            session.close()

    def wrong(self, said: Said, allowed: frozenset[str]) -> str:
        """Return what is wrong with an answer; empty: nothing."""
        if said.version and said.version not in allowed:
            return f"expected version {' or '.join(sorted(allowed))}, {said.version} answered"
        versions = [said.version] if said.version else sorted(allowed)
        scores = [self._scores[int(version) % BIASES][said.is_raw] for version in versions]
        if any(abs(said.score - score) <= _SCORE_TOLERANCE for score in scores):
            return ""
        return f"expected {scores} of versions {versions}, came {said.score}"


class Chorus:
    """One caller of each protocol, on a thread of its own.

    Args:
        runtime_dir: of the agent.
        expected: judges the answers.
        interval_s: each begins a request so often, or as soon as its last one is answered.
    """

    def __init__(self, runtime_dir: Path, expected: Expected, *, interval_s: float) -> None:
        self._runtime_dir = runtime_dir
        self._expected = expected
        self._interval_s = interval_s
        self._ending = threading.Event()
        self._allowed: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._heard: list[Heard] = []
        self._threads = [
            threading.Thread(target=self._sing, args=(name, speaker), name=name) for name, speaker in SPEAKERS.items()
        ]

    @contextmanager
    def singing(self) -> Iterator[None]:
        """Ask during the block."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._ending.set()
            for thread in self._threads:
                thread.join(DEADLINE_S * 2)

    def allow(self, *versions: str) -> None:
        """Say which versions may answer from now on; a request under way may still have an earlier one."""
        self._allowed = frozenset(versions)

    def heard(self) -> list[Heard]:
        """Return every request so far."""
        with self._lock:
            return [*self._heard]

    def _sing(self, name: str, speaker: Callable[[Path], Speaker]) -> None:
        asking = speaker(self._runtime_dir)
        while not self._ending.is_set():
            heard = self._once(name, asking)
            with self._lock:
                self._heard.append(heard)
            self._ending.wait(max(0.0, self._interval_s - (heard.ended - heard.began)))
        asking.close()

    def _once(self, name: str, speaker: Speaker) -> Heard:
        allowed, began = self._allowed, time.monotonic()
        try:
            said = speaker.ask()
        except FailedError as exc:
            return Heard(name, began, time.monotonic(), "", str(exc), exc.word)
        wrong = self._expected.wrong(said, allowed | self._allowed)
        return Heard(name, began, time.monotonic(), wrong, "", "")


def told(heard: Sequence[Heard], kills: Sequence[float]) -> dict[str, Any]:
    """Return what was heard as figures: a failure counts as a kill's where the request was under way at one."""
    failed = [one for one in heard if one.failed]
    killed = [one for one in failed if one.word == _UNAVAILABLE and _under_way(one, kills)]
    others = [one for one in failed if one not in killed]
    wrong = [one for one in heard if one.wrong]
    return {
        "requests": len(heard),
        "requests_by_protocol": dict(Counter(one.protocol for one in heard)),
        "wrong_answers": len(wrong),
        "first_wrong": f"{wrong[0].protocol}: {wrong[0].wrong}" if wrong else "",
        "killed_requests": len(killed),
        "killed_by_protocol": dict(Counter(one.protocol for one in killed)),
        "failed_requests": len(others),
        "first_failure": f"{others[0].protocol}: {others[0].failed}" if others else "",
    }


def _under_way(heard: Heard, kills: Sequence[float]) -> bool:
    return any(heard.began - _KILL_SLACK_S <= kill <= heard.ended + _KILL_SLACK_S for kill in kills)
