"""A real RTSP server with a moving picture, as a camera is one. Run by the system's own Python, which has GStreamer.

``/usr/bin/python3 tests/fakes/rtsp_camera.py PORT [USER PASSWORD]`` serves ``rtsp://127.0.0.1:PORT/line`` as H.264;
port 0 takes a free one, which is printed when it listens.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402 - after their versions

PIPELINE = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=20/1 "
    "! openh264enc gop-size=10 ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=1 )"
)


def login(server: "GstRtspServer.RTSPServer", factory: "GstRtspServer.RTSPMediaFactory", user: str, word: str) -> None:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, word), token)
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
    server.set_auth(auth)
    allowed = "user, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
    structure = Gst.Structure.new_from_string(allowed)
    factory.add_role_from_structure(structure)


def main() -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(sys.argv[1])
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(PIPELINE)
    factory.set_shared(True)
    if len(sys.argv) > 2:
        login(server, factory, sys.argv[2], sys.argv[3])
    server.get_mount_points().add_factory("/line", factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)  # noqa: T201 - this is how the test hears it
    GLib.MainLoop().run()


main()
