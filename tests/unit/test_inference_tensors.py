"""What a request and an answer must look like."""

import numpy as np
import pytest

from edge_agent.errors import Code, InferenceError
from edge_agent.formats import DType, TensorSpec
from edge_agent.inference.tensors import check_inputs, check_outputs

IMAGE = TensorSpec(name="image", dtype=DType.UINT8, shape=(-1, 4, 4, 3))
GAIN = TensorSpec(name="gain", dtype=DType.FLOAT32, shape=(1,))
GOOD = {"image": np.zeros((2, 4, 4, 3), np.uint8), "gain": np.ones(1, np.float32)}


def test_what_fits_passes_whatever_the_free_dimension() -> None:
    check_inputs((IMAGE, GAIN), GOOD)
    assert GOOD["image"].shape[0] == 2


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({"gain": GOOD["gain"]}, "input image: expected uint8[-1, 4, 4, 3], came none"),
        (
            GOOD | {"image": np.zeros((1, 4, 4), np.uint8)},
            "input image: expected uint8[-1, 4, 4, 3], came uint8[1, 4, 4]",
        ),
        (GOOD | {"image": np.zeros((1, 4, 4, 3))}, "came float64[1, 4, 4, 3]"),
        (GOOD | {"image": np.zeros((0, 4, 4, 3), np.uint8)}, "came uint8[0, 4, 4, 3]"),
        (GOOD | {"gain": np.ones(1, np.float32).astype(">f4")}, "came byte-swapped float32[1]"),
        (GOOD | {"extra": GOOD["gain"]}, "expected inputs ['gain', 'image'], came extra"),
    ],
)
def test_a_malformed_request_names_the_input_what_was_expected_and_what_came(tensors: dict, told: str) -> None:
    with pytest.raises(InferenceError) as caught:
        check_inputs((IMAGE, GAIN), tensors)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert told in caught.value.message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_no_number_is_a_fault_of_the_model(value: float) -> None:
    with pytest.raises(InferenceError) as caught:
        check_outputs((GAIN,), {"gain": np.array([value], np.float32)})
    assert caught.value.code is Code.INTERNAL
    assert "gain" in caught.value.message


@pytest.mark.parametrize("outputs", [{}, {"gain": np.ones(2, np.float32)}, {"gain": np.ones(1)}])
def test_an_answer_of_another_form_is_a_fault_of_the_model(outputs: dict) -> None:
    with pytest.raises(InferenceError) as caught:
        check_outputs((GAIN,), outputs)
    assert caught.value.code is Code.INTERNAL
