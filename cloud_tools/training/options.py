"""What a training may be told, and what a run makes of it: every choice that was left open is made here."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from cloud_tools.errors import CloudError
from cloud_tools.training.methods import Method
from edge_agent.errors import Code

Device: TypeAlias = Literal["auto", "cpu", "cuda"]
Scope: TypeAlias = Literal["both", "image", "patch"]
Tune: TypeAlias = Literal["none", "simsiam", "cutpaste"]
DEVICES, SCOPES, TUNES = get_args(Device), get_args(Scope), get_args(Tune)
WIDTHS = (0.25, 1.0)
_STEP, _LARGEST = 32, 1024
_DEPTH = 10
_MOST = (1 << 31) - 1
_CPU, _CUDA = "cpu", "cuda"


class TrainingOptions(NamedTuple):
    """What a training may be told."""

    depth: int = _DEPTH
    """The last block of the trunk that is kept."""
    seed: int = 0
    override: str = ""
    """Why the gates shall not stop it; empty: they do."""
    part_regex: str = ""
    only: str = ""
    """Regular expression that file names must match at their beginning."""
    size: int = 0
    """Side of the model's input in pixels, a multiple of 32; 0: chosen from the pictures."""
    epochs: int = 0
    """Of learning with the trunk; 0: the method's own number."""
    threads: int = 0
    """For torch; 0: all cores."""
    device: str = "auto"
    """Where to learn: cpu, cuda, or auto."""
    width: float = 0.0
    """EfficientAD: of its networks; 0: a quarter on the CPU, full on a GPU."""
    scope: str = ""
    """DFM: image, patch or both; empty: both."""
    tune: str = ""
    """DFM: none, simsiam or cutpaste; empty: none."""


def check(name: str, method: Method, options: TrainingOptions) -> None:
    """Refuse what no training of this method can be told.

    Raises:
        CloudError: INVALID_ARGUMENT or OUT_OF_RANGE, with what was expected and what came.
    """
    if options.size and (options.size % _STEP or not _STEP <= options.size <= _LARGEST):
        came = f"a multiple of {_STEP}, came {options.size}"
        raise CloudError(Code.OUT_OF_RANGE, f"expected a size of {_STEP}..{_LARGEST}, {came}")
    for option in ("seed", "epochs", "threads"):
        value = getattr(options, option)
        if not 0 <= value <= _MOST:
            raise CloudError(Code.OUT_OF_RANGE, f"expected {option} of 0..{_MOST}, came {value}")
    if options.override and not options.override.strip():
        raise CloudError(Code.INVALID_ARGUMENT, "expected a reason to override the gate, came blanks")
    for option, known in (("device", DEVICES), ("scope", SCOPES), ("tune", TUNES), ("width", WIDTHS)):
        value = getattr(options, option)
        if value and value not in known:
            shown = ", ".join(f"{one:g}" if isinstance(one, float) else one for one in known)
            raise CloudError(Code.INVALID_ARGUMENT, f"expected a {option} of {shown}, came {value}")
        if value and option != "device" and option not in method.takes:
            raise CloudError(Code.INVALID_ARGUMENT, f"{option} is no option of {name}, came {value}")
    if options.device == _CUDA and not method.on_gpu:
        raise CloudError(
            Code.INVALID_ARGUMENT, f"{name} learns on the CPU: expected a device of auto or cpu, came cuda"
        )


def effective(method: Method, options: TrainingOptions) -> TrainingOptions:
    """Return the options with every choice made that another machine could make otherwise.

    Those that follow from the pictures are made after it (``sizing``).

    Raises:
        CloudError: RUNTIME_MISSING: cuda was asked for, and torch finds none.
    """
    import torch

    if "tune" in method.takes and options.tune in ("", "none"):
        method = method._replace(epochs=0, on_gpu=False)  # nothing is left that is learnt step by step
    device = _device(method, options.device, found=torch.cuda.is_available())
    made: dict[str, Any] = {"threads": options.threads or torch.get_num_threads(), "device": device}
    wide = device == _CUDA if not options.width else options.width == WIDTHS[-1]
    made["epochs"] = options.epochs or method.epochs_of(wide=wide)
    own: Mapping[str, Any] = {"width": WIDTHS[-1] if wide else WIDTHS[0], "scope": SCOPES[0], "tune": TUNES[0]}
    made |= {name: getattr(options, name) or own[name] for name in method.takes}
    return options._replace(**made)


def _device(method: Method, asked: str, *, found: bool) -> str:
    if asked == _CUDA and not found:
        raise CloudError(Code.RUNTIME_MISSING, "expected a GPU that torch can use (CUDA), found none")
    return _CUDA if method.on_gpu and found and asked != _CPU else _CPU
