"""A caller of the line that never pauses, and remembers every answer."""

import itertools
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edge_agent.client import AgentClient
from edge_agent.errors import AgentError, Code
from edge_agent.formats import EncodedPicture, InspectedFrame, Verdict

_DEADLINE_S = 20.0
_BEFORE_RETRY_S = 0.02


class Picture(NamedTuple):
    """One picture of the line."""

    name: str
    content: bytes


class Said(NamedTuple):
    """What one model said of a picture."""

    model: str
    version: str
    verdict: str
    label: str
    score: float


class Answer(NamedTuple):
    """One answered request; ``at`` is monotonic seconds."""

    at: float
    picture: str
    said: tuple[Said, ...]

    @property
    def versions(self) -> tuple[tuple[str, str], ...]:
        """Return model and version of everyone who said something, by model."""
        return tuple(sorted((one.model, one.version) for one in self.said))


class LineClient:
    """Asks for one picture after the other until it is stopped.

    Only while ``agent_is_away`` is set, which is when the agent itself was killed, is a request
    that finds nobody asked again; at any other time it counts as failed.

    Args:
        runtime_dir: where the agent's sockets are.
        pictures: asked for in turn.
    """

    def __init__(self, runtime_dir: Path, pictures: Sequence[Picture]) -> None:
        self.answers: list[Answer] = []
        self.failures: list[str] = []
        self.retried = 0
        self.agent_is_away = threading.Event()
        self._runtime_dir = runtime_dir
        self._pictures = pictures
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="line-client", daemon=True)

    def start(self) -> None:
        """Begin asking."""
        self._thread.start()

    def stop(self) -> None:
        """Stop asking; return when the last request has ended."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join(2 * _DEADLINE_S)

    def next_answer(self, after: float) -> Answer | None:
        """Return the first answer to a request that was sent later than ``after``."""
        # One request at a time: the first answer after that moment may belong to one before it.
        later = [answer for answer in self.answers[-1000:] if answer.at > after]
        return later[1] if len(later) > 1 else None

    def _run(self) -> None:
        with AgentClient.at(self._runtime_dir) as client:
            for picture in itertools.cycle(self._pictures):
                if self._stopped.is_set():
                    return
                self._inspect(client, picture)

    def _inspect(self, client: AgentClient, picture: Picture) -> None:
        try:
            frame = self._answer(client, picture)
        except AgentError as error:
            self.failures.append(f"{picture.name}: {error}")
            return
        if frame is None:
            return
        if frame.verdict is Verdict.NO_RESULT:
            self.failures.append(f"{picture.name}: {frame.message}")
            return
        said = (Said(r.model, r.version, r.verdict.value, r.label, r.score) for r in frame.results)
        self.answers.append(Answer(time.monotonic(), picture.name, tuple(said)))

    def _answer(self, client: AgentClient, picture: Picture) -> InspectedFrame | None:
        asked_again = False
        while not self._stopped.is_set():
            away = self.agent_is_away.is_set()
            try:
                return client.inspect(
                    EncodedPicture(picture.content),
                    source="smoke",
                    frame_name=picture.name,
                    timeout_s=_DEADLINE_S,
                )
            except AgentError as error:
                if error.code is not Code.UNAVAILABLE or not (away or self.agent_is_away.is_set()):
                    raise
                self.retried += not asked_again
                asked_again = True
                self._stopped.wait(_BEFORE_RETRY_S)
        return None
