"""Where a demo's things are: directories, ports, pictures."""

import fcntl
import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from scripts.demo_line.trouble import DemoError

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
LOOPBACK = "127.0.0.1"
LOCK = "lock"
RECORD = "processes.json"
MODELS = ("img-classification", "unet")

_PICTURES = {".jpg", ".jpeg", ".png"}
# Where data sets keep masks; they are no pictures of parts.
_MASKS = "ground_truth"
# sun_path of a unix socket's address has 108 bytes; gRPC wants a name after the directory.
_LONGEST_RUNTIME_DIR = 80


class Ports(NamedTuple):
    """TCP ports on loopback."""

    page: int
    data: int
    metrics: int


_PURPOSES = {"page": "the page", "data": "the data plane", "metrics": "metrics"}

# Where people, Triton's clients and Prometheus look.
USUAL = Ports(page=8080, data=8001, metrics=8002)


class World:
    """One demo's places.

    Args:
        directory: everything of the demo lies in it; may be deleted as a whole.
        ports: of page, data plane and metrics.
        data: pictures of the line; None: the sample line's.
    """

    thing = "demo-line"
    fleet = "demo"
    bucket = "edge-agent-demo"

    def __init__(self, directory: Path, ports: Ports, data: Path | None = None) -> None:
        self.directory = directory
        self.ports = ports
        self.cloud = directory / "cloud"
        self.keys = directory / "keys"
        self.device = directory / "device"
        self.state = directory / "state"
        self.logs = directory / "logs"
        self.runtime = _short(directory / "run")
        self._set_up = directory / "set-up.json"
        self._data = data

    @property
    def page(self) -> str:
        """Return the page's address."""
        return f"http://{LOOPBACK}:{self.ports.page}"

    @property
    def releases(self) -> str:
        """Return the repository's URL."""
        return f"s3://{self.bucket}/releases"

    @property
    def captures(self) -> str:
        """Return where captures go."""
        return f"s3://{self.bucket}/captures"

    def make(self) -> None:
        """Make the directories that nobody else makes."""
        for path in (self.directory, self.logs):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep others out of the directory.

        Raises:
            DemoError: another demo runs in it.
        """
        with (self.directory / LOCK).open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                raise DemoError(f"a demo runs already in {self.directory}") from exc
            yield

    def forget(self) -> None:
        """Delete what an earlier run set up, the cloud's state last of all, so that all of it is made anew."""
        self.forget_device()
        shutil.rmtree(self.cloud, ignore_errors=True)

    def forget_device(self) -> None:
        """Delete what belongs to a cloud that is no longer there."""
        self._set_up.unlink(missing_ok=True)
        for path in (self.keys, self.device, self.state, self.runtime):
            shutil.rmtree(path, ignore_errors=True)

    def frames(self) -> Path:
        """Return the directory of the line's pictures; a data set's are linked side by side.

        Raises:
            DemoError: there are no pictures.
        """
        source = self._data or SAMPLES / "frames"
        found = sorted(path for path in source.rglob("*") if _is_picture(path.relative_to(source)) and path.is_file())
        if not found:
            raise DemoError(f"{source}: expected JPEG or PNG pictures, there are none")
        if all(path.parent == source for path in found):
            return source.resolve()
        return self._side_by_side(source, found)

    def _side_by_side(self, source: Path, pictures: list[Path]) -> Path:
        linked = self.directory / "frames"
        shutil.rmtree(linked, ignore_errors=True)
        linked.mkdir(parents=True)
        for picture in pictures:
            (linked / "-".join(picture.relative_to(source).parts)).symlink_to(picture.resolve())
        return linked

    def is_set_up(self, made_from: Mapping[str, Any]) -> bool:
        """Tell whether an earlier run finished its set-up from the same things."""
        try:
            return bool(json.loads(self._set_up.read_text(encoding="utf-8")) == made_from)
        except (OSError, ValueError):
            return False

    def remember_set_up(self, made_from: Mapping[str, Any]) -> None:
        """Write down that the set-up is finished."""
        self._set_up.write_text(json.dumps(made_from, indent=1) + "\n", encoding="utf-8")


def bundles(version: str) -> list[Path]:
    """Return the sample bundles of one version."""
    return [SAMPLES / "bundles" / model / version for model in MODELS]


def free_ports() -> Ports:
    """Return ports that nobody listens on."""
    listeners = [socket.create_server((LOOPBACK, 0)) for _ in Ports._fields]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return Ports(*ports)


def check_ports(ports: Ports) -> None:
    """Make sure that all ports can be had.

    Raises:
        DemoError: one is taken; the message names it.
    """
    for what, port in ports._asdict().items():
        why = _taken(port)
        if why:
            raise DemoError(
                f"port {port} of {LOOPBACK} (for {_PURPOSES[what]}) is taken by another program: end it first ({why})"
            )


def _taken(port: int) -> str:
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError as exc:
        return os.strerror(exc.errno or 0)
    return ""


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in _PICTURES and _MASKS not in path.parts


def _short(path: Path) -> Path:
    if len(str(path)) <= _LONGEST_RUNTIME_DIR:
        return path
    name = hashlib.sha256(str(path).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"edge-demo-run-{name}"
