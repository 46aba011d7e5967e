"""What is fuzzed: every public reader of bytes that come from outside.

A target takes any bytes and returns. What is wrong with them is an error of the error tree,
and swallowed here; anything else that a reader raises is a finding.
"""

import itertools
import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from edge_agent.deployment.plan import read_job
from edge_agent.deployment.record import Deployment
from edge_agent.errors import AgentError, Code, TransferError
from edge_agent.formats import JobDocument, Manifest, ModelsConfig, ModelVersion, Status, parse
from edge_agent.formats.bank import nearest, read_bank
from edge_agent.formats.contents import check_model, check_other, external_files
from edge_agent.jobs.messages import Accepted, Notice, Rejected
from edge_agent.trust import TrustClient, metadata, rules
from edge_agent.wire.fast import frames
from edge_agent.wire.fast import inspection as fast_inspection
from edge_agent.wire.fast import tensors as fast_tensors
from scripts.fuzzlib.seeds import NOW, SignedFiles, signed_files

Target = Callable[[bytes], None]

_MODEL = ModelVersion("unet", "1")
_CUTS = itertools.count()


def manifest(content: bytes) -> None:
    """Read a manifest, and ask it what a device asks."""
    with suppress(AgentError):
        read = parse(Manifest, content, what="manifest")
        _ = (read.model_version.identifier, read.model_artefact, read.size_bytes)
        written = read.to_json()
        assert parse(Manifest, written, what="manifest").to_json() == written, "other bytes than were written"


def job(content: bytes) -> None:
    """Read a job document, as a job and as a local order."""
    with suppress(AgentError):
        parse(JobDocument, content, what="order")
    document = _json(content)
    if isinstance(document, dict):
        with suppress(AgentError):
            read_job(document)


def models_config(content: bytes) -> None:
    """Read the live file."""
    with suppress(AgentError):
        read = parse(ModelsConfig, content, what="models_config.json")
        _ = (read.mappings, read.unknown_keys)
        json.dumps(read.with_models(()).model_dump(mode="json"), ensure_ascii=False).encode()


def messages(content: bytes) -> None:
    """Read what the job service says."""
    for kind in (Accepted, Rejected, Notice):
        with suppress(AgentError):
            parse(kind, content, what="message")


def records(content: bytes) -> None:
    """Read what the journal keeps and what the agent tells of itself."""
    for kind in (Deployment, Status):
        with suppress(AgentError):
            parse(kind, content, what="record")


def contents(content: bytes) -> None:
    """Look at a model file and at a file beside it."""
    for runtime in ("onnxruntime", "openvino", "dlr"):
        with suppress(AgentError):
            check_model(content, runtime)
    with suppress(AgentError):
        check_other(content, "extra")
    with suppress(AgentError):
        external_files(content, "model/model.onnx")


def bank(content: bytes) -> None:
    """Read a memory bank, and ask it what a device asks."""
    with suppress(AgentError):
        read = read_bank(content, "bank")
        assert len(nearest(read.embeddings, read.embeddings[0], 10)) <= len(read.parts) == len(read.thumbnails)
        assert read.limit(0.99) <= float(read.distances[-1])


def facts(content: bytes) -> None:
    """Judge what stands beside a signed file; a thief of a key writes there what he likes."""
    document = _json(content)
    with suppress(AgentError):
        rules.read_facts(document, _MODEL)
    if isinstance(document, dict):
        with suppress(AgentError):
            rules.check_demo(document, allowed=False)
        with suppress(AgentError):
            rules.issued(document)
        with suppress(AgentError):
            rules.release_floors([{f"{_MODEL.name}/{_MODEL.version}/manifest.json": document}, document])


def fast_messages(content: bytes) -> None:
    """Read a message of the fast path, as the agent does and as a client does; a request is written as it was read."""
    with suppress(AgentError):
        frames.read_hello(content)
    with suppress(AgentError):
        read = fast_tensors.read_infer(content)
        number = frames.read_head(content).number
        assert fast_tensors.infer(number, read)[frames.HEAD.size :] == content[frames.HEAD.size :], "other bytes"
    with suppress(AgentError):
        fast_inspection.read_inspect(content)
    with suppress(AgentError):
        fast_tensors.read_inferred(content)
    with suppress(AgentError):
        frames.read_error(content)
    with suppress(AgentError):
        fast_inspection.read_inspected(content, fast_inspection.PictureOrder((0, 0), (0, 0)), NOW)


def tuf_metadata(content: bytes) -> None:
    """Read one file of TUF metadata."""
    with suppress(AgentError):
        metadata.root_fields(content)


def tuf_refresh(content: bytes) -> None:
    """Refresh from a repository one of whose files is this; the first byte says which."""
    if not content:
        return
    with tempfile.TemporaryDirectory(dir=_scratch()) as directory:
        _refresh(Path(directory), signed_files(), content)


def _refresh(directory: Path, files: SignedFiles, content: bytes) -> None:
    names = [*sorted(files.metadata), "root"]
    name, rest = names[content[0] % len(names)], content[1:]
    root = directory / "root.json"
    root.write_bytes(rest if name == "root" else files.root)
    objects = _Objects(files.metadata if name == "root" else {**files.metadata, name: rest})
    with suppress(AgentError):
        client = TrustClient(directory / "trust", root, objects, allow_demo_root=True, now=lambda: NOW)
        client.refresh()
        client.release(_MODEL)


class _Objects:
    """A repository in memory."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def read(self, key: str, *, limit_bytes: int, check: Callable[[], None] = lambda: None) -> bytes:
        check()
        content = self._files.get(key)
        if content is None or len(content) > limit_bytes:
            raise TransferError(Code.OBJECT_MISSING, f"{key}: there is none", permanent=True)
        return content


@lru_cache(maxsize=1)
def _scratch() -> str | None:
    # Refreshing syncs its files; in memory that costs nothing.
    return next((path for path in ("/dev/shm",) if Path(path).is_dir()), None)  # noqa: S108


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


TARGETS: Mapping[str, Target] = {
    target.__name__: target
    for target in (
        manifest,
        job,
        models_config,
        messages,
        records,
        contents,
        bank,
        facts,
        fast_messages,
        tuf_metadata,
        tuf_refresh,
    )
}
