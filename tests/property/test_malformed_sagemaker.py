"""Whatever comes to SageMaker Edge Manager's calls: an answer or a code of theirs, and the agent is as it was."""

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from edge_agent._proto.sagemaker_edge import agent_pb2 as pb
from tests.fakes.device import AgentDevice
from tests.fakes.malformed import EXAMPLES, Words, bombard, messages
from tests.fakes.sagemaker_client import SageMakerClient
from tests.fakes.served_device import MODELS
from tests.fakes.system_v import SystemV
from tests.fakes.tiny_models import BRIGHT, SIDE

SERVICE = pb.DESCRIPTOR.services_by_name["Agent"]
CODES = frozenset(
    (
        "OK",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "FAILED_PRECONDITION",
        "RESOURCE_EXHAUSTED",
        "ALREADY_EXISTS",
        "OUT_OF_RANGE",
    )
)
PIXELS = SIDE * SIDE * 3
UUIDS = [f"7c1f9c4e-0000-4000-8000-00000000000{number}" for number in range(10)]
NAMES = [f"name-{number}" for number in range(40)]
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@pytest.fixture
def segment() -> Iterator[SystemV]:
    with SystemV(bytes([BRIGHT]) * (PIXELS + 100), mode=0o400) as segment:
        yield segment


WIDE = pb.TensorMetadata(name="image", data_type=5, shape=[2**31 - 1] * 8)
BACK = pb.TensorMetadata(name="image", data_type=0, shape=[-1, SIDE, SIDE, 3])


def words(segment: SystemV, local_models: Path) -> Words:
    names = st.sampled_from([*MODELS, "unet-1", "unet-7", "other-name", "a--b", "-a", ""]) | ANY
    version = "versions/unet/1"
    wrong_urls = [str(local_models), f"{local_models}/trap", "/etc", "/", "a/" * 3000, "\0", "", "/nothing"]
    good = bytes([BRIGHT]) * PIXELS
    fields = Words(
        {
            "TensorMetadata.name": st.sampled_from(["image", "image", "image", "input", "output", "", "ä" * 300]),
            "TensorMetadata.data_type": st.sampled_from([0, 0, 0, 5, 6, 7, 99, -1]),
            "TensorMetadata.shape": st.sampled_from([1, SIDE, SIDE, 3, -1, 0, 2**31 - 1]),
            "byte_data": st.sampled_from([good, good, good[1:], b"", b"1,2,3,4"]),
            "segment_id": st.sampled_from([segment.id] * 5 + [segment.id + 1, 2**31 - 1, 2**31, 2**63, 2**64 - 1]),
            "size": st.sampled_from([0, 0, PIXELS, 4, 5, PIXELS + 100, PIXELS + 101, 2**63, 2**64 - 1]),
            "offset": st.sampled_from([0, 0, 0, 1, 100, 101, PIXELS + 100, 2**63, 2**64 - 1]),
            "name": names,
            "PredictRequest.name": st.sampled_from([*MODELS, "unet-1", "unet-7", "nobody"]),
            "LoadModelRequest.name": st.sampled_from(["one", "two", "three", "unet", "-a", ""]) | ANY,
            "url": st.sampled_from([version] * 4 + ["unet/1", f"file://{version}", *wrong_urls]) | ANY,
            "model_name": names,
            "capture_id": st.uuids().map(str) | st.sampled_from([*UUIDS, "", "x", UUIDS[0].replace("-", "")]),
            "seconds": st.sampled_from([0, 0, 1, 1_700_000_000, 2**62, 2**63 - 1, -1]),
            "nanos": st.sampled_from([0, 0, 0, 10**9 - 1, 10**9, -1]),
        }
    )
    # Some are right, so that what stands beside them is looked at.
    shared = pb.SharedMemoryHandle(segment_id=segment.id, offset=100)
    metadata = pb.TensorMetadata(name="image", shape=[1, SIDE, SIDE, 3])
    right = [
        pb.Tensor(tensor_metadata=metadata, byte_data=good),
        pb.Tensor(tensor_metadata=metadata, shared_memory_handle=shared),
        pb.Tensor(tensor_metadata=WIDE, shared_memory_handle=shared),
        pb.Tensor(tensor_metadata=BACK, shared_memory_handle=shared),
    ]
    noted = [pb.AuxilaryData(name="note", encoding=pb.JSON, byte_data=b"{}")]
    tensors = st.sampled_from(right[:2] * 3 + right) | messages(pb.Tensor, fields)
    captured = st.sampled_from(right[:2]) | messages(pb.Tensor, fields)
    auxiliary = st.sampled_from(noted * 3) | messages(pb.AuxilaryData, fields)
    lists = {
        "tensors": tensors,
        **dict.fromkeys(("input_tensors", "output_tensors"), captured),
        **dict.fromkeys(("inputs", "outputs"), auxiliary),
    }
    every = Words({**fields, **lists})
    whole = {
        pb.PredictRequest: {"name": st.sampled_from([*MODELS, "unet-7"]), "tensors": st.tuples(tensors)},
        pb.LoadModelRequest: {
            "url": st.sampled_from([version, f"file://{version}", "/etc", "/nothing"]),
            # A name that is taken is refused for that, whatever the url: many are needed that are not.
            "name": st.sampled_from(["one", "two", "unet"]) | st.sampled_from(NAMES),
        },
        pb.CaptureDataRequest: {
            "model_name": st.sampled_from(["unet-1", "elsewhere"]),
            "capture_id": st.sampled_from(UUIDS * 2 + [uuid.upper() for uuid in UUIDS]),
            "input_tensors": st.lists(st.sampled_from(right[:2]), max_size=2),
            "inputs": st.lists(auxiliary, max_size=2),
        },
    }
    requests = {kind.DESCRIPTOR.name: st.builds(kind, **parts) | messages(kind, every) for kind, parts in whole.items()}
    return Words({**every, **requests})


def test_malformed_requests_get_a_code_and_change_nothing(
    bombarded_device: AgentDevice, segment: SystemV, local_models: Path
) -> None:
    target = f"unix:{bombarded_device.runtime_dir}/agent.sock"
    picture = np.full((1, SIDE, SIDE, 3), BRIGHT, np.uint8)
    with SageMakerClient(target) as client:

        def good() -> None:
            for name, shared in itertools.product(MODELS, (False, True)):
                assert client.predict(name, picture, shared=shared)["score"][0] == pytest.approx(2.0)
            for name in set(client.models()) - set(MODELS):
                client.unload(name)
            assert set(client.models()) == set(MODELS)

        codes = bombard(bombarded_device, target, SERVICE, words(segment, local_models), allowed=CODES, good=good)
        told(codes)
        assert segment.attached == 0
    assert bombarded_device.generation() == dict.fromkeys(MODELS, "1")


def told(codes: Counter[str]) -> None:
    """The requests were not all refused for the same reason, nor all answered."""
    print(dict(sorted(codes.items())))  # noqa: T201 - shown with -s
    assert sum(codes.values()) >= EXAMPLES
    assert len(codes) >= 12, codes
    assert sum(count for word, count in codes.items() if word.endswith(" OK")) >= EXAMPLES // 20, codes
    if EXAMPLES > 1000:  # enough that chance leaves none out
        for code in ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "ALREADY_EXISTS"):
            assert codes[f"LoadModel {code}"], codes
        for method in SERVICE.methods:
            assert codes[f"{method.name} OK"], codes
