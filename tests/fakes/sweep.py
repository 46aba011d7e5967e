"""One fault at one system call in the life of a device, and what must be so afterwards."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.fakes import tracer as tracing
from tests.fakes.forked_names import MODEL
from tests.fakes.nursery import HUNG, Ended, Nursery
from tests.fakes.repository import SignedRepository
from tests.fakes.signed import publish_versions
from tests.fakes.tracer import Call, Tracer

KILL = "KILL"
ERRORS = ("ENOSPC", "EIO", "EROFS")
DESCRIPTORS = "EMFILE"
STORIES = ("begin", "deploy")
SIGKILL = 9
# Wake-ups of other threads are calls as well, and how many come varies: a call that was missed is aimed at anew.
ATTEMPTS = 60
_FILE = re.compile(r"/state(/[^>\"]*)?[>\"]")
_BY_CHANCE = re.compile(r"[0-9a-f]{8,}|tmp\w{8}|\d+(?=\.staged)")


class Case(NamedTuple):
    """A fault at one call in one story.

    Attributes:
        call: as it came when the calls were listed; its number differs a little from run to run.
        turn: how many calls of that name on that file came up to it, itself counted; the same in every run.
    """

    story: str
    call: Call
    turn: int
    fault: str

    def at(self, number: int) -> Case:
        """Return the same fault at another number."""
        return self._replace(call=self.call._replace(number=number))

    def __str__(self) -> str:
        return f"{self.story}:{self.call.name}:{self.call.number}:{self.fault}"


class Verdict(NamedTuple):
    """What came of a case; without problems it was survived."""

    case: Case
    problems: list[str]
    fired: bool
    facts: dict[str, Any]


class Places:
    """A repository, a device with version 1, and an empty one, to be copied for every case.

    Args:
        home: on a disk where syncs cost little.
    """

    def __init__(self, home: Path, nursery: Nursery) -> None:
        self.home = home
        self.repository = SignedRepository(home / "r", now=time.time())
        publish_versions(self.repository, (MODEL, "1"), (MODEL, "2"), (MODEL, "3"))
        self.floors: dict[str, int] = {}
        (home / "begin").mkdir()
        (home / "deploy").mkdir()
        ended = nursery.live(self.task(home / "deploy", "prepare"))
        assert ended.result.get("problems") == [], ended
        self.floors = ended.result["floors"]

    def task(self, directory: Path, story: str, **more: Any) -> dict[str, Any]:
        return {
            "directory": str(directory),
            "repository": self.repository.directory.as_uri(),
            "root": str(self.repository.root),
            "story": story,
            **more,
        }

    def copy(self, story: str, name: str) -> Path:
        """Return a fresh device for a story; hard links stay links."""
        place = self.home / name
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run(["cp", "-a", self.home / story, place], check=True)
        return place


class Sweep:
    """Runs cases on one nursery.

    Args:
        places: what they begin with.
        nursery: where devices live.
        name: of the directory for this one's devices.
    """

    def __init__(self, places: Places, nursery: Nursery, name: str) -> None:
        self._places = places
        self._nursery = nursery
        self._name = name

    def calls(self, story: str) -> list[Call]:
        """Return every call of a story that touches the state directory."""
        place = self._places.copy(story, self._name)
        tracer = tracing.counting(place / "calls")
        ended = self._live(place, story, tracer)
        assert ended.result.get("problems") == [], ended
        return tracing.changes(tracer.text(), place / "state")

    def run(self, case: Case) -> Verdict:
        """Let the fault happen, then start the device without it."""
        chance = random.Random(str(case))
        seen = [case.call.number]
        for _ in range(ATTEMPTS):
            place = self._places.copy(case.story, self._name)
            sought = case.at(chance.choice(seen))
            tracer = _tracer(place / "faults", sought)
            ended = self._live(place, case.story, tracer)
            fired = _is_hit(tracer.text(), sought)
            if fired:
                break
            # Numbers come again as often as they came: where it lies without a fault tells where to aim.
            seen += [call.number for call, turn in _in_turn(self.calls(case.story)) if _is_same(call, turn, case)]
        problems = list(_problems_of(case, ended)) if fired else ["the fault never fired"]
        recovered = self.recover(place)
        problems += [f"afterwards: {problem}" for problem in _problems_afterwards(recovered)]
        return Verdict(case, problems, fired, {"ended": ended.result, "recovered": recovered.result})

    def killed(self, case: Case, name: str) -> Path:
        """Return a device that was killed so."""
        place = self._places.copy(case.story, name)
        tracer = _tracer(place / "faults", case)
        ended = self._live(place, case.story, tracer)
        assert ended.signal == SIGKILL, ended
        assert _is_hit(tracer.text(), case)
        return place

    def recover(self, place: Path) -> Ended:
        """Start a device after whatever happened; it must go on and take another version."""
        return self._nursery.live(self._places.task(place, "recover", seen_floors=self._floors_of(place)))

    def problems_afterwards(self, place: Path) -> list[str]:
        """Start a device after whatever happened and return what is wrong."""
        return list(_problems_afterwards(self.recover(place)))

    def tell(self, place: Path, story: str, at_gate: Callable[[int], None]) -> Ended:
        """Let a device live a story that stands still at its gate."""
        return self._nursery.live(self._places.task(place, story, gate=story), at_gate)

    def _floors_of(self, place: Path) -> dict[str, int]:
        return self._places.floors if (place / "state" / "trust").exists() else {}

    def _live(self, place: Path, story: str, tracer: Tracer) -> Ended:
        ended = self.tell(place, story, tracer.attach)
        tracer.wait()
        return ended


def cases(story: str, calls: list[Call]) -> list[Case]:
    """Return every fault at every call: nothing can be changed there, killed there, and no descriptor is left."""
    numbered = list(_in_turn(calls))
    changing = [(call, turn) for call, turn in numbered if tracing.makes_something(call)]
    opening = [(call, turn) for call, turn in numbered if call.name == "openat"]
    return [
        *(Case(story, call, turn, fault) for call, turn in changing for fault in (KILL, *ERRORS)),
        *(Case(story, call, turn, DESCRIPTORS) for call, turn in opening),
    ]


def _in_turn(calls: list[Call]) -> Iterator[tuple[Call, int]]:
    """Yield each call with how many of its name were about its file so far."""
    counts: Counter[tuple[str, str]] = Counter()
    for call in calls:
        alike = (call.name, _file(call.line))
        counts[alike] += 1
        yield call, counts[alike]


def _is_same(call: Call, turn: int, case: Case) -> bool:
    return (call.name, turn, _file(call.line)) == (case.call.name, case.turn, _file(case.call.line))


def _tracer(log: Path, case: Case) -> Tracer:
    if case.fault == KILL:
        return tracing.killing(log, case.call)
    return tracing.failing(log, case.call, case.fault)


def _file(line: str) -> str:
    """Return which file of the state directory a call is about, whatever its name has by chance; "" elsewhere."""
    found = _FILE.search(line)
    return _BY_CHANCE.sub("*", found[1] or "/") if found else ""


def _is_hit(text: str, case: Case) -> bool:
    """Tell whether the fault came at the call that it was meant for."""
    lines = [line for line in text.splitlines() if line.startswith(f"{case.call.name}(")]
    number = case.call.number
    if case.fault == KILL:
        came = "killed by SIGKILL" in text and len(lines) == number
    else:
        came = len(lines) >= number and tracing.INJECTED in lines[number - 1]
    file = _file(case.call.line)
    alike = [place for place, line in enumerate(lines, 1) if _file(line) == file]
    return came and len(alike) >= case.turn and alike[case.turn - 1] == number


def _problems_of(case: Case, ended: Ended) -> Iterator[str]:
    """Say what is wrong with how a device took its fault."""
    if case.fault == KILL:
        if ended.signal != SIGKILL:
            yield f"expected a killed process, came {ended.signal}\n{ended.log}"
    elif ended.signal == HUNG:
        yield f"it hung\n{ended.log}"
    elif ended.signal or not ended.result:
        yield f"it died ({ended.signal})\n{ended.log}"
    elif "refused_to_start" in ended.result:
        # A disk that is wrong at the start ends the start, in words; systemd tries again.
        if case.story != "begin":
            yield ended.result["refused_to_start"]
    else:
        yield from ended.result["problems"]


def _problems_afterwards(ended: Ended) -> Iterator[str]:
    if not ended.result:
        yield f"it did not come to its end ({ended.signal})\n{ended.log}"
        return
    yield from ended.result["problems"]
    if ended.result["code"] != 0:
        yield f"exit code {ended.result['code']}: {json.dumps(ended.result)}\n{ended.log}"
    elif ended.result["committed"] != {MODEL: "3"}:
        yield f"committed {ended.result['committed']}"
