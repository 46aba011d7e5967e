"""Inspect on a real agent with signed models: pictures, drawings, a chain, doubts, traces, figures."""

import json
import os
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from cloud_tools.release.publish import publish, read_bundle
from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent._proto.edge_agent.v1 import edge_agent_pb2_grpc as services
from edge_agent.client import AgentClient
from edge_agent.formats import EncodedPicture, InspectedFrame, RawPicture, Verdict
from edge_agent.vision import decode, encode_jpeg
from edge_agent.wire.inspection import SharedPicture
from tests.fakes.device import AgentDevice, eventually
from tests.fakes.repository import SignedRepository
from tests.fakes.tiny_models import BRIGHT, GLARE, GREY, grey_picture, write_version

PATIENCE_S = 60.0
WIDTH, HEIGHT = 24, 16
NAME = "img-classification"
CLASS, SPOTS, CRASH, HANG = "image-classification-app", "image-segmentation-app", "crash-app", "hang-app"
MODELS: dict[str, tuple[str, str, str]] = {
    CLASS: (NAME, "classification", ""),
    SPOTS: ("unet", "anomaly", ""),
    CRASH: ("crash", "classification", "glare-crash"),
    HANG: ("hang", "classification", "glare-hang"),
}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentDevice]:
    directory = tmp_path_factory.mktemp("inspect")
    repository = SignedRepository(directory / "cloud", now=time.time())
    bundles = []
    for name, kind, fault in MODELS.values():
        write_version(repository.home / name, name=name, kind=kind, fault=fault)
        bundles.append(read_bundle(repository.home / name))
    write_version(repository.home / "second", name=NAME, version="2", bias=0.25)
    publish(repository.open(), [*bundles, read_bundle(repository.home / "second")])
    device = AgentDevice(
        directory,
        {
            "repository": {"url": repository.directory.as_uri()},
            "trust": {"root": repository.root, "allow_demo_root": True},
            "inspection": {"chain": {SPOTS: CLASS}},
            "inference": {"hang_timeout_s": 3.0},
            "telemetry": {"metrics": f"127.0.0.1:{free_port()}"},
            "capture": {"policy": "ng"},
            "deployment": {"shadow": {"max_seconds": 0.2}, "scan_interval_s": 0.5, "reserve_bytes": 0},
        },
    )
    mappings = {application: name for application, (name, _, _) in MODELS.items()}
    config = {"mappings": mappings | {"waiting-app": "not-there"}, "models": []}
    (device.state_dir / "models_config.json").write_text(json.dumps(config))
    device.start()
    assert device.install(*((name, "1") for name, _, _ in MODELS.values())).state == "COMMITTED"
    yield device
    assert device.stop() == 0


def connected(device: AgentDevice) -> AgentClient:
    """A client that takes gRPC, and not the fast path."""
    return AgentClient(f"unix:{device.runtime_dir}/agent.sock", f"unix:{device.runtime_dir}/control.sock")


def ask(device: AgentDevice, value: int, *applications: str, **more: Any) -> InspectedFrame:
    """Inspect a grey picture; the two sound models unless others are named."""
    with connected(device) as client:
        picture = EncodedPicture(grey_picture(value, WIDTH, HEIGHT))
        return client.inspect(picture, applications=applications or (CLASS, SPOTS), **{"timeout_s": PATIENCE_S} | more)


@pytest.fixture
def segment() -> Iterator[Path]:
    path = Path(f"/dev/shm/edge-agent-inspect-{os.getpid()}")
    yield path
    path.unlink(missing_ok=True)


def test_a_picture_gets_the_same_answer_however_it_comes(device: AgentDevice, segment: Path) -> None:
    pixels = np.full((HEIGHT, WIDTH, 3), BRIGHT, np.uint8)
    segment.write_bytes(b"before" + pixels.tobytes())
    pictures = (
        EncodedPicture(grey_picture(BRIGHT, WIDTH, HEIGHT)),
        EncodedPicture(encode_jpeg(pixels)),
        RawPicture(pixels.tobytes(), WIDTH, HEIGHT),
        SharedPicture(f"/{segment.name}", 6, WIDTH, HEIGHT),
    )
    with connected(device) as client:
        frames = [
            client.inspect(p, applications=(CLASS, SPOTS), with_mask=True, with_heat_map=True, timeout_s=PATIENCE_S)
            for p in pictures
        ]
    for frame in frames:
        assert (frame.verdict, frame.width, frame.height, frame.message) == (Verdict.NG, WIDTH, HEIGHT, "")
        for ours, first in zip(frame.results, frames[0].results, strict=True):
            changing = {"milliseconds"}
            assert ours.model_dump(exclude=changing) == first.model_dump(exclude=changing)
            assert (ours.mask_png, ours.heat_map_png) == (first.mask_png, first.heat_map_png)
    first, second = frames[0].results
    assert (first.label, first.threshold, first.mask_png, first.heat_map_png) == ("bad", 0.5, b"", b"")
    assert first.score == pytest.approx(1 / (1 + np.exp(-(BRIGHT - 128) / 16)), abs=1e-4)
    assert decode(second.mask_png).shape == (HEIGHT, WIDTH, 3)
    assert np.unique(decode(second.heat_map_png)) == pytest.approx(255 * second.score, abs=1)


def test_a_drawing_is_chosen_by_the_request(device: AgentDevice) -> None:
    with grpc.insecure_channel(f"unix:{device.runtime_dir}/agent.sock") as channel:
        stub: Any = services.InspectionStub(channel)

        def drawn(**fields: Any) -> tuple[bool, bool]:
            encoded = grey_picture(BRIGHT, WIDTH, HEIGHT)
            request = pb.InspectRequest(encoded=encoded, applications=[SPOTS], **fields)
            (result,) = stub.Inspect(request, timeout=PATIENCE_S).results
            return bool(result.mask_png), bool(result.heat_map_png)

        assert drawn() == (False, False)
        assert drawn(drawing=pb.InspectRequest.MASK) == (True, False)
        assert drawn(drawing=pb.InspectRequest.HEAT_MAP) == (False, True)
        assert drawn(with_mask=True) == (True, False)
        assert drawn(with_mask=True, drawing=pb.InspectRequest.HEAT_MAP) == (True, True)


def test_the_chain_asks_the_second_model_only_when_the_first_says_ng(device: AgentDevice) -> None:
    good, bad = ask(device, GREY), ask(device, BRIGHT)
    assert (good.verdict, [result.skipped for result in good.results]) == (Verdict.OK, [False, True])
    assert good.results[1].message == f"skipped: {CLASS} says OK"
    assert (bad.verdict, [result.skipped for result in bad.results]) == (Verdict.NG, [False, False])


def test_the_overlay_of_a_frame_is_drawn_when_somebody_looks(device: AgentDevice) -> None:
    frame = ask(device, BRIGHT)
    with connected(device) as client:
        assert client.frame(frame.id, "overlay", SPOTS).content.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("value", "applications", "told"),
    [
        (GREY, (CLASS, "waiting-app"), "no model is mapped to waiting-app"),
        (GREY, (CLASS, "unknown-app"), "no model is mapped to unknown-app"),
        (GLARE, (CRASH,), "UNAVAILABLE"),
        (GLARE, (HANG,), "UNAVAILABLE"),
    ],
)
def test_on_any_doubt_there_is_no_result_and_the_reason(
    device: AgentDevice, value: int, applications: tuple[str, ...], told: str
) -> None:
    frame = ask(device, value, *applications)
    assert frame.verdict is Verdict.NO_RESULT
    assert told in frame.message
    # The next part is judged: a worker that ended or hung has a successor.
    if len(applications) == 1:
        again = eventually(lambda: _answered(ask(device, GREY, *applications)))
        assert again.verdict is Verdict.OK


def _answered(frame: InspectedFrame) -> InspectedFrame | None:
    return frame if frame.verdict is not Verdict.NO_RESULT else None


def test_no_result_comes_before_the_callers_deadline_and_says_that_time_ran_out(device: AgentDevice) -> None:
    frame = ask(device, GLARE, HANG, timeout_s=2.5)  # a late answer would be an error here
    assert frame.verdict is Verdict.NO_RESULT
    assert "DEADLINE_EXCEEDED" in frame.message
    assert frame.milliseconds < 2500
    assert eventually(lambda: _answered(ask(device, GREY, HANG))).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("shared", "told"),
    [
        ({"offset": 7}, "it holds"),
        ({"offset": 1 << 63}, "it holds"),
        ({"offset": (1 << 64) - 1}, "it holds"),
        ({"width": WIDTH + 1}, "it holds"),
        ({"width": (1 << 32) - 1, "height": (1 << 32) - 1}, "expected at most"),
        ({"width": 0}, "expected a name, a width and a height"),
        ({"name": "/../etc/hostname"}, "expected a name"),
        ({"name": "/etc/hostname"}, "expected a name"),
        ({"name": "/"}, "expected a name"),
        ({"name": ".."}, "expected a name"),
        ({"name": "/" + "x" * 300}, "expected a name"),
        ({"name": "/there-is-none-of-this-name"}, "no such file"),
    ],
    ids=str,
)
def test_a_segment_that_is_not_what_the_caller_says_is_refused(
    device: AgentDevice, segment: Path, shared: dict[str, Any], told: str
) -> None:
    segment.write_bytes(bytes(6 + WIDTH * HEIGHT * 3))
    fields = {"name": f"/{segment.name}", "offset": 6, "width": WIDTH, "height": HEIGHT} | shared
    with grpc.insecure_channel(f"unix:{device.runtime_dir}/agent.sock") as channel:
        stub: Any = services.InspectionStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Inspect(pb.InspectRequest(shared=pb.SharedImage(**fields)), timeout=PATIENCE_S)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert told in error.details()


def logged(device: AgentDevice, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first line of the log that is wanted, once it is there."""

    def look() -> dict[str, Any] | None:
        lines = device.log.read_text(errors="replace").splitlines()
        return next(filter(wanted, (json.loads(line) for line in lines if line.startswith("{"))), None)

    return eventually(look)


def traced(device: AgentDevice, parent: str, state: str = "") -> None:
    """Make a call that brings a trace, and fails so that it is logged."""
    metadata = [("traceparent", parent), *([("tracestate", state)] if state else [])]
    with grpc.insecure_channel(f"unix:{device.runtime_dir}/agent.sock") as channel:
        stub: Any = services.InspectionStub(channel)
        request = pb.InspectRequest(encoded=grey_picture(GREY), applications=[CLASS])
        stub.Inspect(request, timeout=PATIENCE_S, metadata=metadata)


def test_what_a_request_logs_names_the_trace_that_its_caller_recorded(device: AgentDevice) -> None:
    traced(device, f"00-{TRACE}-00f067aa0ba902b7-01", "vendor=value")
    line = logged(device, lambda line: line.get("trace_id") == TRACE)
    assert (line["action"], line["method"], line["status"], line["level"]) == (
        "call_ended",
        "/edge_agent.v1.Inspection/Inspect",
        "OK",
        "INFO",
    )
    assert (line["parent_id"], line["trace_state"]) == ("00f067aa0ba902b7", "vendor=value")


def test_a_trace_that_is_malformed_or_not_recorded_leaves_the_call_as_it_is(device: AgentDevice) -> None:
    other = "0af7651916cd43dd8448eb211c80319c"
    for parent in (
        f"00-{other}-00f067aa0ba902b7-00",
        f"00-{other}-xyz-01",
        f"ff-{other}-00f067aa0ba902b7-01",
        "-" * 70,
    ):
        traced(device, parent)
    traced(device, f"00-{other[::-1]}-00f067aa0ba902b7-01")
    logged(device, lambda line: line.get("trace_id") == other[::-1])
    assert other not in device.log.read_text()


def figures(device: AgentDevice) -> dict[str, float]:
    """What the agent's /metrics tell, by name and labels."""
    address = next(line for line in device.config.read_text().splitlines() if line.startswith("metrics = "))
    with urllib.request.urlopen(
        f"http://{json.loads(address.partition(' = ')[2])}/metrics", timeout=PATIENCE_S
    ) as page:
        lines = page.read().decode().splitlines()
    found = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in found}


# What a device's everyday life moves, one inspection of each kind and a replaced worker included.
MOVED_HERE = frozenset(
    {
        'nv_inference_request_success{model="unet",version="1"}',
        'nv_inference_request_failure{model="crash",reason="UNAVAILABLE",version="1"}',
        'nv_inference_count{model="unet",version="1"}',
        'nv_inference_request_duration_us{model="unet",version="1"}',
        'nv_inference_queue_duration_us{model="unet",version="1"}',
        'nv_inference_compute_input_duration_us{model="unet",version="1"}',
        'nv_inference_compute_infer_duration_us{model="unet",version="1"}',
        'edge_agent_calls_total{method="/edge_agent.v1.Inspection/Inspect",status="OK"}',
        'edge_agent_call_seconds_count{method="/edge_agent.v1.Inspection/Inspect"}',
        'edge_agent_inspections_total{verdict="NG"}',
        'edge_agent_inspections_total{verdict="OK"}',
        'edge_agent_inspections_total{verdict="NO_RESULT"}',
        'edge_agent_worker_restarts_total{model="crash",version="1"}',
        'edge_agent_captures{state="pending"}',
        "edge_agent_capture_bytes",
        *(
            f'edge_agent_request_phase_seconds_count{{model="img-classification",phase="{phase}",version="1"}}'
            for phase in ("total", "queue", "decode", "preprocess", "compute")
        ),
    }
)
# What only shows a state, which must be there.
SHOWN_HERE = {
    'edge_agent_model_info{model="unet",state="READY",version="1"}': 1.0,
    'edge_agent_deployment_states_total{state="COMMITTED"}': 1.0,
    'edge_agent_calls_in_flight{method="/edge_agent.v1.Inspection/Inspect"}': 0.0,
    'edge_agent_requests_in_flight{model="unet"}': 0.0,
}


def test_every_figure_of_everyday_life_moves(device: AgentDevice) -> None:
    before = figures(device)
    ask(device, GREY)
    ask(device, BRIGHT)
    assert ask(device, GLARE, CRASH).verdict is Verdict.NO_RESULT
    eventually(lambda: _answered(ask(device, GREY, CRASH)))

    def all_moved() -> bool | None:
        after = figures(device)
        return all(after.get(name, 0.0) > before.get(name, 0.0) for name in MOVED_HERE) or None

    assert eventually(all_moved, lambda: f"before: {before}")
    after = figures(device)
    assert {name: after.get(name) for name in SHOWN_HERE} == SHOWN_HERE
    assert after['edge_agent_worker_memory_bytes{model="unet",version="1"}'] > 1 << 20
    assert after["edge_agent_download_bytes_total"] > 0


def test_an_update_moves_the_figures_of_updates(device: AgentDevice) -> None:
    ask(device, GREY)
    ask(device, BRIGHT)
    before = figures(device)
    assert device.install((NAME, "2")).state == "COMMITTED"
    after = figures(device)
    compared = f'edge_agent_shadow_comparisons_total{{agreed="true",model="{NAME}"}}'
    for name in (
        compared,
        f'edge_agent_swaps_total{{model="{NAME}"}}',
        'edge_agent_deployment_states_total{state="SHADOW"}',
        "edge_agent_download_bytes_total",
    ):
        assert after[name] > before.get(name, 0.0), name
    assert after['edge_agent_deployment_states_total{state="COMMITTED"}'] == 2.0
    assert f'edge_agent_model_info{{model="{NAME}",state="READY",version="1"}}' not in after
    assert after[f'edge_agent_model_info{{model="{NAME}",state="READY",version="2"}}'] == 1.0


def test_bits_that_the_disk_loses_move_the_figures_of_the_store(device: AgentDevice) -> None:
    before = figures(device)
    blob = (device.state_dir / "versions" / "unet" / "1" / "model.onnx").resolve()
    blob.chmod(0o600)
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.write_bytes(content)
    mended = "edge_agent_mended_versions_total"
    after = eventually(lambda: _if(figures(device), lambda told: told[mended] > before[mended]))
    assert eventually(lambda: _if(figures(device), lambda told: told["edge_agent_damaged_versions"] == 0.0))
    assert after[mended] == before[mended] + 1


def _if(told: dict[str, float], wanted: Callable[[dict[str, float]], bool]) -> dict[str, float] | None:
    return told if wanted(told) else None
