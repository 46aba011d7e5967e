"""Video files, RTSP and V4L2 through OpenCV; the one door to its readers."""

import os
import time
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import CameraError, Code
from edge_agent.formats import RawPicture
from edge_agent.station.pace import Pace
from edge_agent.station.source import shown
from edge_agent.station.stream import Frame, StreamEnded

_DEFAULT_FPS = 25.0
_SLOWEST_FPS, _FASTEST_FPS = 1.0, 240.0
# Both write to stderr what is told here in words, and a URL with its password among it.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


class VideoStream:
    """A stream that OpenCV reads.

    Args:
        source: file, URL or device.
        backend: OpenCV's number of what reads it.
        stall_s: how long the native code may wait for the network.
        region: x, y, width and height of what is wanted of each picture; None: all of it.
        live: pass over what was buffered on the way, while the stream was opened or the network paused.

    Raises:
        CameraError: it cannot be opened.
    """

    def __init__(
        self,
        source: str,
        backend: int,
        stall_s: float,
        region: tuple[int, int, int, int] | None = None,
        *,
        live: bool = False,
    ) -> None:
        self._what = shown(source)
        self._region = region
        self._pace = Pace() if live else None
        self.held_up_s = 0.0
        timeout_ms = int(stall_s * 1000)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms]
        try:
            self.capture = cv2.VideoCapture(source, backend, limits if backend == cv2.CAP_FFMPEG else [])
        except cv2.error as exc:
            raise self._failed("expected a stream of pictures, it cannot be opened") from exc
        if not self.capture.isOpened():
            raise self._failed("expected a stream of pictures, it cannot be opened")

    def read(self) -> Frame | None:
        """Return the next picture; None: it shows what was.

        Raises:
            CameraError: there is none: OpenCV says the stream is open, and gives nothing.
        """
        frame = self.next()
        if frame is None:
            raise self._failed("expected a picture, the stream ended or is silent")
        if self._pace is not None:
            stamp_s = self.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            is_live = self._pace.is_live(time.monotonic(), stamp_s)
            self.held_up_s = self._pace.behind_s
            return frame if is_live else None
        return frame

    def next(self) -> Frame | None:
        """Return the next picture; None: there is none."""
        try:
            came, image = self.capture.read()
        except cv2.error as exc:
            raise self._failed("expected a picture, it cannot be decoded") from exc
        return partial(self._rgb, np.asarray(image, np.uint8)) if came else None

    def trigger(self) -> None:
        """Nothing: such a camera has no trigger."""

    def close(self) -> None:
        """Let the stream go."""
        self.capture.release()

    def _rgb(self, image: NDArray[np.uint8]) -> RawPicture:
        if self._region is not None:
            x, y, width, height = self._region
            if x + width > image.shape[1] or y + height > image.shape[0]:
                size = f"{image.shape[1]}x{image.shape[0]}"
                raise self._failed(f"expected a picture that holds roi {list(self._region)}, came {size}")
            image = image[y : y + height, x : x + width]
        grey = image.ndim == 2  # noqa: PLR2004 - rows and columns alone
        rgb = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB if grey else cv2.COLOR_BGR2RGB)
        return RawPicture(rgb.reshape(-1).data, rgb.shape[1], rgb.shape[0])

    def _failed(self, what: str) -> CameraError:
        return CameraError(Code.CAMERA_FAILED, f"{self._what}: {what}")


class FileStream:
    """A video file at the speed at which it was taken, as if a camera saw it now.

    Args:
        path: of the file.
        loop: begin again after the end.
        stall_s: as of ``VideoStream``.
        region: as of ``VideoStream``.
        clock: seconds that only grow.
        sleep: waits for a picture's time.

    Raises:
        CameraError: it cannot be opened.
    """

    def __init__(
        self,
        path: str,
        *,
        loop: bool,
        stall_s: float,
        region: tuple[int, int, int, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._what = f"file:{path}"
        self._video = VideoStream(path, cv2.CAP_FFMPEG, stall_s, region)
        self.held_up_s = 0.0
        self._loop = loop
        self._clock = clock
        self._sleep = sleep
        fps = self._video.capture.get(cv2.CAP_PROP_FPS)
        self._step_s = 1 / (fps if _SLOWEST_FPS <= fps <= _FASTEST_FPS else _DEFAULT_FPS)
        self._due = clock()

    def read(self) -> Frame:
        """Return the next picture when its time has come.

        Raises:
            StreamEnded: that was the last one.
            CameraError: the file holds none.
        """
        self._sleep(max(0.0, self._due - self._clock()))
        self._due = max(self._due, self._clock() - self._step_s) + self._step_s
        frame = self._video.next()
        if frame is not None:
            return frame
        if not self._loop:
            raise StreamEnded
        self._video.capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
        frame = self._video.next()
        if frame is None:
            raise CameraError(Code.CAMERA_FAILED, f"{self._what}: expected a video, it holds no picture")
        return frame

    def trigger(self) -> None:
        """Nothing: a file has no trigger."""

    def close(self) -> None:
        """Let the file go."""
        self._video.close()


def open_url(url: str, stall_s: float, region: tuple[int, int, int, int] | None) -> VideoStream:
    """Open a stream of the network, as rtsp://camera/1.

    Raises:
        CameraError: it cannot be opened.
    """
    return VideoStream(url, cv2.CAP_FFMPEG, stall_s, region, live=True)


def open_device(path: str, stall_s: float, region: tuple[int, int, int, int] | None) -> VideoStream:
    """Open a V4L2 device, as /dev/video0, with the shortest queue that its driver allows.

    Raises:
        CameraError: it is missing, busy or not allowed, or no camera.
    """
    try:
        # OpenCV does not say what is wrong.
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as exc:
        raise CameraError(Code.CAMERA_FAILED, f"v4l2:{path}: expected a camera, {exc.strerror}") from exc
    stream = VideoStream(path, cv2.CAP_V4L2, stall_s, region)
    stream.capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return stream
