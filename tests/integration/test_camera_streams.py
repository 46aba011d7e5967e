"""RTSP cameras, video files and V4L2 devices: pictures come, trouble is told, and what returns is taken up."""

import signal
import socket
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.station.shot import Content
from edge_agent.station.streaming import StreamingCamera
from tests.fakes.cameras import PATIENCE_S, fault_of, looking, picture_of, raw_of, rtsp_camera, size_of


def test_an_rtsp_camera_that_is_pulled_out_or_stalls_returns_by_itself() -> None:
    with rtsp_camera() as plug, looking(plug.url) as camera:
        assert size_of(picture_of(camera).content) == (320, 240)
        plug.pull_out()
        assert plug.url in fault_of(camera)
        plug.plug_in()
        first = picture_of(camera)
        plug.signal(signal.SIGSTOP)
        assert "expected a" in fault_of(camera)
        plug.signal(signal.SIGCONT)
        assert int(picture_of(camera).name) > int(first.name)


def test_an_rtsp_camera_takes_a_login_and_no_message_holds_it() -> None:
    with rtsp_camera("bob", "s3cret") as plug:
        with looking(plug.url.replace("//", "//bob:s3cret@"), roi=(10, 20, 64, 32)) as camera:
            assert size_of(picture_of(camera).content) == (64, 32)
        with looking(plug.url.replace("//", "//bob:wr0ng@")) as camera:
            fault_of(camera, f"rtsp://…@127.0.0.1:{plug.port}/line: expected a stream of pictures")


def test_a_picture_that_does_not_hold_the_region_is_told() -> None:
    with rtsp_camera() as plug, looking(plug.url, roi=(300, 0, 64, 32)) as camera:
        fault_of(camera, "expected a picture that holds roi [300, 0, 64, 32], came 320x240")


def test_after_a_pause_of_the_loop_the_newest_picture_comes_and_the_rest_is_counted() -> None:
    with rtsp_camera() as plug, looking(plug.url) as camera:
        assert isinstance(camera, StreamingCamera)
        before = int(picture_of(camera).name)
        with camera._news:
            assert camera._news.wait_for(lambda: camera.skipped >= 20, PATIENCE_S)
        assert int(picture_of(camera).name) > before + 20


def test_a_picture_of_an_rtsp_camera_that_is_asked_for_comes_its_latency_later_and_the_newest_at_once() -> None:
    with rtsp_camera() as plug, looking(plug.url, latency_s=0.3) as camera:
        assert isinstance(camera, StreamingCamera)
        picture_of(camera)
        asked = time.monotonic()
        shot = camera.on_demand(PATIENCE_S)
        assert shot is not None
        assert shot.at is not None
        assert shot.at - asked >= 0.3


def test_a_peer_that_takes_the_connection_and_says_nothing_keeps_nobody_waiting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"rtsp://127.0.0.1:{mute.getsockname()[1]}/line"
        with looking(url) as camera:
            began = time.monotonic()
            assert camera.newest(0.01) is None
            assert time.monotonic() - began < PATIENCE_S
            fault_of(camera, "cannot be opened")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "line.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20.0, (64, 48))
    for number in range(10):
        writer.write(np.full((48, 64, 3), (0, 0, 20 * number), np.uint8))
    writer.release()
    return path


def redness(content: Content) -> int:
    rgb = np.frombuffer(raw_of(content).rgb, np.uint8).reshape(48, 64, 3)
    assert rgb[..., 2].max() < 20
    return round(float(rgb[..., 0].mean()) / 20)


def test_a_video_file_runs_at_its_own_speed_and_round_again(video: Path) -> None:
    with looking(f"file:{video}") as camera:
        began = time.monotonic()
        seen = [redness(picture_of(camera).content)]
        while seen[-1] >= max(seen):
            seen.append(redness(picture_of(camera).content))
        # One round of ten pictures, twenty in a second; a busy machine is slower, never faster.
        assert time.monotonic() - began > 0.4
        assert max(seen) >= 5
        assert seen[-1] < max(seen)


def test_a_video_file_without_loop_ends_and_is_no_fault(video: Path) -> None:
    with looking(f"file:{video}", loop=False) as camera:
        seen = [redness(picture_of(camera).content)]
        while (shot := camera.newest(2.0)) is not None:
            seen.append(redness(shot.content))
        assert seen == sorted(seen)
        assert seen[-1] == 9


def test_a_file_that_is_missing_or_no_video_is_told_and_taken_up_when_it_comes(video: Path, tmp_path: Path) -> None:
    later = tmp_path / "later.avi"
    with looking(f"file:{later}") as camera:
        assert f"{later}: expected a stream of pictures, it cannot be opened" in fault_of(camera)
        later.write_bytes(b"not a video")
        assert "cannot be opened" in fault_of(camera)
        video.rename(later)
        assert size_of(picture_of(camera).content) == (64, 48)


# V4L2: no device here, so only its absence is tried.


def test_a_v4l2_device_that_is_missing_or_none_is_told(tmp_path: Path) -> None:
    with looking("v4l2:/dev/video99") as camera:
        assert fault_of(camera) == "v4l2:/dev/video99: expected a camera, No such file or directory"
    nothing = tmp_path / "video0"
    nothing.write_bytes(b"")
    with looking(f"v4l2:{nothing}") as camera:
        assert "expected a stream of pictures, it cannot be opened" in fault_of(camera)


def test_two_cameras_are_looked_at_at_the_same_time(video: Path) -> None:
    with rtsp_camera() as plug, looking(plug.url) as left, looking(f"file:{video}") as right:
        for _ in range(3):
            assert size_of(picture_of(left).content) == (320, 240)
            assert size_of(picture_of(right).content) == (64, 48)
