"""What ONNX Runtime is told of the GPU: which execution providers, with which options. Pure.

Names and meanings are those of onnxruntime.ai/docs/execution-providers, pages "NVIDIA - CUDA"
and "NVIDIA - TensorRT" (section "Execution Provider Options"; "Explicit shape range for dynamic
shape input" for the profiles), read for releases 1.14 to 1.32. Untested on hardware: no GPU was at
hand; that the options are accepted and what they do was not seen.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from edge_agent.formats import TensorSpec

TENSORRT: Final = "TensorrtExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
CPU: Final = "CPUExecutionProvider"
PROFILE_FILE: Final = "profile.json"
# One GPU; which one a process sees, CUDA_VISIBLE_DEVICES tells.
_DEVICE = 0
# TensorRT prepares an engine for a range of batches: single pictures fastest, up to so many at a time.
_MOST_PICTURES = 8
_KNOWN = (TENSORRT, CUDA, CPU)

Options = dict[str, Any]


class Profile(NamedTuple):
    """The shapes of the inputs that TensorRT prepares an engine for; empty where it is to find out itself."""

    least: str = ""
    usual: str = ""
    most: str = ""


def wanted_providers(configured: Sequence[str], built_in: Iterable[str]) -> tuple[str, ...]:
    """Return what is to execute a graph, the preferred first, and the CPU last.

    Args:
        configured: of all runtimes; empty: CUDA where the library has it.
        built_in: what the installed library has; it says nothing of whether there is a GPU.
    """
    ours = [name for name in configured if name in _KNOWN]
    if not ours:
        ours = [CUDA] if CUDA in built_in else []
    # What TensorRT cannot execute of a graph, CUDA can: without it, it would go to the CPU and back.
    if ours[:1] == [TENSORRT] and CUDA not in ours:
        ours.insert(1, CUDA)
    return tuple(dict.fromkeys([*ours, CPU]))


def provider_options(name: str, precision: str, caches: str, profile: Profile) -> Options:
    """Return the options of one provider.

    Args:
        name: of the provider.
        precision: fp32, fp16 or int8, as the manifest pins it.
        caches: the directory that TensorRT may use; empty: it keeps nothing.
        profile: see there.
    """
    if name == TENSORRT:
        return {**_tensorrt(precision), **_caches(caches), **_profile(profile)}
    if name == CUDA:
        # The arena grows by what is asked for instead of doubling: several workers share the GPU's memory.
        return {"device_id": _DEVICE, "arena_extend_strategy": "kSameAsRequested"}
    return {}


def profile_of(inputs: Sequence[TensorSpec]) -> Profile:
    """Return the shapes to prepare for; TensorRT finds them out itself where more than the batch is free."""
    dynamic = [spec for spec in inputs if -1 in spec.shape]
    if not dynamic or any(-1 in spec.shape[1:] for spec in dynamic):
        return Profile()
    least, most = (",".join(_shape(spec, batch) for spec in dynamic) for batch in (1, _MOST_PICTURES))
    return Profile(least, least, most)


def profile_to_json(profile: Profile) -> bytes:
    """Return what is kept beside the engine: it must be told again to find it (same page, "caches")."""
    return json.dumps(profile._asdict()).encode()


def profile_from_json(content: bytes) -> Profile:
    """Return what ``profile_to_json`` wrote."""
    return Profile(**json.loads(content))


def fallback_of(wanted: Sequence[str], built_in: Sequence[str], came: str, fault: str) -> str:
    """Return how what executes a graph differs from what was wanted, and why; empty where it does not."""
    if came == wanted[0]:
        return ""
    if wanted[0] not in built_in:
        why = f"the installed ONNX Runtime has only {', '.join(built_in)}"
    else:
        why = fault or "ONNX Runtime could not start it, and says in the log why"
    return f"expected {wanted[0]}, it runs on {came}: {why}"


def _tensorrt(precision: str) -> Options:
    return {
        "device_id": _DEVICE,
        "trt_fp16_enable": precision == "fp16",
        "trt_int8_enable": precision == "int8",
    }


def _caches(caches: str) -> Options:
    if not caches:
        return {}
    return {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": caches,
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": caches,
    }


def _profile(profile: Profile) -> Options:
    if not profile.least:
        return {}
    return {
        "trt_profile_min_shapes": profile.least,
        "trt_profile_opt_shapes": profile.usual,
        "trt_profile_max_shapes": profile.most,
    }


def _shape(spec: TensorSpec, batch: int) -> str:
    return f"{spec.name}:" + "x".join(str(batch if size == -1 else size) for size in spec.shape)
