"""Tensors that a SageMaker Edge client wants captured, as the spool gets them."""

from typing import NamedTuple

from edge_agent.formats.tensor_spec import TensorSpec


class CapturedTensor(NamedTuple):
    """One input or output; its bytes fill its shape."""

    spec: TensorSpec
    content: bytes


class AuxiliaryData(NamedTuple):
    """Something beside the tensors; ``encoding`` is CSV, JSON, NONE or BASE64."""

    name: str
    encoding: str
    content: bytes


class TensorCapture(NamedTuple):
    """One inference, told by the client that made it.

    Attributes:
        capture_id: a UUID of the client's own, in its canonical form.
        model: the name by which the client knows the model.
        version: the active version of that name, empty where it stands for none.
        at: epoch seconds of the inference.
    """

    capture_id: str
    model: str
    version: str
    at: float
    inputs: tuple[CapturedTensor, ...]
    outputs: tuple[CapturedTensor, ...]
    auxiliary_inputs: tuple[AuxiliaryData, ...]
    auxiliary_outputs: tuple[AuxiliaryData, ...]

    @property
    def size_bytes(self) -> int:
        """Return the bytes of everything in it."""
        tensors = (*self.inputs, *self.outputs)
        auxiliaries = (*self.auxiliary_inputs, *self.auxiliary_outputs)
        return sum(len(part.content) for part in tensors) + sum(len(part.content) for part in auxiliaries)
