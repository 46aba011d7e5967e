"""A deployer whose fake versions answer pictures, and a line that asks them all the time."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from typing_extensions import Self

from edge_agent.config import Deployment as Limits
from edge_agent.errors import InferenceError
from edge_agent.formats import EncodedPicture, Manifest, ModelVersion, Picture, Verdict
from edge_agent.inference import Answered, GoldenReport, Inspected, Priority
from edge_agent.vision import Outcome
from tests.fakes.deployment import Device, FakeRuntimes, FakeSession
from tests.fakes.releases import make_release

PICTURE = EncodedPicture(b"one part")

Says = Callable[[Picture], float]


def inspected(score: float, compute_ms: float = 1.0) -> Inspected:
    verdict = Verdict.NG if score >= 0.5 else Verdict.OK
    outcome = Outcome(verdict, score, 0.5, "defect" if verdict is Verdict.NG else "", None, 0.0)
    return Inspected(outcome, b"", 4, 4, decode_ms=0.0, compute_ms=compute_ms)


class AnsweringSession(FakeSession):
    """Answers with the score that ``says`` gives, which may raise."""

    def __init__(self, manifest: Manifest, says: Says) -> None:
        super().__init__(manifest)
        self.says = says
        self.asked: list[Picture] = []
        self.priorities: set[Priority] = set()

    def inspect(self, picture: Picture, *, priority: Priority, **_: Any) -> Inspected:
        self.asked.append(picture)
        self.priorities.add(priority)
        return inspected(self.says(picture))


class AnsweringRuntimes(FakeRuntimes):
    """Opens sessions that answer, and counts who was asked the golden samples."""

    def __init__(self, says: Mapping[str, Says]) -> None:
        super().__init__()
        self.says = dict(says)
        self.sessions: dict[str, AnsweringSession] = {}
        self.golden: list[str] = []

    def open(self, directory: Path, manifest: Manifest) -> AnsweringSession:
        session = AnsweringSession(manifest, self.says[manifest.version])
        self.sessions[manifest.version] = session
        return session

    def try_golden(self, session: FakeSession, directory: Path) -> GoldenReport:
        self.golden.append(session.manifest.version)
        return super().try_golden(session, directory)


def answering_device(
    directory: Path, limits: Limits, says: Mapping[str, Says], *, recent: tuple[Picture, ...] = (), first: bool = False
) -> tuple[Device, AnsweringRuntimes]:
    """Return a device with unet 1 committed (unless it is the first), and unet 2 on offer."""
    device, runtimes = Device(directory, limits=limits), AnsweringRuntimes(says)
    use(device, runtimes, recent)
    device.offers(make_release("unet", "2", release_seq=2))
    if not first:
        device.already_has(make_release("unet", "1", release_seq=1))
    return device, runtimes


def use(device: Device, runtimes: AnsweringRuntimes, recent: tuple[Picture, ...] = ()) -> None:
    """Have the device open versions that answer."""
    device.runtimes = runtimes
    device.serving._runtimes = runtimes
    device.serving.recent = lambda _model: recent


class Line:
    """Asks what answers for unet, again and again, until the block ends."""

    def __init__(self, device: Device, picture: Picture = PICTURE) -> None:
        self._device = device
        self._picture = picture
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="line")
        self.errors: list[InferenceError] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            session = self._device.registry.active().get("unet")
            if isinstance(session, AnsweringSession):
                tell(self._device, self._ask(session))

    def _ask(self, session: AnsweringSession) -> Answered:
        model = session.manifest.model_version
        try:
            answer = session.inspect(self._picture, priority=Priority.LINE)
        except InferenceError as exc:
            self.errors.append(exc)
            return Answered(model, None, self._picture, None, exc, 1.0)
        return Answered(model, None, self._picture, answer, None, 1.0)


def tell(device: Device, answered: Answered) -> None:
    """Tell whoever watches of a live request."""
    for watcher in tuple(device.watchers):
        watcher(answered)


def answer(version: str, score: float = 0.1, picture: Picture = PICTURE) -> Answered:
    return Answered(ModelVersion("unet", version), None, picture, inspected(score), None, 1.0)
