"""A directory of images as a camera: sorted by name, and round again."""

from pathlib import Path

from edge_agent.errors import CameraError, Code
from edge_agent.station.shot import Shot

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
# The agent takes no larger message.
MAX_BYTES = 60 << 20


class DirectoryCamera:
    """Hands out the images of a directory one by one.

    The directory is listed anew for each picture, so files may come and go.

    Args:
        directory: where the images lie; it may appear later.
        loop: begin again after the last one; otherwise wait for a later name.
    """

    def __init__(self, directory: Path, *, loop: bool = True) -> None:
        self._directory = directory
        self._loop = loop
        self._last = ""

    def newest(self, timeout_s: float) -> Shot | None:
        """Return the next image by name; None: the last one was taken and there is no loop.

        A file that cannot be read is passed over by the next call.

        Args:
            timeout_s: not needed here, since files do not keep anyone waiting.

        Raises:
            CameraError: the directory is missing or without images, or the file cannot be read.
        """
        del timeout_s
        name = self._following(self._names())
        if name is None:
            return None
        self._last = name
        return Shot(self._read(self._directory / name), name)

    def on_demand(self, timeout_s: float) -> Shot | None:
        """Return the next image by name: files show nothing that has passed."""
        return self.newest(timeout_s)

    def close(self) -> None:
        """Nothing is held open."""

    def _names(self) -> list[str]:
        try:
            names = sorted(path.name for path in self._directory.iterdir() if path.suffix.lower() in SUFFIXES)
        except OSError as exc:
            raise CameraError(Code.CAMERA_FAILED, f"expected a directory of images, {exc}") from exc
        if not names:
            raise CameraError(Code.CAMERA_FAILED, f"{self._directory}: expected JPEG or PNG files, came none")
        return names

    def _following(self, names: list[str]) -> str | None:
        later = next((name for name in names if name > self._last), None)
        return names[0] if later is None and self._loop else later

    @staticmethod
    def _read(path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as exc:
            raise CameraError(Code.CAMERA_FAILED, f"expected an image, {exc}") from exc
        if len(content) > MAX_BYTES:
            raise CameraError(Code.CAMERA_FAILED, f"{path}: expected at most {MAX_BYTES} bytes, came more")
        return content
