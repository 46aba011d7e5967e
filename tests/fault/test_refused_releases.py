"""Releases that do not belong here, and releases that mean harm: said clearly, and no byte of them is loaded."""

import json
import pickle
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import pytest

from cloud_tools.release.publish import publish, read_bundle
from edge_agent.formats import DeploymentReport
from tests.fakes.device import AgentDevice
from tests.fakes.releases import sha256
from tests.fakes.repository import SignedRepository
from tests.fakes.tiny_models import GREY, grey_picture, write_version
from tests.fakes.transfer_peer import TransferPeer, transfer_peer

LIVE = "live"
UNFIT = {
    "machine": ({"requires": {"machines": ["sparc64"]}}, "WRONG_HARDWARE"),
    "runtime": ({"runtime": {"name": "tensorrt"}}, "RUNTIME_MISSING"),
    "agent": ({"requires": {"agent": "99.0"}}, "AGENT_TOO_OLD"),
}


class Contents(NamedTuple):
    """What a bundle is turned into before it is signed."""

    change: Callable[[Path], None]
    code: str


def edit(directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a bundle's manifest."""
    path = directory / "manifest.json"
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))


def put(directory: Path, path: str, content: bytes, role: str = "extra") -> None:
    """Put a file into a bundle, and have its manifest tell of it."""
    (directory / path).parent.mkdir(parents=True, exist_ok=True)
    (directory / path).write_bytes(content)
    artefact = {"path": path, "role": role, "size_bytes": len(content), "sha256": sha256(content)}

    def change(document: dict[str, Any]) -> None:
        document["artefacts"] = [*(other for other in document["artefacts"] if other["path"] != path), artefact]

    edit(directory, change)


def model_is(content: bytes) -> Callable[[Path], None]:
    return lambda directory: put(directory, "model.onnx", content, "model")


def weights_in(location: str, *, listed: bool) -> Callable[[Path], None]:
    """Move a graph's weights to another file."""

    def change(directory: Path) -> None:
        model = onnx.load(str(directory / "model.onnx"))
        onnx.save_model(
            model, str(directory / "model.onnx"), save_as_external_data=True, location="w.bin", size_threshold=1024
        )
        content = (directory / "model.onnx").read_bytes()
        same_length = location.ljust(5, "/") if len(location) < 5 else location
        assert len(same_length) == 5, "the file's fields keep their lengths"
        put(directory, "model.onnx", content.replace(b"w.bin", same_length.encode()), "model")
        if listed:
            put(directory, "w.bin", (directory / "w.bin").read_bytes())

    return change


CONTENTS = {
    "a pickle for a model": Contents(model_is(pickle.dumps({"a": [1]})), "FORMAT_FORBIDDEN"),
    "an archive for a model": Contents(model_is(b"PK\x03\x04" + bytes(200)), "FORMAT_FORBIDDEN"),
    "a program for a model": Contents(model_is(b"\x7fELF" + bytes(200)), "FORMAT_FORBIDDEN"),
    "a pickle beside": Contents(lambda at: put(at, "labels.txt", pickle.dumps([1])), "FORMAT_FORBIDDEN"),
    "an array of objects beside": Contents(
        lambda at: put(at, "prior.npy", b"\x93NUMPY\x01\x00\x46\x00{'descr': '|O', 'fortran_order': False}"),
        "FORMAT_FORBIDDEN",
    ),
    "weights in the system's files": Contents(weights_in("/etc/", listed=False), "FORMAT_FORBIDDEN"),
    "weights above the version": Contents(weights_in("../a/", listed=False), "FORMAT_FORBIDDEN"),
    "weights in a file that is not listed": Contents(weights_in("w.bin", listed=False), "FORMAT_FORBIDDEN"),
    "weights in a file that is listed": Contents(weights_in("w.bin", listed=True), ""),
}


def first(document: dict[str, Any], **fields: Any) -> None:
    document["artefacts"][0].update(fields)


HOSTILE: dict[str, Callable[[dict[str, Any]], object]] = {
    "a path above": lambda document: first(document, path="../../../../tmp/x"),
    "an absolute path": lambda document: first(document, path="/etc/cron.d/x"),
    "a path of another system": lambda document: first(document, path="..\\..\\x"),
    "a path with a line's end": lambda document: first(document, path="model\n.onnx"),
    "the manifest's own name": lambda document: first(document, path="manifest.json"),
    "a digest that is a path": lambda document: first(document, sha256="../" * 20 + "abcd"),
    "a size below nothing": lambda document: first(document, size_bytes=-1),
    "a size beyond any disk": lambda document: first(document, size_bytes=1 << 62),
    "two files of one name": lambda document: document["artefacts"].append(document["artefacts"][0]),
    "no artefacts": lambda document: document.update(artefacts=[]),
    "a format of no runtime": lambda document: document.update(runtime={"name": "torch"}),
    "an unknown field": lambda document: document.update(post_install="rm -rf /"),
    "levels without end": lambda document: document.update(evaluation=json.loads("[" * 90 + "]" * 90)),
}


def named(prefix: str, name: str) -> str:
    return f"{prefix}-{name.replace(' ', '-').replace(chr(39), '')}"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> SignedRepository:
    """Return a repository with all of these releases, genuinely signed."""
    repository = SignedRepository(tmp_path_factory.mktemp("repository"), now=time.time())
    bundles = [_bundle(repository, LIVE)]
    bundles += [_bundle(repository, named("unfit", name), changes=changes) for name, (changes, _) in UNFIT.items()]
    for name, contents in CONTENTS.items():
        bundle = _bundle(repository, named("bad", name))
        contents.change(bundle)
        bundles.append(bundle)
    opened = repository.open()
    published = publish(opened, [read_bundle(bundle) for bundle in bundles])
    assert len(published) == len(bundles)
    live = json.loads((repository.home / "bundles" / LIVE / "manifest.json").read_bytes())
    opened = repository.open()
    hostile = {named("hostile", name): change for name, change in HOSTILE.items()}
    opened.unlock([f"{model}/1/manifest.json" for model in hostile])
    opened.sign({f"{model}/1/manifest.json": _hostile(live, model, change) for model, change in hostile.items()})
    return repository


def _bundle(repository: SignedRepository, model: str, **arguments: Any) -> Path:
    directory = repository.home / "bundles" / model
    # Each has bytes of its own: what is asked for can be told apart.
    write_version(directory, name=model, bias=len(list(directory.parent.glob("*"))) / 100, **arguments)
    return directory


def _hostile(
    live: dict[str, Any], model: str, change: Callable[[dict[str, Any]], object]
) -> tuple[bytes, dict[str, Any]]:
    document = {**json.loads(json.dumps(live)), "model": model}
    change(document)
    return json.dumps(document).encode(), {"model": model, "version": "1", "release_seq": 1}


@pytest.fixture(scope="module")
def peer(repository: SignedRepository) -> Iterator[TransferPeer]:
    with transfer_peer() as peer:
        peer.offer_directory(repository.directory)
        yield peer


@pytest.fixture(scope="module")
def device(
    tmp_path_factory: pytest.TempPathFactory, repository: SignedRepository, peer: TransferPeer
) -> Iterator[AgentDevice]:
    device = AgentDevice(
        tmp_path_factory.mktemp("device"),
        {
            "repository": {"url": peer.url},
            "trust": {"root": repository.root, "allow_demo_root": True},
        },
    )
    device.start()
    assert device.install((LIVE, "1")).state == "COMMITTED"
    yield device
    assert device.stop() == 0


def blobs_asked(peer: TransferPeer) -> list[str]:
    return [asked.path for asked in peer.requests if "blobs/" in asked.path]


def check_nothing_of_it(device: AgentDevice, model: str) -> None:
    """Nothing is left of it, and the line is served as before."""
    assert not (device.state_dir / "versions" / model / "1").exists()
    assert device.generation().keys() & {model} == set()
    assert device.inspect(grey_picture(GREY)).verdict.value in ("OK", "NG", "NO_RESULT")
    assert device.status().agent.state == "READY"


@pytest.mark.parametrize("what", UNFIT)
def test_wrong_hardware_runtime_or_agent_version_is_refused_before_a_byte_is_downloaded(
    what: str, device: AgentDevice, peer: TransferPeer
) -> None:
    model, (changes, code) = named("unfit", what), UNFIT[what]
    before, asked = blobs_asked(peer), len(peer.requests)
    report = device.install((model, "1"))
    assert (report.state, report.code) == ("REFUSED", code), changes
    assert len(peer.requests) > asked, "the repository was asked for the manifest"
    assert blobs_asked(peer) == before
    if what == "machine":
        assert platform.machine() in report.message
    check_nothing_of_it(device, model)


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_names_sizes_and_formats_in_a_signed_manifest_end_before_a_byte_is_downloaded(
    what: str, device: AgentDevice, peer: TransferPeer
) -> None:
    model, before = named("hostile", what), blobs_asked(peer)
    report = device.install((model, "1"))
    assert (report.state, report.code) == ("FAILED", "MANIFEST_INVALID"), report.message
    assert any(f"targets/{model}/" in asked.path for asked in peer.requests), "the manifest really came"
    assert blobs_asked(peer) == before
    check_nothing_of_it(device, model)


@pytest.mark.parametrize("what", CONTENTS)
def test_forbidden_formats_and_external_data_that_points_outside_are_never_loaded_and_nothing_of_them_is_kept(
    what: str, device: AgentDevice, peer: TransferPeer, repository: SignedRepository
) -> None:
    model, contents = named("bad", what), CONTENTS[what]
    before = blobs_asked(peer)
    report = device.install((model, "1"))
    assert blobs_asked(peer) != before, "its bytes really came"
    if not contents.code:
        check_committed(device, report, model)
        return
    assert (report.state, report.code) == ("FAILED", contents.code), report.message
    check_nothing_of_it(device, model)
    manifest = json.loads((repository.home / "bundles" / model / "manifest.json").read_bytes())
    (digest,) = [artefact["sha256"] for artefact in manifest["artefacts"] if artefact["role"] == "model"]
    assert not (device.state_dir / "blobs" / digest).exists()


def check_committed(device: AgentDevice, report: DeploymentReport, model: str) -> None:
    """What is allowed works: weights beside the graph, listed and signed."""
    assert (report.state, report.code) == ("COMMITTED", ""), report.message
    assert device.generation()[model] == "1"
