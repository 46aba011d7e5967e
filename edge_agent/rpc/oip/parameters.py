"""Parameters of requests and tensors: those that mean something here, and those that cannot be served."""

from collections.abc import Mapping
from typing import NamedTuple

from edge_agent._proto.inference import grpc_service_pb2 as pb
from edge_agent.errors import Code, InferenceError
from edge_agent.inference import Priority
from edge_agent.rpc.oip.regions import Place, Regions
from edge_agent.wire.oip.tensors import shown

Parameters = Mapping[str, pb.InferParameter]

_MICROSECONDS = 1e6
_NUMBERS = ("int64_param", "uint64_param")


class Asked(NamedTuple):
    """How a request wants to be served."""

    timeout_s: float
    priority: Priority


def asked_of(parameters: Parameters, limit_s: float) -> Asked:
    """Return what a request's parameters ask for; unknown ones are left alone, as Triton does.

    Args:
        parameters: of the request.
        limit_s: what the call itself allows.

    Raises:
        InferenceError: INVALID_ARGUMENT: a bad value, or a sequence, which no model here keeps.
    """
    if not parameters:
        return Asked(limit_s, Priority.LINE)
    _refuse_sequences(parameters)
    timeout_us, priority = number(parameters, "timeout", 0), number(parameters, "priority", 0)
    timeout_s = min(limit_s, timeout_us / _MICROSECONDS) if timeout_us else limit_s
    # 1 is the highest, and 0 the model's own, which is the highest too.
    return Asked(timeout_s, Priority.LINE if priority <= 1 else Priority.FRAME)


def place_of(parameters: Parameters, regions: Regions, what: str) -> Place | None:
    """Return where in shared memory a tensor lies or goes; None: it comes or goes in the message.

    Raises:
        InferenceError: INVALID_ARGUMENT.
    """
    if "shared_memory_region" not in parameters:
        return None
    choice = parameters["shared_memory_region"].WhichOneof("parameter_choice")
    if choice != "string_param":
        raise InferenceError(Code.INVALID_ARGUMENT, f"{what}: shared_memory_region: expected a string, came {choice}")
    if "shared_memory_byte_size" not in parameters:
        message = f"{what}: 'shared_memory_byte_size' must be specified along with 'shared_memory_region'"
        raise InferenceError(Code.INVALID_ARGUMENT, message)
    byte_size, offset = (number(parameters, f"shared_memory_{word}", 0) for word in ("byte_size", "offset"))
    return regions.place(parameters["shared_memory_region"].string_param, offset, byte_size)


def number(parameters: Parameters, name: str, default: int) -> int:
    """Return a number that is not negative.

    Raises:
        InferenceError: INVALID_ARGUMENT.
    """
    if name not in parameters:
        return default
    parameter = parameters[name]
    choice = parameter.WhichOneof("parameter_choice")
    value: int = getattr(parameter, choice) if choice in _NUMBERS else -1
    if value < 0:
        came = getattr(parameter, choice) if choice else "nothing"
        message = (
            f"parameter {name}: expected a number of 0 or more in {' or '.join(_NUMBERS)}, came {shown(str(came))}"
        )
        raise InferenceError(Code.INVALID_ARGUMENT, message)
    return value


def _refuse_sequences(parameters: Parameters) -> None:
    for name in ("sequence_id", "sequence_start", "sequence_end"):
        choice = parameters[name].WhichOneof("parameter_choice") if name in parameters else None
        if choice and getattr(parameters[name], choice):
            message = f"parameter {name}: expected none, no model here keeps anything from one request to the next"
            raise InferenceError(Code.INVALID_ARGUMENT, message)
