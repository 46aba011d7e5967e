"""One fault at one system call in the life of a device, and what must be so afterwards."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
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
# Wake-ups of other threads are writes as well, and their number varies: a call is looked for a little before and after.
OFFSETS = (0, 0, *(sign * by for by in range(1, 13) for sign in (-1, 1)))
_FILE = re.compile(r"/state(/[^>\"]*)?[>\"]")
_BY_CHANCE = re.compile(r"[0-9a-f]{8,}|tmp\w{8}|\d+(?=\.staged)")


class Case(NamedTuple):
    """A fault at the n-th occurrence of a call in one story."""

    story: str
    call: Call
    fault: str

    def shifted(self, by: int) -> Case:
        """Return the same fault some calls earlier or later."""
        return self._replace(call=self.call._replace(number=max(1, self.call.number + by)))

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
        for offset in OFFSETS:
            place = self._places.copy(case.story, self._name)
            sought = case.shifted(offset)
            tracer = _tracer(place / "faults", sought)
            ended = self._live(place, case.story, tracer)
            hit = _hit(tracer.text(), sought)
            fired = f"{place}/state" in hit and _file(hit) == _file(case.call.line)
            if fired:
                break
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
        assert _hit(tracer.text(), case)
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
    changing = [call for call in calls if tracing.makes_something(call)]
    opening = [call for call in calls if call.name == "openat"]
    return [
        *(Case(story, call, fault) for call in changing for fault in (KILL, *ERRORS)),
        *(Case(story, call, DESCRIPTORS) for call in opening),
    ]


def _tracer(log: Path, case: Case) -> Tracer:
    if case.fault == KILL:
        return tracing.killing(log, case.call)
    return tracing.failing(log, case.call, case.fault)


def _file(line: str) -> str:
    """Return which file of the state directory a call is about, whatever its name has by chance."""
    found = _FILE.search(line)
    return _BY_CHANCE.sub("*", found[1] or "") if found else ""


def _hit(text: str, case: Case) -> str:
    """Return the line of the call that the fault hit."""
    if case.fault != KILL:
        return next((line for line in text.splitlines() if tracing.INJECTED in line), "")
    lines = [line for line in text.splitlines() if line.startswith(case.call.name)]
    return lines[case.call.number - 1] if "killed by SIGKILL" in text and len(lines) == case.call.number else ""


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
