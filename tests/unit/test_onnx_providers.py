"""What ONNX Runtime is told of a GPU; none was at hand, so this is what was asked for, not what came of it."""

import pytest

from edge_agent.formats import DType, TensorSpec
from edge_agent.inference.runtimes.onnx_providers import (
    CPU,
    CUDA,
    TENSORRT,
    Profile,
    fallback_of,
    profile_from_json,
    profile_of,
    profile_to_json,
    provider_options,
    wanted_providers,
)

GPU_PACKAGE = (TENSORRT, CUDA, CPU)


def spec(*shape: int, name: str = "image") -> TensorSpec:
    return TensorSpec(name=name, dtype=DType.UINT8, shape=shape)


@pytest.mark.parametrize(
    ("configured", "built_in", "wanted"),
    [
        ((), (CPU,), (CPU,)),
        ((), GPU_PACKAGE, (CUDA, CPU)),
        ((CPU,), GPU_PACKAGE, (CPU,)),
        (("GPU", "CPU"), GPU_PACKAGE, (CUDA, CPU)),
        ((CUDA,), (CPU,), (CUDA, CPU)),
        ((TENSORRT,), GPU_PACKAGE, (TENSORRT, CUDA, CPU)),
        ((TENSORRT, CPU), GPU_PACKAGE, (TENSORRT, CUDA, CPU)),
        ((TENSORRT, "GPU", CUDA), GPU_PACKAGE, (TENSORRT, CUDA, CPU)),
        ((CUDA, TENSORRT), GPU_PACKAGE, (CUDA, TENSORRT, CPU)),
    ],
)
def test_what_is_wanted_follows_the_settings_and_ends_on_the_processor(
    configured: tuple[str, ...], built_in: tuple[str, ...], wanted: tuple[str, ...]
) -> None:
    assert wanted_providers(configured, built_in) == wanted


def test_tensorrt_keeps_engines_and_timings_where_it_is_told_and_in_the_signed_precision() -> None:
    options = provider_options(TENSORRT, "fp16", "/engines/a.caches", Profile("x:1x3", "x:1x3", "x:8x3"))
    assert options == {
        "device_id": 0,
        "trt_fp16_enable": True,
        "trt_int8_enable": False,
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": "/engines/a.caches",
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": "/engines/a.caches",
        "trt_profile_min_shapes": "x:1x3",
        "trt_profile_opt_shapes": "x:1x3",
        "trt_profile_max_shapes": "x:8x3",
    }
    int8 = provider_options(TENSORRT, "int8", "", Profile())
    assert int8 == {"device_id": 0, "trt_fp16_enable": False, "trt_int8_enable": True}
    assert provider_options(CUDA, "fp32", "/engines/a.caches", Profile())["device_id"] == 0
    assert provider_options(CPU, "fp32", "/engines/a.caches", Profile()) == {}


def test_an_engine_is_prepared_for_one_picture_and_for_several_where_only_the_batch_is_free() -> None:
    profile = profile_of([spec(-1, 8, 8, 3), spec(4, name="fixed"), spec(-1, 2, name="more")])
    assert profile == Profile("image:1x8x8x3,more:1x2", "image:1x8x8x3,more:1x2", "image:8x8x8x3,more:8x2")
    assert profile_from_json(profile_to_json(profile)) == profile
    assert profile_of([spec(1, 8, 8, 3)]) == Profile()
    assert profile_of([spec(-1, -1, 8, 3)]) == Profile()


def test_a_fallback_tells_what_was_wanted_what_came_and_why() -> None:
    assert fallback_of((CUDA, CPU), GPU_PACKAGE, CUDA, "") == ""
    assert fallback_of((CPU,), (CPU,), CPU, "") == ""
    missing = fallback_of((CUDA, CPU), (CPU,), CPU, "")
    assert missing == f"expected {CUDA}, it runs on {CPU}: the installed ONNX Runtime has only {CPU}"
    assert fallback_of((TENSORRT, CUDA, CPU), GPU_PACKAGE, CUDA, "no libnvinfer").endswith(f"{CUDA}: no libnvinfer")
    assert "says in the log why" in fallback_of((CUDA, CPU), GPU_PACKAGE, CPU, "")
