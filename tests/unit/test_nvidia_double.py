"""The doubles of TensorRT and pycuda offer nothing that the real bindings do not, nor in another form."""

import inspect
import json
import re
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.fakes.nvidia_double import COMPILER, DOUBLES, nvidia

RECORDED: dict[str, dict[str, Any]] = json.loads((DOUBLES / "bindings.json").read_text())
# Python has no way to make these of its own in the form of the bindings.
BUFFERS_AND_SEQUENCES = {"IHostMemory", "Dims"}

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler for the driver's double")


def public(module: ModuleType) -> dict[str, Any]:
    return {
        name: it
        for name, it in vars(module).items()
        if not name.startswith("_") and getattr(it, "__module__", None) == module.__name__
    }


def arguments(signature: str) -> list[str]:
    """Return the names in ``f(self: T, path: str = None) -> T`` or in ``f( (T)arg1 [, (int)flags=0]) -> T``."""
    inside = signature[signature.index("(") + 1 :].partition(") ->")[0]
    boost = re.findall(r"\((?:\w+)\)(\w+)", inside)
    return boost or re.findall(r"(?:^|, )(\w+)(?=[:,)=]|$)", inside)


def own_arguments(it: Any) -> list[str]:
    return list(inspect.signature(it).parameters)


def compare(what: str, own: Any, real: object) -> None:
    if isinstance(own, property):
        assert real == "property", what
        return
    assert isinstance(real, list), what
    forms = [arguments(signature) for signature in real]
    wanted = own_arguments(own.__func__ if isinstance(own, staticmethod) else own)
    # Boost calls the object itself arg1, or self.
    fits = [form for form in forms if len(form) == len(wanted) and form[1:] == wanted[1:]]
    assert fits, f"{what}: {wanted} is none of {forms}"


@pytest.mark.parametrize("version", [name for name in RECORDED if name.startswith("tensorrt")])
def test_each_class_function_and_argument_of_the_double_is_one_of_tensorrt(version: str, tmp_path: Path) -> None:
    with nvidia(tmp_path):
        import tensorrt  # noqa: PLC0415 - the double, while it is there

        compared = compare_all(public(tensorrt), RECORDED[version])
    assert compared > 50


def test_each_class_function_and_argument_of_the_double_is_one_of_pycuda(tmp_path: Path) -> None:
    with nvidia(tmp_path):
        from pycuda import driver  # noqa: PLC0415 - the double, while it is there

        compared = compare_all(public(driver), RECORDED["pycuda"])
    assert compared >= 12


def compare_all(double: dict[str, Any], real: dict[str, Any]) -> int:
    compared = 0
    for name, it in double.items():
        assert name in real, name
        if not inspect.isclass(it):
            compare(name, it, real[name])
            compared += 1
            continue
        for member, own in vars(it).items():
            if name in BUFFERS_AND_SEQUENCES or (member.startswith("_") and member not in ("__init__", "__int__")):
                continue
            if member == "__init__" and not real[name].get(member):
                continue  # only the library makes these
            assert member in real[name], f"{name}.{member}"
            if real[name][member] == "value" or inspect.isclass(own) or isinstance(own, Enum):
                compared += 1
                continue
            compare(f"{name}.{member}", own, real[name][member])
            compared += 1
    return compared


def test_the_comparison_finds_a_wrong_name_and_a_wrong_form() -> None:
    real = {"Thing": {"run": ["run(self: t.Thing, stream_handle: typing.SupportsInt) -> bool"]}}
    right = type("Thing", (), {"run": lambda self, stream_handle: (self, stream_handle)})
    assert compare_all({"Thing": right}, real) == 1
    for wrong in (
        type("Thing", (), {"execute": lambda self, stream_handle: (self, stream_handle)}),
        type("Thing", (), {"run": lambda self, stream: (self, stream)}),
        type("Thing", (), {"run": property(lambda self: self)}),
    ):
        with pytest.raises(AssertionError):
            compare_all({"Thing": wrong}, real)
