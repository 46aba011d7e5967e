"""What the line must say of each part, and how each part is shown once: the same models, executed in this process."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from edge_agent.config import Inference
from edge_agent.formats import Counts, EncodedPicture, InspectedFrame, Manifest, Verdict, parse
from edge_agent.inference import open_session

Figures = dict[str, Any]
_TIMEOUT_S = 60.0
# Links that wait: a camera never finds its directory empty, and lists few names for each part.
_AHEAD, _BEHIND = 200, 20


def verdicts_of(pictures: Sequence[Path], bundles: Sequence[Path], scratch: Path) -> list[Verdict]:
    """Return each picture's verdict: NG where any model says so.

    Args:
        pictures: JPEG or PNG files.
        bundles: versions, each a directory as the publisher takes it.
        scratch: for engines.

    Raises:
        AssertionError: a model has no answer.
    """
    told: list[set[Verdict]] = [set() for _ in pictures]
    options = Inference.model_validate({"isolation": "inline"})
    for bundle in bundles:
        manifest = parse(Manifest, (bundle / "manifest.json").read_bytes(), what="manifest")
        session = open_session(bundle, manifest, options, engines=scratch / "engines")
        for verdicts, picture in zip(told, pictures, strict=True):
            asked = EncodedPicture(picture.read_bytes())
            verdicts.add(session.inspect(asked, timeout_s=_TIMEOUT_S, with_mask=False).outcome.verdict)
        session.close()
    if any(Verdict.NO_RESULT in verdicts for verdicts in told):
        raise AssertionError("expected a verdict of each model for each picture, came NO_RESULT")
    return [Verdict.NG if Verdict.NG in verdicts else Verdict.OK for verdicts in told]


class Feed:
    """A directory from which a camera without a loop takes exactly as many pictures as it is to.

    Each name is one part, and names grow, so that the camera takes each once; it is a hard link to one of a few
    pictures.

    Args:
        directory: the camera's, made here.
        pictures: on the same file system, shown round and round.
        verdicts: theirs.
        first: of these pictures, where this camera begins.
    """

    def __init__(self, directory: Path, pictures: Sequence[Path], verdicts: Sequence[Verdict], first: int = 0) -> None:
        directory.mkdir()
        self.directory = directory
        self.asked = 0
        self.taken = 0
        self._pictures = pictures
        self._verdicts = verdicts
        self._first = first
        self._linked = 0
        self._removed = 0

    def ask(self, count: int) -> None:
        """Let the camera take so many more."""
        self.asked += count
        self.go_on()

    def take(self, name: str) -> None:
        """Hear that this part was inspected."""
        self.taken = max(self.taken, int(Path(name).stem) + 1)

    def go_on(self) -> None:
        """Offer the next parts, and remove those that were taken."""
        while self._linked < min(self.asked, self.taken + _AHEAD):
            os.link(self._pictures[self._index(self._linked)], self._path(self._linked))
            self._linked += 1
        while self._removed < self.taken - _BEHIND:
            self._path(self._removed).unlink()
            self._removed += 1

    def verdict_of(self, name: str) -> Verdict:
        """Return what must be said of the part of this name."""
        return self._verdict(int(Path(name).stem))

    def truth(self, first: int, last: int) -> list[Verdict]:
        """Return what must be said of the parts from ``first`` to before ``last``."""
        return [self._verdict(number) for number in range(first, last)]

    def _verdict(self, number: int) -> Verdict:
        return self._verdicts[self._index(number)]

    def _index(self, number: int) -> int:
        return (self._first + number) % len(self._pictures)

    def _path(self, number: int) -> Path:
        return self.directory / f"{number:08d}{self._pictures[self._index(number)].suffix}"


def compared(truth: Iterable[Verdict], before: Counts, after: Counts) -> Figures:
    """Return whether the agent counted what it had to, for each verdict, and both counts.

    Args:
        truth: what must be said of each part that was shown between the two.
        before: the agent's counts.
        after: the same, later.
    """
    wanted = Counter(truth)
    expected = {name.lower(): wanted[Verdict(name)] for name in ("OK", "NG", "NO_RESULT")}
    counted = {name: getattr(after, name) - getattr(before, name) for name in expected}
    return {"counts_equal": counted == expected, "counts": counted, "counts_expected": expected}


def wrong(frames: Iterable[InspectedFrame], feeds: dict[str, Feed]) -> Figures:
    """Return how many frames say what they must not, how many names came more than once, and the first wrong one."""
    told = [(frame.source, frame.name) for frame in frames]
    wrongs = [frame for frame in frames if feeds[frame.source].verdict_of(frame.name) != frame.verdict]
    first = f"{wrongs[0].source} {wrongs[0].name}: came {wrongs[0].verdict.value} {wrongs[0].message}" if wrongs else ""
    return {"wrong_verdicts": len(wrongs), "repeated_parts": len(told) - len({*told}), "first_wrong": first}
