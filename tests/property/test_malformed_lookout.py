"""Whatever comes to Lookout for Vision's calls: an answer or a code of theirs, and the agent is as it was."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import strategies as st

from edge_agent._proto.lookoutvision import edge_agent_pb2 as pb
from tests.fakes.device import AgentDevice
from tests.fakes.lookout_client import LookoutClient, areas
from tests.fakes.malformed import EXAMPLES, Words, bombard, messages
from tests.fakes.posix_memory import PosixMemory
from tests.fakes.tiny_models import BRIGHT

SERVICE = pb.DESCRIPTOR.services_by_name["EdgeAgent"]
CODES = frozenset(("OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"))
PIXELS = 64 * 64 * 3
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
COMPONENTS = ("unet", "anomaly", "img-classification", "image-segmentation-app", "unet-1", "unet-7", "nobody")
CLASSIFYING = ("img-classification",)


@pytest.fixture
def memory() -> Iterator[PosixMemory]:
    with PosixMemory(b"\x07" * (PIXELS + 100)) as memory:
        yield memory


def words(memory: PosixMemory) -> Words:
    good = bytes([BRIGHT]) * PIXELS
    wrong_names = ("/nothing-there", "/", "../x", "/a/b", "x" * 300, f"{memory.name}/", ".", "sem.x", "")
    fields = Words(
        {
            "model_component": st.sampled_from(COMPONENTS) | ANY,
            "width": st.sampled_from([64, 64, 64, 64, 65, 63, 0, -64, 4096, 4097, 2**31 - 1]),
            "height": st.sampled_from([64, 64, 64, 64, 65, 63, 0, -64, 4096, 4097, -(2**31)]),
            "byte_data": st.sampled_from([good, good, good[1:], good + b"!", b""]),
            "SharedMemoryHandle.name": st.sampled_from([memory.name] * 6 + [*wrong_names]),
            "SharedMemoryHandle.size": st.sampled_from([0, 0, PIXELS, PIXELS - 1, PIXELS + 1, 2**63, 2**64 - 1]),
            "SharedMemoryHandle.offset": st.sampled_from([0, 0, 0, 1, 100, 101, PIXELS, 2**63 - 1, 2**63, 2**64 - 1]),
        }
    )
    # Some are right, so that what stands beside them is looked at.
    shared = pb.SharedMemoryHandle(name=memory.name, offset=100)
    right = [
        pb.Bitmap(width=64, height=64, byte_data=good),
        pb.Bitmap(width=64, height=64, shared_memory_handle=shared),
    ]
    asked = pb.AnomalyMaskParams(shared_memory_handle=shared)
    return Words(
        {
            **fields,
            "bitmap": st.sampled_from(right) | messages(pb.Bitmap, fields),
            "anomaly_mask_params": st.sampled_from([pb.AnomalyMaskParams(), asked])
            | messages(pb.AnomalyMaskParams, fields),
        }
    )


def test_malformed_requests_get_a_code_and_change_nothing(bombarded_device: AgentDevice, memory: PosixMemory) -> None:
    target = f"unix:{bombarded_device.runtime_dir}/agent.sock"
    picture = np.full((64, 64, 3), BRIGHT, np.uint8)
    with LookoutClient(target) as client:

        def good() -> None:
            for component in COMPONENTS[:-1]:
                client.start_if_needed(component)
                result = client.detect(component, picture)
                assert result.is_anomalous
                assert result.anomaly_score == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-6)
                assert areas(result)["background"] == (component in CLASSIFYING)

        codes = bombard(bombarded_device, target, SERVICE, words(memory), allowed=CODES, good=good)
        told(codes)
        assert memory.size == PIXELS + 100


def told(codes: Counter[str]) -> None:
    """The requests were not all refused for the same reason, nor all answered."""
    print(dict(sorted(codes.items())))  # noqa: T201 - shown with -s
    assert sum(codes.values()) >= EXAMPLES
    assert len(codes) >= 12, codes
    assert sum(count for word, count in codes.items() if word.endswith(" OK")) >= EXAMPLES // 20, codes
    if EXAMPLES > 1000:  # enough that chance leaves none out
        for code in ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION"):
            assert codes[f"DetectAnomalies {code}"], codes
        for method in SERVICE.methods:
            assert codes[f"{method.name} OK"], codes
