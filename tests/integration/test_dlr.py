"""What DLR does beyond the contract of all runtimes: a library of its release, and who lets it in."""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest

from cloud_tools.release.publish import publish, read_bundle
from edge_agent.config import Inference
from edge_agent.deployment.capacity import Machine, check_machine
from edge_agent.errors import ActivationError, AgentError, Code, DocumentError, RefusedError
from edge_agent.formats import Manifest, Role, parse
from edge_agent.inference import available_runtimes, build_engine, open_session
from edge_agent.inference.engines.source import check_others, read_model
from edge_agent.inference.execution import Execution, load
from edge_agent.inference.runtimes.table import Tuning, write_engine
from tests.fakes.device import AgentDevice
from tests.fakes.neo_artefact import COMPILER, META, compiled, write_neo
from tests.fakes.repository import SignedRepository
from tests.fakes.sagemaker_client import SageMakerClient
from tests.fakes.tiny_models import GREY, image, raw_score, write_version

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler for the artefact's library")
SETTINGS = Inference(runtimes=("dlr",), allow_native_code=True, isolation="inline")
MACHINE = Machine("9.0", "x86_64", frozenset({"dlr", "onnxruntime"}), native_code=True)
PATIENCE_S = 60.0


def build(directory: Path, manifest: Manifest) -> None:
    """As the builder does it, without its process."""
    source = read_model(directory, manifest)
    check_others(directory, manifest, source)
    write_engine("dlr", source, directory.parent / "x.meta", Tuning())


def opened(directory: Path, manifest: Manifest) -> Execution:
    return load(manifest, read_model(directory, manifest), threads=1)


def refused(do: Callable[[], object]) -> AgentError:
    with pytest.raises(AgentError) as caught:
        do()
    return caught.value


def meta(**changes: object) -> bytes:
    return json.dumps(META | changes).encode()


def test_the_releases_own_library_tells_its_version_and_what_executes(tmp_path: Path) -> None:
    execution = opened(tmp_path / "v", write_neo(tmp_path / "v", bias=0.25))
    assert execution.provider == "DLR 1.10.0, tvm on cpu"
    answer = execution.infer(image(GREY))
    assert answer["score"] == pytest.approx([raw_score(image(GREY)["image"], 0.25)], abs=1e-5)


def test_without_its_library_it_is_told_what_the_model_would_compute(tmp_path: Path) -> None:
    manifest = write_neo(tmp_path / "v", files={"libdlr.so": None})
    engines = tmp_path / "engines"
    error = refused(lambda: build_engine(tmp_path / "v", manifest, SETTINGS, engines=engines, timeout_s=PATIENCE_S))
    assert isinstance(error, ActivationError)
    assert error.code is Code.RUNTIME_MISSING
    assert "expected the artefact's own libdlr.so" in error.message
    assert "image uint8[1, 16, 16, 3] to score float32[1], probabilities float32[1, 2]" in error.message


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"libdlr.so": b"\x7fELF" + bytes(12) + b"\x03\x00" + bytes(600)}, "DLR: .*libdlr.so"),
        ({"libdlr.so": "compiled"}, "DLR: .*undefined symbol: CreateDLRModel"),
        ({"compiled.params": None}, "DLR: CreateDLRModel: Invalid TVM model artifact"),
        ({"second.json": b"{}"}, "DLR: CreateDLRModel: Found multiple files of one kind: .json"),
        ({"compiled.meta": meta(Requirements={"TargetDeviceType": "gpu"})}, 'requires device type "cpu"'),
        (
            {"compiled.meta": meta(Requirements={"TargetDeviceType": "abacus"})},
            "on one of cpu, gpu, opencl, came .*abacus",
        ),
        ({"compiled.meta": meta(Requirements={"TargetDeviceType": ["cpu"]})}, "on one of cpu, gpu, opencl, came"),
        ({"compiled.meta": meta(Model={"Inputs": 7})}, "expected a .meta that tells Model.Inputs"),
    ],
    ids=[
        "no-library",
        "another-library",
        "no-params",
        "two-graphs",
        "other-device",
        "no-device",
        "devices",
        "no-inputs",
    ],
)
def test_an_artefact_that_cannot_be_loaded_tells_the_librarys_own_words(
    tmp_path: Path, files: Mapping[str, Any], message: str
) -> None:
    contents = {name: compiled(it) if isinstance(it, str) else it for name, it in files.items()}
    manifest = write_neo(tmp_path / "v", files=contents)
    error = refused(lambda: build(tmp_path / "v", manifest))
    assert error.code is Code.BUILD_FAILED
    assert error.message.startswith("DLR: ")
    assert re.search(message, error.message), error.message


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        ("RUN", Code.LOAD_FAILED, "DLR: RunDLRModel: TVMError: Check failed"),
        ("SIZE", Code.LOAD_FAILED, "DLR: score: expected a size, came -1 in 1 dimensions"),
        ("TYPE", Code.BUILD_FAILED, "DLR: expected the inputs that the .meta tells, [('image', 'uint8')], came"),
    ],
)
def test_a_library_that_fails_is_told_in_its_own_words(tmp_path: Path, fault: str, code: Code, message: str) -> None:
    manifest = write_neo(tmp_path / "v", fault=fault)
    error = refused(lambda: (build(tmp_path / "v", manifest), opened(tmp_path / "v", manifest)))
    assert error.code is code
    assert message in error.message


@pytest.mark.parametrize("harm", ["changed", "added", "swapped"])
def test_a_file_that_was_not_signed_is_never_executed(tmp_path: Path, harm: str) -> None:
    manifest = write_neo(tmp_path / "v")
    build(tmp_path / "v", manifest)
    neo = tmp_path / "v" / "neo"
    name, content = {
        "changed": ("compiled.so", compiled("compiled") + b"\0"),
        "added": ("second.so", compiled("compiled")),
        "swapped": ("libdlr.so", compiled("libdlr", "RUN")),
    }[harm]
    # A new file, as the store makes one: this process has the old library mapped, and what is written into it ends it.
    (neo / name).unlink(missing_ok=True)
    (neo / name).write_bytes(content)
    error = refused(lambda: opened(tmp_path / "v", manifest))
    assert error.code is (Code.FORMAT_FORBIDDEN if harm == "added" else Code.LOAD_FAILED)
    assert ("second.so" if harm == "added" else "expected content with SHA-256") in error.message


@pytest.mark.parametrize("content", [b"\x7fELF" + bytes(12) + b"\x02\x00" + bytes(600), b"#!/bin/sh\n", b""])
def test_only_a_shared_library_may_come_in_the_role_of_one(tmp_path: Path, content: bytes) -> None:
    manifest = write_neo(tmp_path / "v", files={"libdlr.so": content})
    error = refused(lambda: build(tmp_path / "v", manifest))
    assert error.code is Code.FORMAT_FORBIDDEN
    assert error.message == "neo/libdlr.so: expected a shared library, came something else"


def test_native_code_may_come_in_no_other_role(tmp_path: Path) -> None:
    manifest = write_neo(tmp_path / "v")
    artefacts = tuple(
        each.model_copy(update={"role": Role.EXTRA}) if each.path.endswith("compiled.so") else each
        for each in manifest.artefacts
    )
    error = refused(lambda: build(tmp_path / "v", manifest.model_copy(update={"artefacts": artefacts})))
    assert (error.code, error.message) == (Code.FORMAT_FORBIDDEN, "neo/compiled.so: expected data, came a program")


def test_a_manifest_keeps_libraries_where_they_belong(tmp_path: Path) -> None:
    neo = write_neo(tmp_path / "neo").model_dump(mode="json", by_alias=True)
    onnx = write_version(tmp_path / "onnx").model_dump(mode="json", by_alias=True)
    library = next(each for each in neo["artefacts"] if each["role"] == "library")
    at_root = [each | {"path": each["path"].removeprefix("neo/")} for each in neo["artefacts"]]
    elsewhere = [each | ({"path": "lib/x.so"} if each is library else {}) for each in neo["artefacts"]]
    for document, message in (
        (onnx | {"artefacts": [*onnx["artefacts"], library]}, "only dlr takes one from a release"),
        (neo | {"artefacts": at_root}, "must lie in a directory of its own"),
        (neo | {"artefacts": elsewhere}, "lib/x.so is a library, and must lie in neo"),
    ):
        with pytest.raises(DocumentError, match=message):
            parse(Manifest, document, what="manifest")


def test_a_device_that_does_not_allow_native_code_refuses_it_before_a_byte_comes(tmp_path: Path) -> None:
    manifest = write_neo(tmp_path / "v")
    check_machine(manifest, MACHINE)
    for machine, signed, why in (
        (MACHINE._replace(native_code=False), True, "inference.allow_native_code is false"),
        (MACHINE, False, "nobody signed it"),
    ):
        with pytest.raises(RefusedError) as caught:
            check_machine(manifest, machine, signed=signed)
        assert caught.value.code is Code.FORMAT_FORBIDDEN
        assert caught.value.message == f"bright 1 brings native code (neo/compiled.so), and {why}"
    check_machine(write_version(tmp_path / "onnx"), MACHINE._replace(native_code=False), signed=False)


def test_a_release_without_its_library_is_refused_before_a_byte_comes(tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as caught:
        check_machine(write_neo(tmp_path / "v", files={"libdlr.so": None}), MACHINE)
    assert caught.value.code is Code.RUNTIME_MISSING
    assert caught.value.message == "bright 1 needs libdlr.so beside its model, and does not bring it"


def test_what_is_installed_is_not_executed_once_the_device_forbids_native_code(tmp_path: Path) -> None:
    manifest = write_neo(tmp_path / "v")
    forbidding = SETTINGS.model_copy(update={"allow_native_code": False})
    with pytest.raises(ActivationError, match=r"inference\.allow_native_code is false"):
        open_session(tmp_path / "v", manifest, forbidding, engines=tmp_path / "engines")


def test_doctor_lists_it_without_anything_installed() -> None:
    told = {runtime.name: runtime for runtime in available_runtimes(("dlr",))}["dlr"]
    assert told.usable
    assert told.providers == ("each release's own libdlr.so",)
    assert told.remark == "tried with a stand-in for its library only"


@pytest.fixture
def repository(tmp_path: Path) -> SignedRepository:
    return SignedRepository(tmp_path / "cloud", now=time.time())


@pytest.fixture
def device(tmp_path: Path, repository: SignedRepository) -> Iterator[AgentDevice]:
    write_neo(repository.home / "good", version="1", bias=0.5)
    write_neo(repository.home / "bare", version="2", changes={"release_seq": 2}, files={"libdlr.so": None})
    publish(repository.open(), [read_bundle(repository.home / "good"), read_bundle(repository.home / "bare")])
    (tmp_path / "local").mkdir()
    device = AgentDevice(
        tmp_path / "device",
        {
            "repository": {"url": repository.directory.as_uri()},
            "trust": {"root": repository.root, "allow_demo_root": True, "local_model_roots": [str(tmp_path / "local")]},
            "inference": {"runtimes": ["onnxruntime", "dlr"], "allow_native_code": True},
        },
    )
    device.start()
    yield device
    assert device.stop() == 0


def test_a_neo_release_is_installed_answers_old_clients_and_is_refused_where_it_cannot_be_trusted(
    tmp_path: Path, device: AgentDevice, repository: SignedRepository
) -> None:
    assert device.install(("bright", "1")).state == "COMMITTED"
    client = SageMakerClient(f"unix:{device.runtime_dir}/agent.sock")
    pixels = image(GREY)["image"]
    try:
        loaded = client.load("bright/1", "neo")
        assert loaded.name == "neo"
        for name in ("bright", "neo"):
            assert client.predict(name, pixels, shared=True)["score"] == pytest.approx([raw_score(pixels, 0.5)])
        for directory, changes, message in (
            ("strange", {"model": "strange"}, "nobody signed it"),
            ("bare", {"model": "bare"}, "needs libdlr.so beside its model, and does not bring it"),
        ):
            files = {"libdlr.so": None} if directory == "bare" else None
            write_neo(tmp_path / "local" / directory, changes=changes, files=files)
            with pytest.raises(grpc.RpcError) as caught:
                client.load(str(tmp_path / "local" / directory), directory)
            call: Any = caught.value
            assert call.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert message in call.details()
    finally:
        client.channel.close()
    report = device.install(("bright", "2"))
    assert (report.state, report.code) == ("REFUSED", "RUNTIME_MISSING")
    assert device.generation() == {"bright": "1"}
