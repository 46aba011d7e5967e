"""What a running agent says to wrong requests, pictures and files; and that they change nothing."""

import signal
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent._proto.edge_agent.v1 import edge_agent_pb2_grpc as services
from edge_agent._proto.lookoutvision import edge_agent_pb2 as lookout
from edge_agent._proto.lookoutvision import edge_agent_pb2_grpc as lookout_services
from edge_agent._proto.sagemaker_edge import agent_pb2 as sm
from edge_agent._proto.sagemaker_edge import agent_pb2_grpc as sm_services
from edge_agent.vision import encode_jpeg
from tests.fakes.device import AgentDevice, eventually
from tests.fakes.repository import SignedRepository
from tests.fakes.signed import publish_versions
from tests.fakes.tiny_models import BRIGHT, SIDE, grey_picture

NAME = "img-classification"
PNG = grey_picture(BRIGHT)
JPEG = encode_jpeg(np.full((16, 24, 3), BRIGHT, np.uint8))
TIMEOUT_S = 60.0
UUID = "12345678-1234-1234-1234-123456789012"


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentDevice]:
    """One agent for all tests here, with one version committed: none of them may change it."""
    home = tmp_path_factory.mktemp("wrong")
    repository = SignedRepository(home / "cloud", now=time.time())
    publish_versions(repository, (NAME, "1"), (NAME, "2"))
    device = AgentDevice(
        home,
        {
            "repository": {"url": repository.directory.as_uri()},
            "trust": {"root": repository.root, "allow_demo_root": True},
        },
    )
    device.start()
    assert device.install((NAME, "1")).state == "COMMITTED"
    yield device
    assert device.stop() == 0


def standing(device: AgentDevice) -> dict[str, Any]:
    """Return all that a wrong request could have changed."""
    status = device.status()
    with device.client() as client:
        deployments = [report.id for report in client.deployments()]
    return {
        "generations": {path.name: path.read_bytes() for path in (device.state_dir / "generations").iterdir()},
        "models_config": (device.state_dir / "models_config.json").read_bytes(),
        "state": (status.agent.state, status.agent.message, status.deployment),
        "models": [(m.name, m.active, m.previous, m.staged, m.state, m.applications) for m in status.models],
        "captures": (status.captures.pending, status.captures.failed),
        "deployments": deployments,
    }


@pytest.fixture
def unchanged(device: AgentDevice) -> Iterator[None]:
    before = standing(device)
    yield
    assert standing(device) == before
    # It still judges parts, and has not become another process.
    assert device.inspect(PNG).verdict.value == "NG"


def refusal(device: AgentDevice, socket: str, call: Callable[[grpc.Channel], Any]) -> tuple[str, str]:
    """Return status and message with which a call ends."""
    address = f"unix:{device.runtime_dir}/{socket}"
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as ended:
        call(channel)
    error: Any = ended.value
    return error.code().name, error.details()


class Wrong(NamedTuple):
    """One wrong request and what its answer must say."""

    call: str
    request: Message
    status: str
    words: str

    def __str__(self) -> str:
        return f"{self.call}: {self.words}"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_that_claims(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(64)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("picture", "words"),
    [
        pytest.param(PNG[:-20], "expected a complete picture, came one that is cut off", id="truncated PNG"),
        pytest.param(JPEG[: len(JPEG) // 2], "expected a complete picture, came one that is cut off", id="half a JPEG"),
        pytest.param(JPEG[:-2], "expected a complete picture, came one that is cut off", id="JPEG without its end"),
        pytest.param(JPEG[:3], "expected a JPEG with a frame header, came one without", id="three bytes of a JPEG"),
        pytest.param(b"a part number", "expected a JPEG or PNG, came 13 bytes", id="text"),
        pytest.param(b"GIF89a" + bytes(64), "expected a JPEG or PNG, came 70 bytes", id="GIF"),
        pytest.param(png_that_claims(60_000, 60_000), "pixels, came 60000 x 60000", id="PNG bomb"),
        pytest.param(png_that_claims(0, 8), "expected a picture with pixels, came 0 x 8", id="PNG of no width"),
        pytest.param(png_that_claims(8, 0), "expected a picture with pixels, came 8 x 0", id="PNG of no height"),
        pytest.param(
            png_that_claims(64, 64), "expected a picture, came one that cannot be decoded", id="PNG of few rows"
        ),
        pytest.param(PNG[:45] + b"\xff" + PNG[46:], "came one that cannot be decoded", id="PNG with a flipped byte"),
    ],
)
def test_a_wrong_picture_is_no_result_and_says_why(device: AgentDevice, picture: bytes, words: str) -> None:
    frame = device.inspect(picture)
    assert frame.verdict.value == "NO_RESULT"
    assert words in frame.message
    assert words in frame.results[0].message


@pytest.mark.usefixtures("unchanged")
def test_an_application_that_nobody_mapped_is_no_result(device: AgentDevice) -> None:
    frame = device.inspect(PNG, "nobody")
    assert (frame.verdict.value, frame.message) == ("NO_RESULT", "no model is mapped to nobody")


def raw(width: int, height: int, size: int) -> pb.InspectRequest:
    return pb.InspectRequest(raw=pb.RawImage(width=width, height=height, rgb=bytes(size)))


def shared(name: str, width: int = 4, height: int = 4) -> pb.InspectRequest:
    return pb.InspectRequest(shared=pb.SharedImage(name=name, width=width, height=height))


def applications(*names: str) -> pb.InspectRequest:
    return pb.InspectRequest(encoded=PNG, applications=names)


_BAD = "INVALID_ARGUMENT"
INSPECTIONS = [
    Wrong("Inspect", pb.InspectRequest(), _BAD, "image: expected one of encoded, raw or shared, came none"),
    Wrong("Inspect", pb.InspectRequest(encoded=b""), _BAD, "image: expected one of encoded, raw or shared, came none"),
    Wrong("Inspect", raw(4, 4, 47), _BAD, "raw: expected 4 x 4 x 3 = 48 bytes and more than none, came 47"),
    Wrong("Inspect", raw(4, 4, 49), _BAD, "came 49"),
    Wrong("Inspect", raw(0, 0, 0), _BAD, "raw: expected 0 x 0 x 3 = 0 bytes and more than none, came 0"),
    Wrong("Inspect", raw(0, 4, 12), _BAD, "came 12"),
    Wrong("Inspect", raw(4_000_000_000, 4_000_000_000, 1), _BAD, "came 1"),
    Wrong("Inspect", shared(""), _BAD, "shared: expected a name, a width and a height"),
    Wrong("Inspect", shared("/x", height=0), _BAD, "shared: expected a name, a width and a height"),
    Wrong("Inspect", shared("/no-such-segment"), _BAD, "shared memory '/no-such-segment': cannot be read"),
    Wrong("Inspect", shared("/../../etc/passwd"), _BAD, "expected a name as shm_open takes it"),
    Wrong("Inspect", applications(""), _BAD, "applications: expected names, came an empty one"),
]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("wrong", INSPECTIONS, ids=str)
def test_a_request_that_contradicts_itself_is_refused(device: AgentDevice, wrong: Wrong) -> None:
    def call(channel: grpc.Channel) -> None:
        getattr(services.InspectionStub(channel), wrong.call)(wrong.request, timeout=TIMEOUT_S)

    status, message = refusal(device, "agent.sock", call)
    assert (status, wrong.words in message) == (wrong.status, True), message


@pytest.mark.usefixtures("unchanged")
def test_bytes_that_are_no_message_are_refused_as_what_they_are(device: AgentDevice) -> None:
    def call(channel: grpc.Channel) -> None:
        channel.unary_unary("/edge_agent.v1.Inspection/Inspect")(b"\xff\xff\xff", timeout=TIMEOUT_S)

    status, message = refusal(device, "agent.sock", call)
    assert (status, "came 3 bytes that are none" in message) == (_BAD, True), message


@pytest.mark.usefixtures("unchanged")
def test_a_message_beyond_the_limit_is_refused_with_both_sizes(device: AgentDevice) -> None:
    request = pb.InspectRequest(encoded=bytes((64 << 20) + 1))

    def call(channel: grpc.Channel) -> None:
        services.InspectionStub(channel).Inspect(request, timeout=TIMEOUT_S)

    status, message = refusal(device, "agent.sock", call)
    assert status == "RESOURCE_EXHAUSTED"
    assert str(64 << 20) in message


@pytest.mark.usefixtures("unchanged")
def test_the_operators_verbs_are_not_on_the_data_plane(device: AgentDevice) -> None:
    def call(channel: grpc.Channel) -> None:
        services.OperatorStub(channel).GetStatus(pb.GetStatusRequest(), timeout=TIMEOUT_S)

    assert refusal(device, "agent.sock", call)[0] == "UNIMPLEMENTED"


def order(*models: tuple[str, str]) -> pb.InstallRequest:
    return pb.InstallRequest(models=[pb.DeployedModel(name=name, to=version) for name, version in models])


rolled = partial(pb.RollBackRequest, model=NAME, reason="too many rejects", actor="a test")
_NO_FRAME = "application: expected the one whose overlay is meant, came none"
OPERATOR = [
    Wrong("Install", order(), _BAD, "models: expected one or more, each once, came 0"),
    Wrong("Install", order(("a", "1"), ("a", "2")), _BAD, "models: expected one or more, each once, came 2 of 1 names"),
    Wrong("Install", order(("../a", "1")), _BAD, "name: value error, expected letters, digits and inner dashes"),
    Wrong("Install", order(("", "1")), _BAD, "name: string should have at least 1 character, came ''"),
    Wrong("Install", order(("a" * 64, "1")), _BAD, "name: string should have at most 63 characters"),
    Wrong("Install", order(("a", "one")), _BAD, "version: value error, expected one to four numbers with dots"),
    Wrong("Install", order(("a", "")), _BAD, "version: string should have at least 1 character, came ''"),
    Wrong("Install", order(*((f"m{n}", "1") for n in range(17))), _BAD, "models: tuple should have at most 16 items"),
    Wrong("RollBack", rolled(model=""), _BAD, "model: expected 1 to 1000 characters, came 0"),
    Wrong("RollBack", rolled(reason=" "), _BAD, "reason: expected 1 to 1000 characters, came 0"),
    Wrong("RollBack", rolled(reason="r" * 1001), _BAD, "reason: expected 1 to 1000 characters, came 1001"),
    Wrong("RollBack", rolled(actor=""), _BAD, "actor: expected 1 to 1000 characters, came 0"),
    Wrong("ListDeployments", pb.ListDeploymentsRequest(id="nobody"), "NOT_FOUND", "there is no deployment nobody"),
    Wrong("GetFrame", pb.GetFrameRequest(id="nobody"), "NOT_FOUND", "frame nobody is not among the last"),
    Wrong("GetFrame", pb.GetFrameRequest(id="x", layer=1), _BAD, _NO_FRAME),
]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("wrong", OPERATOR, ids=str)
def test_a_wrong_order_of_an_operator_is_refused(device: AgentDevice, wrong: Wrong) -> None:
    def call(channel: grpc.Channel) -> None:
        getattr(services.OperatorStub(channel), wrong.call)(wrong.request, timeout=TIMEOUT_S)

    status, message = refusal(device, "control.sock", call)
    assert (status, wrong.words in message) == (wrong.status, True), message


@pytest.mark.usefixtures("unchanged")
def test_a_layer_that_the_protocol_does_not_know_is_refused(device: AgentDevice) -> None:
    # As a later protocol would send it: field 2, value 7.
    request = pb.GetFrameRequest.FromString(pb.GetFrameRequest(id="x").SerializeToString() + b"\x10\x07")

    def call(channel: grpc.Channel) -> None:
        services.OperatorStub(channel).GetFrame(request, timeout=TIMEOUT_S)

    assert refusal(device, "control.sock", call) == (_BAD, "layer: expected PICTURE, OVERLAY or MAP, came 7")


PIXELS = bytes(SIDE * SIDE * 3)
SHAPE = (1, SIDE, SIDE, 3)


def tensor(
    *, name: str = "image", kind: Any = sm.UINT8, shape: tuple[int, ...] = SHAPE, data: bytes = PIXELS
) -> sm.Tensor:
    return sm.Tensor(tensor_metadata=sm.TensorMetadata(name=name, data_type=kind, shape=shape), byte_data=data)


def predict(*tensors: sm.Tensor, name: str = NAME) -> sm.PredictRequest:
    return sm.PredictRequest(name=name, tensors=tensors)


def in_segment(segment_id: int) -> sm.Tensor:
    handle = sm.SharedMemoryHandle(segment_id=segment_id)
    metadata = sm.TensorMetadata(name="image", data_type=sm.UINT8, shape=SHAPE)
    return sm.Tensor(tensor_metadata=metadata, shared_memory_handle=handle)


def capture(**fields: Any) -> sm.CaptureDataRequest:
    return sm.CaptureDataRequest(**{"model_name": NAME, "capture_id": UUID} | fields)


def load(url: str, name: str) -> sm.LoadModelRequest:
    return sm.LoadModelRequest(url=url, name=name)


_ABSENT = "NOT_FOUND"
_PAST = sm.Timestamp(seconds=1, nanos=-4)
_FUTURE = sm.Timestamp(seconds=2**33)
SAGEMAKER = [
    Wrong("Predict", predict(tensor(), name="nobody"), _ABSENT, "no model 'nobody' is loaded"),
    Wrong("Predict", predict(), _BAD, "tensors: expected image, came 0 tensor(s)"),
    Wrong("Predict", predict(tensor(), tensor()), _BAD, "tensors: expected image, came 2 tensor(s)"),
    Wrong("Predict", predict(tensor(name="picture")), _BAD, "tensors: expected image, each once, came 'picture'"),
    Wrong("Predict", predict(tensor(kind=sm.FLOAT32)), _BAD, "expected image uint8[-1, 16, 16, 3], came float32"),
    Wrong("Predict", predict(tensor(shape=(1, 8, 8, 3))), _BAD, "came uint8[1, 8, 8, 3]"),
    Wrong(
        "Predict", predict(tensor(data=PIXELS[:-1])), _BAD, "expected 768 bytes, came uint8[1, 16, 16, 3] in 767 bytes"
    ),
    Wrong("Predict", predict(tensor(data=b"")), _BAD, "expected 768 bytes, came uint8[1, 16, 16, 3] in 0 bytes"),
    Wrong("Predict", predict(in_segment(2**40)), _BAD, "expected the id that shmget returned"),
    Wrong("LoadModel", load("/no/such/directory", "x"), _ABSENT, "expected a directory, there is none"),
    Wrong("LoadModel", load("", "x"), _ABSENT, "url: expected a directory, came none"),
    Wrong("LoadModel", load("/no/such/directory", "../x"), _BAD, "name: expected letters, digits and inner dashes"),
    Wrong("LoadModel", load("/no/such/directory", NAME), "ALREADY_EXISTS", f"a model {NAME} is loaded"),
    Wrong("UnLoadModel", sm.UnLoadModelRequest(name="nobody"), _ABSENT, "no model 'nobody' is loaded"),
    Wrong("DescribeModel", sm.DescribeModelRequest(name=""), _ABSENT, "no model '' is loaded"),
    Wrong("CaptureData", capture(capture_id="7"), _BAD, "capture_id: expected a UUID, came '7'"),
    Wrong("CaptureData", capture(model_name="a/b"), _BAD, "model_name: expected letters, digits and inner dashes"),
    Wrong("CaptureData", capture(inference_timestamp=_PAST), _BAD, "inference_timestamp: expected seconds and nanos"),
    Wrong(
        "CaptureData", capture(inference_timestamp=_FUTURE), "OUT_OF_RANGE", "inference_timestamp: expected the past"
    ),
]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("wrong", SAGEMAKER, ids=str)
def test_a_wrong_request_of_an_old_client_is_refused(device: AgentDevice, wrong: Wrong) -> None:
    def call(channel: grpc.Channel) -> None:
        getattr(sm_services.AgentStub(channel), wrong.call)(wrong.request, timeout=TIMEOUT_S)

    status, message = refusal(device, "agent.sock", call)
    assert (status, wrong.words in message) == (wrong.status, True), message


_SIXTY_FOUR = bytes(64 * 64 * 3)
_NO_SEGMENT = lookout.SharedMemoryHandle(name="/no-such-segment")


def detect(name: str = NAME, mask: lookout.SharedMemoryHandle | None = None, **bitmap: Any) -> Message:
    good = {"width": 64, "height": 64, "byte_data": _SIXTY_FOUR}
    asked = lookout.AnomalyMaskParams(shared_memory_handle=mask) if mask is not None else None
    return lookout.DetectAnomaliesRequest(
        model_component=name, bitmap=lookout.Bitmap(**(bitmap or good)), anomaly_mask_params=asked
    )


LOOKOUT = [
    Wrong(
        "DetectAnomalies",
        detect("nobody"),
        _ABSENT,
        f"model_component: expected one of image-classification-app, {NAME}",
    ),
    Wrong("DescribeModel", lookout.DescribeModelRequest(), _ABSENT, "came ''"),
    Wrong("StopModel", lookout.StopModelRequest(model_component="x"), _ABSENT, "came 'x'"),
    Wrong("StartModel", lookout.StartModelRequest(model_component=NAME), "FAILED_PRECONDITION", "it is RUNNING"),
    Wrong("DetectAnomalies", detect(width=63, height=64), _BAD, "expected 64 x 64 to 4096 x 4096 pixels, came 63 x 64"),
    Wrong(
        "DetectAnomalies", detect(width=64, height=64), _BAD, "expected byte_data or shared_memory_handle, came neither"
    ),
    Wrong("DetectAnomalies", detect(width=64, height=64, byte_data=b"x"), _BAD, "64 x 64 x 3 = 12288 bytes, came 1"),
    Wrong("DetectAnomalies", detect(mask=_NO_SEGMENT), _BAD, "'/no-such-segment': cannot be written, no such file"),
    Wrong(
        "DetectAnomalies",
        detect(width=64, height=64, shared_memory_handle=_NO_SEGMENT),
        _BAD,
        "'/no-such-segment': cannot be read, no such file",
    ),
]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("wrong", LOOKOUT, ids=str)
def test_a_wrong_request_of_a_lookout_client_is_refused(device: AgentDevice, wrong: Wrong) -> None:
    def call(channel: grpc.Channel) -> None:
        getattr(lookout_services.EdgeAgentStub(channel), wrong.call)(wrong.request, timeout=TIMEOUT_S)

    status, message = refusal(device, "agent.sock", call)
    assert (status, wrong.words in message) == (wrong.status, True), message


# -- models_config.json, read again on SIGHUP ----------------------------------------------------------------


@pytest.fixture
def models_config(device: AgentDevice) -> Iterator[Path]:
    path = device.state_dir / "models_config.json"
    before = path.read_bytes()
    yield path
    path.write_bytes(before)
    assert reloaded(device, {"image-classification-app"}) is not None


def reloaded(device: AgentDevice, wanted: set[str]) -> object:
    """Ask for a reload and wait until the model's applications are those that are wanted, and nothing is wrong."""
    assert device.process is not None
    device.process.send_signal(signal.SIGHUP)
    return device.wait_for(lambda status: mapped(status.models) == wanted and status.agent.state == "READY")


def mapped(models: Any) -> set[str]:
    return {application for model in models if model.name == NAME for application in model.applications}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "expected JSON"),
        ("[]", "came []"),
        ("\xff", "expected JSON"),
        ('{"mappings": {"app": "../x"}}', "mappings.app: value error, expected letters, digits and inner dashes"),
        ('{"mappings": {"app": 7}}', "mappings.app: input should be a valid string, came 7"),
        ('{"mappings": ["app"]}', "mappings: input should be a valid dictionary"),
        ('{"models": [{"name": "a"}]}', "models.0.version: required, but missing"),
    ],
)
def test_a_wrong_models_config_is_not_taken(device: AgentDevice, models_config: Path, content: str, words: str) -> None:
    before = standing(device)
    seen = device.log.stat().st_size
    models_config.write_text(content, encoding="latin-1")
    assert device.process is not None
    device.process.send_signal(signal.SIGHUP)
    line = eventually(partial(said, device, seen, "models_config.json not taken"))
    assert words in line
    # The old mappings go on; that the file is wrong is shown until it is mended.
    shown = device.wait_for(lambda status: words in status.agent.message)
    assert (shown.agent.state, str(models_config) in shown.agent.message) == ("DEGRADED", True)
    after = standing(device)
    own = {"models_config": models_config.read_bytes(), "state": ("DEGRADED", shown.agent.message, None)}
    assert after == before | own
    assert device.inspect(PNG).verdict.value == "NG"


def test_keys_of_others_in_models_config_are_told_and_kept(device: AgentDevice, models_config: Path) -> None:
    seen = device.log.stat().st_size
    models_config.write_text(f'{{"mappings": {{"left": "{NAME}"}}, "their-key": 1, "models": []}}')
    assert reloaded(device, {"left"}) is not None
    assert "their-key" in eventually(partial(said, device, seen, "models_config.json has keys of others"))
    assert '"their-key": 1' in models_config.read_text()


def said(device: AgentDevice, since: int, words: str) -> str | None:
    with device.log.open("rb") as log:
        log.seek(since)
        lines = log.read().decode(errors="replace").splitlines()
    return next((line.replace("\\", "") for line in lines if words in line), None)
