"""Parts that look alike, on a whole device: models that carry a memory, none, and a broken one."""

import json
import re
import socket
import time
import urllib.request
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from typer.testing import CliRunner

from cloud_tools.release.publish import publish, read_bundle
from edge_agent._proto.inference import grpc_service_pb2 as oip
from edge_agent._proto.inference import grpc_service_pb2_grpc as oip_services
from edge_agent.cli.app import build_app
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import ModelStatus, SimilarParts
from edge_agent.similarity.drift import NEEDED
from tests.fakes.device import AgentDevice
from tests.fakes.repository import SignedRepository
from tests.fakes.telling_model import BLUES, coloured, where, write_telling
from tests.fakes.tiny_models import SIDE, write_version

FAR = 250


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[AgentDevice]:
    directory = tmp_path_factory.mktemp("similar")
    repository = SignedRepository(directory / "cloud", now=time.time())
    write_telling(repository.home / "colour")
    write_telling(repository.home / "torn", name="torn", bank=b"no bank at all")
    write_version(repository.home / "plain", name="plain", kind="anomaly")
    publish(repository.open(), [read_bundle(repository.home / name) for name in ("colour", "torn", "plain")])
    device = AgentDevice(
        directory,
        {
            "repository": {"url": repository.directory.as_uri()},
            "trust": {"root": repository.root, "allow_demo_root": True},
            "telemetry": {"metrics": f"127.0.0.1:{port}"},
            "capture": {"policy": "ng", "far": True},
        },
    )
    mappings = {"plain-app": "plain", "torn-app": "torn", "colour-app": "colour"}
    (device.state_dir / "models_config.json").write_text(json.dumps({"mappings": mappings, "models": []}))
    device.start()
    assert device.install(("colour", "1"), ("torn", "1"), ("plain", "1")).state == "COMMITTED"
    yield device
    assert device.stop() == 0


def similar(device: AgentDevice, identity: str, model: str = "") -> SimilarParts:
    with device.client() as client:
        return client.similar(identity, model=model)


def bank_seen(device: AgentDevice, seen: int, name: str = "colour") -> ModelStatus:
    """The model's status when so many parts were measured."""

    def measured(model: ModelStatus) -> bool:
        return model.name == name and model.bank is not None and model.bank.seen >= seen

    status = device.wait_for(lambda status: any(map(measured, status.models)))
    return next(model for model in status.models if model.name == name)


def test_a_frame_is_shown_with_the_learnt_parts_that_look_most_like_it(device: AgentDevice) -> None:
    frame = device.inspect(coloured(78), "colour-app")
    told = similar(device, frame.id)
    assert (told.model, told.version, told.message, told.far) == ("colour", "1", "", False)
    assert len(told.parts) == 10
    assert told.parts[0].id == "train/good/<b>78</b>.png"
    assert (told.parts[0].similarity, told.parts[0].captured) == (pytest.approx(1.0, abs=1e-6), False)
    assert {part.label for part in told.parts} == {"good"}
    assert all(part.thumbnail.startswith(b"\xff\xd8\xff") for part in told.parts)
    # Colours of the neighbours: its own first, then those around it.
    blues = [int(part.id.split("<b>")[1].split("<")[0]) for part in told.parts]
    assert sorted(blues) == [*range(min(blues), max(blues) + 1, 2)]


def test_a_part_far_from_what_was_learnt_is_captured_and_found_again(device: AgentDevice) -> None:
    frame = device.inspect(coloured(FAR), "colour-app")
    assert frame.verdict.value == "OK"
    device.wait_for(lambda status: status.captures.pending >= 1)
    with device.client() as client:
        (capture,) = [each for each in client.captures() if each.id == frame.id]
        assert (capture.reason, capture.verdict) == ("far", "OK")
        client.label_capture(frame.id, "NG", actor="test")
    other = device.inspect(coloured(FAR - 2), "colour-app")
    told = similar(device, other.id)
    assert told.far
    first = told.parts[0]
    assert (first.captured, first.id, first.label, first.verdict) == (True, frame.id, "NG", "OK")
    assert first.thumbnail.startswith(b"\xff\xd8\xff")
    # The part itself is not what looks like it.
    assert frame.id not in {part.id for part in similar(device, frame.id).parts}


def test_what_is_not_there_is_told(device: AgentDevice) -> None:
    with pytest.raises(InferenceError, match="there is no capture nothing") as caught:
        similar(device, "nothing")
    assert caught.value.code is Code.NOT_FOUND
    frame = device.inspect(coloured(80), "colour-app")
    with pytest.raises(InferenceError, match="expected one of colour, plain, torn, came who") as caught:
        similar(device, frame.id, "who")
    assert caught.value.code is Code.NOT_FOUND
    with pytest.raises(InferenceError, match="plain 1 does not tell where a part lies among others") as caught:
        similar(device, frame.id, "plain")
    assert caught.value.code is Code.FAILED_PRECONDITION
    with pytest.raises(InferenceError, match="id: expected that of a recent frame or a capture, came none"):
        similar(device, "")


def test_a_broken_bank_is_the_banks_trouble_and_not_the_models(device: AgentDevice) -> None:
    status = device.wait_for(lambda status: any(m.name == "torn" and m.bank is not None for m in status.models))
    torn = next(model for model in status.models if model.name == "torn")
    assert torn.bank is not None
    assert (torn.state, torn.bank.state) == ("READY", "BROKEN")
    assert "the memory bank of torn 1: expected a memory bank in the format of safetensors" in torn.bank.message
    assert status.agent.state == "READY"
    frame = device.inspect(coloured(80), "colour-app")
    told = similar(device, frame.id, "torn")
    assert (told.model, told.parts, told.limit) == ("torn", (), 0.0)
    assert told.message == torn.bank.message


def test_drift_is_told_in_status_in_metrics_and_in_words(device: AgentDevice, port: int) -> None:
    for number in range(NEEDED):
        device.inspect(coloured(FAR - number % 5), "colour-app")
    model = bank_seen(device, NEEDED)
    assert model.bank is not None
    assert (model.bank.state, model.bank.parts) == ("DRIFTED", len(BLUES))
    assert model.bank.far_share > 0.9
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        figures = answer.read().decode()
    for name, least in (
        ("edge_agent_bank_drift", 0.9),
        ("edge_agent_bank_far_share", 0.9),
        ("edge_agent_bank_distance", 0.01),
    ):
        figure = re.search(rf'{name}\{{model="colour",version="1"\}} (\S+)', figures)
        assert figure is not None, name
        assert float(figure[1]) > least, name
    result = _cli(device, "status")
    assert "drift: parts look unlike those that it learnt from" in result


def test_the_command_shows_them_as_a_table_and_as_json(device: AgentDevice) -> None:
    frame = device.inspect(coloured(78), "colour-app")
    shown = _cli(device, "similar", frame.id, "--limit", "3")
    assert shown.startswith("colour 1: 0.0000 from what it learnt, within ")
    assert "1.0000  training  good" in shown
    told = json.loads(_cli(device, "similar", frame.id, "--limit", "3", "--json"))
    assert (told["model"], len(told["parts"]), told["far"]) == ("colour", 3, False)
    assert set(told["parts"][0]) == {"similarity", "captured", "id", "label", "verdict", "at"}


def test_captured_parts_are_compared_after_a_restart(device: AgentDevice) -> None:
    with device.client() as client:
        captured = next(each for each in client.captures() if each.reason == "far")
    assert device.stop() == 0
    device.start()
    told = similar(device, captured.id)
    assert told.far
    assert any(part.captured for part in told.parts)


def _cli(device: AgentDevice, *words: str) -> str:
    result = CliRunner().invoke(build_app(), ["--runtime-dir", str(device.runtime_dir), *words])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_clients_of_the_open_inference_protocol_see_one_output_more(device: AgentDevice) -> None:
    with grpc.insecure_channel(f"unix:{device.runtime_dir}/agent.sock") as channel:
        stub = oip_services.GRPCInferenceServiceStub(channel)
        told = stub.ModelMetadata(oip.ModelMetadataRequest(name="colour"), timeout=30)
        assert [output.name for output in told.outputs] == ["score", "map", "embedding"]
        pixels = np.full((2, SIDE, SIDE, 3), (0, 80, 78), np.uint8)
        request = oip.ModelInferRequest(model_name="colour", raw_input_contents=[pixels.tobytes()])
        request.inputs.add(name="image", datatype="UINT8", shape=pixels.shape)
        answer = stub.ModelInfer(request, timeout=30)
    place = dict(zip((output.name for output in answer.outputs), answer.raw_output_contents, strict=True))["embedding"]
    np.testing.assert_allclose(np.frombuffer(place, np.float32).reshape(2, 3), [where(78)] * 2, rtol=1e-5)
