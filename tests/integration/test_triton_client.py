"""Triton's own clients before a real agent: the Open Inference Protocol as they know it."""

import contextlib
import json
import math
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from edge_agent import __version__
from tests.fakes.device import AgentDevice, eventually
from tests.fakes.repository import SignedRepository
from tests.fakes.signed import publish_versions
from tests.fakes.tiny_models import BRIGHT, GREY, image, raw_score
from tests.fakes.triton import Triton, TritonError, made, triton

MODEL = "img-classification"
BIAS = 0.25  # between two versions that publish_versions makes


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentDevice]:
    """An agent that answers with the second version of its model, and still stores the first."""
    home = tmp_path_factory.mktemp("triton")
    repository = SignedRepository(home / "cloud", now=time.time())
    publish_versions(repository, (MODEL, "1"), (MODEL, "2"))
    device = AgentDevice(
        home,
        {
            "repository": {"url": repository.directory.as_uri()},
            "trust": {"root": repository.root, "allow_demo_root": True},
            "rpc": {"tcp": "127.0.0.1:0", "threads": 8},
        },
    )
    device.start()
    for version in ("1", "2"):
        assert device.install((MODEL, version)).state == "COMMITTED"
    yield device
    assert device.stop() == 0


@pytest.fixture(scope="module")
def client(device: AgentDevice) -> Iterator[Triton]:
    with triton(f"unix:{device.runtime_dir}/agent.sock") as client:
        yield client


@pytest.fixture(scope="module")
def operator(device: AgentDevice) -> Iterator[Triton]:
    with triton(f"unix:{device.runtime_dir}/control.sock") as client:
        yield client


def expected_score(value: int, version: int = 2) -> float:
    return raw_score(image(value)["image"][0], BIAS * (version - 1))


def score_of(answer: dict[str, Any]) -> float:
    (score,) = answer["outputs"]["score"]
    return float(score)


def test_the_server_says_that_it_lives_is_ready_and_what_it_can(client: Triton, operator: Triton) -> None:
    for each in (client, operator):
        assert each.call("is_server_live") is True
        assert each.call("is_server_ready") is True
    told = client.call("get_server_metadata", as_json=True)
    assert (told["name"], told["version"]) == ("edge-agent", __version__)
    assert "system_shared_memory" in told["extensions"]
    assert "cuda_shared_memory" not in told["extensions"]


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [(MODEL, "", True), (MODEL, "2", True), (MODEL, "9", False), (f"{MODEL}-1", "", True), ("nothing", "", False)],
)
def test_a_model_is_ready_under_its_name_and_its_loaded_versions(
    client: Triton, name: str, version: str, ready: bool
) -> None:
    assert client.call("is_model_ready", model_name=name, model_version=version) is ready


def test_metadata_and_configuration_tell_what_a_request_must_look_like(client: Triton) -> None:
    told = client.call("get_model_metadata", model_name=MODEL, as_json=True)
    assert told["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": ["-1", "16", "16", "3"]}]
    assert [output["name"] for output in told["outputs"]] == ["score", "probabilities"]
    assert (told["platform"], told["versions"][0]) == ("onnxruntime_onnx", "2")
    config = client.call("get_model_config", model_name=MODEL, model_version="2", as_json=True)["config"]
    assert config["input"] == [{"name": "image", "data_type": "TYPE_UINT8", "dims": ["16", "16", "3"]}]
    assert config["max_batch_size"] == (64 << 20) // (16 * 16 * 3)
    assert config["parameters"]["version"] == {"string_value": "2"}


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_a_request_is_answered_with_the_outputs_and_the_version(client: Triton, compression: str | None) -> None:
    answer = client.ask(
        "infer", model=MODEL, value=BRIGHT, request_id="seven", compression_algorithm=compression, timeout=10_000_000
    )
    assert (answer["model"], answer["version"], answer["id"]) == (MODEL, "2", "seven")
    assert list(answer["outputs"]) == ["score", "probabilities"]
    assert score_of(answer) == pytest.approx(expected_score(BRIGHT), abs=1e-3)


def test_only_the_outputs_that_were_asked_for_come_in_their_order(client: Triton) -> None:
    answer = client.ask("infer", model=MODEL, value=GREY, batch=3, outputs=["probabilities", "score"], priority=2)
    assert list(answer["outputs"]) == ["probabilities", "score"]
    assert answer["outputs"]["score"] == pytest.approx([expected_score(GREY)] * 3, abs=1e-3)
    assert list(client.ask("infer", model=MODEL, value=GREY, outputs=["score"])["outputs"]) == ["score"]


def test_requests_that_overlap_each_get_their_own_answer(client: Triton) -> None:
    values = [GREY, BRIGHT, 30, 220, 128, 77]
    answers = client.ask("infer_async", model=MODEL, values=values)
    scores = {int(answer["id"]): score_of(answer) for answer in answers}
    assert scores == pytest.approx({n: expected_score(value) for n, value in enumerate(values)}, abs=1e-3)


def test_a_stream_answers_in_order_and_outlives_a_request_that_fails(client: Triton) -> None:
    first, wrong, last = client.ask("stream", model=MODEL, values=[GREY, None, BRIGHT])
    assert [first["id"], last["id"]] == ["0", "2"]
    assert (score_of(first), score_of(last)) == pytest.approx((expected_score(GREY), expected_score(BRIGHT)), abs=1e-3)
    assert wrong == {"error": "Request for unknown model: 'nothing' is not found"}


def test_streams_are_bounded_and_leave_threads_for_others(client: Triton) -> None:
    told = client.ask("open_streams", model=MODEL, number=9)
    assert ["error" in each for each in told] == [False] * 4 + [True]
    assert "too many streams" in told[-1]["error"]
    (answer,) = eventually(lambda: None if "error" in (t := client.ask("stream", model=MODEL, values=[1]))[0] else t)
    assert answer["version"] == "2"


def test_inputs_come_from_and_outputs_go_into_shared_memory(client: Triton) -> None:
    name = f"edge-agent-test-{os.getpid()}"
    told = client.ask("shared", model=MODEL, value=BRIGHT, name=name)
    region = {"name": f"{name}-region", "key": f"/{name}", "byte_size": str(16 * 16 * 3 + 64)}
    assert (told["status"], told["after"]) == ({"regions": {region["name"]: region}}, {})
    assert (told["region"], told["empty"]) == (region["name"], [0, 0])
    assert told["score"] == pytest.approx([expected_score(BRIGHT)], abs=1e-3)
    bad = 1 / (1 + math.exp(-expected_score(BRIGHT)))
    assert told["probabilities"][0][1] == pytest.approx(bad, abs=1e-3)
    assert not (Path("/dev/shm") / name).exists()


@pytest.mark.parametrize("size", [0, 1, 767])
def test_a_segment_that_its_owner_truncated_costs_its_own_request_and_nothing_else(client: Triton, size: int) -> None:
    refusal = client.refusal("truncated", model=MODEL, name=f"edge-agent-test-{os.getpid()}", size=size)
    assert (refusal.status, f"it holds {size}" in refusal.message) == ("INVALID_ARGUMENT", True)
    assert score_of(client.ask("infer", model=MODEL, value=GREY)) == pytest.approx(expected_score(GREY), abs=1e-3)


def test_an_output_that_does_not_fit_its_place_is_refused(client: Triton) -> None:
    refusal = client.refusal("small_output", model=MODEL, name=f"edge-agent-test-{os.getpid()}")
    assert (refusal.status, "at least 4 bytes" in refusal.message) == ("INVALID_ARGUMENT", True)


@pytest.mark.parametrize(
    ("name", "key", "size", "offset", "status"),
    [
        ("r", "/edge-agent-is-not-there", 8, 0, "INVALID_ARGUMENT"),
        ("r", "/../../etc/hostname", 1, 0, "INVALID_ARGUMENT"),
        ("r", "/held", 0, 0, "INVALID_ARGUMENT"),
        ("r", "/held", 65, 0, "INVALID_ARGUMENT"),
        ("r", "/held", 1, 2**64 - 1, "INVALID_ARGUMENT"),
        ("", "/held", 8, 0, "INVALID_ARGUMENT"),
        ("held", "/held", 8, 0, "ALREADY_EXISTS"),
    ],
)
def test_a_region_that_cannot_be_is_not_registered(
    client: Triton, name: str, key: str, size: int, offset: int, status: str
) -> None:
    segment = Path("/dev/shm") / f"edge-agent-test-{os.getpid()}"
    segment.write_bytes(bytes(64))
    key = key.replace("/held", f"/{segment.name}")
    try:
        client.call("register_system_shared_memory", name="held", key=f"/{segment.name}", byte_size=64)
        arguments = {"name": name, "key": key, "byte_size": size, "offset": offset}
        refusal = client.refusal("call", method="register_system_shared_memory", **arguments)
        assert refusal.status == status
        assert list(client.call("get_system_shared_memory_status", as_json=True)["regions"]) == ["held"]
    finally:
        client.call("unregister_system_shared_memory")
        segment.unlink()
    refusal = client.refusal("call", method="get_system_shared_memory_status", region_name="held")
    assert (refusal.status, "Unable to find" in refusal.message) == ("NOT_FOUND", True)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ({"name": "image", "datatype": "FP32", "shape": [1, 16, 16, 3]}, "INVALID_ARGUMENT", "expected uint8"),
        ({"name": "image", "datatype": "FP16", "shape": [1, 16, 16, 3]}, "INVALID_ARGUMENT", "came float16"),
        ({"name": "image", "datatype": "BYTES", "shape": [1]}, "INVALID_ARGUMENT", "came 'BYTES'"),
        ({"name": "image", "datatype": "BOOL", "shape": [1, 16, 16, 3]}, "INVALID_ARGUMENT", "came 'BOOL'"),
        ({"name": "image", "datatype": "UINT8", "shape": [1, 16, 16]}, "INVALID_ARGUMENT", "came uint8[1, 16, 16]"),
        ({"name": "image", "datatype": "UINT8", "shape": [0, 16, 16, 3]}, "INVALID_ARGUMENT", "sizes of 1 or more"),
        ({"name": "../image", "datatype": "UINT8", "shape": [1]}, "INVALID_ARGUMENT", "unexpected inference input"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_and_named(
    client: Triton, arguments: dict[str, Any], status: str, words: str
) -> None:
    refusal = client.refusal("infer_as", model=MODEL, **arguments)
    assert (refusal.status, words in refusal.message) == (status, True), refusal


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ({"model": "nothing"}, "NOT_FOUND", "Request for unknown model: 'nothing' is not found"),
        ({"model": MODEL, "model_version": "9"}, "NOT_FOUND", "version '9' is not loaded"),
        ({"model": MODEL, "outputs": ["heat"]}, "INVALID_ARGUMENT", "unexpected inference output 'heat'"),
        ({"model": MODEL, "sequence_id": 5}, "INVALID_ARGUMENT", "sequence"),
        ({"model": MODEL, "timeout": 1}, "DEADLINE_EXCEEDED", ""),
        ({"model": MODEL, "outputs": ["score", "score"]}, "INVALID_ARGUMENT", "twice"),
    ],
)
def test_what_cannot_be_served_is_refused_as_triton_does(
    client: Triton, arguments: dict[str, Any], status: str, words: str
) -> None:
    refusal = client.refusal("infer", value=GREY, **arguments)
    assert (refusal.status, words in refusal.message) == (status, True), refusal


def test_classification_is_not_offered_and_says_so(client: Triton) -> None:
    assert "classification is not offered" in client.refusal("classify", model=MODEL).message


def test_statistics_count_requests_elements_and_time(client: Triton) -> None:
    before = statistics(client)
    for batch in (1, 4, 4):
        client.ask("infer", model=MODEL, value=GREY, batch=batch)
    client.refusal("infer", model=MODEL, value=GREY, timeout=1)
    client.refusal("infer_as", model=MODEL, name="image", datatype="UINT8", shape=[1, 16, 17, 3])
    after = statistics(client)
    assert grown(before, after, "inference_count") == 9
    assert grown(before, after, "execution_count") == 3
    spent = {
        name: grown(before["inference_stats"], after["inference_stats"], name) for name in after["inference_stats"]
    }
    assert (spent["success"], spent["queue"], spent["compute_infer"]) == (3, 3, 3)
    assert spent["fail"] >= 1
    last_ms = int(after["last_inference"])
    assert abs(time.time() * 1000 - last_ms) < 600_000
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    times = {name: int(after["inference_stats"][name].get("ns", 0)) for name in (*parts, "success")}
    assert 0 < sum(times[name] for name in parts) <= times["success"]
    assert {int(batch["batch_size"]) for batch in after["batch_stats"]} >= {1, 4}


def statistics(client: Triton) -> dict[str, Any]:
    told = client.call("get_inference_statistics", model_name=MODEL, model_version="2", as_json=True)
    (stats,) = told["model_stats"]
    return dict(stats)


def grown(before: dict[str, Any], after: dict[str, Any], name: str) -> int:
    def number(value: Any) -> int:
        return int(value.get("count", 0) if isinstance(value, dict) else value)

    return number(after.get(name, 0)) - number(before.get(name, 0))


def test_statistics_of_all_models_are_those_in_memory(client: Triton) -> None:
    told = client.call("get_inference_statistics", as_json=True)
    assert (MODEL, "2") in {(each["name"], each["version"]) for each in told["model_stats"]}
    assert client.refusal("call", method="get_inference_statistics", model_name="nothing").status == "NOT_FOUND"


def index(client: Triton) -> dict[tuple[str, str], str]:
    told = client.call("get_model_repository_index", as_json=True)
    return {(each["name"], each["version"]): each["state"] for each in told["models"]}


def only(*versions: object) -> str:
    """Triton's way of naming versions to be loaded."""
    return json.dumps({"version_policy": {"specific": {"versions": versions}}})


def test_loading_is_for_the_control_socket_and_inferences_are_for_the_other(client: Triton, operator: Triton) -> None:
    for verb in ("load_model", "unload_model"):
        assert client.refusal("call", method=verb, model_name=MODEL).status == "PERMISSION_DENIED"
    assert operator.refusal("infer", model=MODEL, value=GREY).status == "PERMISSION_DENIED"
    for method in ("get_system_shared_memory_status", "unregister_system_shared_memory"):
        assert operator.refusal("call", method=method).status == "PERMISSION_DENIED"
    (refused,) = operator.ask("stream", model=MODEL, values=[GREY])
    assert "data plane only" in refused["error"]
    assert index(client) == index(operator) == {(MODEL, "1"): "UNAVAILABLE", (MODEL, "2"): "READY"}


@pytest.fixture
def loader(operator: Triton) -> Iterator[Triton]:
    """The operator's client; what it loads in a test is unloaded after it."""
    yield operator
    with contextlib.suppress(TritonError):
        operator.call("unload_model", model_name=MODEL)
    assert index(operator)[MODEL, "1"] == "UNAVAILABLE"


def test_a_stored_version_is_loaded_beside_the_committed_one_and_answers_to_who_names_it(
    device: AgentDevice, client: Triton, loader: Triton
) -> None:
    assert client.refusal("infer", model=MODEL, value=GREY, model_version="1").status == "NOT_FOUND"
    for _ in range(2):
        loader.call("load_model", model_name=MODEL, config=only(1))
    assert index(client) == {(MODEL, "1"): "READY", (MODEL, "2"): "READY"}
    older, active = (client.ask("infer", model=MODEL, value=GREY, model_version=version) for version in ("1", ""))
    assert (older["version"], score_of(older)) == ("1", pytest.approx(expected_score(GREY, 1), abs=1e-3))
    assert (active["version"], score_of(active)) == ("2", pytest.approx(expected_score(GREY, 2), abs=1e-3))
    told = client.call("get_model_metadata", model_name=MODEL, as_json=True)
    assert told["versions"] == ["2", "1"]
    counted = client.call("get_inference_statistics", model_name=MODEL, as_json=True)["model_stats"]
    assert [each["version"] for each in counted] == ["1", "2"]
    loader.call("unload_model", model_name=MODEL)
    assert client.refusal("infer", model=MODEL, value=GREY, model_version="1").status == "NOT_FOUND"
    assert client.ask("infer", model=MODEL, value=GREY)["version"] == "2"
    assert device.generation() == {MODEL: "2"}


def test_what_is_committed_is_never_unloaded(device: AgentDevice, client: Triton, loader: Triton) -> None:
    loader.call("load_model", model_name=MODEL)
    loader.call("load_model", model_name=MODEL, config=only("2"))
    refusal = loader.refusal("call", method="unload_model", model_name=MODEL)
    assert (refusal.status, "what was deployed or brought stays" in refusal.message) == ("FAILED_PRECONDITION", True)
    assert client.ask("infer", model=MODEL, value=GREY)["version"] == "2"
    assert device.generation() == {MODEL: "2"}


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ({"model_name": "nothing"}, "NOT_FOUND"),
        ({"model_name": "../img-classification"}, "NOT_FOUND"),
        ({"model_name": MODEL, "config": "{}"}, "INVALID_ARGUMENT"),
        ({"model_name": MODEL, "config": "no json"}, "INVALID_ARGUMENT"),
        ({"model_name": MODEL, "config": only(9)}, "NOT_FOUND"),
        ({"model_name": MODEL, "config": only("../1")}, "NOT_FOUND"),
        ({"model_name": MODEL, "config": only(1, 2)}, "INVALID_ARGUMENT"),
        ({"model_name": MODEL, "config": only(1)[:-1] + ', "backend": "python"}'}, "INVALID_ARGUMENT"),
    ],
)
def test_what_the_store_does_not_hold_is_not_loaded(loader: Triton, arguments: dict[str, str], status: str) -> None:
    assert loader.refusal("call", method="load_model", **arguments).status == status
    assert index(loader) == {(MODEL, "1"): "UNAVAILABLE", (MODEL, "2"): "READY"}


def test_files_of_a_client_are_not_loaded(loader: Triton) -> None:
    refusal = loader.refusal("load_files", model=MODEL, content="00")
    assert (refusal.status, "store holds" in refusal.message) == ("INVALID_ARGUMENT", True)


def test_a_worker_that_dies_is_unavailable_to_a_client_and_comes_back(device: AgentDevice, client: Triton) -> None:
    assert device.process is not None
    (worker,) = (child for child in psutil.Process(device.process.pid).children() if "serve" in child.cmdline())
    worker.kill()
    refused: list[str] = []

    def answered() -> dict[str, Any] | None:
        try:
            return dict(client.ask("infer", model=MODEL, value=GREY))
        except TritonError as exc:
            refused.append(exc.status)
            return None

    assert eventually(answered)["version"] == "2"
    assert set(refused) <= {"UNAVAILABLE", "DEADLINE_EXCEEDED"}


@pytest.mark.parametrize(
    "options",
    [
        ("--shared-memory=none",),
        ("--shared-memory=system", "-b", "4"),
        ("--streaming", "--concurrency-range=2"),
    ],
    ids=["raw", "shared-memory", "streaming"],
)
def test_perf_analyzer_measures_the_agent(device: AgentDevice, options: tuple[str, ...]) -> None:
    command = [made("perf-analyzer"), "-m", MODEL, "-i", "grpc", "-u", f"unix:{device.runtime_dir}/agent.sock"]
    # One window of a fixed number of requests, whose times may differ as they like: this is no bench.
    window = ("--measurement-mode=count_windows", "--measurement-request-count=20", "-r", "3", "-s", "99999")
    ran = subprocess.run([*command, *window, *options], capture_output=True, text=True, check=False, timeout=240)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Successful request count" in ran.stdout
    assert "throughput" in ran.stdout
