"""GigE Vision and USB3 Vision through Aravis; the one door to libaravis and to the GLib that it stands on.

By ctypes: the library comes from the distribution and has no wheel, and a virtual
environment does not see the distribution's bindings.
"""

import contextlib
import ctypes
from collections.abc import Callable
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_size_t, c_uint, c_uint64, c_void_p
from functools import cache
from typing import Any, NamedTuple

from edge_agent.errors import CameraError, Code

_LIBRARY = "libaravis-0.8.so.0"
_SUCCESS = 0
_OFF = 0
_CONTINUOUS = 0


class Grabbed(NamedTuple):
    """One picture as the camera sent it.

    Attributes:
        content: rows of pixels; None: it arrived damaged.
        width: in pixels.
        height: in pixels.
        pixel_format: GenICam's number (PFNC).
    """

    content: bytes | None
    width: int
    height: int
    pixel_format: int


class _Error(ctypes.Structure):
    _fields_ = (("domain", ctypes.c_uint32), ("code", c_int), ("message", c_char_p))


# What is called, with its result and its arguments before the GError.
_CHECKED: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "arv_camera_new": (c_void_p, (c_char_p,)),
    "arv_camera_set_region": (None, (c_void_p, c_int, c_int, c_int, c_int)),
    "arv_camera_get_region": (None, (c_void_p, *(POINTER(c_int),) * 4)),
    "arv_camera_is_exposure_auto_available": (c_int, (c_void_p,)),
    "arv_camera_set_exposure_time_auto": (None, (c_void_p, c_int)),
    "arv_camera_set_exposure_time": (None, (c_void_p, c_double)),
    "arv_camera_get_exposure_time": (c_double, (c_void_p,)),
    "arv_camera_is_gain_auto_available": (c_int, (c_void_p,)),
    "arv_camera_set_gain_auto": (None, (c_void_p, c_int)),
    "arv_camera_set_gain": (None, (c_void_p, c_double)),
    "arv_camera_get_gain": (c_double, (c_void_p,)),
    "arv_camera_set_acquisition_mode": (None, (c_void_p, c_int)),
    "arv_camera_clear_triggers": (None, (c_void_p,)),
    "arv_camera_set_trigger": (None, (c_void_p, c_char_p)),
    "arv_camera_get_trigger_source": (c_char_p, (c_void_p,)),
    "arv_camera_software_trigger": (None, (c_void_p,)),
    "arv_camera_get_payload": (c_uint, (c_void_p,)),
    "arv_camera_create_stream": (c_void_p, (c_void_p, c_void_p, c_void_p)),
    "arv_camera_start_acquisition": (None, (c_void_p,)),
    "arv_camera_stop_acquisition": (None, (c_void_p,)),
}
# Not through a packet socket: the station has no right to one, and a root's test shall run what the station runs.
_WITHOUT_PACKET_SOCKET = 1
_PLAIN: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "arv_camera_is_gv_device": (c_int, (c_void_p,)),
    "arv_camera_gv_set_stream_options": (None, (c_void_p, c_int)),
    "arv_buffer_new_allocate": (c_void_p, (c_size_t,)),
    "arv_stream_push_buffer": (None, (c_void_p, c_void_p)),
    "arv_stream_timeout_pop_buffer": (c_void_p, (c_void_p, c_uint64)),
    "arv_buffer_get_status": (c_int, (c_void_p,)),
    "arv_buffer_get_image_data": (c_void_p, (c_void_p, POINTER(c_size_t))),
    "arv_buffer_get_image_width": (c_int, (c_void_p,)),
    "arv_buffer_get_image_height": (c_int, (c_void_p,)),
    "arv_buffer_get_image_pixel_format": (ctypes.c_uint32, (c_void_p,)),
}


class _Library:
    """The functions with their types."""

    def __init__(self) -> None:
        try:
            aravis = ctypes.CDLL(_LIBRARY)
            self._free_error: Any = ctypes.CDLL("libglib-2.0.so.0").g_error_free
            self.unref: Any = ctypes.CDLL("libgobject-2.0.so.0").g_object_unref
            self._checked = {name: _typed(aravis, name, *types, fails=True) for name, types in _CHECKED.items()}
            self.plain = {name: _typed(aravis, name, *types) for name, types in _PLAIN.items()}
        except (OSError, AttributeError) as exc:
            message = f"expected Aravis ({_LIBRARY}, Debian package libaravis-0.8-0), {exc}"
            raise CameraError(Code.CAMERA_FAILED, message) from exc
        self._free_error.argtypes = (c_void_p,)
        self._free_error.restype = None
        self.unref.argtypes = (c_void_p,)
        self.unref.restype = None

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function that tells its errors.

        Raises:
            CameraError: what it tells.
        """
        error = POINTER(_Error)()
        result = self._checked[name](*arguments, byref(error))
        if error:
            message = (error.contents.message or b"").decode("utf-8", "replace")
            self._free_error(error)
            raise CameraError(Code.CAMERA_FAILED, f"{name.removeprefix('arv_camera_').replace('_', ' ')}: {message}")
        return result


def _typed(library: ctypes.CDLL, name: str, result: Any, arguments: tuple[Any, ...], *, fails: bool = False) -> Any:
    function = getattr(library, name)
    function.restype = result
    function.argtypes = (*arguments, POINTER(POINTER(_Error))) if fails else arguments
    return function


@cache
def _library() -> _Library:
    return _Library()


class AravisCamera:
    """A camera under control of this process. One thread uses it.

    Args:
        identity: the camera's id, serial name or IP address; empty: the first one found.

    Raises:
        CameraError: it is not found, or another program controls it.
    """

    def __init__(self, identity: str) -> None:
        self._library = _library()
        self._stream: int | None = None
        self._camera: int | None = self._library.call("arv_camera_new", identity.encode() or None)
        if not self._camera:
            raise CameraError(Code.CAMERA_FAILED, "expected a GenICam camera, it was not found")

    def set_region(self, x: int, y: int, width: int, height: int) -> tuple[int, int, int, int]:
        """Have the camera send only a part of its picture; return what it took."""
        self._call("set_region", x, y, width, height)
        return self.region()

    def region(self) -> tuple[int, int, int, int]:
        """Return x, y, width and height."""
        numbers = [c_int() for _ in range(4)]
        self._call("get_region", *map(byref, numbers))
        x, y, width, height = (number.value for number in numbers)
        return x, y, width, height

    def set_exposure_us(self, exposure_us: float) -> float:
        """Set the time of exposure; return what the camera took."""
        if self._call("is_exposure_auto_available"):
            self._call("set_exposure_time_auto", _OFF)
        self._call("set_exposure_time", exposure_us)
        return float(self._call("get_exposure_time"))

    def set_gain(self, gain: float) -> float:
        """Set the gain, in the camera's unit, mostly dB; return what the camera took."""
        if self._call("is_gain_auto_available"):
            self._call("set_gain_auto", _OFF)
        self._call("set_gain", gain)
        return float(self._call("get_gain"))

    def set_trigger(self, source: str) -> str:
        """Take a picture at each signal of a source, as Software or Line1; empty: take them freely."""
        self._call("set_acquisition_mode", _CONTINUOUS)
        self._call("clear_triggers")
        if not source:
            return ""
        self._call("set_trigger", source.encode())
        return bytes(self._call("get_trigger_source") or b"").decode()

    def start(self, buffers: int) -> None:
        """Begin to send pictures."""
        size = self._call("get_payload")
        if self._plain("arv_camera_is_gv_device", self._camera):
            self._plain("arv_camera_gv_set_stream_options", self._camera, _WITHOUT_PACKET_SOCKET)
        self._stream = self._call("create_stream", None, None)
        if not self._stream:
            raise CameraError(Code.CAMERA_FAILED, "expected a stream, the camera gives none")
        for _ in range(buffers):
            self._plain("arv_stream_push_buffer", self._stream, self._plain("arv_buffer_new_allocate", size))
        self._call("start_acquisition")

    def trigger(self) -> None:
        """Give the software's signal."""
        self._call("software_trigger")

    def check(self) -> None:
        """Ask the camera something, to see that it is there.

        Raises:
            CameraError: it does not answer.
        """
        self._call("get_payload")

    def grab(self, timeout_s: float) -> Grabbed | None:
        """Return the next picture; None: none came in time."""
        buffer = self._plain("arv_stream_timeout_pop_buffer", self._stream, int(timeout_s * 1e6))
        if not buffer:
            return None
        try:
            return self._copied(buffer)
        finally:
            self._plain("arv_stream_push_buffer", self._stream, buffer)

    def close(self) -> None:
        """Stop sending, and give control back."""
        if self._camera and self._stream:
            with contextlib.suppress(CameraError):  # it may be gone already
                self._call("stop_acquisition")
        for each in (self._stream, self._camera):
            if each:
                self._library.unref(each)
        self._stream = self._camera = None

    def _copied(self, buffer: int) -> Grabbed:
        if self._plain("arv_buffer_get_status", buffer) != _SUCCESS:
            return Grabbed(None, 0, 0, 0)
        size = c_size_t()
        at = self._plain("arv_buffer_get_image_data", buffer, byref(size))
        return Grabbed(
            ctypes.string_at(at, size.value),
            self._plain("arv_buffer_get_image_width", buffer),
            self._plain("arv_buffer_get_image_height", buffer),
            self._plain("arv_buffer_get_image_pixel_format", buffer),
        )

    def _call(self, name: str, *arguments: Any) -> Any:
        return self._library.call(f"arv_camera_{name}", self._camera, *arguments)

    def _plain(self, name: str, *arguments: Any) -> Any:
        function: Callable[..., Any] = self._library.plain[name]
        return function(*arguments)
