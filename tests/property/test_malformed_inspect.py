"""Whatever comes to Inspect: a verdict, NO_RESULT or INVALID_ARGUMENT, and the agent is as it was."""

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import strategies as st

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent.client import AgentClient
from edge_agent.formats import EncodedPicture, Verdict
from edge_agent.vision import encode_jpeg
from tests.fakes.device import AgentDevice
from tests.fakes.malformed import EXAMPLES, Words, bombard, messages
from tests.fakes.posix_memory import PosixMemory
from tests.fakes.tiny_models import BRIGHT, GREY, grey_picture

SERVICE = pb.DESCRIPTOR.services_by_name["Inspection"]
# An answer always comes to a question that can be understood: a model's trouble is NO_RESULT, which is OK here.
# Of cameras only so many are kept.
CODES = frozenset(("OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"))
WIDTH, HEIGHT = 24, 16
PIXELS = WIDTH * HEIGHT * 3
APPLICATIONS = ("image-classification-app", "image-segmentation-app", "anomaly-detection-app")
PATIENCE_S = 60.0


@pytest.fixture
def memory() -> Iterator[PosixMemory]:
    with PosixMemory(bytes([BRIGHT]) * (PIXELS + 100)) as memory:
        yield memory


def _pictures() -> list[bytes]:
    """Good files, truncated ones, and some whose headers promise what is not there."""
    png, jpeg = grey_picture(BRIGHT), encode_jpeg(np.full((HEIGHT, WIDTH, 3), GREY, np.uint8))
    huge_png = png[:16] + b"\x7f\xff\xff\xff" * 2 + png[24:]
    frame = jpeg.index(b"\xff\xc0")
    huge_jpeg = jpeg[: frame + 5] + b"\xff\xff\xff\xff" + jpeg[frame + 9 :]
    cut = [content[:size] for content in (png, jpeg) for size in (1, 8, 20, len(content) // 2, len(content) - 1)]
    return [png, jpeg, png, jpeg, huge_png, huge_jpeg, *cut, b"GIF89a" + bytes(30), b"\x00" * 64, b""]


def words(memory: PosixMemory) -> Words:
    good = bytes([BRIGHT]) * PIXELS
    size_wide = st.sampled_from([WIDTH, WIDTH, WIDTH, WIDTH + 1, 0, 1, 2**16, 2**31, 2**32 - 1])
    size_high = st.sampled_from([HEIGHT, HEIGHT, HEIGHT, HEIGHT - 1, 0, 1, 2**16, 2**31, 2**32 - 1])
    wrong_names = ("/nothing-there", "/", "../x", "/a/b", "x" * 300, f"{memory.name}/", ".", "..", "sem.x", "a\0b", "")
    found = Words(
        {
            "encoded": st.sampled_from(_pictures()) | st.binary(max_size=200),
            "applications": st.sampled_from([*APPLICATIONS, *APPLICATIONS, "nobody", "", "../x", "ä" * 300]),
            "RawImage.rgb": st.sampled_from([good, good, good[1:], good + b"!", b""]),
            "width": size_wide,
            "height": size_high,
            "SharedImage.name": st.sampled_from([memory.name] * 6 + [*wrong_names]),
            "CameraStatus.id": st.sampled_from(["left", "left", "right", "", "ä" * 300, "a\0b", "../x"])
            | st.text(max_size=8),
            "CameraStatus.kind": st.sampled_from(["rtsp", "directory", "genicam", "rtsp", "x" * 300]),
            "CameraStatus.state": st.sampled_from(["WATCHING", "IDLE", "CAMERA_AWAY", "STARTING", "on fire", ""]),
            "CameraStatus.message": st.sampled_from(["", "no signal", "ä" * 5000]),
            "CameraStatus.since": st.sampled_from([0.0, 1.7e9, 1.7e9, math.nan, -1.0]),
            "CameraStatus.rate_hz": st.sampled_from([0.0, 2.0, 10.0, math.inf, -1.0]),
            "SharedImage.offset": st.sampled_from([0, 0, 0, 1, 100, 101, PIXELS, 2**63 - 1, 2**63, 2**64 - 1]),
        }
    )
    found.any_order = True
    right = [pb.CameraStatus(id=name, kind="rtsp", state="WATCHING", since=1.7e9) for name in ("left", "right")]
    found["ReportCameraRequest.camera"] = st.sampled_from(right) | messages(pb.CameraStatus, found)
    return found


def test_malformed_requests_get_no_verdict_and_change_nothing(
    bombarded_device: AgentDevice, memory: PosixMemory
) -> None:
    target = f"unix:{bombarded_device.runtime_dir}/agent.sock"
    with AgentClient(target) as client:

        def good() -> None:
            for value, verdict in ((BRIGHT, Verdict.NG), (GREY, Verdict.OK)):
                frame = client.inspect(
                    EncodedPicture(grey_picture(value)),
                    applications=APPLICATIONS,
                    with_mask=True,
                    with_heat_map=True,
                    timeout_s=PATIENCE_S,
                )
                assert [result.verdict for result in frame.results] == [verdict] * 3
                assert [bool(result.heat_map_png) for result in frame.results] == [False, True, True]

        codes = bombard(bombarded_device, target, SERVICE, words(memory), allowed=CODES, good=good)
    told(codes)
    assert memory.size == PIXELS + 100


def told(codes: Counter[str]) -> None:
    """The requests were neither all refused nor all answered."""
    print(dict(sorted(codes.items())))  # noqa: T201 - shown with -s
    assert sum(codes.values()) >= EXAMPLES
    assert codes["Inspect RESOURCE_EXHAUSTED"] == 0, codes
    # Each of the two calls gets half of the requests; few of the cameras are right in every field.
    for word in ("Inspect OK", "Inspect INVALID_ARGUMENT", "ReportCamera INVALID_ARGUMENT"):
        assert codes[word] > EXAMPLES / 20, codes
    assert codes["ReportCamera OK"] > EXAMPLES / 100, codes
