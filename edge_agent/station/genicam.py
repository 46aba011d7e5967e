"""A GenICam camera as a stream: settings that are read back, triggers, pixels as RGB."""

from functools import partial

import cv2
import numpy as np

from edge_agent.config import Station
from edge_agent.errors import CameraError, Code
from edge_agent.formats import RawPicture
from edge_agent.station.aravis import AravisCamera, Grabbed
from edge_agent.station.stream import Frame, PictureLostError

FREE, SOFTWARE = "free", "software"
_BUFFERS = 4
_LOOK_S = 0.5
# A camera rounds to its own steps.
_TOLERANCE = 0.05
# GenICam's pixel formats (PFNC): channels as sent, and how OpenCV makes RGB of them.
# It names a Bayer pattern by its first two rows since 4.6: GenICam's RG is its RGGB.
_FORMATS: dict[int, tuple[int, int | None]] = {
    0x01080001: (1, cv2.COLOR_GRAY2RGB),
    0x01080008: (1, cv2.COLOR_BayerGRBG2RGB),
    0x01080009: (1, cv2.COLOR_BayerRGGB2RGB),
    0x0108000A: (1, cv2.COLOR_BayerGBRG2RGB),
    0x0108000B: (1, cv2.COLOR_BayerBGGR2RGB),
    0x02180014: (3, None),
    0x02180015: (3, cv2.COLOR_BGR2RGB),
}
_FORMAT_NAMES = "Mono8, BayerGR8, BayerRG8, BayerGB8, BayerBG8, RGB8 or BGR8"


class GenicamStream:
    """A camera that sends.

    Args:
        identity: as of ``AravisCamera``.
        options: region, exposure, gain and trigger.

    Raises:
        CameraError: it is away, or did not take a setting.
    """

    def __init__(self, identity: str, options: Station) -> None:
        self._what = f"genicam:{identity}"
        self._trigger = options.trigger
        self.held_up_s = 0.0
        try:
            self._camera = AravisCamera(identity)
        except CameraError as exc:
            raise self._failed(exc.message) from exc
        try:
            self._set_up(options)
            self._camera.start(_BUFFERS)
        except CameraError as exc:
            self._camera.close()
            raise self._failed(exc.message) from exc

    def read(self) -> Frame | None:
        """Return the next picture; None: none came within half a second, and the camera answers.

        Raises:
            PictureLostError: it lost packets on its way, or came larger than it should.
            CameraError: the camera does not answer, or its pixels are of a kind that is not known.
        """
        try:
            grabbed = self._camera.grab(_LOOK_S)
            if grabbed is None:
                self._camera.check()
                return None
        except CameraError as exc:
            raise self._failed(exc.message) from exc
        if grabbed.content is None:
            if self._trigger == FREE:
                return None
            raise PictureLostError(Code.CAMERA_FAILED, f"{self._what}: expected a whole picture, parts of it were lost")
        self._check_format(grabbed)
        return partial(as_rgb, grabbed)

    def trigger(self) -> None:
        """Have one picture taken.

        Raises:
            CameraError: the camera does not answer.
        """
        try:
            self._camera.trigger()
        except CameraError as exc:
            raise self._failed(exc.message) from exc

    def close(self) -> None:
        """Give control of the camera back."""
        self._camera.close()

    def _set_up(self, options: Station) -> None:
        if options.roi is not None:
            took = self._camera.set_region(*options.roi)
            if took != tuple(options.roi):
                raise _not_taken("roi", list(options.roi), list(took))
        if options.exposure_us is not None:
            _check("exposure_us", options.exposure_us, self._camera.set_exposure_us(options.exposure_us))
        if options.gain is not None:
            _check("gain", options.gain, self._camera.set_gain(options.gain))
        source = {FREE: "", SOFTWARE: "Software"}.get(options.trigger, options.trigger)
        took_source = self._camera.set_trigger(source)
        if took_source != source:
            raise _not_taken("trigger", source, took_source)

    def _check_format(self, grabbed: Grabbed) -> None:
        channels, _ = _FORMATS.get(grabbed.pixel_format, (0, None))
        if not channels:
            came = f"number 0x{grabbed.pixel_format:08X}"
            raise self._failed(f"expected pixels as {_FORMAT_NAMES}, the camera is set to {came}")
        expected = grabbed.width * grabbed.height * channels
        if len(grabbed.content or b"") < expected:
            raise PictureLostError(Code.CAMERA_FAILED, f"{self._what}: expected {expected} bytes, came fewer")

    def _failed(self, what: str) -> CameraError:
        return CameraError(Code.CAMERA_FAILED, f"{self._what}: {what}")


def as_rgb(grabbed: Grabbed) -> RawPicture:
    """Return the picture as packed RGB; a Bayer pattern is interpolated."""
    channels, conversion = _FORMATS[grabbed.pixel_format]
    shape = (grabbed.height, grabbed.width, channels) if channels > 1 else (grabbed.height, grabbed.width)
    count = grabbed.height * grabbed.width * channels
    pixels = np.frombuffer(grabbed.content or b"", np.uint8, count).reshape(shape)
    rgb = pixels if conversion is None else cv2.cvtColor(pixels, conversion)
    return RawPicture(np.ascontiguousarray(rgb).reshape(-1).data, grabbed.width, grabbed.height)


def _check(name: str, wanted: float, took: float) -> None:
    if abs(took - wanted) > max(abs(wanted), 1.0) * _TOLERANCE:
        raise _not_taken(name, wanted, took)


def _not_taken(name: str, wanted: object, took: object) -> CameraError:
    return CameraError(Code.CAMERA_FAILED, f"expected {name} {wanted}, the camera took {took}")
